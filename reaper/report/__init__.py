"""The report of a run: one model, several renderers."""
