"""One collection on its own, from the lock to the record: what `reaper gc` and the daemon's schedule do."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from typing import Any

from reaper.collection import Collection
from reaper.core.errors import ReaperError
from reaper.registry import RegistryClient
from reaper.report.model import CollectionReport
from reaper.store import INTERRUPTED, Store
from reaper.sweep import settle
from reaper.writer import writing

COMMAND = "gc"


async def collect(
    client: RegistryClient,
    store: Store,
    collection: Collection,
    *,
    clock: Callable[[], datetime],
    ignore_undo_window: bool = False,
    may_write: Callable[[], None] = lambda: None,
) -> CollectionReport:
    """Collect now, and record it among the runs. What may still be undone postpones it, unless ignored.

    ``may_write`` is called before the registry is touched or changed, and raises when the right to do it is
    gone; the store's lock is asked besides.

    Raises:
        LockedError: another process is changing this registry.
        CollectError: the registry could not be made writable again.
        ReaperError: the registry could not be asked, or the collection was refused.
    """
    async with writing(store, client.url, COMMAND, clock) as lock:

        def check() -> None:
            lock.check()
            may_write()

        check()
        run_id = uuid.uuid4().hex[:12]
        store.runs.interrupt_stale(client.url, clock())
        store.runs.begin(run_id, client.url, COMMAND, False, clock())
        outcome = "failed"
        summary: dict[str, Any] = {}
        try:
            await collection.recover()
            await client.ping()
            await settle(client, store, registry=client.url, clock=clock, may_write=check)
            report = await (collection.now() if ignore_undo_window else collection.unless_undoable())
            outcome, summary = report.outcome, asdict(report)
        except ReaperError as error:
            summary = {"detail": error.message}
            raise
        except asyncio.CancelledError:
            outcome = INTERRUPTED
            raise
        finally:
            store.runs.finish(run_id, clock(), outcome, summary)
        return report
