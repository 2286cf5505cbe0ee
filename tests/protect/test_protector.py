"""All sources together, with a real store for a memory; the sources are stand-ins, the rest is not."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from reaper.core.alias import parse_alias
from reaper.core.errors import ReaperError
from reaper.protect.images import Gathering
from reaper.protect.protector import Protection, Protector, SourceState
from reaper.protect.references import Aliases
from reaper.protect.source import SourceError, SourceKind
from reaper.protect.watch import InUseUnknownError, InUseWatch
from reaper.store import Store, open_store

START = datetime(2026, 6, 15, 12, tzinfo=UTC)
HOST = "registry.example.com"
DIGEST = "sha256:" + "a" * 64


@dataclass
class Named:
    """A source that names what it is told to, as a cluster."""

    images: dict[str, list[str]] = field(default_factory=dict)
    name: str = "prod"
    kind: SourceKind = SourceKind.CLUSTER
    error: ReaperError | None = None
    readings: int = 0

    async def gather(self) -> Gathering:
        self.readings += 1
        if self.error is not None:
            raise self.error
        found = Gathering()
        for user, references in self.images.items():
            found.add(user, references)
        return found


@dataclass
class Time:
    now: datetime = START
    monotonic: float = 1000.0


class World:
    """Protectors over one store, at one time."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.time = Time()
        self.states: list[SourceState] = []

    def protector(
        self, *sources: Named, grace: timedelta = timedelta(days=7), ignore: bool = False, hosts: str = HOST
    ) -> Protector:
        return Protector(
            sources,
            aliases=Aliases([parse_alias(hosts)]),
            memory=self.store.in_use,
            grace=grace,
            clock=lambda: self.time.now,
            others={"other.example.com"},
            ignore_unreadable=ignore,
            on_read=self.states.append,
        )

    def read(self, *sources: Named, **options: timedelta | bool | str) -> Protection:
        return asyncio.run(self.protector(*sources, **options).read())  # type: ignore[arg-type]  # passed through


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with open_store(f"sqlite:///{tmp_path}/reaper.db") as store:
        yield World(store)


def test_all_sources_count_and_the_first_names_the_user(world: World) -> None:
    cluster = Named({"Pod a": [f"{HOST}/app:v1"], "Pod b": [f"{HOST}/app:v1", f"{HOST}/app:v2"]})
    listed = Named({"line 1": [f"{HOST}/app:v1", DIGEST]}, "images.txt", SourceKind.FILE)
    protection = world.read(cluster, listed)
    assert dict(protection.in_use.of("app")) == {"v1": "Pod a and 1 more", "v2": "Pod b", DIGEST: "line 1"}
    assert (protection.problems, protection.warnings) == ((), ())
    assert [(str(s), s.images, s.read, s.complete) for s in protection.sources] == [
        ("cluster prod", 2, 2, True),
        ("file images.txt", 2, 1, True),
    ]
    assert world.states == list(protection.sources)


def test_a_source_that_cannot_be_read_is_a_problem_and_the_others_count(world: World) -> None:
    broken = Named(name="far", error=SourceError("cluster far: no answer", hint="look after it"))
    protection = world.read(Named({"Pod a": [f"{HOST}/app:v1"]}), broken)
    assert protection.problems == ("cluster far: no answer (look after it)",)
    assert protection.in_use.of("app").keys() == {"v1"}
    assert [state.complete for state in protection.sources] == [True, False]


def test_what_is_no_image_is_a_problem_unless_it_is_to_be_ignored(world: World) -> None:
    odd = Named({"Pod a": ["Not An Image"], "Pod b": [f"{HOST}/app:v1", "???"]})
    (problem,) = world.read(odd).problems
    assert problem.startswith(
        "cluster prod: 2 references are no images: 'Not An Image' (Pod a), '???' (Pod b)"
    )
    ignoring = world.read(odd, ignore=True)
    assert ignoring.problems == ()
    assert ignoring.warnings[0].endswith("ignored, as the settings say")
    assert ignoring.sources[0].unreadable == 2


def test_an_image_stays_protected_for_the_grace_period_after_it_was_last_seen(world: World) -> None:
    cluster = Named({"Pod a": [f"{HOST}/app:v1", DIGEST], "Pod b": [f"{HOST}/app:v2"]})
    world.read(cluster)
    del cluster.images["Pod a"]
    world.time.now += timedelta(days=6)
    later = world.read(cluster).in_use.of("app")
    assert later["v1"] == "Pod a, last seen 2026-06-15 12:00:00Z"
    assert later["v2"] == "Pod b"
    assert later[DIGEST] == "Pod a, last seen 2026-06-15 12:00:00Z"
    world.time.now += timedelta(days=2)
    assert world.read(cluster).in_use.of("app").keys() == {"v2"}
    assert len(world.store.in_use.recall(START - timedelta(days=99))) == 1


def test_each_reading_counts_anew(world: World) -> None:
    cluster = Named({"Pod a": [f"{HOST}/app:v1"], "Pod b": ["nginx"]})
    world.read(cluster)
    world.time.now += timedelta(days=6)
    world.read(cluster)
    del cluster.images["Pod a"]
    world.time.now += timedelta(days=6)
    assert world.read(cluster).in_use.of("app")["v1"].endswith("last seen 2026-06-21 12:00:00Z")


