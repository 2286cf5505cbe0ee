"""The thin layer over a Kubernetes client that the rest uses."""
