"""The daemon's web side."""
