"""Policy files and settings: outside data comes in, checked; the core's own types come out."""
