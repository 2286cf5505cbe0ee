"""Past runs: what each did, and the report of it."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Row, delete, select, update

from reaper.core.errors import InvalidInputError
from reaper.store.database import Database
from reaper.store.errors import StoreError
from reaper.store.process import Process, this_process
from reaper.store.tables import journal, runs

#: The outcome of a run that has not ended, and of one whose process died.
RUNNING: Final = "running"
INTERRUPTED: Final = "interrupted"

#: A report that is larger, in bytes after compression, is not kept: the summary is.
MAX_REPORT_SIZE: Final = 8 * 1024 * 1024
#: An audit of another machine, which needs no lock and so shows no sign of life, is given up after this.
ABANDONED_AFTER: Final = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run. ``outcome`` is `RUNNING` until it ends; ``summary`` is the report's."""

    id: str
    registry: str
    command: str
    dry_run: bool
    host: str
    pid: int
    started_at: datetime
    finished_at: datetime | None
    outcome: str
    summary: dict[str, Any] = field(default_factory=dict)


# All columns of a record, in its order: without the report, which may be large.
_COLUMNS: Final = tuple(runs.c[name] for name in RunRecord.__dataclass_fields__)


class Runs:
    """The runs of all registries."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, run_id: str, registry: str, command: str, dry_run: bool, at: datetime) -> None:
        """Note that this process begins a run.

        Raises:
            StoreError: there is a run of this id.
        """
        process = this_process()
        statement = self._database.insert(runs).values(
            id=run_id,
            registry=registry,
            command=command,
            dry_run=dry_run,
            host=process.host,
            pid=process.pid,
            process_started=process.started,
            process_space=process.space,
            started_at=at,
            outcome=RUNNING,
            summary={},
        )
        with self._database.writing() as connection:
            new = statement.on_conflict_do_nothing(index_elements=[runs.c.id]).returning(runs.c.id)
            if connection.execute(new).first() is None:
                raise StoreError(f"there is a run {run_id} already")

    def finish(
        self, run_id: str, at: datetime, outcome: str, summary: Mapping[str, Any], report: bytes | None = None
    ) -> bool:
        """Note how the run ended; return whether its report was kept (see `MAX_REPORT_SIZE`).

        Raises:
            StoreError: the run is not running.
        """
        compressed = None if report is None else _compressed(report)
        statement = update(runs).where(runs.c.id == run_id, runs.c.outcome == RUNNING)
        values = {"finished_at": at, "outcome": outcome, "summary": dict(summary), "report": compressed}
        with self._database.writing() as connection:
            if not connection.execute(statement.values(values)).rowcount:
                raise StoreError(f"the run {run_id} is not running")
        return compressed is not None

    def recent(
        self, limit: int = 20, registry: str | None = None, *, before: datetime | None = None
    ) -> list[RunRecord]:
        """Return the last ``limit`` runs, of one registry or of all, newest first.

        For more, ask for those that began ``before`` the last one.
        """
        query = select(*_COLUMNS).order_by(runs.c.started_at.desc(), runs.c.id.desc()).limit(limit)
        if registry is not None:
            query = query.where(runs.c.registry == registry)
        if before is not None:
            query = query.where(runs.c.started_at < before)
        with self._database.reading() as connection:
            return [RunRecord(*row) for row in connection.execute(query)]

    def get(self, run_id: str) -> RunRecord:
        """Return the run with this id, or the only one whose id begins so.

        Raises:
            InvalidInputError: there is none, or more than one.
        """
        query = select(*_COLUMNS).order_by(runs.c.id)
        exactly, beginning = runs.c.id == run_id, runs.c.id.startswith(run_id, autoescape=True)
        with self._database.reading() as connection:
            # The whole id is found without a look at every run.
            found = [RunRecord(*row) for row in connection.execute(query.where(exactly))] or [
                RunRecord(*row) for row in connection.execute(query.where(beginning).limit(3))
            ]
        if not found:
            raise InvalidInputError(f"there is no run {run_id!r}", hint="reaper runs lists them")
        if len(found) > 1:
            raise InvalidInputError(
                f"more than one run begins with {run_id!r}: {found[0].id}, {found[1].id}"
                + (", …" if len(found) > 2 else "")
            )
        return found[0]

    def report(self, run_id: str) -> bytes | None:
        """Return the report of the run with exactly this id, or None where none was kept."""
        with self._database.reading() as connection:
            content = connection.execute(select(runs.c.report).where(runs.c.id == run_id)).scalar()
            return None if content is None else zlib.decompress(content)

    def running(self, registry: str) -> list[RunRecord]:
        """Return the runs that have not ended, as far as the database knows, oldest first."""
        query = select(*_COLUMNS).where(runs.c.registry == registry, runs.c.outcome == RUNNING)
        with self._database.reading() as connection:
            return [RunRecord(*row) for row in connection.execute(query.order_by(runs.c.started_at))]

    def interrupt_stale(self, registry: str, at: datetime) -> list[str]:
        """Mark the runs whose process died as interrupted; return their ids.

        The caller holds the registry's lock, and has not begun its own run: so whatever else was to change
        the registry, on any machine, is over. Audits hold no lock; one of this machine is over when its
        process is gone, one of another machine `ABANDONED_AFTER` its start.
        """
        here = this_process()
        unfinished = (runs.c.registry == registry, runs.c.outcome == RUNNING)
        with self._database.writing() as connection:
            rows = connection.execute(select(runs).where(*unfinished).order_by(runs.c.started_at)).all()
            stale = [row.id for row in rows if _is_stale(row, here, at)]
            for run_id in stale:
                connection.execute(
                    update(runs).where(runs.c.id == run_id).values(outcome=INTERRUPTED, finished_at=at)
                )
        return stale

    def prune(self, registry: str, before: datetime) -> int:
        """Drop the runs that ended before ``before``, with their reports; return how many.

        A run that the journal names stays: it is what a delete is undone by.
        """
        named = select(journal.c.run_id).where(journal.c.registry == registry)
        old = (runs.c.registry == registry, runs.c.finished_at < before, runs.c.id.not_in(named))
        with self._database.writing() as connection:
            return connection.execute(delete(runs).where(*old)).rowcount


def _is_stale(row: Row[Any], here: Process, at: datetime) -> bool:
    process = Process(row.host, row.pid, row.process_started, row.process_space)
    if here.shares_space_with(process):
        return process.is_gone()
    return not row.dry_run or at - row.started_at > ABANDONED_AFTER


def _compressed(report: bytes) -> bytes | None:
    """Compress the report, but stop as soon as it is too large."""
    compressor = zlib.compressobj()
    found = bytearray()
    step = 1024 * 1024
    view = memoryview(report)
    for start in range(0, len(report), step):
        found += compressor.compress(view[start : start + step])
        if len(found) > MAX_REPORT_SIZE:
            return None
    found += compressor.flush()
    return bytes(found) if len(found) <= MAX_REPORT_SIZE else None
