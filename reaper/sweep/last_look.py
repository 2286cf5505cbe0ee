"""After the last delete in a repository: puts back what has come to be needed between two looks."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import structlog

from reaper.core.plan import Step
from reaper.store import JournalEntry
from reaper.sweep.change import Site
from reaper.sweep.recheck import Recheck
from reaper.sweep.restore import restore, with_parts

_log = structlog.get_logger(__name__)


class Undone(NamedTuple):
    """Whether a deleted manifest is back, why, and the tags that had led nowhere without it."""

    restored: bool
    detail: str
    tags: tuple[str, ...] = ()


class LastLook:
    """One repository after its sweep."""

    def __init__(self, site: Site, repository: str, recheck: Recheck) -> None:
        self._site = site
        self._repository = repository
        self._recheck = recheck

    async def undo(self, deleted: Mapping[str, Step]) -> dict[str, Undone]:
        """Restore those of the ``deleted`` manifests that a tag needs, with their parts and tags.

        Returns what became of each, by its digest.

        Raises:
            RegistryError, ManifestError: something could not be looked up or put back.
        """
        needing, dangling = await self._recheck.afterwards(deleted)
        undone = await self._parts_of_what_is_back(deleted)
        for tag, digests in needing.items():
            cause = f"tag {tag} came to need it during the sweep"
            entries = [entry for entry in await self._undoable(deleted) if entry.digest in digests]
            undone |= await self._put_back(entries, deleted, cause)
        for tag, digest in (await self._site.pushed_since(self._repository, deleted)).items():
            # It came between the last listing and the delete, and went with its manifest.
            if await self._site.client.head(self._repository, tag) is None:
                cause = f"tag {tag} was put on it during the delete"
                entries = [entry for entry in await self._undoable(deleted) if entry.digest == digest]
                known = [replace(entry, tags=_with(entry.tags, tag)) for entry in entries]
                undone |= await self._put_back(known, deleted, cause, (tag,))
        for tag in dangling:
            # Whoever moved it did so in the very moment of a delete. Which one, no listing tells.
            cause = f"tag {tag} was put on a manifest that was being deleted"
            for entry in await self._undoable(deleted):
                undone |= await self._put_back([entry], deleted, cause, (tag,))
                if await self._site.client.head(self._repository, tag) is not None:
                    break
        return undone

    async def _parts_of_what_is_back(self, deleted: Mapping[str, Step]) -> dict[str, Undone]:
        """Restore the parts of what somebody has pushed again, by digest, before they were deleted.

        It may be the beginning of something larger, whose tag comes last.
        """
        undone: dict[str, Undone] = {}
        for owner in sorted({owner for step in deleted.values() for owner in step.after} & deleted.keys()):
            parts = {digest for digest, step in deleted.items() if owner in step.after}
            if await self._site.client.head(self._repository, owner) is not None:
                entries = [entry for entry in await self._undoable(deleted) if entry.digest in parts]
                undone |= await self._put_back(entries, deleted, f"{owner} was pushed again during the sweep")
        return undone

    async def _undoable(self, deleted: Collection[str]) -> list[JournalEntry]:
        """Return what can be put back of that which this run deleted here, the newest first."""
        site = self._site
        entries = await asyncio.to_thread(
            site.store.journal.undoable, site.registry, run_id=site.run_id, repository=self._repository
        )
        return [entry for entry in entries if entry.digest in deleted]

    async def _put_back(
        self,
        entries: Sequence[JournalEntry],
        deleted: Collection[str],
        cause: str,
        tags: tuple[str, ...] = (),
    ) -> dict[str, Undone]:
        site = self._site
        whole = with_parts(entries, await self._undoable(deleted))
        results = await restore(site.client, site.store, whole, clock=site.clock)
        for result in results:
            _log.error(
                "delete_undone",
                repository=self._repository,
                digest=result.entry.digest,
                tags=result.tags,
                reason=cause,
            )
        return {
            result.entry.digest: Undone(True, f"{cause}; all of it has been put back", tags)
            if result.restored
            else Undone(False, f"{cause}, and it could not be put back: {result.detail}")
            for result in results
        }


def _with(tags: tuple[str, ...], tag: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*tags, tag)))
