"""What registry products tell, remembered: times that only grow, and never go against an inventory."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from reaper.core.product_times import DigestTime, RepositoryTimes, TagTime
from reaper.core.snapshot import ProductView
from reaper.store import RepositoryRecord, Store

AT = datetime(2026, 6, 1, tzinfo=UTC)
DAY = timedelta(days=1)
REGISTRY = "https://registry.example.com"
ONE, TWO = "sha256:" + "1" * 64, "sha256:" + "2" * 64


def look(
    store: Store,
    at: datetime,
    tags: dict[str, str],
    *,
    pushed: datetime | None = None,
    pulled: datetime | None = None,
    complete: bool = True,
) -> RepositoryRecord:
    """Look at ``tags``, of all of which the product says the same."""
    times = RepositoryTimes(
        {name: TagTime(digest, pushed) for name, digest in tags.items()},
        {digest: DigestTime(pushed, pulled) for digest in tags.values()},
    )
    return store.observations.record(REGISTRY, "a", at, tags, (), complete=complete, times=times)


def test_what_was_there_at_the_first_look_is_as_old_as_the_product_says(store: Store) -> None:
    look(store, AT, {"v": ONE}, pushed=AT - 90 * DAY, pulled=AT - 3 * DAY)
    found = store.observations.load(REGISTRY, "a")
    assert found.tags["v"].product_pushed == AT - 90 * DAY
    assert found.manifests[ONE].product_pushed == AT - 90 * DAY
    assert found.manifests[ONE].product_pulled == AT - 3 * DAY


@pytest.mark.parametrize("complete", [True, False])
def test_a_time_only_grows_and_is_not_lost_when_the_product_says_no_more(
    store: Store, complete: bool
) -> None:
    look(store, AT, {"v": ONE}, pushed=AT - 9 * DAY, pulled=AT - 3 * DAY)
    for pushed, pulled in ((None, None), (AT - 50 * DAY, AT - 50 * DAY)):
        found = look(store, AT + DAY, {"v": ONE}, pushed=pushed, pulled=pulled, complete=complete)
        assert found.tags["v"].product_pushed == found.manifests[ONE].product_pushed == AT - 9 * DAY
        assert found.manifests[ONE].product_pulled == AT - 3 * DAY
    later = AT + 2 * DAY
    found = look(store, later + DAY, {"v": ONE}, pushed=later, pulled=later, complete=complete)
    assert found.tags["v"].product_pushed == found.manifests[ONE].product_pulled == later


def test_a_tag_that_the_last_inventory_did_not_see_is_not_older_than_that(store: Store) -> None:
    look(store, AT, {})
    found = look(store, AT + DAY, {"v": ONE}, pushed=AT - 90 * DAY)
    assert found.tags["v"].product_pushed is None
    assert found.manifests[ONE].product_pushed is None
    # Nor later on, however often the product says so; but a push after it was first seen is one.
    assert look(store, AT + 2 * DAY, {"v": ONE}, pushed=AT - 90 * DAY).tags["v"].product_pushed is None
    again = AT + 2 * DAY
    assert look(store, AT + 3 * DAY, {"v": ONE}, pushed=again).tags["v"].product_pushed == again


def test_a_tag_that_came_since_the_last_inventory_is_as_old_as_the_product_says(store: Store) -> None:
    look(store, AT, {})
    came = AT + DAY / 2
    assert look(store, AT + DAY, {"v": ONE}, pushed=came).tags["v"].product_pushed == came


def test_a_tag_that_moves_starts_anew(store: Store) -> None:
    look(store, AT, {"v": ONE}, pushed=AT - 90 * DAY)
    moved = AT + DAY / 2
    found = look(store, AT + DAY, {"v": TWO}, pushed=moved)
    assert found.tags["v"].product_pushed == moved
    # The product still speaks of the tag on the digest that it was on.
    stale = RepositoryTimes({"v": TagTime(TWO, AT + 2 * DAY)})
    found = store.observations.record(REGISTRY, "a", AT + 3 * DAY, {"v": ONE}, (), complete=True, times=stale)
    assert found.tags["v"].product_pushed is None


def test_a_product_that_comes_later_is_believed_of_what_was_there_at_first(store: Store) -> None:
    store.observations.record(REGISTRY, "a", AT, {"v": ONE}, (), complete=True)
    store.observations.record(REGISTRY, "a", AT + DAY, {"v": ONE, "w": ONE}, (), complete=True)
    found = look(store, AT + 2 * DAY, {"v": ONE, "w": ONE}, pushed=AT - 90 * DAY)
    assert found.tags["v"].product_pushed == AT - 90 * DAY
    assert found.tags["w"].product_pushed is None, "it was put there after the first inventory"


def test_pulls_are_told_since_the_product_was_first_asked_for_them(store: Store) -> None:
    products = store.products
    assert products.last(REGISTRY) is None
    first = products.look(REGISTRY, ProductView("zot", True, AT, None))
    assert first == ProductView("zot", True, AT, None)
    second = products.look(REGISTRY, ProductView("zot", True, AT + DAY, AT + DAY / 2))
    assert second == products.last(REGISTRY) == ProductView("zot", True, AT, AT + DAY / 2)
    third = products.look(REGISTRY, ProductView("zot", True, AT + 2 * DAY, AT - DAY))
    assert third == second, "the latest pull only grows"
    assert products.last("https://other") is None


def test_another_product_or_one_that_tells_no_pulls_begins_anew(store: Store) -> None:
    products = store.products
    products.look(REGISTRY, ProductView("zot", True, AT, AT))
    blind = products.look(REGISTRY, ProductView("zot", True))
    assert blind == products.last(REGISTRY) == ProductView("zot", True)
    products.look(REGISTRY, ProductView("zot", True, AT + DAY, AT + DAY))
    other = products.look(REGISTRY, ProductView("harbor", True, AT + 2 * DAY, None))
    assert other == products.last(REGISTRY) == ProductView("harbor", True, AT + 2 * DAY, None)
    products.forget(REGISTRY)
    products.forget(REGISTRY)
    assert products.last(REGISTRY) is None
