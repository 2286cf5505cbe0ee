"""The daemon's web server: metrics, health, events, status page."""
