"""What is kept of a report: what changed, within bounds, and readable again."""

from __future__ import annotations

from dataclasses import replace

from reaper.report.extract import (
    MAX_LINES,
    MAX_REPOSITORIES,
    MAX_ROWS,
    MAX_ROWS_EACH,
    MAX_TEXT,
    ExtractedRepository,
    figures,
    read_extract,
    write_extract,
)
from reaper.report.model import CollectionReport, GuardReport, RepositoryReport, RunReport
from reaper.report.view import changes
from tests.report.reports import HOSTILE, digest, done, report, tag


def test_it_holds_what_changed_and_why() -> None:
    original = done()
    found = read_extract(write_extract(original))
    assert found is not None
    assert found.repositories == [
        ExtractedRepository(repository.name, changes(repository))
        for repository in original.repositories
        if changes(repository)
    ]
    assert found.repositories
    assert found.collection == original.collection
    assert found.errors == [(r.name, error) for r in original.repositories for error in r.errors]
    assert (found.guards, found.notes, found.settled) == (
        original.guards,
        original.notes,
        original.settled,
    )


def test_it_is_bounded_and_counts_what_it_leaves_out() -> None:
    def repository(number: int, rows: int) -> RepositoryReport:
        tags = [tag(f"v{row}", row, reason="x" * 5000) for row in range(rows)]
        return RepositoryReport(f"app-{number}", ["p"], tags, errors=["e" * 5000] * 3)

    large = [repository(number, 2 * MAX_ROWS_EACH) for number in range(MAX_ROWS // MAX_ROWS_EACH + 7)]
    huge = report(
        repositories=large,
        guards=[GuardReport("max_share", "m" * 5000, "app")] * (MAX_LINES + 5),
        collection=CollectionReport("command", "failed", detail="d" * 5000, warnings=["w"] * 1000),
        notes=["n"] * 1000,
        error="\ud800" + "e" * 5000,
    )
    content = write_extract(huge)
    found = read_extract(content)
    assert found is not None
    assert len(content) < (MAX_ROWS + 10 * MAX_LINES) * (MAX_TEXT + 500)
    assert sum(len(one.rows) for one in found.repositories) == MAX_ROWS
    assert {one.left_out for one in found.repositories} == {MAX_ROWS_EACH}
    assert (found.repositories_left_out, found.rows_left_out) == (7, 7 * 2 * MAX_ROWS_EACH)
    assert len(found.errors) + found.errors_left_out == 3 * len(large)
    assert (len(found.guards), found.guards_left_out) == (MAX_LINES, 5)
    assert found.error is not None
    assert len(found.error) == MAX_TEXT

    small = [repository(number, 1) for number in range(MAX_REPOSITORIES + 3)]
    found = read_extract(write_extract(replace(huge, repositories=small)))
    assert found is not None
    assert (len(found.repositories), found.repositories_left_out) == (MAX_REPOSITORIES, 3)


def test_hostile_text_comes_back_as_it_was() -> None:
    tags = [tag(name, number) for number, name in enumerate(HOSTILE)]
    found = read_extract(write_extract(report(repositories=[RepositoryReport("app", [], tags)])))
    assert found is not None
    # All but what no UTF-8 can carry.
    assert [row.name for row in found.repositories[0].rows] == [
        n.replace("\ud800", "\\ud800") for n in HOSTILE
    ]


def test_another_version_is_not_guessed_at() -> None:
    assert read_extract(b'{"schema": "reaper.extract/v9"}') is None
    assert read_extract(b'{"schema": "reaper.extract/v1", "repositories": 3}') is None
    assert read_extract(b"not json") is None


def test_the_figures_are_the_summary_and_the_collections() -> None:
    with_one: RunReport = replace(done(), collection=CollectionReport("command", "collected", 3, 300, "d"))
    assert figures(with_one)["deleted_manifests"] == with_one.summary.deleted_manifests
    assert figures(with_one)["collection"] == {
        "via": "command",
        "outcome": "collected",
        "blobs": 3,
        "bytes": 300,
    }
    assert "collection" not in figures(replace(with_one, collection=None))
    assert digest(1) not in str(figures(with_one))
