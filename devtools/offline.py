"""A guard for tests: nothing but this machine can be reached."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch


class ReachedOutError(Exception):
    """A test tried to reach another machine. Not an OSError, so that no code takes it for an outage."""


def is_local(host: object) -> bool:
    """Whether a host, as `connect` and `getaddrinfo` take it, is this machine."""
    name = host.decode() if isinstance(host, bytes) else host
    if name is None or name in ("", "localhost") or str(name).endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(str(name).partition("%")[0])
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


@contextmanager
def only_loopback() -> Iterator[None]:
    """Within it, connecting elsewhere or looking up a name raises ReachedOutError.

    Names below ``.invalid`` are not found, as always, so that tests have a host that does not exist.
    """
    connect, connect_ex, getaddrinfo = socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo

    def check(sock: socket.socket, address: Any) -> None:
        if sock.family in (socket.AF_INET, socket.AF_INET6) and not is_local(address[0]):
            sock.close()  # callers close after an OSError only
            raise ReachedOutError(
                f"a test connects to {address[0]} port {address[1]}: only loopback is allowed"
            )

    def checked_connect(sock: socket.socket, address: Any) -> None:
        check(sock, address)
        connect(sock, address)

    def checked_connect_ex(sock: socket.socket, address: Any) -> int:
        check(sock, address)
        return connect_ex(sock, address)

    def checked_getaddrinfo(host: Any, *arguments: Any, **keywords: Any) -> Any:
        if not is_local(host):
            name = host.decode() if isinstance(host, bytes) else host
            if name.endswith(".invalid"):
                raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
            if not _is_address(name):
                raise ReachedOutError(f"a test looks up {name}: only loopback is allowed")
        return getaddrinfo(host, *arguments, **keywords)

    with (
        patch.multiple(socket.socket, connect=checked_connect, connect_ex=checked_connect_ex),
        patch.object(socket, "getaddrinfo", checked_getaddrinfo),
    ):
        yield


def _is_address(name: str) -> bool:
    """An address needs no look-up; connecting to it is checked when it happens."""
    try:
        ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    return True
