"""The connection to SQLite or PostgreSQL. All that differs between the two stands in this module."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from itertools import islice
from pathlib import Path
from typing import Final, TypeVar

from sqlalchemy import URL, Connection, Engine, Table, create_engine, event, make_url
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError

from reaper.store.errors import StoreError, translate_errors

#: How long a statement waits, in seconds, while another process writes.
BUSY_TIMEOUT: Final = 20.0
#: Values in one IN list; far below what either database allows, and enough to make round trips cheap.
CHUNK: Final = 500

Value = TypeVar("Value")
Insert = sqlite.Insert | postgresql.Insert

_POSTGRESQL: Final = ("postgresql", "postgresql+psycopg", "postgres")
_URL_HINT: Final = (
    "write sqlite:///FILE (sqlite:////FILE for an absolute path) or postgresql://USER@HOST/DATABASE"
)


class Database:
    """A pool of connections, safe to use from many threads. Every error comes out as a `StoreError`.

    ``name`` is the database as users may see it: without password and options.
    """

    def __init__(self, engine: Engine, name: str, *, read_only: bool) -> None:
        self.name = name
        self.read_only = read_only
        self.is_sqlite = engine.dialect.name == "sqlite"
        self._engine = engine
        self._writer = engine.execution_options(reaper_writes=True)
        # One state for a whole transaction is what SQLite gives anyway; PostgreSQL must be asked for it.
        self._reader = (
            engine if self.is_sqlite else engine.execution_options(isolation_level="REPEATABLE READ")
        )
        # SQLite has one writer at a time and lets others poll; in one process they can queue instead.
        self._turn: AbstractContextManager[object] = threading.Lock() if self.is_sqlite else nullcontext()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Give a connection whose statements all see the same state."""
        with translate_errors(self.name), self._reader.begin() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Give a transaction; when the block ends without an error, it is on the disk. Do not nest."""
        if self.read_only:
            raise StoreError(f"the database {self.name} was opened for reading only")
        with translate_errors(self.name), self._turn, self._writer.begin() as connection:
            yield connection

    def insert(self, table: Table) -> Insert:
        """Return an INSERT that has ``on_conflict_do_nothing`` and ``on_conflict_do_update``."""
        return sqlite.insert(table) if self.is_sqlite else postgresql.insert(table)

    def exclude_other_migrations(self, connection: Connection) -> None:
        """Wait until no other process changes the schema, until the transaction ends."""
        if not self.is_sqlite:
            # SQLite's write transaction excludes all others anyway. The number is arbitrary, but fixed.
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7237161102)")

    def close(self) -> None:
        """Close the idle connections, which folds SQLite's write-ahead log into the file."""
        self._engine.dispose()


def connect(url: str, *, read_only: bool) -> Database:
    """Return the database that ``url`` names.

    Raises:
        StoreError: the URL is not understood, or the database cannot be reached or is no database.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        # The text may hold a password, and so may the library's message.
        raise StoreError("the store's URL is not understood", hint=_URL_HINT) from None
    if parsed.drivername == "sqlite":
        database = _sqlite(parsed, read_only=read_only)
    elif parsed.drivername in _POSTGRESQL:
        database = _postgresql(parsed, read_only=read_only)
    else:
        raise StoreError(f"the store cannot be a {parsed.drivername} database", hint=_URL_HINT)
    return database


def chunks(values: Iterable[Value], size: int = CHUNK) -> Iterator[Sequence[Value]]:
    """Yield the values in lists of at most ``size``."""
    rest = iter(values)
    while chunk := list(islice(rest, size)):
        yield chunk


def _sqlite(url: URL, *, read_only: bool) -> Database:
    if not url.database or url.database == ":memory:" or url.query or url.host:
        raise StoreError("the store's URL must name a file, and nothing else", hint=_URL_HINT)
    try:
        path = Path(url.database).expanduser().absolute()
    except RuntimeError:
        raise StoreError("there is no home folder for ~", hint="write the database's path out") from None
    name = str(path)
    # Not Path.is_dir and Path.exists, which raise in a folder that may not be searched.
    if os.path.isdir(path):  # noqa: PTH112
        raise StoreError(f"the database {name} is a folder", hint="name a file in it (store.url)")
    if read_only and not os.path.exists(path):  # noqa: PTH110
        raise StoreError(f"there is no database {name}", hint="reaper makes it at its first run")
    if not read_only:
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            exists = isinstance(error, FileExistsError | NotADirectoryError)
            problem = "a file is in its place" if exists else error.strerror or type(error).__name__
            raise StoreError(
                f"the folder {path.parent} for the database cannot be made: {problem}",
                hint="name a folder that reaper may write to (store.url)",
            ) from error
    target = f"{path.as_uri()}?mode={'ro' if read_only else 'rwc'}"

    def open_file() -> sqlite3.Connection:
        # Transactions are begun below, not by the sqlite3 module, which would not begin one before a SELECT.
        connection = sqlite3.connect(
            target, uri=True, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False
        )
        with ExitStack() as unless_ready:
            unless_ready.callback(connection.close)
            connection.execute("PRAGMA foreign_keys=ON")
            # In WAL mode FULL is what makes each commit wait for the disk (https://www.sqlite.org/pragma.html).
            connection.execute("PRAGMA synchronous=FULL")
            # macOS: fsync alone leaves data in the drive's cache. Elsewhere this changes nothing.
            connection.execute("PRAGMA fullfsync=ON")
            if not read_only:
                (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
                if mode != "wal":
                    raise StoreError(
                        f"the database {name} cannot use a write-ahead log (it stays at {mode!r})",
                        hint="put it on a local disk: network file systems lack the shared memory for it",
                    )
            unless_ready.pop_all()
        return connection

    engine = create_engine(URL.create("sqlite", database=name), creator=open_file, hide_parameters=True)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A writer takes its lock at once: one that upgrades after a read may be refused without waiting.
        writes = connection.get_execution_options().get("reaper_writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return Database(engine, name, read_only=read_only)


def _postgresql(url: URL, *, read_only: bool) -> Database:
    name = URL.create("postgresql", host=url.host, port=url.port, database=url.database).render_as_string()
    options = f"-c synchronous_commit=on -c default_transaction_read_only={'on' if read_only else 'off'}"
    try:
        engine = create_engine(
            url.set(drivername="postgresql+psycopg"),
            connect_args={"options": options},
            hide_parameters=True,
            pool_pre_ping=True,
        )
    except ModuleNotFoundError as error:
        raise StoreError(
            "PostgreSQL needs the package psycopg, which is not installed",
            hint="pip install 'psycopg[binary]', into the environment that reaper runs in",
        ) from error
    except ArgumentError:
        raise StoreError("the store's URL is not understood", hint=_URL_HINT) from None
    return Database(engine, name, read_only=read_only)
