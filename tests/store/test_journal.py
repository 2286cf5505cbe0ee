"""The journal: durable before the DELETE, and only forward from there."""

from __future__ import annotations

import signal
from itertools import product

import pytest

from reaper.store import (
    PARTS,
    Action,
    Collectable,
    JournalEntry,
    LeftOver,
    State,
    Store,
    StoreError,
    open_store,
)
from tests.store.helpers import AT, HOUR, REGISTRY, digest, new_entry, run

ALLOWED = {
    (State.PENDING, State.DELETED),
    (State.PENDING, State.CANCELLED),
    (State.DELETED, State.RESTORING),
    (State.DELETED, State.COLLECTED),
    (State.RESTORING, State.RESTORING),
    (State.RESTORING, State.RESTORED),
    (State.RESTORING, State.DELETED),
    (State.RESTORING, State.COLLECTED),
}
PATH = {
    State.PENDING: (),
    State.DELETED: (State.DELETED,),
    State.CANCELLED: (State.CANCELLED,),
    State.RESTORING: (State.DELETED, State.RESTORING),
    State.RESTORED: (State.DELETED, State.RESTORING, State.RESTORED),
    State.COLLECTED: (State.DELETED, State.COLLECTED),
}


def entry_in(store: Store, state: State, seed: object = "a", **changes: object) -> int:
    number = store.journal.begin(new_entry(seed, **changes))
    for step in PATH[state]:
        store.journal.mark(number, step, AT + HOUR)
    return number


def ids(entries: list[JournalEntry]) -> list[int]:
    return [entry.id for entry in entries]


