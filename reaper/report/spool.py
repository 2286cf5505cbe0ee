"""Keeps a run's repositories on disk, so that memory is bounded by the largest one."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import TypeAdapter

from reaper.core.errors import ReaperError
from reaper.core.plan import RepositoryPlan
from reaper.report.model import RepositoryReport


@dataclass(frozen=True, slots=True)
class SpooledRepository:
    """One repository's report, and the plan for it where there is one."""

    report: RepositoryReport
    plan: RepositoryPlan | None = None


_ENTRY: TypeAdapter[SpooledRepository] = TypeAdapter(SpooledRepository)


class Spool:
    """An append-only list of repositories in an unnamed temporary file. Close it when done."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile("w+b")  # noqa: SIM115 - closed by close()
        self._end = 0
        self._count = 0

    def append(self, entry: SpooledRepository) -> None:
        """Add a repository at the end.

        Raises:
            ReaperError: the disk is full; what was added before is still there.
        """
        line = _ENTRY.dump_json(entry) + b"\n"
        number = self._file.fileno()
        written = 0
        try:
            # Past the file's buffer: where this fails, no part of the entry is written later.
            while written < len(line):
                written += os.pwrite(number, line[written:], self._end + written)
        except OSError as error:
            os.ftruncate(number, self._end)
            raise ReaperError(
                f"the report cannot be kept in {tempfile.gettempdir()}: {error.strerror}",
                hint="free some space there, or name another folder with TMPDIR",
            ) from error
        self._end += len(line)
        self._count += 1

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[SpooledRepository]:
        position = 0
        while True:
            # Others may read or append between two steps of this iterator.
            self._file.seek(position)
            line = self._file.readline()
            if not line:
                return
            position = self._file.tell()
            yield _ENTRY.validate_json(line)

    def close(self) -> None:
        """Delete the file."""
        self._file.close()


class SpooledReports:
    """The reports of a spool, as an iterable that can be read again and again."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool

    def __iter__(self) -> Iterator[RepositoryReport]:
        return (entry.report for entry in self._spool)
