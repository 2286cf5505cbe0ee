"""What was seen, and when."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from sqlalchemy import update

from reaper.store import (
    ManifestRecord,
    RepositoryRecord,
    RepositorySummary,
    Store,
    TagRecord,
    open_store,
    tables,
)
from tests.store.helpers import AT, HOUR, REGISTRY, digest

A, B, C = digest("a"), digest("b"), digest("c")


def look(
    store: Store, at: datetime, tags: Mapping[str, str], *untagged: str, complete: bool = True
) -> RepositoryRecord:
    found = store.observations.record(REGISTRY, "team/app", at, tags, untagged, complete=complete)
    assert found == store.observations.load(REGISTRY, "team/app"), "what is returned is what is stored"
    return found


def test_an_unknown_repository_is_empty(store: Store) -> None:
    assert store.observations.load(REGISTRY, "team/app") == RepositoryRecord()


def test_the_first_complete_look(store: Store) -> None:
    assert look(store, AT, {"v1": A}, complete=False).inventoried_since is None
    assert look(store, AT + HOUR, {"v1": A, "v2": B}, C) == RepositoryRecord(
        inventoried_since=AT + HOUR,
        last_inventory=AT + HOUR,
        tags={"v1": TagRecord(A, AT, AT + HOUR), "v2": TagRecord(B, AT + HOUR, AT + HOUR)},
        manifests={
            A: ManifestRecord(AT, AT + HOUR),
            B: ManifestRecord(AT + HOUR, AT + HOUR),
            C: ManifestRecord(AT + HOUR, AT + HOUR, untagged_since=AT + HOUR),
        },
    )
    later = look(store, AT + 2 * HOUR, {})
    assert (later.inventoried_since, later.last_inventory) == (AT + HOUR, AT + 2 * HOUR)
    assert (later.tags, later.manifests) == ({}, {})


def test_a_tag_that_moves_starts_anew(store: Store) -> None:
    look(store, AT, {"v1": A, "v2": A})
    with store._database.writing() as connection:
        connection.execute(update(tables.tags).values(pushed_event=AT, pulled=AT))
        connection.execute(update(tables.repository_manifests).values(pushed_event=AT, pulled=AT))
    found = look(store, AT + HOUR, {"v1": B, "v2": A}, A)
    assert found.tags["v1"] == TagRecord(B, AT + HOUR, AT + HOUR)
    assert found.tags["v2"] == TagRecord(A, AT, AT + HOUR, pushed_event=AT, pulled=AT)
    assert found.manifests[A] == ManifestRecord(AT, AT + HOUR, None, AT, AT), "the manifest did not move"


def test_untagged_since_is_set_once_and_cleared(store: Store) -> None:
    look(store, AT, {"v1": A})
    assert look(store, AT + HOUR, {}, A).manifests[A].untagged_since == AT + HOUR
    assert look(store, AT + 2 * HOUR, {}, A).manifests[A].untagged_since == AT + HOUR
    assert look(store, AT + 3 * HOUR, {"v2": A}).manifests[A].untagged_since is None
    assert look(store, AT + 4 * HOUR, {}, A).manifests[A].untagged_since == AT + 4 * HOUR


def test_an_incomplete_look_removes_nothing_and_calls_nothing_untagged(store: Store) -> None:
    before = look(store, AT, {"v1": A, "v2": B}, C)
    found = look(store, AT + HOUR, {"v2": A}, complete=False)
    assert found.tags["v1"] == before.tags["v1"]
    assert found.tags["v2"] == TagRecord(A, AT + HOUR, AT + HOUR)
    assert found.manifests[B] == before.manifests[B], "v2 left it, but another tag may have come"
    assert found.manifests[C] == before.manifests[C]
    assert found.last_inventory == AT
    assert look(store, AT + 2 * HOUR, {"v3": C}, complete=False).manifests[C].untagged_since is None
    assert look(store, AT + 3 * HOUR, {}, complete=False).tags.keys() == {"v1", "v2", "v3"}


def test_what_was_deleted_is_forgotten(store: Store) -> None:
    look(store, AT, {"v1": A, "v2": A, "v3": B, "v4": C})
    store.observations.record(REGISTRY, "other", AT, {"v1": A}, [], complete=True)
    store.observations.forget_manifests(REGISTRY, "team/app", [A])
    store.observations.forget_tags(REGISTRY, "team/app", ["v3", "no such tag"])
    store.observations.forget_tags(REGISTRY, "no such repository", ["v3"])
    found = store.observations.load(REGISTRY, "team/app")
    assert found.tags.keys() == {"v4"}
    assert found.manifests.keys() == {B, C}
    assert found.manifests[B].untagged_since is None
    assert look(store, AT + HOUR, {"v4": C}, B).manifests[B].untagged_since == AT + HOUR
    assert store.observations.load(REGISTRY, "other").tags.keys() == {"v1"}
    assert store.observations.repositories(REGISTRY) == [
        RepositorySummary("other", AT, AT, AT, 1),
        RepositorySummary("team/app", AT, AT, AT + HOUR, 1),
    ]


def test_more_than_one_statement_holds(store: Store) -> None:
    tags = {f"v{number}": digest(number) for number in range(1203)}
    look(store, AT, tags)
    look(store, AT + HOUR, tags, complete=False)
    store.observations.forget_tags(REGISTRY, "team/app", list(tags)[:1101])
    assert len(look(store, AT + 2 * HOUR, {}, *tags.values(), complete=False).tags) == 102
    assert look(store, AT + 3 * HOUR, {}) == RepositoryRecord(AT, AT + 3 * HOUR)


def test_registries_are_apart(store: Store) -> None:
    look(store, AT, {"v1": A})
    assert store.observations.load("https://other", "team/app") == RepositoryRecord()
    assert store.observations.repositories("https://other") == []


NAMES = st.sampled_from(["v1", "v2", "v3", "latest"])
DIGESTS = st.sampled_from([A, B, C])
TAGS = st.dictionaries(NAMES, DIGESTS)


class ObservationsMachine(RuleBasedStateMachine):
    """The store against the words of its documentation, written as plainly as can be."""

    @initialize()
    def open(self) -> None:
        self.folder = TemporaryDirectory()
        self.store = open_store(f"sqlite:///{self.folder.name}/reaper.db")
        self.now = AT
        self.since: datetime | None = None
        self.last: datetime | None = None
        self.tags: dict[str, TagRecord] = {}
        self.manifests: dict[str, ManifestRecord] = {}

    @rule(tags=TAGS, others=st.sets(DIGESTS), complete=st.booleans())
    def record(self, tags: dict[str, str], others: set[str], complete: bool) -> None:
        self.now += timedelta(seconds=1)
        for name in set(self.tags) - set(tags) if complete else ():
            del self.tags[name]
        for name, value in tags.items():
            if name not in self.tags or self.tags[name].digest != value:
                self.tags[name] = TagRecord(value, self.now, self.now)
            self.tags[name] = replace(self.tags[name], last_seen=self.now)
        present = others | set(tags.values())
        for value in set(self.manifests) - present if complete else ():
            del self.manifests[value]
        for value in present:
            first = self.manifests[value].first_seen if value in self.manifests else self.now
            since = self.manifests[value].untagged_since if value in self.manifests else None
            if any(tag.digest == value for tag in self.tags.values()):
                since = None
            elif complete:
                since = since or self.now
            self.manifests[value] = ManifestRecord(first, self.now, since)
        if complete:
            self.since, self.last = self.since or self.now, self.now
        result = self.store.observations.record(REGISTRY, "app", self.now, tags, others, complete=complete)
        assert result == self.expected()

    @rule(values=st.sets(DIGESTS))
    def forget_manifests(self, values: set[str]) -> None:
        self.store.observations.forget_manifests(REGISTRY, "app", values)
        self.manifests = {value: entry for value, entry in self.manifests.items() if value not in values}
        self.tags = {name: tag for name, tag in self.tags.items() if tag.digest not in values}

    @rule(names=st.sets(NAMES))
    def forget_tags(self, names: set[str]) -> None:
        self.store.observations.forget_tags(REGISTRY, "app", names)
        self.tags = {name: tag for name, tag in self.tags.items() if name not in names}

    @invariant()
    def agrees(self) -> None:
        assert self.store.observations.load(REGISTRY, "app") == self.expected()
        for summary in self.store.observations.repositories(REGISTRY):
            assert summary.tag_count == len(self.tags)

    def expected(self) -> RepositoryRecord:
        return RepositoryRecord(self.since, self.last, self.tags, self.manifests)

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()
            self.folder.cleanup()


TestObservationsMachine: Any = ObservationsMachine.TestCase
TestObservationsMachine.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
