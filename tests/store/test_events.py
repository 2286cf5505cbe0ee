"""Pushes and pulls as registries tell of them: late, twice, out of order, before and after inventories."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from itertools import permutations
from typing import Any

import pytest

from reaper.store import (
    EventKind,
    ManifestEvent,
    ManifestRecord,
    RepositoryRecord,
    Store,
    StoreError,
    TagRecord,
    open_store,
)
from reaper.store.events import MAX_DELAY, MAX_SILENCE
from tests.store.helpers import AT, HOUR, REGISTRY, digest

A, B = digest("a"), digest("b")
MINUTE = timedelta(minutes=1)


def push(at: datetime, tag: str | None = "v1", of: str = A) -> ManifestEvent:
    return ManifestEvent(EventKind.PUSH, "team/app", of, at, tag)


def pull(at: datetime, tag: str | None = None, of: str = A) -> ManifestEvent:
    return ManifestEvent(EventKind.PULL, "team/app", of, at, tag)


def tell(store: Store, *events: ManifestEvent, now: datetime | None = None) -> RepositoryRecord:
    """Let the events arrive, at once unless told otherwise."""
    for event in events:
        store.events.record(REGISTRY, [event], now or event.at)
    return store.observations.load(REGISTRY, "team/app")


def look(store: Store, at: datetime, tags: dict[str, str], *others: str, **more: Any) -> RepositoryRecord:
    return store.observations.record(REGISTRY, "team/app", at, tags, others, **{"complete": True, **more})


def test_what_is_told_before_the_first_inventory_is_known_after_it(store: Store) -> None:
    tell(store, push(AT), push(AT, None, B), pull(AT + MINUTE, "v1"))
    found = look(store, AT + HOUR, {"v1": A}, B)
    # A pull is remembered with the digest in any case; with a tag where it is known to be on it.
    assert found.tags == {"v1": TagRecord(A, AT, AT + HOUR, AT, AT + MINUTE)}
    assert found.manifests[A] == ManifestRecord(AT, AT + HOUR, None, AT, AT + MINUTE)
    assert found.manifests[B] == ManifestRecord(AT, AT + HOUR, AT + HOUR, AT, None), "untagged since then"
    assert found.inventoried_since == AT + HOUR, "events are no inventory"


def test_a_pull_of_what_was_never_seen_is_kept_with_its_digest(store: Store) -> None:
    tell(store, pull(AT, "v1"))
    found = look(store, AT + HOUR, {"v1": A})
    assert found.manifests[A].pulled == AT
    assert found.tags["v1"] == TagRecord(A, AT + HOUR, AT + HOUR), "a pull does not say where a tag is"


def test_the_order_and_the_number_of_events_do_not_matter(tmp_path: Any) -> None:
    events = [
        push(AT, "v1", A),
        push(AT + MINUTE, "v1", B),
        push(AT + 2 * MINUTE, "v1", A),
        pull(AT + 3 * MINUTE, "v1", A),
        pull(AT + 4 * MINUTE, None, B),
        push(AT + 5 * MINUTE, "v2", B),
    ]
    outcomes = set()
    with open_store(f"sqlite:///{tmp_path}/reaper.db") as store:
        for number, order in enumerate(permutations(events)):
            registry = f"https://{number}"
            store.events.record(registry, order, AT + HOUR)
            if number % 100 == 0:
                store.events.record(registry, order[::-1], AT + HOUR)
            found = store.observations.load(registry, "team/app")
            tags = tuple(sorted((name, tag.digest, tag.pushed_event) for name, tag in found.tags.items()))
            times = tuple(sorted((of, m.pushed_event, m.pulled) for of, m in found.manifests.items()))
            outcomes.add((tags, times))
    assert outcomes == {
        (
            (("v1", A, AT + 2 * MINUTE), ("v2", B, AT + 5 * MINUTE)),
            tuple(
                sorted(
                    [
                        (A, AT + 2 * MINUTE, AT + 3 * MINUTE),
                        (B, AT + 5 * MINUTE, AT + 4 * MINUTE),
                    ]
                )
            ),
        )
    }


def test_a_push_moves_a_tag_that_an_inventory_saw_elsewhere(store: Store) -> None:
    look(store, AT, {"v1": A})
    found = tell(store, push(AT + HOUR, "v1", B), pull(AT + 2 * HOUR, "v1", B))
    at = AT + HOUR
    assert found.tags["v1"] == TagRecord(B, at, at, at, AT + 2 * HOUR)
    assert look(store, AT + 3 * HOUR, {"v1": B}).tags["v1"].pushed_event == at


def test_a_push_from_before_the_inventory_moves_nothing(store: Store) -> None:
    before = look(store, AT, {"v1": A})
    found = tell(store, push(AT - HOUR, "v1", B), now=AT + MINUTE)
    assert found.tags == before.tags
    assert found.manifests[A] == before.manifests[A]


def test_a_pull_by_tag_of_another_digest_moves_nothing(store: Store) -> None:
    """Distribution 2.8 answers an old client's pull of an index with the digest of a child."""
    look(store, AT, {"v1": A}, B)
    found = tell(store, pull(AT + HOUR, "v1", B))
    assert found.tags["v1"] == TagRecord(A, AT, AT)
    assert (found.manifests[A].pulled, found.manifests[B].pulled) == (None, AT + HOUR)