def test_an_entry_survives_kill_9(url: str) -> None:
    program = """
store = open_store(sys.argv[1])
print(store.journal.begin(new_entry()), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    code, output = run(program, url)
    assert code == -signal.SIGKILL
    with open_store(url) as store:
        (entry,) = store.journal.pending(REGISTRY)
    assert entry.id == int(output)
    expected = new_entry()
    for name in type(expected).__dataclass_fields__:
        assert getattr(entry, name) == getattr(expected, name), name
    assert (entry.state, entry.updated_at, entry.deleted_at, entry.error) == (State.PENDING, AT, None, None)
    assert entry.action is Action.DELETE


@pytest.mark.parametrize(("before", "after"), list(product(State, State)))
def test_transitions(store: Store, before: State, after: State) -> None:
    number = entry_in(store, before)
    if (before, after) in ALLOWED:
        store.journal.mark(number, after, AT + 2 * HOUR, error="why")
        entry = store.journal.get(number)
        assert entry is not None
        assert (entry.state, entry.updated_at, entry.error) == (after, AT + 2 * HOUR, "why")
    else:
        with pytest.raises(StoreError, match=f"is {before} and cannot become {after}"):
            store.journal.mark(number, after, AT + 2 * HOUR)
        entry = store.journal.get(number)
        assert entry is not None
        assert entry.state == before


def test_an_unknown_entry(store: Store) -> None:
    assert store.journal.get(1) is None
    with pytest.raises(StoreError, match="no entry 1"):
        store.journal.mark(1, State.DELETED, AT)


def test_the_tags_that_were_deleted_since(store: Store) -> None:
    entry_in(store, State.DELETED, tags=("deleted",))
    entry_in(store, State.COLLECTED, tags=("collected", "too"))
    entry_in(store, State.RESTORED, tags=("restored",))
    entry_in(store, State.CANCELLED, tags=("cancelled",))
    entry_in(store, State.DELETED, tags=("elsewhere",), repository="team/other")
    gone = store.journal.tags_deleted_since(REGISTRY, "team/app", AT + HOUR)
    assert gone == {"deleted", "collected", "too"}
    assert store.journal.tags_deleted_since(REGISTRY, "team/app", AT + 2 * HOUR) == set()


def test_the_newest_entry_of_a_manifest_whatever_became_of_it(store: Store) -> None:
    entry_in(store, State.RESTORED)
    newest = entry_in(store, State.COLLECTED)
    entry_in(store, State.DELETED, repository="team/other")
    entry_in(store, State.DELETED, registry="https://other")
    found = store.journal.newest(REGISTRY, "team/app", digest("a"))
    assert found is not None
    assert (found.id, found.state) == (newest, State.COLLECTED)
    assert store.journal.newest(REGISTRY, "team/app", digest("b")) is None


def test_the_tags_that_went_are_those_of_the_last_word(store: Store) -> None:
    number = store.journal.begin(new_entry())
    store.journal.mark(number, State.DELETED, AT, tags=["v1", "v1.0", "pushed-meanwhile"])
    store.journal.mark(number, State.RESTORING, AT)
    found = store.journal.get(number)
    assert found is not None
    assert found.tags == ("v1", "v1.0", "pushed-meanwhile")
    assert ids(store.journal.undoable(REGISTRY, tag="pushed-meanwhile")) == []
    store.journal.mark(number, State.DELETED, AT)
    assert ids(store.journal.undoable(REGISTRY, tag="pushed-meanwhile")) == [number]


def test_what_is_begun_comes_oldest_first_and_of_one_registry(store: Store) -> None:
    first, second = entry_in(store, State.PENDING, 1), entry_in(store, State.PENDING, 2)
    entry_in(store, State.PENDING, 3, registry="https://other")
    third, fourth = entry_in(store, State.RESTORING, 4), entry_in(store, State.RESTORING, 5)
    assert ids(store.journal.pending(REGISTRY)) == [first, second]
    assert ids(store.journal.restoring(REGISTRY)) == [fourth, third]


def test_undoable(store: Store) -> None:
    for state in State:
        if state is not State.DELETED:
            entry_in(store, state)
    index = entry_in(store, State.DELETED, "index", run_id="run-2", tags=("v_1", "latest"))
    child = entry_in(store, State.DELETED, "child", run_id="run-2", tags=())
    other = entry_in(store, State.DELETED, "other", repository="team/other", tags=("vx1", "V_1"))
    entry_in(store, State.DELETED, "elsewhere", registry="https://other")
    undoable = store.journal.undoable
    assert ids(undoable(REGISTRY)) == [other, child, index], "children before their parents"
    assert ids(undoable(REGISTRY, run_id="run-2")) == [child, index]
    assert ids(undoable(REGISTRY, repository="team/other")) == [other]
    assert ids(undoable(REGISTRY, digest=digest("child"))) == [child]
    assert ids(undoable(REGISTRY, tag="v_1")) == [index], "neither a wildcard nor another case"
    assert ids(undoable(REGISTRY, tag="V_1")) == [other]
    assert undoable(REGISTRY, tag='latest", "v_1') == []
    assert undoable(REGISTRY, tag="v_1", repository="team/other") == []
    assert ids(undoable(REGISTRY, limit=2)) == [other, child]
    assert ids(undoable(REGISTRY, limit=2, before=child)) == [index]


def test_lines_are_the_newest_entries_without_the_manifests(store: Store) -> None:
    numbers = [
        entry_in(store, State.DELETED if number % 2 else State.CANCELLED, number, run_id=f"run-{number // 4}")
        for number in range(8)
    ]
    entry_in(store, State.DELETED, "other", registry="https://other")
    newest = store.journal.lines(REGISTRY, limit=3)
    assert [line.id for line in newest] == numbers[:-4:-1]
    assert [line.id for line in store.journal.lines(REGISTRY, limit=9, before=newest[-1].id)] == numbers[
        4::-1
    ]
    ofrun = store.journal.lines(REGISTRY, limit=9, run_id="run-0", state=State.DELETED)
    assert [line.id for line in ofrun] == [numbers[3], numbers[1]]
    entry = store.journal.get(numbers[3])
    assert entry is not None
    for name in type(ofrun[0]).__dataclass_fields__:
        assert getattr(ofrun[0], name) == getattr(entry, name), name
    assert store.journal.count_by_state(REGISTRY, "run-1")[State.DELETED] == 2
    assert store.journal.count_by_state(REGISTRY)[State.DELETED] == 4


def test_what_a_collection_sweeps(store: Store) -> None:
    old, failed, new = (store.journal.begin(new_entry(seed)) for seed in range(3))
    store.journal.mark(old, State.DELETED, AT)
    store.journal.mark(failed, State.DELETED, AT + HOUR)
    store.journal.mark(new, State.DELETED, AT + 3 * HOUR)
    # A restore that fails while the collection is under way does not make the delete younger.
    store.journal.mark(failed, State.RESTORING, AT + 3 * HOUR)
    store.journal.mark(failed, State.DELETED, AT + 3 * HOUR, error="read-only")
    entry_in(store, State.PENDING, 4)
    entry_in(store, State.RESTORED, 5)
    begun = AT + 2 * HOUR
    assert store.journal.deleted_before(REGISTRY, AT) == Collectable(0, 0, None)
    assert store.journal.deleted_before(REGISTRY, begun) == Collectable(2, 20, AT)
    assert store.journal.mark_collected(REGISTRY, begun, AT + 4 * HOUR) == 2
    assert store.journal.mark_collected(REGISTRY, begun, AT + 4 * HOUR) == 0
    assert ids(store.journal.undoable(REGISTRY)) == [new]
    assert store.journal.count_by_state(REGISTRY) == {
        State.PENDING: 1,
        State.DELETED: 1,
        State.CANCELLED: 0,
        State.RESTORING: 0,
        State.RESTORED: 1,
        State.COLLECTED: 2,
    }


def test_pruning_leaves_what_may_be_needed_and_never_reuses_a_number(store: Store) -> None:
    numbers = {state: entry_in(store, state) for state in State}
    last = entry_in(store, State.COLLECTED)
    assert store.journal.prune(REGISTRY, AT) == 0
    assert store.journal.prune(REGISTRY, AT + 2 * HOUR) == 4
    left = {state for state, number in numbers.items() if store.journal.get(number) is not None}
    assert left == {State.PENDING, State.DELETED, State.RESTORING}
    assert store.journal.begin(new_entry()) > last


def test_text_that_databases_refuse(store: Store) -> None:
    number = store.journal.begin(new_entry(reason="a\0b\ud800"))
    store.journal.mark(number, State.CANCELLED, AT, error="\0")
    entry = store.journal.get(number)
    assert entry is not None
    assert (entry.reason, entry.error) == ("a\\x00b\\ud800", "\\x00")


def test_parts_of_what_is_deleted_are_left_over_until_they_have_an_entry_of_their_own(store: Store) -> None:
    def left() -> dict[str, LeftOver]:
        return store.journal.left_over(REGISTRY, "team/app")

    parts = [digest("one"), digest("two")]
    index = entry_in(store, State.PENDING, "index", plan={PARTS: parts})
    assert left() == {}
    store.journal.mark(index, State.DELETED, AT + HOUR)
    assert left() == dict.fromkeys(parts, LeftOver(digest("index"), AT))
    entry_in(store, State.CANCELLED, "one")
    assert set(left()) == set(parts)
    entry_in(store, State.RESTORED, "one")
    assert set(left()) == {digest("two")}
    store.journal.mark_collected(REGISTRY, AT + 2 * HOUR, AT + 2 * HOUR)
    assert set(left()) == {digest("two")}
    assert store.journal.left_over(REGISTRY, "team/web") == {}
    entry_in(store, State.DELETED, "two")
    assert left() == {}


def test_nothing_is_left_over_of_what_is_restored(store: Store) -> None:
    entry_in(store, State.RESTORED, "index", plan={PARTS: [digest("one")]})
    assert store.journal.left_over(REGISTRY, "team/app") == {}
