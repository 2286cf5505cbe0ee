"""What the store forgets, and when."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from reaper.housekeeping import Retention, tidy
from reaper.store import State, Store, open_store
from tests.store.helpers import AT, REGISTRY, new_entry

DAY = timedelta(days=1)
KEEP = Retention(journal=30 * DAY, runs=100 * DAY)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(f"sqlite:///{tmp_path}/reaper.db") as opened:
        yield opened


def deleted(store: Store, run_id: str) -> int:
    entry = store.journal.begin(new_entry(run_id, run_id=run_id))
    store.journal.mark(entry, State.DELETED, AT)
    return entry


def test_only_what_a_collection_swept_is_forgotten_and_only_later(store: Store) -> None:
    swept = deleted(store, "run-1")
    assert store.journal.mark_collected(REGISTRY, AT + DAY, AT + DAY) == 1
    undoable = deleted(store, "run-2")
    asyncio.run(tidy(store, REGISTRY, AT + 20 * DAY, KEEP))
    assert store.journal.get(swept) is not None
    asyncio.run(tidy(store, REGISTRY, AT + 32 * DAY, KEEP))
    assert store.journal.get(swept) is None
    asyncio.run(tidy(store, REGISTRY, AT + 4000 * DAY, KEEP))
    assert store.journal.get(undoable) is not None


def test_a_run_is_kept_as_long_as_something_of_it_can_be_undone(store: Store) -> None:
    for run_id in ("run-1", "run-2"):
        store.runs.begin(run_id, REGISTRY, "run", False, AT)
        store.runs.finish(run_id, AT, "done", {})
    deleted(store, "run-2")
    asyncio.run(tidy(store, REGISTRY, AT + 101 * DAY, KEEP))
    assert [run.id for run in store.runs.recent(10, REGISTRY)] == ["run-2"]


def test_where_nobody_tells_of_collections_old_deletes_count_as_collected(store: Store) -> None:
    keep = replace(KEEP, unseen_collections=True)
    entry = deleted(store, "run-1")
    asyncio.run(tidy(store, REGISTRY, AT + 29 * DAY, keep))
    assert store.journal.count_by_state(REGISTRY)[State.DELETED] == 1
    asyncio.run(tidy(store, REGISTRY, AT + 31 * DAY, keep))
    assert store.journal.count_by_state(REGISTRY)[State.COLLECTED] == 1
    asyncio.run(tidy(store, REGISTRY, AT + 62 * DAY, keep))
    assert store.journal.get(entry) is None


def test_once_a_day_is_enough(store: Store) -> None:
    asyncio.run(tidy(store, REGISTRY, AT + 60 * DAY, KEEP))
    swept = deleted(store, "run-1")
    store.journal.mark_collected(REGISTRY, AT + DAY, AT)
    asyncio.run(tidy(store, REGISTRY, AT + 60 * DAY + timedelta(hours=23), KEEP))
    assert store.journal.get(swept) is not None
    asyncio.run(tidy(store, REGISTRY, AT + 61 * DAY, KEEP))
    assert store.journal.get(swept) is None
