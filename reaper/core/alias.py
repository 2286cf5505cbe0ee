"""The names by which images call a registry, which need not be its URL's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from reaper.core.errors import InvalidInputError
from reaper.core.reference import is_host, is_repository

#: Docker Hub's host in a normalised reference, and its old name.
DOCKER_HUB: Final = "docker.io"
_DOCKER_INDEX: Final = "index.docker.io"

_EXAMPLES: Final = "write it as references begin, such as registry.example.com:5000 or proxy.example.com/main"


@dataclass(frozen=True, slots=True)
class Alias:
    """A host, and what its repositories begin with there (``prefix``) and in the registry (``here``).

    Images of ``proxy.example.com/main`` are those below ``main/`` there, which is cut off; those of
    ``docker.io=hub`` stand below ``hub/`` in the registry.
    """

    host: str
    prefix: str = ""
    here: str = ""

    def __str__(self) -> str:
        there = f"{self.host}/{self.prefix}" if self.prefix else self.host
        return f"{there}={self.here}" if self.here else there

    def repository(self, host: str, repository: str) -> str | None:
        """Return what the registry calls ``repository`` of ``host``; None when this alias does not say."""
        if host != self.host:
            return None
        rest = repository
        if self.prefix:
            if not repository.startswith(f"{self.prefix}/"):
                return None
            rest = repository.removeprefix(f"{self.prefix}/")
        return f"{self.here}/{rest}" if self.here else rest


def normal_host(host: str) -> str:
    """Return the one way to write ``host``: in lower case, and Docker Hub by its present name.

    A host that only its upper case tells from a part of a repository keeps it.
    """
    lower = host.lower()
    if not names_a_host(lower):
        return host
    return DOCKER_HUB if lower == _DOCKER_INDEX else lower


def names_a_host(first: str) -> bool:
    """Tell whether the part of a reference before its first slash is a host, and no part of a repository.

    Source: distribution/reference, ``splitDockerDomain``.
    """
    return first == "localhost" or "." in first or ":" in first or first != first.lower()


def parse_alias(text: str) -> Alias:
    """Return the alias that ``HOST[:PORT][/PREFIX][=PREFIX_HERE]`` says.

    Raises:
        InvalidInputError: it is none, or no reference can have it.
    """
    there, equals, here = text.strip().partition("=")
    host, slash, prefix = there.rstrip("/").partition("/")
    here = here.rstrip("/")
    if not is_host(host) or (slash and not is_repository(prefix)) or (equals and not is_repository(here)):
        raise InvalidInputError(f"{text!r} is not a registry's name in image references", hint=_EXAMPLES)
    if not names_a_host(host):
        raise InvalidInputError(
            f"references never take {host!r} for a host: it has no dot and no port",
            hint=f"write {host}:5000 with its port, or docker.io/{there} for that part of Docker Hub",
        )
    return Alias(normal_host(host), prefix, here)
