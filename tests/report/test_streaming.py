from __future__ import annotations

import io
import resource
from collections.abc import Iterator

import pytest
from pydantic import TypeAdapter

from reaper.core.errors import ReaperError
from reaper.report.model import RepositoryReport
from reaper.report.render import Format, render
from reaper.report.spool import Spool, SpooledReports, SpooledRepository
from tests.report.reports import api, quiet, report, unread


class Tracked(RepositoryReport):
    """A repository that counts how many of its kind are in memory."""

    alive = 0
    most = 0

    def __init__(self, number: int) -> None:
        source = (api(), quiet(), unread())[number % 3]
        super().__init__(
            f"{source.name}/{number}", source.policies, source.tags, source.manifests, source.errors
        )
        Tracked.alive += 1
        Tracked.most = max(Tracked.most, Tracked.alive)

    def __del__(self) -> None:
        Tracked.alive -= 1


class Source:
    """Makes repositories as they are asked for, and notes how much was written by then."""

    def __init__(self, out: io.StringIO, number: int) -> None:
        self._out = out
        self._number = number
        self.written: list[int] = []

    def __iter__(self) -> Iterator[RepositoryReport]:
        self.written = []
        for number in range(self._number):
            self.written.append(self._out.tell())
            yield Tracked(number)


@pytest.mark.parametrize("verbose", [False, True])
@pytest.mark.parametrize("format", Format)
def test_a_report_is_written_while_it_is_read(format: Format, verbose: bool) -> None:  # noqa: A002
    Tracked.alive = Tracked.most = 0
    out = io.StringIO()
    source = Source(out, 600)
    render(report(repositories=source), format, out, verbose=verbose)
    # The one at hand, the one before it until its name is bound anew, and no more.
    assert Tracked.most <= 3
    assert Tracked.alive == 0
    # What is shown of the first repositories is out before the rest is read.
    assert source.written[0] < source.written[50]
    assert source.written[50] < source.written[599] or not verbose


@pytest.mark.parametrize("format", Format)
def test_a_spool_gives_the_same_report_as_memory(format: Format) -> None:  # noqa: A002
    repositories = [api(), quiet(), unread()]
    spool = Spool()
    for repository in repositories:
        spool.append(SpooledRepository(repository))
    from_disk, from_memory = io.StringIO(), io.StringIO()
    render(report(repositories=SpooledReports(spool)), format, from_disk)
    render(report(repositories=repositories), format, from_memory)
    spool.close()
    assert from_disk.getvalue() == from_memory.getvalue()


def test_a_full_disk_loses_no_entry_that_was_written() -> None:
    spool = Spool()
    size = len(TypeAdapter(SpooledRepository).dump_json(SpooledRepository(api())))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + size // 2, before[1]))
        spool.append(SpooledRepository(api()))
        with pytest.raises(ReaperError, match="the report cannot be kept in") as caught:
            spool.append(SpooledRepository(api()))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "TMPDIR" in (caught.value.hint or "")
    spool.append(SpooledRepository(quiet()))
    assert [entry.report.name for entry in spool] == [api().name, quiet().name]
    assert len(spool) == 2
    spool.close()
