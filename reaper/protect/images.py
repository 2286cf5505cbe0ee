"""Which images are in use, by whom, and what of that concerns one registry."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from reaper.core.errors import InvalidInputError
from reaper.protect.references import Aliases, ImageReference, parse_image

#: How many examples a message names.
_EXAMPLES: Final = 3
#: A longer text cannot be a reference, and is cut in messages.
_SHOWN: Final = 120


@dataclass(frozen=True, slots=True)
class Users:
    """Who uses an image: one of them by name, and how many there are."""

    first: str
    count: int = 1

    def __str__(self) -> str:
        return self.first if self.count == 1 else f"{self.first} and {self.count - 1} more"


@dataclass(slots=True)
class Gathering:
    """The images that one source names.

    ``unreadable`` counts what is no image; ``examples`` are the first of those, each with who has it.
    ``read`` counts whatever the source is made of: objects, or lines.
    """

    images: dict[ImageReference, Users] = field(default_factory=dict)
    read: int = 0
    unreadable: int = 0
    examples: list[str] = field(default_factory=list)
    _parsed: dict[str, ImageReference | None] = field(default_factory=dict)

    def add(self, user: str, references: Iterable[str]) -> None:
        """Note that ``user`` uses the images that ``references`` name."""
        self.read += 1
        found: dict[ImageReference, None] = {}
        for text in dict.fromkeys(references):
            image = self._parse(text)
            if image is not None:
                found[image] = None
                continue
            self.unreadable += 1
            if len(self.examples) < _EXAMPLES:
                self.examples.append(f"{text[:_SHOWN]!r} ({user})")
        for image in found:
            known = self.images.get(image)
            self.images[image] = Users(user) if known is None else Users(known.first, known.count + 1)

    def _parse(self, text: str) -> ImageReference | None:
        # Thousands of pods name the same few images.
        if text not in self._parsed:
            try:
                self._parsed[text] = parse_image(text)
            except InvalidInputError:
                self._parsed[text] = None
        return self._parsed[text]


class InUse:
    """The images in use, as one registry sees them.

    A tag counts in the repository that its reference names. A digest counts in every repository, whatever
    registry it was seen with: runtimes give the same image's digest under any of its names, or without one.
    """

    def __init__(self, aliases: Aliases) -> None:
        self._aliases = aliases
        self._tags: dict[str, dict[str, str]] = {}
        self._digests: dict[str, str] = {}
        self._foreign: dict[str, dict[str, str]] = {}
        #: How many references name this registry, and how many name any.
        self.ours = 0
        self.named = 0

    def add(self, image: ImageReference, user: str) -> None:
        """Note an image and who uses it; who was noted first stays."""
        if image.digest is not None:
            self._digests.setdefault(image.digest, user)
        if not image.host:
            return
        self.named += 1
        repository = self._aliases.repository(image)
        if repository is None:
            self._foreign.setdefault(image.host, {}).setdefault(image.repository, user)
            return
        self.ours += 1
        if image.tag is not None:
            self._tags.setdefault(repository, {}).setdefault(image.tag, user)

    def of(self, repository: str) -> Mapping[str, str]:
        """Return each tag and digest that is in use in ``repository``, and who uses it."""
        tags = self._tags.get(repository)
        return ChainMap(tags, self._digests) if tags else self._digests

    def without(self, other: InUse) -> InUse:
        """Return what is in use here, and was not in ``other``."""
        found = InUse(self._aliases)
        found._digests = {key: user for key, user in self._digests.items() if key not in other._digests}
        for repository, tags in self._tags.items():
            known = other._tags.get(repository, {})
            new = {tag: user for tag, user in tags.items() if tag not in known}
            if new:
                found._tags[repository] = new
        return found

    def lookalikes(self, repositories: Collection[str], known_hosts: Collection[str]) -> Iterator[str]:
        """Yield a warning for each host whose images are called as ``repositories`` are.

        It may be one more name of this registry. ``known_hosts`` are certainly not.
        """
        names = frozenset(repositories)
        for host in sorted(self._foreign.keys() - frozenset(known_hosts)):
            alike = sorted(self._foreign[host].keys() & names)
            if alike:
                shown = ", ".join(alike[:_EXAMPLES]) + (", …" if len(alike) > _EXAMPLES else "")
                what = f"{len(alike)} repositories are" if len(alike) > 1 else "1 repository is"
                yield (
                    f"images in use come from {host}, where {what} called as here ({shown}): "
                    f"if {host} is another name of this registry, add it to the registry's hosts"
                )
