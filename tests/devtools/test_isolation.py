"""Tests see neither the developer's files nor any other machine."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import pytest

from devtools.offline import ReachedOutError, is_local


def test_the_home_is_empty_and_ours(home: Path) -> None:
    assert Path.home() == home
    assert list(home.iterdir()) == []
    assert not [name for name in os.environ if name.startswith(("REAPER_", "REGISTRY_"))]


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.1.2.3", "::1", "localhost", b"localhost", "", None, "0.0.0.0"]
)
def test_local(host: object) -> None:
    assert is_local(host)


@pytest.mark.parametrize(
    "host", ["192.0.2.1", "10.0.0.1", "2001:db8::1", "registry.example", b"registry.example"]
)
def test_not_local(host: object) -> None:
    assert not is_local(host)


def test_connecting_elsewhere_is_refused() -> None:
    with socket.socket() as sock, pytest.raises(ReachedOutError, match=r"192\.0\.2\.1 port 80"):
        sock.connect(("192.0.2.1", 80))
    with socket.socket() as sock, pytest.raises(ReachedOutError):
        sock.connect_ex(("192.0.2.1", 80))
    with pytest.raises(ReachedOutError):
        socket.create_connection(("192.0.2.1", 80), timeout=1)


def test_looking_up_is_refused() -> None:
    with pytest.raises(ReachedOutError, match=r"looks up registry\.example"):
        socket.getaddrinfo("registry.example", 443)


def test_asyncio_is_refused_too() -> None:
    with pytest.raises(ReachedOutError):
        asyncio.run(asyncio.open_connection("192.0.2.1", 80))
    with pytest.raises(ReachedOutError):
        asyncio.run(asyncio.open_connection("registry.example", 80))


def test_a_host_that_does_not_exist() -> None:
    with pytest.raises(socket.gaierror):
        socket.getaddrinfo("registry.invalid", 443)


def test_loopback_is_allowed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        with socket.create_connection(("localhost", server.getsockname()[1]), timeout=5) as client:
            assert client.getpeername()[0] == "127.0.0.1"
        with socket.socket() as client:
            assert client.connect_ex(server.getsockname()) == 0
