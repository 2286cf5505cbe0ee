"""Opens the database, and holds its parts together."""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType
from typing import Self

from sqlalchemy import select

from reaper.store.database import Database, connect
from reaper.store.events import Events
from reaper.store.in_use import ImagesInUse
from reaper.store.journal import Journal
from reaper.store.locks import Locks
from reaper.store.manifests import Manifests
from reaper.store.observations import Observations
from reaper.store.products import Products
from reaper.store.runs import Runs
from reaper.store.schema import prepare


class Store:
    """All that reaper remembers. Safe to use from many threads; every method may block on the disk."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.name = database.name
        self.manifests = Manifests(database)
        self.observations = Observations(database)
        self.events = Events(database)
        self.products = Products(database)
        self.journal = Journal(database)
        self.in_use = ImagesInUse(database)
        self.runs = Runs(database)
        self.locks = Locks(database)

    def ping(self) -> None:
        """Ask the database for a sign of life.

        Raises:
            StoreError: it gives none.
        """
        with self._database.reading() as connection:
            connection.execute(select(1))

    def close(self) -> None:
        """Close the database. Calls that are under way in other threads must have ended."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def open_store(url: str, *, read_only: bool = False) -> Store:
    """Open the database that ``url`` names, after making it and its folder, or migrating it, where needed.

    ``sqlite:///FILE`` (``sqlite:////FILE`` for an absolute path) or ``postgresql://…``. With ``read_only``
    nothing is made or migrated, and every call that writes is a StoreError.

    Raises:
        StoreError: it cannot be opened, is no database, or is a newer reaper's or another program's.
    """
    database = connect(url, read_only=read_only)
    with ExitStack() as unless_ready:
        unless_ready.callback(database.close)
        prepare(database)
        unless_ready.pop_all()
    return Store(database)
