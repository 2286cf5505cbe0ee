"""A run under way, whatever it carries out: from its entry in the store to its report."""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import structlog
from structlog.contextvars import bound_contextvars

from reaper.books import Books
from reaper.core.errors import ReaperError
from reaper.report.extract import figures, write_extract
from reaper.report.model import CollectionReport, GuardReport, RunReport
from reaper.report.spool import Spool, SpooledReports
from reaper.store import Store
from reaper.writer import writing

_log = structlog.get_logger(__name__)


class Stopped(Exception):  # noqa: N818 - a signal, not an error
    """Somebody asked the run to stop."""


class OngoingRun:
    """One run of ``command`` on ``registry``, and what its report will say.

    Whoever carries the run out writes into ``books``, ``entries``, ``plan_id``, ``collection``, ``settled``
    and ``failure``, and looks at ``stop`` between two steps.
    """

    def __init__(
        self, store: Store, registry: str, command: str, *, dry_run: bool, clock: Callable[[], datetime]
    ) -> None:
        self._store = store
        self._command = command
        self.registry = registry
        self.dry_run = dry_run
        self.clock = clock
        self.id = uuid.uuid4().hex[:12]
        self.started = clock()
        self.books = Books()
        self.entries = Spool()
        self.plan_id: str | None = None
        self.collection: CollectionReport | None = None
        self.settled = 0
        self.failure: ReaperError | None = None
        self.stop = threading.Event()

    @asynccontextmanager
    async def under_way(self, leads: Callable[[], None]) -> AsyncIterator[Callable[[], None] | None]:
        """Enter the run into the store, the registry's lock held, and yield what to call before a change.

        That raises when the right to make it is gone: the lock, or what ``leads`` says. An audit gets None.

        Raises:
            LockedError: another process is changing this registry.
            StoreError: the store cannot be used at all.
        """
        # Every log line of the run says which one it is of, whoever writes it.
        with bound_contextvars(registry=self.registry, run_id=self.id):
            runs = self._store.runs
            if self.dry_run:
                runs.begin(self.id, self.registry, self._command, True, self.started)
                yield None
                return
            async with writing(self._store, self.registry, self._command, self.clock) as lock:
                runs.interrupt_stale(self.registry, self.clock())
                runs.begin(self.id, self.registry, self._command, False, self.started)

                def may_write() -> None:
                    lock.check()
                    leads()

                yield may_write

    async def attempt(self, part: Coroutine[Any, Any, None]) -> None:
        """Carry out a part of the run, and keep the error that ends it for the report."""
        try:
            await part
        except ReaperError as failure:
            # Said by whoever shows the report: a person has not to read it twice.
            self.failure = failure
        except Stopped:
            _log.info("run_stopped")
        except asyncio.CancelledError:
            # What the journal shows as begun is settled by the next run.
            self.stop.set()
            self.finish()
            raise

    def finish(self) -> RunReport:
        """Enter the end into the store, and return the report."""
        report = self._report()
        self._store.runs.finish(
            self.id, report.finished_at, report.outcome.value, figures(report), write_extract(report)
        )
        return report

    def _report(self) -> RunReport:
        books = self.books
        return RunReport(
            run_id=self.id,
            registry=self.registry,
            dry_run=self.dry_run,
            started_at=self.started,
            finished_at=self.clock(),
            outcome=books.outcome(self.failure, stopped=self.stop.is_set()),
            summary=books.summary,
            guards=[GuardReport(trip.guard, trip.message, trip.repository) for trip in books.trips],
            collection=self.collection,
            settled=self.settled,
            error=_line(self.failure),
            notes=books.notes,
            plan_id=self.plan_id,
            repositories=SpooledReports(self.entries),
        )


def _line(error: ReaperError | None) -> str | None:
    if error is None:
        return None
    return f"{error.message} ({error.hint})" if error.hint else error.message
