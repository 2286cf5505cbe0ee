"""One writer: locks that survive nothing but their holder, and are taken over when it died."""

from __future__ import annotations

from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Final, Self
from uuid import uuid4

from sqlalchemy import Row, delete, select, update

from reaper.store.database import Database
from reaper.store.errors import LockedError
from reaper.store.process import Process, this_process
from reaper.store.tables import locks

#: A lock of another machine, or container, is abandoned when it was not renewed for this long.
#: Renew at a fraction of it.
ABANDONED_AFTER: Final = timedelta(seconds=60)


class Lock:
    """A lock that this process holds, until it is released or (see `Locks.acquire`) taken over.

    ``taken_over_from`` describes the dead holder that it was taken from, None where it was free.
    """

    def __init__(self, database: Database, name: str, holder: str, taken_over_from: str | None) -> None:
        self._database = database
        self._mine = (locks.c.name == name, locks.c.holder == holder)
        self.name = name
        self.taken_over_from = taken_over_from

    def renew(self, at: datetime) -> None:
        """Show that this holder lives.

        Raises:
            LockedError: the lock was taken over. The holder must stop at once.
        """
        with self._database.writing() as connection:
            if connection.execute(update(locks).where(*self._mine).values(renewed_at=at)).rowcount:
                return
            row = connection.execute(select(locks).where(locks.c.name == self.name)).one_or_none()
        raise LockedError(
            f"the lock {self.name!r} was lost: "
            + ("it was released by another" if row is None else f"{_describe(row)} has taken it over"),
            hint="this process was silent for too long; it stops here, and the next run does the rest",
        )

    def release(self) -> None:
        """Give the lock back. One that was taken over meanwhile stays with its new holder."""
        with self._database.writing() as connection:
            connection.execute(delete(locks).where(*self._mine))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()


class Locks:
    """Named locks, each with one holder among all processes that share the database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def acquire(self, name: str, what: str, at: datetime) -> Lock:
        """Take the lock, or take it over from a holder that died. It does not wait.

        ``what`` tells others what the holder is doing. A holder that this process can look up is dead when
        it is gone; any other when it has not renewed the lock for `ABANDONED_AFTER`, by these clocks.

        Raises:
            LockedError: another holds it, or this process does already.
        """
        process = this_process()
        holder = uuid4().hex
        values = {
            "holder": holder,
            "host": process.host,
            "pid": process.pid,
            "process_started": process.started,
            "process_space": process.space,
            "acquired_at": at,
            "renewed_at": at,
            "what": what,
        }
        free = (
            self._database.insert(locks)
            .values(name=name, **values)
            .on_conflict_do_nothing(index_elements=[locks.c.name])
            .returning(locks.c.holder)
        )
        with self._database.writing() as connection:
            if connection.execute(free).first() is not None:
                return Lock(self._database, name, holder, None)
            row = connection.execute(select(locks).where(locks.c.name == name)).one_or_none()
            if row is not None and _is_stale(row, process, at):
                # Only from the holder that was judged, and only if it was silent until now.
                judged = (
                    locks.c.name == name,
                    locks.c.holder == row.holder,
                    locks.c.renewed_at == row.renewed_at,
                )
                if connection.execute(update(locks).where(*judged).values(values)).rowcount:
                    return Lock(self._database, name, holder, _describe(row))
        raise LockedError(
            f"the lock {name!r} is held by "
            + ("another, which has just changed" if row is None else _describe(row)),
            hint="wait until it is done; one that died is taken over at once on the same machine,"
            f" and after {ABANDONED_AFTER.seconds} s from another",
        )


def _is_stale(row: Row[Any], here: Process, at: datetime) -> bool:
    process = _process(row)
    if here.shares_space_with(process):
        return process.is_gone()
    return bool(at - row.renewed_at > ABANDONED_AFTER)


def _process(row: Row[Any]) -> Process:
    return Process(row.host, row.pid, row.process_started, row.process_space)


def _describe(row: Row[Any]) -> str:
    return f"{_process(row)} since {row.acquired_at:%Y-%m-%d %H:%M:%SZ} ({row.what})"
