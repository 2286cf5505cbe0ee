"""Undo: puts deleted manifests and their tags back from the journal."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import structlog

from reaper.core.manifest import ManifestError, parse_manifest
from reaper.core.reference import subject_of_tag
from reaper.registry import (
    AuthenticationError,
    ReadOnlyRegistryError,
    RegistryClient,
    RegistryError,
    UnreachableError,
)
from reaper.store import Action, CachedManifest, JournalEntry, State, Store
from reaper.sweep.memory import put_back
from reaper.sweep.put import put

_log = structlog.get_logger(__name__)

#: Why nothing at all can be put back for the time being.
_NOT_NOW: Final = (UnreachableError, AuthenticationError, ReadOnlyRegistryError)


@dataclass(frozen=True, slots=True)
class RestoreResult:
    """What became of one journal entry. ``tags`` are those that were put back."""

    entry: JournalEntry
    restored: bool
    tags: tuple[str, ...] = ()
    detail: str = ""


def with_parts(entries: Sequence[JournalEntry], undoable: Iterable[JournalEntry]) -> list[JournalEntry]:
    """Return ``entries`` with all that was deleted with them: children at any depth, and referrers."""
    by_place: dict[tuple[str, str], list[JournalEntry]] = {}
    by_subject: dict[tuple[str, str], list[JournalEntry]] = {}
    for entry in undoable:
        if entry.action is not Action.DELETE:
            continue
        by_place.setdefault((entry.repository, entry.digest), []).append(entry)
        for subject in _subjects(entry):
            by_subject.setdefault((entry.repository, subject), []).append(entry)
    found: dict[int, JournalEntry] = {}
    pending = list(entries)
    while pending:
        entry = pending.pop()
        if entry.id in found:
            continue
        found[entry.id] = entry
        for child in children_of(entry):
            pending.extend(by_place.get((entry.repository, child), ()))
        pending.extend(by_subject.get((entry.repository, entry.digest), ()))
    return list(found.values())


async def restore(
    client: RegistryClient,
    store: Store,
    entries: Sequence[JournalEntry],
    *,
    clock: Callable[[], datetime],
    force: bool = False,
) -> list[RestoreResult]:
    """Put the manifests of ``entries`` back: children before their index, and all tags last.

    A tag that points elsewhere by now is left as it is, unless ``force``. An entry that the registry
    refuses (a collection swept its blobs) is reported, and the others go on.

    Raises:
        UnreachableError, AuthenticationError, ReadOnlyRegistryError: none can be put back now. The next
            start does it.
        StoreError: the journal could not be read or written.
    """
    # A plan deletes parents first, so the reverse of the journal's order is the order to push in.
    ordered = sorted(entries, key=lambda entry: entry.id, reverse=True)
    waiting = ordered
    failed: dict[int, str] = {}
    while waiting:
        for entry in waiting:
            # All of them first: should this be cut short, the next start has to finish the whole.
            await asyncio.to_thread(
                store.journal.mark, entry.id, State.RESTORING, clock(), None, tags=entry.tags
            )
        failed = await _push(client, store, waiting, clock)
        # More than one run may have deleted an index and its parts, in any order: the refused come again.
        again = [entry for entry in waiting if entry.id in failed]
        if len(again) == len(waiting):
            break
        waiting = again
    results = []
    for entry in ordered:
        if entry.id in failed:
            results.append(RestoreResult(entry, False, detail=failed[entry.id]))
            continue
        results.append(await _restore_tags(client, store, entry, clock=clock, force=force))
    return results


async def _push(
    client: RegistryClient, store: Store, entries: Sequence[JournalEntry], clock: Callable[[], datetime]
) -> dict[int, str]:
    """Push the manifests by digest; return why those that were refused were."""
    refused = {}
    for entry in entries:
        try:
            await put(client, entry.repository, entry.digest, entry.content, entry.media_type)
        except _NOT_NOW:
            raise
        except RegistryError as error:
            refused[entry.id] = error.message
            await asyncio.to_thread(store.journal.mark, entry.id, State.DELETED, clock(), error.message)
    return refused


async def _restore_tags(
    client: RegistryClient, store: Store, entry: JournalEntry, *, clock: Callable[[], datetime], force: bool
) -> RestoreResult:
    done, left = [], []
    try:
        for tag in entry.tags:
            held = None if force else await client.head(entry.repository, tag)
            if held is not None and held.digest != entry.digest:
                left.append(f"tag {tag} is on {held.digest} now, and was left there")
                continue
            await put(client, entry.repository, tag, entry.content, entry.media_type)
            done.append(tag)
    except _NOT_NOW:
        raise
    except RegistryError as error:
        await asyncio.to_thread(store.journal.mark, entry.id, State.DELETED, clock(), error.message)
        return RestoreResult(entry, False, tuple(done), error.message)
    await asyncio.to_thread(put_back, store, entry, done, clock())
    await asyncio.to_thread(store.journal.mark, entry.id, State.RESTORED, clock(), None)
    _log.info("manifest_restored", repository=entry.repository, digest=entry.digest, tags=done)
    return RestoreResult(entry, True, tuple(done), "; ".join(left))


def children_of(entry: JournalEntry | CachedManifest) -> Sequence[str]:
    """Return the digests of the manifest's children; none where it cannot be read."""
    try:
        manifest = parse_manifest(entry.content, entry.media_type, entry.digest)
    except ManifestError:
        return ()
    return [child.digest for child in manifest.children]


def _subjects(entry: JournalEntry) -> Iterable[str]:
    for tag in entry.tags:
        subject = subject_of_tag(tag)
        if subject is not None:
            yield subject
    try:
        manifest = parse_manifest(entry.content, entry.media_type, entry.digest)
    except ManifestError:
        return
    if manifest.subject is not None:
        yield manifest.subject