def test_a_push_during_an_inventory_that_came_too_late_to_be_seen_is_not_lost(store: Store) -> None:
    look(store, AT, {"v1": A, "v2": A})
    began = AT + HOUR
    tell(
        store,
        push(began + MINUTE, "v1", B),
        push(began + MINUTE, "v3", B),
        pull(began + MINUTE, None, digest("untagged")),
    )
    seen = look(store, began, {"v1": A})
    assert seen.tags == {"v1": TagRecord(A, began, began)}, "what the look is about is what it saw"
    kept = store.observations.load(REGISTRY, "team/app")
    at = began + MINUTE
    assert kept.tags == {"v1": TagRecord(B, at, at, at), "v3": TagRecord(B, at, at, at)}
    assert kept.manifests.keys() == {A, B, digest("untagged")}
    assert not kept.inventoried(B)
    assert kept.inventoried(A)
    after = look(store, began + HOUR, {"v1": B, "v3": B})
    assert {name: tag.pushed_event for name, tag in after.tags.items()} == {"v1": at, "v3": at}
    assert after.manifests.keys() == {B}, "and what really is gone goes with the next look"


def test_a_push_without_a_tag_lets_the_wait_begin_anew(store: Store) -> None:
    look(store, AT, {}, A)
    assert look(store, AT + HOUR, {}, A).manifests[A].untagged_since == AT
    assert tell(store, push(AT + 2 * HOUR, None)).manifests[A].untagged_since is None
    assert look(store, AT + 3 * HOUR, {}, A).manifests[A].untagged_since == AT + 3 * HOUR


@pytest.mark.parametrize(
    ("told", "believed"),
    [
        (AT + HOUR, AT),
        (AT, AT),
        (AT - HOUR, AT - HOUR),
        (AT - timedelta(days=300), AT - MAX_DELAY),
        (datetime.max.replace(tzinfo=AT.tzinfo), AT),
        (datetime.min.replace(tzinfo=AT.tzinfo), AT - MAX_DELAY),
    ],
)
def test_a_wrong_clock_is_not_believed(store: Store, told: datetime, believed: datetime) -> None:
    found = tell(store, push(told), pull(told), now=AT)
    assert found.tags["v1"].pushed_event == believed
    assert found.manifests[A].pulled == believed


def test_what_the_last_inventory_did_not_see_is_younger_than_it(store: Store) -> None:
    look(store, AT, {"v2": B})
    now = AT + MINUTE
    found = tell(store, push(AT - HOUR), now=now)
    assert found.tags["v1"].pushed_event == now
    assert found.manifests[A].pushed_event == now
    assert not found.inventoried(A)


def test_all_events_of_a_message_are_kept_or_none(store: Store) -> None:
    naive = ManifestEvent(EventKind.PULL, "team/other", A, AT.replace(tzinfo=None))
    with pytest.raises(TypeError):
        store.events.record(REGISTRY, [push(AT), naive], AT)
    assert store.observations.load(REGISTRY, "team/app") == RepositoryRecord()


def test_a_database_that_cannot_be_written_is_an_error(sqlite_url: str) -> None:
    open_store(sqlite_url).close()
    with open_store(sqlite_url, read_only=True) as store, pytest.raises(StoreError):
        store.events.record(REGISTRY, [push(AT)], AT)


