"""The keys of Docker's logins: hosts with or without scheme, port and path.

As Docker has them (``https://HOST/v1/`` stands for the host), as containers-auth.json(5) has them (a path
stands for the repositories below it), and as Kubernetes has them (``*`` stands for a part of the host).
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final, TypeVar
from urllib.parse import urlsplit

from reaper.registry.address import Address

Value = TypeVar("Value")

#: Names of Docker Hub: whoever logs in to one of them means all.
_HUB: Final = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})
#: What Docker calls Docker Hub where logins are kept.
HUB_SERVER: Final = "https://index.docker.io/v1/"
_VERSIONS: Final = ("v1", "v2")
_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Key:
    """What a key stands for. ``port`` is None for the scheme's own; an empty ``path`` means everything.

    ``text`` is the key as it may be shown: without scheme, and without a login that somebody wrote into it.
    """

    host: str
    port: int | None
    path: str
    text: str

    def is_of(self, address: Address) -> bool:
        """Tell whether the key's host is the one of ``address``."""
        parts = urlsplit(address.url)
        default = _PORTS[address.scheme]
        if (self.port or default) != (parts.port or default):
            return False
        host = _host(parts.hostname)
        if "*" not in self.host:
            return self.host == host
        patterns, labels = self.host.split("."), host.split(".")
        return len(patterns) == len(labels) and all(map(fnmatchcase, labels, patterns))


def parse_key(text: str) -> Key | None:
    """Return what ``text`` stands for, or None where it is no host."""
    try:
        parts = urlsplit(text if "://" in text else f"//{text}")
        host, port = _host(parts.hostname), parts.port
    except ValueError:
        return None
    if not host:
        return None
    names = [name for name in parts.path.split("/") if name]
    # The API's version stands before a namespace, or after the prefix of a registry's address.
    if names and names[0] in _VERSIONS:
        names = names[1:]
    elif names and names[-1] in _VERSIONS:
        names = names[:-1]
    path = "/".join(names)
    netloc = parts.netloc.rpartition("@")[2].lower()
    return Key(host, port, path, f"{netloc}/{path}" if path else netloc)


def of_registry(entries: Iterable[tuple[str, Value]], address: Address) -> list[tuple[Key, Value]]:
    """Return the entries for ``address``; a host's own come before those of a ``*``."""
    found = [
        (key, value)
        for key, value in ((parse_key(text), value) for text, value in entries)
        if key is not None and key.is_of(address)
    ]
    return sorted(found, key=lambda entry: "*" in entry[0].host)


def covering(paths: Container[str], path: str) -> str | None:
    """Return the longest of ``paths``, those of keys, that is ``path`` or above it; None where none is."""
    while path not in paths:
        if not path:
            return None
        path = path.rpartition("/")[0]
    return path


def path_of(address: Address, repository: str | None) -> str:
    """Return what keys have to cover for ``repository``, or for the registry itself."""
    return f"{address.path}/{repository or ''}".strip("/")


def server_of(address: Address) -> str:
    """Return what Docker calls the registry to a helper that keeps all logins."""
    parts = urlsplit(address.url)
    if parts.hostname in _HUB:
        return HUB_SERVER
    return address.host.removesuffix(f":{_PORTS[address.scheme]}")


def server_of_key(key: Key) -> str:
    """Return what Docker calls the registry to the helper that ``key`` names: the key."""
    return HUB_SERVER if key.host in _HUB else key.text


def _host(name: str | None) -> str:
    host = (name or "").lower()
    return "docker.io" if host in _HUB else host
