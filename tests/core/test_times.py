"""Which time an image has, and where it comes from (DESIGN section 5, "Sources of time")."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from reaper.core.manifest import Kind
from reaper.core.snapshot import ManifestEntry, Snapshot
from reaper.core.times import Moment, Source, created, pulled, pushed, pushed_digest
from tests.core.build import ago, entry, image, snapshot
from tests.core.generate import NOW, child, manifest

SECOND = timedelta(seconds=1)
FIRST = datetime(2013, 1, 1, tzinfo=UTC)


def annotated(of: ManifestEntry, time: datetime) -> ManifestEntry:
    return replace(of, manifest=replace(of.manifest, created_annotation=time))


@pytest.mark.parametrize(
    ("config", "annotation", "moment"),
    [
        (ago("3d"), ago("2d"), Moment(ago("3d"), Source.CONFIG)),
        (None, ago("2d"), Moment(ago("2d"), Source.ANNOTATION)),
        (datetime(1970, 1, 1, tzinfo=UTC), ago("2d"), Moment(ago("2d"), Source.ANNOTATION)),
        (NOW + SECOND, ago("2d"), Moment(ago("2d"), Source.ANNOTATION)),
        (NOW, None, Moment(NOW, Source.CONFIG)),
        (FIRST, None, Moment(FIRST, Source.CONFIG)),
        (FIRST - SECOND, None, None),
        (NOW + SECOND, NOW + SECOND, None),
        (datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14))), None, None),
        (datetime.max.replace(tzinfo=timezone(-timedelta(hours=12))), None, None),
    ],
)
def test_created(config: datetime | None, annotation: datetime | None, moment: Moment | None) -> None:
    of = image("a", config)
    of = annotated(of, annotation) if annotation else of
    assert created(snapshot({"a": of}), of.digest) == moment


def test_an_index_has_its_own_date_or_that_of_its_newest_child_at_any_depth() -> None:
    old, new, odd = image("old", "9d"), image("new", "3d"), image("odd", datetime(1980, 1, 1, tzinfo=UTC))
    inner = entry(manifest("inner", Kind.INDEX, children=(child(old.manifest), child(new.manifest))))
    outer = entry(manifest("outer", Kind.INDEX, children=(child(odd.manifest), child(inner.manifest))))
    missing = entry(manifest("x", Kind.INDEX, children=(child(manifest("gone")),)))
    look = snapshot({"a": outer, "b": annotated(outer, ago("5d")), "x": missing}, inner, old, new, odd)
    assert created(look, inner.digest) == Moment(ago("3d"), Source.CHILD)
    assert created(snapshot({"a": outer}, inner, old, new, odd), outer.digest) == Moment(
        ago("3d"), Source.CHILD
    )
    assert created(look, outer.digest) == Moment(ago("5d"), Source.ANNOTATION)
    assert created(look, missing.digest) is None
    assert created(look, "sha256:unknown") is None


def look(**tag: Any) -> tuple[Snapshot, Moment | None]:
    """Return when the only tag was pushed: inventoried 10 days ago, seen 10 days ago, built 30 days ago."""
    found = snapshot({"a": image("a", "30d", seen="10d")}, first_inventory="10d")
    found = replace(found, tags={"a": replace(found.tags["a"], **tag)})
    return found, pushed(found, found.tags["a"])


def test_pushed_is_the_best_that_is_known() -> None:
    assert look()[1] == Moment(ago("30d"), Source.CONFIG)
    assert look(first_seen=ago("9d"))[1] == Moment(ago("9d"), Source.SEEN_NEW)
    assert look(first_seen=ago("9d"), product_pushed=ago("8d"))[1] == Moment(ago("8d"), Source.PRODUCT)
    event = {"first_seen": ago("9d"), "product_pushed": ago("8d"), "pushed_event": ago("7d")}
    assert look(**event)[1] == Moment(ago("7d"), Source.EVENT)


def test_first_seen_counts_only_where_the_repository_was_known_before() -> None:
    odd = image("a", datetime(1970, 1, 1, tzinfo=UTC), seen="10d")
    known = snapshot({"a": odd}, first_inventory="10d")
    assert pushed(known, known.tags["a"]) == Moment(ago("10d"), Source.FIRST_INVENTORY)
    fresh = replace(known, inventoried_since=None)
    assert pushed(fresh, fresh.tags["a"]) == Moment(ago("10d"), Source.FIRST_INVENTORY)
    never = replace(known, tags={"a": replace(known.tags["a"], first_seen=None)})
    assert pushed(never, never.tags["a"]) is None


def test_a_digest_is_as_old_as_it_was_seen_not_as_its_tags() -> None:
    found = snapshot({"a": image("a", "30d", seen="10d")}, first_inventory="20d", tag_seen={"a": "1d"})
    assert pushed(found, found.tags["a"]) == Moment(ago("1d"), Source.SEEN_NEW)
    assert pushed_digest(found, found.tags["a"].digest) == Moment(ago("10d"), Source.SEEN_NEW)
    assert pushed_digest(found, "sha256:unknown") is None


def test_a_pull_by_any_name_is_a_pull() -> None:
    part = replace(image("part"), pulled=ago("2d"))
    index = replace(entry(manifest("index", Kind.INDEX, children=(child(part.manifest),))), pulled=ago("4d"))
    found = snapshot({"a": index}, part, pulled={"a": "3d"})
    assert pulled(found, found.tags["a"]) == Moment(ago("2d"), Source.PULL_EVENT)
    unpulled = snapshot({"a": image("a")})
    assert pulled(unpulled, unpulled.tags["a"]) is None


def test_a_moment_names_its_source() -> None:
    berlin = datetime(2026, 6, 15, 14, tzinfo=timezone(timedelta(hours=2)))
    built = created(snapshot({"a": image("a", berlin)}), image("a").digest)
    assert str(built) == "2026-06-15 12:00:00Z (created in config)"
