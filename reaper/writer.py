"""One writer at a time: the store's lock, kept fresh while somebody changes a registry."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime

import structlog

from reaper.store import LockedError, Store, StoreError

_log = structlog.get_logger(__name__)

#: Well below the time after which another machine may take the lock over.
RENEW_EVERY_SECONDS = 15.0
#: A holder that was silent for longer, in seconds, stops: before another may take the lock over, with
#: room for a request that is under way. A process that was suspended finds out at its next check.
SILENT_AT_MOST_SECONDS = 40.0


class WriterLock:
    """The right to change a registry. ``check`` before each change: it may have been lost."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._renewed = monotonic()
        self._lost: StoreError | None = None

    def renewed(self, asked: float) -> None:
        """Note that the lock was renewed by a request that was sent at ``asked``, of the same clock."""
        self._renewed = asked

    def lose(self, error: StoreError) -> None:
        """Note that the lock is gone."""
        self._lost = error

    def check(self) -> None:
        """Return while the lock is held.

        Raises:
            StoreError: it could not be renewed, or somebody else holds it.
        """
        if self._lost is not None:
            raise self._lost
        silent = self._monotonic() - self._renewed
        if silent > SILENT_AT_MOST_SECONDS:
            raise LockedError(
                f"the lock was not renewed for {silent:.0f} seconds, and another may hold it by now",
                hint="this process was suspended or starved; the next run does the rest",
            )


@asynccontextmanager
async def writing(
    store: Store, registry: str, what: str, clock: Callable[[], datetime]
) -> AsyncIterator[WriterLock]:
    """Hold the lock on ``registry`` while the block runs.

    Raises:
        LockedError: another process holds it; the message says who.
        StoreError: the store could not be used.
    """
    held = await asyncio.to_thread(store.locks.acquire, f"write {registry}", what, clock())
    lock = WriterLock()

    async def keep_fresh() -> None:
        while True:
            await asyncio.sleep(RENEW_EVERY_SECONDS)
            asked = time.monotonic()
            try:
                await asyncio.to_thread(held.renew, clock())
                lock.renewed(asked)
            except StoreError as error:
                _log.error("lock_lost", registry=registry, reason=error.message)
                lock.lose(error)
                return

    keeper = asyncio.create_task(keep_fresh())
    try:
        yield lock
    finally:
        keeper.cancel()
        await asyncio.gather(keeper, return_exceptions=True)
        await asyncio.to_thread(held.release)


__all__ = ["LockedError", "WriterLock", "writing"]
