"""Past runs, and those that died."""

from __future__ import annotations

import os

import pytest
from sqlalchemy import update

from reaper.core.errors import InvalidInputError
from reaper.store import INTERRUPTED, RUNNING, Store, StoreError, open_store, runs, tables
from tests.store.helpers import AT, HOUR, REGISTRY, run


def begin(store: Store, run_id: str, *, dry_run: bool = False, hours: int = 0) -> None:
    store.runs.begin(run_id, REGISTRY, "run", dry_run, AT + hours * HOUR)


def test_a_run_from_start_to_end(store: Store) -> None:
    begin(store, "2026-a")
    assert [found.id for found in store.runs.running(REGISTRY)] == ["2026-a"]
    assert store.runs.get("2026-a").outcome == RUNNING
    assert store.runs.finish("2026-a", AT + HOUR, "partial", {"tags": 3}, b'{"x": "\xc3\xa9"}') is True
    found = store.runs.get("2026-a")
    assert (found.outcome, found.started_at, found.finished_at) == ("partial", AT, AT + HOUR)
    assert (found.summary, found.pid, found.dry_run, found.command) == (
        {"tags": 3},
        os.getpid(),
        False,
        "run",
    )
    assert store.runs.report("2026-a") == b'{"x": "\xc3\xa9"}'
    assert store.runs.running(REGISTRY) == []


def test_a_run_begins_and_ends_once(store: Store) -> None:
    begin(store, "a")
    with pytest.raises(StoreError, match="a run a already"):
        begin(store, "a")
    store.runs.finish("a", AT, "done", {})
    for run_id in ("a", "unknown"):
        with pytest.raises(StoreError, match="is not running"):
            store.runs.finish(run_id, AT, "done", {})


def test_a_report_that_is_too_large_is_not_kept(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "MAX_REPORT_SIZE", 1000)
    for name, report, kept in (
        ("random", os.urandom(5_000_000), False),
        ("zeros", bytes(900_000), True),
        ("edge", os.urandom(1001), False),
    ):
        begin(store, name)
        assert store.runs.finish(name, AT, "done", {"tags": 1}, report) is kept
        assert store.runs.report(name) == (report if kept else None)
        assert store.runs.get(name).summary == {"tags": 1}


def test_newest_first(store: Store) -> None:
    for number, run_id in enumerate("bca"):
        begin(store, run_id, hours=number)
    store.runs.begin("other", "https://other", "run", True, AT)
    assert [found.id for found in store.runs.recent(2, REGISTRY)] == ["a", "c"]
    assert [found.id for found in store.runs.recent()] == ["a", "c", "other", "b"]
    assert [found.id for found in store.runs.recent(2, before=AT + HOUR)] == ["other", "b"]


def test_get_by_the_beginning_of_an_id(store: Store) -> None:
    for run_id in ("ab", "abc", "abd_1", "abdx1"):
        begin(store, run_id)
    assert store.runs.get("abc").id == "abc"
    assert store.runs.get("abd_").id == "abd_1"
    assert store.runs.get("ab").id == "ab", "a whole id is not ambiguous"
    with pytest.raises(InvalidInputError, match="more than one run begins with 'abd': abd_1, abdx1"):
        store.runs.get("abd")
    with pytest.raises(InvalidInputError, match="no run 'x'"):
        store.runs.get("x")


def test_runs_of_dead_processes_are_interrupted(url: str) -> None:
    program = """
store = open_store(sys.argv[1])
store.runs.begin("dead", REGISTRY, "run", False, AT)
store.runs.begin("dead audit", REGISTRY, "run", True, AT)
os.kill(os.getpid(), signal.SIGKILL)
"""
    run(program, url)
    with open_store(url) as store:
        begin(store, "alive", hours=1)
        begin(store, "far", hours=2)
        begin(store, "far audit", hours=2, dry_run=True)
        with store._database.writing() as connection:
            connection.execute(
                update(tables.runs).where(tables.runs.c.id.startswith("far")).values(host="elsewhere")
            )
        stale = store.runs.interrupt_stale(REGISTRY, AT + 3 * HOUR)
        assert sorted(stale) == ["dead", "dead audit", "far"]
        found = store.runs.get("dead")
        assert (found.outcome, found.finished_at) == (INTERRUPTED, AT + 3 * HOUR)
        assert {left.id for left in store.runs.running(REGISTRY)} == {"alive", "far audit"}
        assert store.runs.interrupt_stale(REGISTRY, AT + 27 * HOUR) == ["far audit"]
        assert store.runs.interrupt_stale("https://other", AT + 27 * HOUR) == []


def test_pruning_leaves_what_runs(store: Store) -> None:
    begin(store, "a")
    begin(store, "b")
    store.runs.finish("a", AT, "done", {})
    assert store.runs.prune(REGISTRY, AT) == 0
    assert store.runs.prune(REGISTRY, AT + HOUR) == 1
    assert [found.id for found in store.runs.recent()] == ["b"]
