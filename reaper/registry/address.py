"""A registry's address."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from reaper.core.errors import InvalidInputError

_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\]")
_PATH = re.compile(r"(?:/[A-Za-z0-9._~-]+)*")


@dataclass(frozen=True, slots=True)
class Address:
    """Where a registry listens. ``path`` is a prefix before ``/v2/``, most often empty."""

    scheme: str
    host: str
    path: str = ""

    @property
    def url(self) -> str:
        """The address as a URL without a slash at its end."""
        return f"{self.scheme}://{self.host}{self.path}"

    @property
    def origin(self) -> str:
        """Scheme, host and port: what credentials belong to (RFC 6454)."""
        return origin_of(self.url)

    @property
    def hostname(self) -> str:
        """The host without its port, and an IPv6 address without its brackets."""
        return urlsplit(self.url).hostname or ""

    def __str__(self) -> str:
        return self.url


def parse_address(text: str) -> Address:
    """Return the address that ``text`` names; without a scheme, HTTP for loopback only, else HTTPS.

    Raises:
        InvalidInputError: it is no address. The text is not repeated: it may hold a password.
    """
    hint = "write a host such as registry.example.com, or a URL such as https://registry.example.com"
    given = text.strip()
    scheme, separator, rest = given.partition("://")
    # RFC 3986, 3.1: a scheme may be written in any case.
    scheme = scheme.lower()
    if not separator:
        scheme, rest = "", given
    if "@" in rest:
        raise InvalidInputError(
            "the registry's address holds a user name or password",
            hint="put the login into the settings, or into Docker's config.json",
        )
    try:
        parts = urlsplit(f"//{rest}")
        port = parts.port
    except ValueError as error:
        raise InvalidInputError(f"{given!r} is not a registry's address", hint=hint) from error
    host = parts.netloc.rpartition(":")[0] if port is not None else parts.netloc
    path = parts.path.rstrip("/")
    if (
        scheme not in ("", "http", "https")
        or parts.query
        or parts.fragment
        or not _HOST.fullmatch(host)
        or parts.netloc.endswith(":")
        or not _PATH.fullmatch(path)
    ):
        raise InvalidInputError(f"{given!r} is not a registry's address", hint=hint)
    if not scheme:
        scheme = "http" if is_loopback(parts.hostname or "") else "https"
    return Address(scheme, parts.netloc.lower(), path)


def is_loopback(host: str) -> bool:
    """Tell whether ``host`` is this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def origin_of(url: str) -> str:
    """Return a URL's scheme, host and port, with the scheme's own port made explicit.

    Raises:
        ValueError: it is no URL.
    """
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    return f"{parts.scheme}://{(parts.hostname or '').lower()}:{port}"
