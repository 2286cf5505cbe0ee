"""Finishes or closes what a crash left open in the journal, by asking the registry what really happened."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime

import structlog

from reaper.registry import RegistryClient
from reaper.store import Action, JournalEntry, State, Store
from reaper.sweep.placeholder import finish
from reaper.sweep.restore import restore

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
    is on a placeholder is taken off with it. What was being put back is put back: somebody needs it, be it a
    person or a tag that came during its delete. ``may_write`` is called before the registry is changed, and
    may forbid it.

    Raises:
        RegistryError: the registry could not be asked; nothing may be deleted before it can.
    """
    journal = store.journal
    begun = await asyncio.to_thread(journal.pending, registry)
    for entry in begun:
        await finish(client, entry, may_write)
        if await _is_gone(client, entry):
            state, note = State.DELETED, None
        else:
            state, note = State.CANCELLED, "settled after an interruption: it is still there"
        await asyncio.to_thread(journal.mark, entry.id, state, clock(), note)
        _log.info("journal_settled", repository=entry.repository, digest=entry.digest, state=state)
    restoring = await asyncio.to_thread(journal.restoring, registry)
    if restoring:
        may_write()
        await restore(client, store, restoring, clock=clock)
    return [*begun, *restoring]


async def _is_gone(client: RegistryClient, entry: JournalEntry) -> bool:
    reference = entry.tags[0] if entry.action is Action.UNTAG else entry.digest
    return await client.head(entry.repository, reference) is None
