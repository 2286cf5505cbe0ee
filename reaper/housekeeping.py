"""Forgets what nobody will ask for any more, so that the store does not grow for ever."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import structlog

from reaper.store import Store

_log = structlog.get_logger(__name__)

_TIDIED: Final = "tidied"
_EVERY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Retention:
    """How long the store keeps what is over: closed entries of the journal, and runs with their reports.

    ``unseen_collections``: whether others collect the registry, and reaper never hears of it. What was
    deleted ``journal`` ago is then taken to be collected.
    """

    journal: timedelta = timedelta(days=90)
    runs: timedelta = timedelta(days=400)
    unseen_collections: bool = False


async def tidy(store: Store, registry: str, now: datetime, keep: Retention) -> None:
    """Forget what is older than ``keep`` says, once a day. What can be undone, or is under way, stays.

    An entry of the journal is over when its delete was collected, undone, or never happened. A run stays as
    long as an entry of it does.

    Raises:
        StoreError: the store could not be used.
    """
    facts = store.observations
    last = await asyncio.to_thread(facts.fact, registry, _TIDIED)
    if last is not None and now - datetime.fromisoformat(last) < _EVERY:
        return
    await asyncio.to_thread(facts.set_fact, registry, _TIDIED, now.isoformat())
    if keep.unseen_collections:
        await asyncio.to_thread(store.journal.mark_collected, registry, now - keep.journal, now)
    entries = await asyncio.to_thread(store.journal.prune, registry, now - keep.journal)
    runs = await asyncio.to_thread(store.runs.prune, registry, now - keep.runs)
    manifests = await asyncio.to_thread(store.manifests.prune)
    if entries or runs or manifests:
        _log.info("store_tidied", registry=registry, entries=entries, runs=runs, manifests=manifests)
