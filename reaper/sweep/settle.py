"""Closes what a crash left open in the journal, by asking the registry what really happened."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime

import structlog

from reaper.registry import RegistryClient
from reaper.store import Action, JournalEntry, State, Store
from reaper.sweep.memory import put_back
from reaper.sweep.placeholder import finish

_log = structlog.get_logger(__name__)


async def settle(
    client: RegistryClient,
    store: Store,
    *,
    registry: str,
    clock: Callable[[], datetime],
    may_write: Callable[[], None],
) -> list[JournalEntry]:
    """Settle every unfinished journal entry of ``registry``, and return them as they were.

    A delete that was journaled but whose answer never came either happened (the manifest is gone: it can be
    restored) or did not (the manifest is there: the entry is closed, the next plan decides anew). A tag that
    is on a placeholder is taken off with it; ``may_write`` is called before that, and may forbid it.

    Raises:
        RegistryError: the registry could not be asked; nothing may be deleted before it can.
    """
    settled = []
    journal = store.journal
    open_entries = await asyncio.to_thread(journal.pending, registry)
    open_entries += await asyncio.to_thread(journal.restoring, registry)
    for entry in open_entries:
        if entry.state is State.PENDING:
            await finish(client, entry, may_write)
        gone = await _is_gone(client, entry)
        if gone:
            state, note = State.DELETED, None
        elif entry.state is State.RESTORING:
            state, note = State.RESTORED, "settled after an interruption: it is back"
            await asyncio.to_thread(put_back, store, entry, await _tags_on(client, entry), clock())
        else:
            state, note = State.CANCELLED, "settled after an interruption: it is still there"
        await asyncio.to_thread(journal.mark, entry.id, state, clock(), note)
        _log.info("journal_settled", repository=entry.repository, digest=entry.digest, state=state)
        settled.append(entry)
    return settled


async def _is_gone(client: RegistryClient, entry: JournalEntry) -> bool:
    if entry.action is Action.UNTAG:
        resolved = await client.head(entry.repository, entry.tags[0])
        return resolved is None
    if await client.head(entry.repository, entry.digest) is None:
        return True
    if entry.state is not State.RESTORING:
        return False
    # A restore puts the tags back last: without all of them it is not done.
    for tag in entry.tags:
        if await client.head(entry.repository, tag) is None:
            return True
    return False


async def _tags_on(client: RegistryClient, entry: JournalEntry) -> list[str]:
    """Return the entry's tags that are on its digest."""
    found = []
    for tag in entry.tags:
        held = await client.head(entry.repository, tag)
        if held is not None and held.digest == entry.digest:
            found.append(tag)
    return found
