"""Puts back what is damaged and reaper remembers: manifests, by their digest, and never a tag."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence

import structlog

from reaper.core.manifest import MAX_DEPTH
from reaper.registry import RegistryClient, RegistryError
from reaper.store import CachedManifest, JournalEntry, Store
from reaper.sweep.put import put
from reaper.sweep.restore import children_of
from reaper.verify import Damage

_log = structlog.get_logger(__name__)


async def mend(client: RegistryClient, store: Store, registry: str, damages: Sequence[Damage]) -> set[str]:
    """Push the manifests that ``damages`` miss and the journal or the inventory knows the bytes of.

    Returns the repositories in which anything was put back. Whether that helps is for another look to say:
    a manifest whose layers are gone as well is refused, or cannot be pulled all the same. A listed tag that
    leads nowhere gets the manifest back that it was last seen on; where it points is not changed.

    Raises:
        StoreError: what is remembered could not be read.
    """
    mending = _Mending(client, store, registry)
    for repository, digest in dict.fromkeys(mending.missing(damages)):
        try:
            await mending.put_back(repository, digest)
        except RegistryError as error:
            _log.warning("not_mended", repository=repository, digest=digest, error=error.message)
    return mending.changed


class _Mending:
    """What is put back of one registry. ``changed``: the repositories in which anything was."""

    def __init__(self, client: RegistryClient, store: Store, registry: str) -> None:
        self._client = client
        self._store = store
        self._registry = registry
        self.changed: set[str] = set()

    def missing(self, damages: Iterable[Damage]) -> Iterator[tuple[str, str]]:
        """Yield repository and digest of each manifest that is damaged, as far as its digest is known."""
        for damage in damages:
            if damage.what not in ("manifest", "child"):
                continue
            digest = damage.digest
            if not digest:
                seen = self._store.observations.load(self._registry, damage.repository).tags.get(damage.tag)
                digest = seen.digest if seen is not None else ""
            if digest:
                yield damage.repository, digest

    async def put_back(self, repository: str, digest: str, depth: int = 0) -> None:
        """Push a manifest, and the children that it lacks before it: without them a registry refuses it.

        Raises:
            RegistryError: one was refused, or the registry could not be asked.
        """
        known = await asyncio.to_thread(self._remembered, repository, digest)
        if known is None or depth > MAX_DEPTH:
            return
        for child in children_of(known):
            if await self._client.head(repository, child) is None:
                await self.put_back(repository, child, depth + 1)
        await put(self._client, repository, digest, known.content, known.media_type)
        self.changed.add(repository)
        _log.warning("manifest_put_back", repository=repository, digest=digest)

    def _remembered(self, repository: str, digest: str) -> JournalEntry | CachedManifest | None:
        """Return what has the manifest's bytes: the journal, else what an inventory read."""
        entry = self._store.journal.newest(self._registry, repository, digest)
        return entry or self._store.manifests.load([digest]).get(digest)
