"""Reads repositories into snapshots: completely, or not at all."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import structlog

from reaper.concurrency import collect
from reaper.core.errors import ReaperError
from reaper.core.guard import check_listing
from reaper.core.manifest import (
    IMAGE_CONFIGS,
    MAX_DEPTH,
    ImageConfig,
    Kind,
    Manifest,
    ManifestError,
    kind_of,
    parse_config,
    parse_manifest,
)
from reaper.core.policy import Guard
from reaper.core.product_times import RepositoryTimes
from reaper.core.reference import subject_of_tag
from reaper.core.snapshot import ManifestEntry, ProductView, Snapshot, TagEntry
from reaper.registry import NotFoundError, ProtocolError, RegistryClient, RegistryError
from reaper.registry.products import WITHOUT, Fact
from reaper.repositories import Listing, Repositories
from reaper.store import CachedManifest, RepositoryRecord, Store

_log = structlog.get_logger(__name__)

_UNREAD = ImageConfig()
_TOO_DEEP = f"an index is nested more than {MAX_DEPTH} deep"


class IncompleteError(ReaperError):
    """A repository could not be read completely, so nothing may be decided about it.

    ``tags`` are those that could be resolved, each with its digest.
    """

    def __init__(self, repository: str, problems: Sequence[str], tags: Mapping[str, str]) -> None:
        super().__init__(f"{repository} could not be read completely: {problems[0]}")
        self.repository = repository
        self.problems = tuple(problems)
        self.tags = tags


@dataclass
class _Reading:
    """One repository while it is being read."""

    repository: str
    tags: dict[str, str] = field(default_factory=dict)
    manifests: dict[str, Manifest] = field(default_factory=dict)
    configs: dict[str, ImageConfig] = field(default_factory=dict)
    missing: set[str] = field(default_factory=set)
    #: What the registry's product tells, and which that is.
    times: RepositoryTimes = field(default_factory=RepositoryTimes)
    product: ProductView | None = None
    #: How many tags of the last inventory are not there any more.
    gone: int = 0
    problems: list[str] = field(default_factory=list)


#: Tells whether a listing is suddenly short: of the tags of a repository, or (None) of all repositories, by
#: how many the last inventory saw, and how many of them are gone.
IsShort = Callable[[str | None, int, int], bool]


def is_short_by_default(repository: str | None, before: int, gone: int) -> bool:
    """Tell whether a listing is so short that it would stop a run under the default guard."""
    return any(check_listing(before, gone, [Guard()], repository))


class Inventory:
    """Reads one registry, remembers every manifest it has ever seen, and records when it saw what.

    A listing that ``is_short`` is read like any other, but not yet believed: what it lacks is remembered, so
    that the next look finds it missing as well, until `believe` is called.

    ``repositories`` are those of the registry; by default what its catalog lists.
    """

    def __init__(
        self,
        client: RegistryClient,
        store: Store,
        *,
        registry: str,
        now: datetime,
        concurrency: int = 16,
        is_short: IsShort = is_short_by_default,
        repositories: Repositories | None = None,
    ) -> None:
        self._client = client
        self._store = store
        self._registry = registry
        self._now = now
        self._began = time.monotonic()
        self._concurrency = concurrency
        self._is_short = is_short
        self._repositories = repositories or Repositories(client)
        self._named_by: str | None = None
        self._doubted: dict[str, _Reading] = {}
        self._not_listed: set[str] = set()

    async def repositories(self) -> Listing:
        """Return the repositories of the registry.

        Raises:
            ReaperError: what lists them could not be read to its end.
        """
        listing = await self._repositories.list()
        self._named_by = None if listing.whole else listing.source
        observations = self._store.observations
        seen = await asyncio.to_thread(observations.repositories, self._registry)
        before = {repository.name for repository in seen if repository.tag_count}
        gone = before.difference(listing.names)
        if self._is_short(None, len(before), len(gone)):
            self._not_listed = gone
        elif gone:
            await asyncio.to_thread(observations.not_listed, self._registry, gone)
        return listing

    async def believe(self) -> None:
        """Take the listings that were suddenly short for what they are: a person has looked at them."""
        observations = self._store.observations
        await asyncio.to_thread(observations.not_listed, self._registry, self._not_listed)
        for reading in self._doubted.values():
            await asyncio.to_thread(self._record, reading, complete=True)
        self._not_listed.clear()
        self._doubted.clear()

    async def read(self, repository: str, *, with_created: bool = True) -> Snapshot:
        """Return the repository as it is now.

        ``with_created`` False leaves out the configs, and with them the build times: enough to know what
        the repository needs, not to judge it.

        Raises:
            IncompleteError: a listing, a tag, a manifest or a config could not be read.
        """
        record = await asyncio.to_thread(self._store.observations.load, self._registry, repository)
        reading = _Reading(repository)
        await self._read_tags(reading, record)
        await self._read_manifests(reading, set(reading.tags.values()), record)
        await self._read_untagged(reading, record)
        if _is_too_deep(reading):
            reading.problems.append(_TOO_DEEP)
        if with_created and not reading.problems:
            await self._read_configs(reading)
            # After the tags: what was pushed since is on another digest, or not looked at.
            await self._read_times(reading)
        short = not reading.problems and self._is_short(repository, len(record.tags), reading.gone)
        if short:
            self._doubted[repository] = reading
        record = await asyncio.to_thread(self._record, reading, complete=not reading.problems and not short)
        if reading.problems:
            raise IncompleteError(repository, reading.problems, reading.tags)
        return self._snapshot(reading, record, await self._left_over(reading, record))

    async def recall(self, repository: str) -> Snapshot:
        """Return the repository as the last complete inventory saw it; the registry is not asked.

        Raises:
            IncompleteError: there was none, or what it saw is no longer remembered.
        """
        record = await asyncio.to_thread(self._store.observations.load, self._registry, repository)
        reading = _Reading(repository, {name: tag.digest for name, tag in record.tags.items()})
        if record.last_inventory is None:
            raise IncompleteError(repository, ["it was never read completely"], reading.tags)
        forgotten = record.manifests.keys() - await self._take_cached(reading, record.manifests.keys())
        reading.problems += [f"manifest {digest} is no longer remembered" for digest in sorted(forgotten)]
        if reading.problems:
            raise IncompleteError(repository, reading.problems, reading.tags)
        reading.product = await asyncio.to_thread(self._store.products.last, self._registry)
        needed = {below for manifest in reading.manifests.values() for below in _below(manifest)}
        reading.missing |= needed - reading.manifests.keys()
        return self._snapshot(reading, record, await self._left_over(reading, record))

    def _record(self, reading: _Reading, *, complete: bool) -> RepositoryRecord:
        return self._store.observations.record(
            self._registry,
            reading.repository,
            self._now,
            reading.tags,
            reading.manifests.keys(),
            complete=complete,
            times=reading.times,
        )

    async def with_referrers(self, snapshot: Snapshot, digests: Iterable[str]) -> Snapshot:
        """Return the snapshot with the referrers that the registry's referrers API lists for ``digests``.

        They are not remembered, and have no age but their build time: when one is first seen says nothing
        of it where nobody looked before.

        Raises:
            IncompleteError: the API, or a referrer that it lists, could not be read.
        """
        reading = _Reading(
            snapshot.repository,
            {tag.name: tag.digest for tag in snapshot.tags.values()},
            {digest: entry.manifest for digest, entry in snapshot.manifests.items()},
            {
                digest: ImageConfig(entry.config_created, entry.platform)
                for digest, entry in snapshot.manifests.items()
            },
            set(snapshot.missing),
        )
        record = await asyncio.to_thread(self._store.observations.load, self._registry, snapshot.repository)

        async def ask(digest: str) -> set[str]:
            try:
                found = await self._client.referrers(snapshot.repository, digest)
            except RegistryError as error:
                reading.problems.append(f"the referrers of {digest}: {error}")
                return set()
            return {descriptor.digest for descriptor in found or ()}

        listed = set[str]().union(*await collect(digests, ask, limit=self._concurrency))
        if listed <= reading.manifests.keys():
            return snapshot
        await self._read_manifests(reading, listed, record)
        await self._read_configs(reading)
        if reading.problems:
            raise IncompleteError(snapshot.repository, reading.problems, reading.tags)
        found = {
            digest: ManifestEntry(manifest, config_created=config.created, platform=config.platform)
            for digest, manifest in reading.manifests.items()
            if digest not in snapshot.manifests
            for config in (reading.configs.get(digest, _UNREAD),)
        }
        return replace(
            snapshot, manifests={**snapshot.manifests, **found}, missing=frozenset(reading.missing)
        )

    async def _read_tags(self, reading: _Reading, record: RepositoryRecord) -> None:
        try:
            names = await self._client.tags(reading.repository)
        except NotFoundError as error:
            # What a repository without tags may answer, and one that is gone. Where anything of the last
            # inventory is still there, it is only the listing that is lost.
            before = {*record.tags, *(tag.digest for tag in record.tags.values())}
            if await self._existing(reading, before):
                reading.problems.append(f"tags: {error}, but it had {len(record.tags)} at the last inventory")
            elif self._named_by is not None and record.inventoried_since is None:
                reading.problems.append(f"tags: {error}; {self._named_by} may misspell it")
            reading.gone = len(await self._vanished(reading, record, record.tags.keys()))
            return
        except RegistryError as error:
            reading.problems.append(f"tags: {error}")
            return
        vanished = record.tags.keys() - set(names)
        hidden = await self._existing(reading, vanished)
        if hidden:
            lacking = f"tag {min(hidden)}" + (f" and {len(hidden) - 1} more" if len(hidden) > 1 else "")
            reading.problems.append(f"tags: {lacking} can be resolved, but the listing lacks them")
        reading.gone = len(await self._vanished(reading, record, vanished))

        async def resolve(name: str) -> None:
            try:
                resolved = await self._client.head(reading.repository, name)
            except RegistryError as error:
                reading.problems.append(f"tag {name}: {error}")
                return
            if resolved is None:
                reading.problems.append(f"tag {name} is listed, but its manifest is not found")
            else:
                reading.tags[name] = resolved.digest

        await collect(names, resolve, limit=self._concurrency)

    async def _vanished(self, reading: _Reading, record: RepositoryRecord, names: Set[str]) -> Set[str]:
        """Return those of ``names`` that reaper did not delete; a killed sweep has forgotten nothing."""
        if not names or record.last_inventory is None:
            return names
        deleted = await asyncio.to_thread(
            self._store.journal.tags_deleted_since, self._registry, reading.repository, record.last_inventory
        )
        return names - deleted

    async def _read_times(self, reading: _Reading) -> None:
        """Ask the registry's product for its times. Without them things might look older than they are."""
        try:
            product = await self._client.product()
            reads = product.reads if product else frozenset()
            if Fact.PUSHED not in reads:
                await self._check_silence()
            if product is None or not reads & {Fact.PUSHED, Fact.PULLED}:
                await asyncio.to_thread(self._store.products.forget, self._registry)
                return
            told = await product.times(reading.repository)
        except RegistryError as error:
            reading.problems.append(f"push and pull times: {error} ({WITHOUT})")
            return
        elapsed = timedelta(seconds=time.monotonic() - self._began)
        reading.times = told.believable(self._now, elapsed)
        seen = ProductView(
            product.name,
            tells_pushes=Fact.PUSHED in reads,
            pulls_since=self._now if Fact.PULLED in reads else None,
            latest_pull=reading.times.latest_pull,
        )
        reading.product = await asyncio.to_thread(self._store.products.look, self._registry, seen)

    async def _check_silence(self) -> None:
        """Check that no push times were told at the last inventory, unless the settings do without.

        Raises:
            ProtocolError: they were.
        """
        last = await asyncio.to_thread(self._store.products.last, self._registry)
        if last is not None and last.tells_pushes and self._client.may_be_a_product:
            raise ProtocolError(f"{self._client.url} told push times as {last.name}, and does not any more")

    async def _read_manifests(self, reading: _Reading, roots: set[str], record: RepositoryRecord) -> None:
        """Read ``roots``, which must be there, and everything below them."""
        level = roots
        for depth in range(MAX_DEPTH + 1):
            level = {digest for digest in level if digest not in reading.manifests}
            if not level or reading.problems:
                return
            if depth == MAX_DEPTH:
                reading.problems.append(_TOO_DEEP)
                return
            if depth:
                level = await self._present(reading, level, record)
            await self._fetch(reading, level)
            found = [reading.manifests[digest] for digest in level if digest in reading.manifests]
            level = {needed for manifest in found for needed in _below(manifest)} - reading.missing

    async def _present(self, reading: _Reading, digests: set[str], record: RepositoryRecord) -> set[str]:
        """Return those of ``digests`` that exist in this repository; the others are noted as missing.

        What was there at the last inventory is not asked for again: a child is not a tag, and does not move.
        """
        asked = {digest for digest in digests if not record.inventoried(digest)}
        there = await self._existing(reading, asked)
        reading.missing |= asked - there
        for manifest in reading.manifests.values():
            for child in manifest.children:
                if child.digest in reading.missing and kind_of(child.media_type) is not Kind.IMAGE:
                    # What is below a missing index is unknown, and may be needed once it comes back.
                    problem = (
                        f"{manifest.digest} needs {child.digest} ({child.media_type}), which is not found"
                    )
                    reading.problems.append(problem)
        return (digests - asked) | there

    async def _existing(self, reading: _Reading, references: set[str]) -> set[str]:
        """Return those of ``references`` (digests or tags) that exist; what cannot be asked is a problem."""

        async def ask(reference: str) -> str | None:
            try:
                resolved = await self._client.head(reading.repository, reference)
            except RegistryError as error:
                reading.problems.append(f"manifest {reference}: {error}")
                return None
            return None if resolved is None else reference

        there = await collect(sorted(references), ask, limit=self._concurrency)
        return {reference for reference in there if reference is not None}

    async def _read_untagged(self, reading: _Reading, record: RepositoryRecord) -> None:
        """Read what has no tag, is part of nothing that has one, and exists.

        No listing names these. Reaper knows those that it has seen before, and the subjects of signatures:
        an image that is pushed and deployed by digest is known by nothing else.
        """
        asked: set[str] = set()
        while not reading.problems:
            subjects = set(_subjects(reading))
            wanted = {*record.manifests, *subjects} - reading.manifests.keys() - asked
            if not wanted:
                return
            asked |= wanted
            there = await self._existing(reading, wanted)
            reading.missing |= (subjects & wanted) - there
            await self._read_manifests(reading, there, record)

    async def _fetch(self, reading: _Reading, digests: set[str]) -> None:
        """Read each manifest from the store or, once in its life, from the registry."""
        cached = await self._take_cached(reading, digests)

        async def fetch(digest: str) -> CachedManifest | None:
            try:
                raw = await self._client.manifest(reading.repository, digest)
                if raw is None:
                    reading.problems.append(f"manifest {digest} was there, and is not found")
                    return None
                reading.manifests[digest] = parse_manifest(raw.content, raw.media_type, digest)
            except (RegistryError, ManifestError) as error:
                reading.problems.append(f"manifest {digest}: {error}")
                return None
            return CachedManifest(digest, raw.media_type, raw.content)

        fetched = await collect(sorted(digests - cached), fetch, limit=self._concurrency)
        new = [entry for entry in fetched if entry is not None]
        if new:
            await asyncio.to_thread(self._store.manifests.save, new)

    async def _take_cached(self, reading: _Reading, digests: Iterable[str]) -> set[str]:
        """Take what the store has of ``digests``, and return which those are."""
        cached = await asyncio.to_thread(self._store.manifests.load, digests)
        for entry in cached.values():
            try:
                reading.manifests[entry.digest] = parse_manifest(
                    entry.content, entry.media_type, entry.digest
                )
            except ManifestError as error:
                reading.problems.append(f"manifest {entry.digest}: {error}")
            if entry.config is not None:
                reading.configs[entry.digest] = entry.config
        return set(cached)

    async def _read_configs(self, reading: _Reading) -> None:
        """Read each image's config, once in its life."""

        async def ask(manifest: Manifest) -> str | None:
            config = manifest.config
            if config is None:
                return None
            try:
                content = await self._client.config(reading.repository, config.digest, config.size)
            except RegistryError as error:
                reading.problems.append(f"config {config.digest} of {manifest.digest}: {error}")
                return None
            if content is None:
                # The image is broken already; it can be judged by its other times. `verify` reports it.
                _log.warning("config_missing", repository=reading.repository, digest=manifest.digest)
                return None
            reading.configs[manifest.digest] = parse_config(content)
            return manifest.digest

        wanted = [
            manifest
            for manifest in reading.manifests.values()
            if manifest.digest not in reading.configs
            and manifest.config is not None
            and manifest.config.media_type in IMAGE_CONFIGS
        ]
        read = [
            digest for digest in await collect(wanted, ask, limit=self._concurrency) if digest is not None
        ]
        if read:
            configs = {digest: reading.configs[digest] for digest in read}
            await asyncio.to_thread(self._store.manifests.save_configs, configs)

    async def _left_over(self, reading: _Reading, record: RepositoryRecord) -> dict[str, str]:
        """Return the parts of deleted manifests that an interrupted sweep did not reach, each with its owner.

        One that came after its owner's delete had begun is somebody's who wants it.
        """
        children = {child.digest for m in reading.manifests.values() for child in m.children}
        orphans = reading.manifests.keys() - children - set(reading.tags.values())
        orphans |= {digest for tag, digest in reading.tags.items() if subject_of_tag(tag) in reading.missing}
        if not orphans:
            return {}
        known = await asyncio.to_thread(self._store.journal.left_over, self._registry, reading.repository)
        return {
            digest: left.owner
            for digest, left in known.items()
            if digest in orphans and record.manifests[digest].first_seen <= left.since
        }

    def _snapshot(
        self, reading: _Reading, record: RepositoryRecord, left_over: Mapping[str, str]
    ) -> Snapshot:
        tags = {}
        for name, digest in reading.tags.items():
            seen = record.tags[name]
            tags[name] = TagEntry(
                name,
                digest,
                seen.first_seen,
                pushed_event=seen.pushed_event,
                pulled=seen.pulled,
                kept_before=seen.kept,
                product_pushed=seen.product_pushed,
            )
        manifests = {}
        for digest, manifest in reading.manifests.items():
            known = record.manifests[digest]
            config = reading.configs.get(digest, _UNREAD)
            manifests[digest] = ManifestEntry(
                manifest,
                config_created=config.created,
                platform=config.platform,
                first_seen=known.first_seen,
                untagged_since=known.untagged_since,
                pushed_event=known.pushed_event,
                pulled=known.pulled,
                product_pushed=known.product_pushed,
                product_pulled=known.product_pulled,
            )
        return Snapshot(
            reading.repository,
            self._now,
            tags,
            manifests,
            frozenset(reading.missing),
            left_over,
            inventoried_since=record.inventoried_since,
            pulls_tracked_since=self._store.events.pulls_tracked_since(self._registry, self._now),
            policies_before=record.policies,
            product=reading.product,
        )


def _below(manifest: Manifest) -> Iterable[str]:
    yield from (child.digest for child in manifest.children)
    yield from manifest.mentions


def _is_too_deep(reading: _Reading) -> bool:
    """Tell whether indexes nest too deep, also where each of them has a tag."""
    children = {digest: [c.digest for c in m.children] for digest, m in reading.manifests.items()}
    nesting = {digest for digest, those in children.items() if those}
    for _ in range(MAX_DEPTH - 1):
        nesting = {digest for digest in nesting if any(child in nesting for child in children[digest])}
        if not nesting:
            return False
    return True


def _subjects(reading: _Reading) -> Iterable[str]:
    """Yield what referrers refer to, by their ``subject`` or by their tags' names."""
    yield from (subject for tag in reading.tags if (subject := subject_of_tag(tag)) is not None)
    yield from (m.subject for m in reading.manifests.values() if m.subject is not None)
