"""Ports for servers of this machine's own."""

from __future__ import annotations

import socket


def free_port() -> int:
    """Return a loopback port that was free a moment ago: whoever listens on it may still be too late."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
