"""What can go wrong with the database, as one clear line each."""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy.exc import DBAPIError, SQLAlchemyError, StatementError

from reaper.core.errors import ReaperError


class StoreError(ReaperError):
    """The database cannot be opened, read or written, or the store was asked for something impossible."""


class LockedError(StoreError):
    """Another process holds the lock; the message says which one, since when, and what it does."""


_RETRY: Final = "then run again: what was under way is finished or closed"

#: SQLite's primary result codes (https://www.sqlite.org/rescode.html): what is wrong, and a way on.
_SQLITE: Final = {
    sqlite3.SQLITE_CANTOPEN: (
        "cannot be opened",
        "check that the path is a file in a folder that reaper may write to (store.url)",
    ),
    sqlite3.SQLITE_PERM: ("may not be accessed", "check the owner and the mode of the file and its folder"),
    sqlite3.SQLITE_READONLY: (
        "is read-only",
        (
            "check the mode of the folder and its files, and that the volume is mounted writable: SQLite"
            " writes beside the file even to read it, unless another process has it open"
        ),
    ),
    sqlite3.SQLITE_FULL: ("cannot grow: the disk is full", f"free some space on its volume, {_RETRY}"),
    sqlite3.SQLITE_IOERR: (
        "cannot be read or written: the disk failed, is full, or a limit on file sizes was reached",
        f"check its volume, {_RETRY}",
    ),
    sqlite3.SQLITE_BUSY: (
        "is locked by another process",
        f"find who else uses it, such as by fuser FILE, {_RETRY}",
    ),
    sqlite3.SQLITE_NOTADB: (
        "is not a database",
        "check the path (store.url); reaper does not overwrite a file that is not its own",
    ),
    sqlite3.SQLITE_CORRUPT: (
        "is damaged",
        "put a backup in its place, or move it away and start anew: reaper then knows no undo journal",
    ),
}


@contextmanager
def translate_errors(name: str) -> Iterator[None]:
    """Turn the database library's errors into a `StoreError` about the database ``name``.

    ``name`` must be fit to be shown: without a password.
    """
    try:
        yield
    except DBAPIError as error:
        raise _translated(name, error.orig) from error
    except StatementError as error:
        # A value that a column does not take, such as a naive datetime: the caller's mistake.
        raise (error.orig or error) from None
    except SQLAlchemyError as error:
        raise StoreError(f"the database {name} fails: {_first_line(error)}") from error
    except (zlib.error, json.JSONDecodeError) as error:
        raise _about(name, *_SQLITE[sqlite3.SQLITE_CORRUPT]) from error


def _translated(name: str, cause: BaseException | None) -> StoreError:
    # The lower byte is the primary code; the rest only refines it.
    code = getattr(cause, "sqlite_errorcode", None)
    if isinstance(code, int) and code & 0xFF in _SQLITE:
        return _about(name, *_SQLITE[code & 0xFF])
    return _about(
        name, f"fails: {_first_line(cause)}", "check that it can be reached, and its URL (store.url)"
    )


def _about(name: str, problem: str, hint: str) -> StoreError:
    return StoreError(f"the database {name} {problem}", hint=hint)


def _first_line(error: BaseException | None) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__
