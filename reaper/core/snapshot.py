"""One repository at one moment: its tags, its manifests, and the graph they form."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

from reaper.core.manifest import Descriptor, Manifest
from reaper.core.reference import subject_of_tag


@dataclass(frozen=True, slots=True)
class ProductView:
    """The registry product whose own API was asked of this repository's times.

    ``tells_pushes``: what it lacks the push time of is not taken to be as old as its build.
    ``pulls_since`` is when reaper began to read pull times of this registry from the product, None where it
    tells none; ``latest_pull`` is the latest that it has shown of anything in the registry.
    """

    name: str
    tells_pushes: bool = False
    pulls_since: datetime | None = None
    latest_pull: datetime | None = None


@dataclass(frozen=True, slots=True)
class TagEntry:
    """A tag and what is known of its times, each in UTC.

    ``first_seen`` is when reaper first saw this tag on this digest; a tag that moves starts anew.
    ``pushed_event`` comes from a push notification, ``product_pushed`` from a registry product's own API.
    ``kept_before``: the last run kept it (None where that is not known).
    """

    name: str
    digest: str
    first_seen: datetime | None = None
    pushed_event: datetime | None = None
    product_pushed: datetime | None = None
    pulled: datetime | None = None
    kept_before: bool | None = None

    @property
    def subject(self) -> str | None:
        """The digest that this tag's name refers to, where it is a referrer's tag.

        An image whose tag names the image itself refers to nothing.
        """
        subject = subject_of_tag(self.name)
        return None if subject == self.digest else subject


@dataclass(frozen=True, slots=True)
class ManifestEntry:
    """A manifest in this repository and what is known of its times, each in UTC.

    ``untagged_since`` is when reaper first saw the manifest without a tag, and None while it has one.
    ``config_created`` is the config's ``created`` as it stands there; whether it is believable is for
    `reaper.core.times` to say. ``platform`` is the config's as well. ``product_pulled`` is the last pull that
    a registry product's own API has told of, ``pulled`` the last that a notification has.
    """

    manifest: Manifest
    config_created: datetime | None = None
    first_seen: datetime | None = None
    untagged_since: datetime | None = None
    pushed_event: datetime | None = None
    product_pushed: datetime | None = None
    pulled: datetime | None = None
    product_pulled: datetime | None = None
    platform: str | None = None

    @property
    def digest(self) -> str:
        """The manifest's digest."""
        return self.manifest.digest


@dataclass(frozen=True)
class Snapshot:
    """All that is known of one repository, completely read.

    A repository that could not be read completely never becomes a snapshot. ``manifests`` holds every
    manifest reachable from a tag, and every untagged one that reaper knows of and that still exists.
    ``missing`` are children and subjects that the registry says it does not have. ``left_over`` are parts of
    manifests that a plan has deleted, each with that manifest: they were to go with it, and were not reached.
    ``inventoried_since`` is when the repository was first read completely, None before the second time.
    ``pulls_tracked_since`` is when pull notifications of this registry began, None without them.
    ``policies_before`` names the policies that the last run judged it by, None where that is not known.
    ``product`` is None where no product's API was asked.
    """

    repository: str
    taken_at: datetime
    tags: Mapping[str, TagEntry] = field(default_factory=dict)
    manifests: Mapping[str, ManifestEntry] = field(default_factory=dict)
    missing: frozenset[str] = frozenset()
    left_over: Mapping[str, str] = field(default_factory=dict)
    inventoried_since: datetime | None = None
    pulls_tracked_since: datetime | None = None
    policies_before: str | None = None
    product: ProductView | None = None

    @cached_property
    def tags_of(self) -> Mapping[str, tuple[str, ...]]:
        """The tags on each digest, in the order of their names."""
        found: dict[str, list[str]] = defaultdict(list)
        for name in sorted(self.tags):
            found[self.tags[name].digest].append(name)
        return {digest: tuple(names) for digest, names in found.items()}

    @cached_property
    def parents(self) -> Mapping[str, tuple[str, ...]]:
        """The manifests that have each digest as a child."""
        found: dict[str, list[str]] = defaultdict(list)
        for digest in sorted(self.manifests):
            for child in dict.fromkeys(self.children(digest)):
                found[child].append(digest)
        return {digest: tuple(parents) for digest, parents in found.items()}

    @cached_property
    def referrers(self) -> Mapping[str, tuple[str, ...]]:
        """The manifests that refer to each digest: by ``subject``, or by the name of a tag of theirs."""
        found: dict[str, set[str]] = defaultdict(set)
        for digest, entry in self.manifests.items():
            if entry.manifest.subject is not None:
                found[entry.manifest.subject].add(digest)
        for tag in self.tags.values():
            if tag.subject is not None:
                found[tag.subject].add(tag.digest)
        return {digest: tuple(sorted(those)) for digest, those in found.items()}

    def children(self, digest: str) -> Iterator[str]:
        """Yield the children of ``digest``, present or missing."""
        entry = self.manifests.get(digest)
        if entry is not None:
            yield from (child.digest for child in entry.manifest.children)

    def needs(self, digest: str) -> Iterator[str]:
        """Yield what a pull of ``digest`` may need: its children, and all that an unknown type mentions."""
        yield from self.children(digest)
        entry = self.manifests.get(digest)
        if entry is not None:
            yield from sorted(entry.manifest.mentions)

    def closure(self, roots: Iterable[str], known: Container[str] = ()) -> set[str]:
        """Return every present manifest that must stay when ``roots`` stay.

        That is the roots, their children all the way down, and the referrers of any of these. What is
        ``known``, another closure, is left out.
        """
        reached: set[str] = set()
        pending = [root for root in roots if root in self.manifests]
        while pending:
            digest = pending.pop()
            if digest in reached or digest in known:
                continue
            reached.add(digest)
            pending.extend(needed for needed in self.needs(digest) if needed in self.manifests)
            pending.extend(those for those in self.referrers.get(digest, ()) if those in self.manifests)
        return reached

    def contents(self, digest: str) -> Mapping[str, Descriptor]:
        """Return all blobs and manifests that a pull of ``digest`` transfers, by digest, itself included."""
        found: dict[str, Descriptor] = {}
        pending = [digest]
        while pending:
            current = pending.pop()
            entry = self.manifests.get(current)
            if entry is None or current in found:
                continue
            manifest = entry.manifest
            found[current] = Descriptor(current, manifest.size, manifest.media_type)
            for blob in manifest.blobs:
                found.setdefault(blob.digest, blob)
            pending.extend(self.needs(current))
        return found

    def size(self, digest: str) -> int:
        """Return the bytes that a full pull of ``digest`` transfers, each blob once."""
        return sum(descriptor.size for descriptor in self.contents(digest).values())