def test_events_and_inventories_at_once_lose_nothing(url: str) -> None:
    """From several processes, as far as the database can tell: each has connections of its own."""
    threads, each = 4, 20
    digests = [digest(number) for number in range(threads * each)]

    def tell_some(first: int) -> None:
        with open_store(url) as store:
            for of in digests[first::threads]:
                store.events.record(REGISTRY, [pull(AT, None, of)], AT)
                store.events.record(REGISTRY, [push(AT, None, of)], AT)

    def look_all() -> None:
        with open_store(url) as store:
            for number in range(each):
                # The tags come and go, so each look writes every manifest anew.
                tags = {f"v{place}": of for place, of in enumerate(digests)} if number % 2 else {}
                look(store, AT + HOUR + number * MINUTE, tags, *digests)

    open_store(url).close()
    with ThreadPoolExecutor() as pool:
        work = [pool.submit(tell_some, first) for first in range(threads)] + [pool.submit(look_all)]
        for one in work:
            one.result(120)
    with open_store(url) as store:
        found = store.observations.load(REGISTRY, "team/app")
    assert {record.pulled for record in found.manifests.values()} == {AT}
    assert {record.pushed_event for record in found.manifests.values()} == {AT}


def run(
    store: Store, name: str, begin: datetime, end: datetime, outcome: str = "done", tags: int = 3
) -> None:
    store.runs.begin(name, REGISTRY, "run", True, begin)
    store.runs.finish(name, end, outcome, {"tags": tags})


def hear(store: Store, at: datetime, now: datetime | None = None) -> None:
    """A pull of reaper's own, which counts for nothing else."""
    store.events.record(REGISTRY, [], now or at, pulls_heard=at)


def test_pulls_are_known_from_the_first_one_that_is_told(store: Store) -> None:
    assert store.events.pulls_tracked_since(REGISTRY, AT) is None
    tell(store, push(AT))
    assert store.events.pulls_tracked_since(REGISTRY, AT) is None, "a push says nothing of pulls"
    hear(store, AT + HOUR)
    hear(store, AT + 2 * HOUR)
    assert store.events.pulls_tracked_since(REGISTRY, AT + 3 * HOUR) == AT + HOUR
    assert store.events.pulls_tracked_since("https://other", AT + 3 * HOUR) is None


def test_a_run_that_nothing_was_told_of_is_a_gap(store: Store) -> None:
    hear(store, AT)
    run(store, "heard", AT + HOUR, AT + HOUR + MINUTE)
    hear(store, AT + HOUR + timedelta(seconds=1))
    assert store.events.pulls_tracked_since(REGISTRY, AT + 2 * HOUR) == AT
    run(store, "unheard", AT + 3 * HOUR, AT + 3 * HOUR + MINUTE)
    assert store.events.pulls_tracked_since(REGISTRY, AT + 4 * HOUR) is None
    hear(store, AT + 5 * HOUR)
    assert store.events.pulls_tracked_since(REGISTRY, AT + 6 * HOUR) == AT + 5 * HOUR, "it begins anew"


@pytest.mark.parametrize(("outcome", "tags"), [("failed", 3), ("interrupted", 3), ("done", 0)])
def test_a_run_that_looked_at_nothing_is_no_gap(store: Store, outcome: str, tags: int) -> None:
    hear(store, AT)
    run(store, "a", AT + HOUR, AT + HOUR + MINUTE, outcome, tags)
    assert store.events.pulls_tracked_since(REGISTRY, AT + 2 * HOUR) == AT


def test_a_short_run_by_a_registry_whose_clock_is_slow_is_no_gap(store: Store) -> None:
    hear(store, AT)
    run(store, "a", AT + HOUR, AT + HOUR + timedelta(seconds=2))
    hear(store, AT + HOUR - timedelta(seconds=30), now=AT + HOUR + timedelta(seconds=1))
    assert store.events.pulls_tracked_since(REGISTRY, AT + 2 * HOUR) == AT


def test_what_is_told_late_is_no_gap(store: Store) -> None:
    """The registry waited while nobody answered, and now tells everything in its order."""
    hear(store, AT)
    run(store, "a", AT + HOUR, AT + HOUR + 2 * MINUTE)
    now = AT + 5 * HOUR
    for at in (AT + HOUR / 2, AT + HOUR + MINUTE, now):
        hear(store, at, now=now)
    assert store.events.pulls_tracked_since(REGISTRY, now + HOUR) == AT


def test_a_long_silence_of_the_listener_is_a_gap(store: Store) -> None:
    hear(store, AT)
    for minutes in range(0, 240, 10):
        store.events.listening([REGISTRY, "https://other"], AT + minutes * MINUTE)
    last = AT + 230 * MINUTE
    assert store.events.pulls_tracked_since(REGISTRY, last + MAX_SILENCE) == AT
    again = last + MAX_SILENCE + MINUTE
    assert store.events.pulls_tracked_since(REGISTRY, again) is None
    store.events.listening([REGISTRY], again)
    assert store.events.pulls_tracked_since(REGISTRY, again) == again
    assert store.events.pulls_tracked_since("https://other", again) is None
