"""Addresses of registries, as settings and options write them."""

from __future__ import annotations

from typing import Final
from urllib.parse import SplitResult, urlsplit

from reaper.core.errors import InvalidInputError

_PORTS: Final = {"https": 443, "http": 80}
_EXAMPLE: Final = "write one such as https://registry.example.com"


def registry_url(text: str) -> str:
    """Return the registry's URL as it was written, without a trailing slash. It may lack a scheme.

    Raises:
        InvalidInputError: it is not one, or it carries a login; then the message does not repeat it.
    """
    url = text.strip().rstrip("/")
    if "@" in url:
        hint = "give username and password_file, or docker_config"
        raise InvalidInputError("a registry's URL must not carry a login", hint=hint)
    try:
        parts = _split(url)
        valid = parts.scheme in ("", *_PORTS) and parts.hostname and parts.port != 0 and url[-1] != ":"
    except ValueError:
        valid = False
    if not valid or any(character.isspace() for character in url):
        raise InvalidInputError("this is not a registry's URL", hint=_EXAMPLE)
    if "?" in url or "#" in url:
        raise InvalidInputError("a registry's URL has neither ? nor #", hint=_EXAMPLE)
    return url


def same_registry(first: str, second: str) -> bool:
    """Tell whether two valid URLs are of one registry; one without a scheme may have either."""
    one, other = _split(first), _split(second)
    if one.scheme and other.scheme and one.scheme != other.scheme:
        return False
    default = _PORTS[one.scheme or other.scheme or "https"]
    return (one.hostname, one.port or default, one.path) == (
        other.hostname,
        other.port or default,
        other.path,
    )


def _split(url: str) -> SplitResult:
    return urlsplit(url if "://" in url else f"//{url}")