def test_a_reading_shortly_after_another_notes_only_what_is_new(world: World) -> None:
    cluster = Named({"Pod a": [f"{HOST}/app:v1"]})
    world.read(cluster)
    cluster.images["Pod b"] = [f"{HOST}/app:v2"]
    world.time.now += timedelta(minutes=1)
    world.read(cluster)
    noted = {one.image: one.seen_at for one in world.store.in_use.recall(START)}
    assert noted == {f"{HOST}/app:v1": START, f"{HOST}/app:v2": START + timedelta(minutes=1)}


def test_what_a_source_showed_that_is_no_longer_configured_counts(world: World) -> None:
    world.read(Named({"Pod a": [f"{HOST}/app:v1"]}, name="old"))
    assert world.read(Named({"Pod b": ["nginx"]}, name="new")).in_use.of("app").keys() == {"v1"}


def test_a_name_that_is_added_to_the_registry_counts_for_what_was_seen_before(world: World) -> None:
    cluster = Named({"Pod a": ["localhost:32000/app:v1"]})
    assert dict(world.read(cluster).in_use.of("app")) == {}
    cluster.images = {"Pod b": ["nginx"]}
    assert world.read(cluster, hosts="localhost:32000").in_use.of("app").keys() == {"v1"}


def test_without_a_grace_period_nothing_is_remembered(world: World) -> None:
    cluster = Named({"Pod a": [f"{HOST}/app:v1"]})
    world.read(cluster, grace=timedelta())
    cluster.images.clear()
    assert dict(world.read(cluster, grace=timedelta()).in_use.of("app")) == {}
    assert world.store.in_use.recall(START) == []


def test_a_source_that_suddenly_names_nothing_is_not_believed(world: World) -> None:
    cluster = Named({"Pod a": [f"{HOST}/app:{number}" for number in range(10)]})
    small = Named({"Pod b": [f"{HOST}/app:x"]}, name="small")
    world.read(cluster, small)
    cluster.images.clear()
    small.images.clear()
    (problem,) = world.read(cluster, small).problems
    assert problem.startswith("cluster prod: it names no image any more, and named 10 within the last 1w; if")
    world.time.now += timedelta(days=8)
    assert world.read(cluster, small).problems == ()


def test_a_registry_that_no_cluster_names_is_pointed_out(world: World) -> None:
    cluster = Named({"Pod a": ["nginx", "other.example.com/app"]})
    (warning,) = world.read(cluster).warnings
    assert warning.startswith("none of the 2 images in use (prod) names this registry")
    cluster.images["Pod b"] = [f"{HOST}/app"]
    assert world.read(cluster).warnings == ()
    assert world.read(Named(name="empty")).warnings == ()
    assert world.read(Named({"line 1": ["nginx"]}, kind=SourceKind.FILE)).warnings == ()


def test_other_registries_of_the_settings_are_no_lookalikes(world: World) -> None:
    cluster = Named({"Pod a": ["other.example.com/app", "third.example.com/app", f"{HOST}/app"]})
    (warning,) = world.read(cluster).lookalikes(["app"])
    assert "third.example.com" in warning


def watch(world: World, *sources: Named) -> InUseWatch:
    return InUseWatch(world.protector(*sources), monotonic=lambda: world.time.monotonic)


def test_a_watch_reads_again_when_its_reading_is_old(world: World) -> None:
    cluster = Named({"Pod a": [f"{HOST}/app:v1"]})
    looking = watch(world, cluster)

    async def work() -> None:
        await looking.begin()
        cluster.images["Pod b"] = [f"{HOST}/app:v2", DIGEST]
        world.time.monotonic += 59
        await looking.refresh()
        assert cluster.readings == 1
        assert dict(looking.news("app")) == {}
        world.time.monotonic += 2
        await looking.refresh()
        assert cluster.readings == 2
        assert dict(looking.news("app")) == {"v2": "Pod b", DIGEST: "Pod b"}
        assert dict(looking.news("other")) == {DIGEST: "Pod b"}
        assert looking.of("app").keys() == {"v1"}
        # What came into use and went again is still remembered, and still news.
        del cluster.images["Pod b"]
        world.time.monotonic += 61
        await looking.refresh()
        assert looking.news("app").keys() == {"v2", DIGEST}

    asyncio.run(work())


def test_a_watch_that_cannot_read_again_says_so(world: World) -> None:
    cluster = Named({"Pod a": [f"{HOST}/app:v1"]})
    looking = watch(world, cluster)

    async def work() -> None:
        await looking.begin()
        cluster.error = SourceError("cluster prod: no answer")
        world.time.monotonic += 61
        with pytest.raises(InUseUnknownError, match="could not be read again: cluster prod: no answer"):
            await looking.refresh()

    asyncio.run(work())


def test_a_watch_of_something_slow_does_not_only_read(world: World) -> None:
    cluster = Named({"Pod a": [f"{HOST}/app:v1"]})
    looking = watch(world, cluster)

    async def work() -> None:
        real = cluster.gather

        async def slow() -> Gathering:
            world.time.monotonic += 50
            return await real()

        cluster.gather = slow  # type: ignore[method-assign]  # the same, later
        await looking.begin()
        world.time.monotonic += 49
        await looking.refresh()
        assert cluster.readings == 1
        world.time.monotonic += 1
        await looking.refresh()
        assert cluster.readings == 2

    asyncio.run(work())
