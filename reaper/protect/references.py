"""References of images as pods, workloads and people write them, and which repository each one means.

The grammar and the defaults are those of distribution/reference (``ParseAnyReference``), which the container
runtimes use.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from reaper.core.alias import DOCKER_HUB, Alias, names_a_host, normal_host
from reaper.core.errors import InvalidInputError
from reaper.core.reference import is_digest, is_host, is_repository, is_tag

_DEFAULT_TAG: Final = "latest"
_OFFICIAL: Final = "library/"
#: What old runtimes put before the digest in ``imageID``.
_SCHEMES: Final = ("docker-pullable://", "docker://")
_IDENTIFIER: Final = re.compile(r"[a-f0-9]{64}")


@dataclass(frozen=True, slots=True)
class ImageReference:
    """An image: a repository of a host with a tag, a digest, or both; or a digest alone.

    ``host`` and ``repository`` are empty where only the digest is known, and then it may be that of a
    manifest, an index or a config.
    """

    host: str = ""
    repository: str = ""
    tag: str | None = None
    digest: str | None = None

    def __str__(self) -> str:
        name = f"{self.host}/{self.repository}" if self.host else ""
        tag = f":{self.tag}" if self.tag else ""
        if not name:
            return self.digest or ""
        return f"{name}{tag}@{self.digest}" if self.digest else f"{name}{tag}"


def parse_image(text: str) -> ImageReference:
    """Return the image that ``text`` names, normalised.

    That is a reference (``nginx``, ``registry.example.com:5000/team/app:v1@sha256:…``), or an image's digest
    as a container's status has it (``sha256:…``, 64 hexadecimal digits, ``docker-pullable://…``).

    Raises:
        InvalidInputError: it breaks the grammar.
    """
    rest = text
    for scheme in _SCHEMES:
        rest = rest.removeprefix(scheme)
    if _IDENTIFIER.fullmatch(rest):
        return ImageReference(digest=f"sha256:{rest}")
    if is_digest(rest):
        return ImageReference(digest=rest)
    rest, at, digest = rest.partition("@")
    first, slash, below = rest.partition("/")
    host, path = (normal_host(first), below) if slash and names_a_host(first) else (DOCKER_HUB, rest)
    head, between, last = path.rpartition("/")
    last, colon, tag = last.partition(":")
    repository = f"{head}{between}{last}"
    if host == DOCKER_HUB and not between:
        repository = _OFFICIAL + repository
    if not is_host(host) or not is_repository(repository):
        raise InvalidInputError(f"{text!r} does not name an image")
    if colon and not is_tag(tag):
        raise InvalidInputError(f"{tag!r} in {text!r} is not a tag")
    if at and not is_digest(digest):
        raise InvalidInputError(f"{digest!r} in {text!r} is not a digest")
    if not colon and not at:
        tag = _DEFAULT_TAG
    return ImageReference(host, repository, tag or None, digest or None)


class Aliases:
    """All names of one registry in references."""

    def __init__(self, aliases: Iterable[Alias]) -> None:
        # The longest prefix first: it says most precisely what is meant.
        ordered = sorted(set(aliases), key=lambda alias: (-len(alias.prefix), str(alias)))
        self._by_host: dict[str, list[Alias]] = {}
        for alias in ordered:
            self._by_host.setdefault(alias.host, []).append(alias)

    @property
    def hosts(self) -> frozenset[str]:
        """The hosts."""
        return frozenset(self._by_host)

    def repository(self, image: ImageReference) -> str | None:
        """Return the registry's repository that ``image`` is of, None when it is of another registry."""
        for alias in self._by_host.get(image.host, ()):
            found = alias.repository(image.host, image.repository)
            if found is not None:
                return found
        return None
