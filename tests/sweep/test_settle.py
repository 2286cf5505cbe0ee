"""What the next start makes of a journal that a crash left open, whatever the crash interrupted."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from aiohttp import web

from devtools.images import build_image, build_index
from devtools.pusher import Pusher
from reaper.registry import UnreachableError
from reaper.store import Action, State
from reaper.sweep import restore, settle
from tests.registry.proxy import hang_up
from tests.sweep.conftest import REGISTRY, REPOSITORY, START, Field, On
from tests.sweep.test_restore import same, written

pytestmark = pytest.mark.integration

OLD, NEW = build_image(seed="old"), build_image(seed="new")


async def settled(field: Field) -> list[State]:
    """Settle, and return what the entries are by then."""
    await settle(field.client, field.store, registry=REGISTRY, clock=field.clock, may_write=lambda: None)
    assert field.store.journal.pending(REGISTRY) == field.store.journal.restoring(REGISTRY) == []
    return field.states()


class TestDelete:
    def test_that_never_left(self, pusher: Pusher, on: On) -> None:
        pusher.push(REPOSITORY, OLD, "old")

        async def work(field: Field) -> None:
            field.store.journal.begin(written(field, OLD, ("old",), "run"))
            assert await settled(field) == [State.CANCELLED]
            assert field.journal()[0].error == "settled after an interruption: it is still there"

        on(work)

    def test_that_arrived_and_whose_answer_did_not(self, pusher: Pusher, on: On) -> None:
        pusher.push(REPOSITORY, OLD, "old")

        async def work(field: Field) -> None:
            field.store.journal.begin(written(field, OLD, ("old",), "run"))
            pusher.delete(REPOSITORY, OLD.digest)
            field.now += timedelta(days=3)
            assert await settled(field) == [State.DELETED]
            (entry,) = field.undoable()
            assert entry.deleted_at == field.now
            await restore(field.client, field.store, [entry], clock=field.clock)

        on(work)
        same(pusher, OLD, "old")

    @pytest.mark.parametrize(("gone", "state"), [(True, State.DELETED), (False, State.CANCELLED)])
    def test_of_a_tag_alone(self, pusher: Pusher, on: On, gone: bool, state: State) -> None:
        pusher.push(REPOSITORY, NEW, "keep", "alias")

        async def work(field: Field) -> None:
            field.store.journal.begin(replace(written(field, NEW, ("alias",), "run"), action=Action.UNTAG))
            if gone:
                field.delete_tag_folder("alias")
            assert await settled(field) == [state]

        on(work)


class TestRestore:
    @pytest.mark.parametrize(
        ("back", "state"),
        [
            ([], State.DELETED),
            (["by digest"], State.DELETED),
            (["by digest", "old"], State.DELETED),
            (["by digest", "old", "older"], State.RESTORED),
        ],
    )
    def test_is_done_when_its_last_tag_is_back(
        self, pusher: Pusher, on: On, back: list[str], state: State
    ) -> None:
        pusher.push(REPOSITORY, OLD, "old", "older")

        async def work(field: Field) -> None:
            await field.clean()
            (entry,) = field.undoable()
            field.store.journal.mark(entry.id, State.RESTORING, field.now)
            for reference in back:
                reference = OLD.digest if reference == "by digest" else reference
                pusher.push_manifest(REPOSITORY, reference, OLD.body, OLD.media_type)
            assert await settled(field) == [state]
            if state is State.DELETED:
                await restore(field.client, field.store, field.undoable(), clock=field.clock)
            again = await field.look()
            assert again.manifests[OLD.digest].first_seen == START + timedelta(days=1)
            assert {tag.first_seen for tag in again.tags.values()} == {START + timedelta(days=1)}

        on(work)
        same(pusher, OLD, "old", "older")

    def test_of_an_index_whose_child_was_back_already(self, pusher: Pusher, on: On) -> None:
        child = build_image(seed="child")
        index = build_index([child])
        pusher.push(REPOSITORY, index, "old")

        async def work(field: Field) -> None:
            await field.clean()
            for entry in field.undoable():
                field.store.journal.mark(entry.id, State.RESTORING, field.now)
            pusher.push(REPOSITORY, child)
            assert await settled(field) == [State.DELETED, State.RESTORED]
            await restore(field.client, field.store, field.undoable(), clock=field.clock)

        on(work)
        same(pusher, index, "old")


def test_a_registry_that_does_not_answer_settles_nothing(pusher: Pusher, on: On) -> None:
    pusher.push(REPOSITORY, OLD, "old")

    async def work(field: Field) -> None:
        field.store.journal.begin(written(field, OLD, ("old",), "run"))

        async def no_answer(request: web.Request) -> web.StreamResponse:
            return hang_up(request)

        field.proxy.before = no_answer
        with pytest.raises(UnreachableError):
            await settled(field)
        assert field.states() == [State.PENDING]

    on(work)


def test_a_second_settling_finds_nothing_to_do(pusher: Pusher, on: On) -> None:
    pusher.push(REPOSITORY, OLD, "old")

    async def work(field: Field) -> None:
        field.store.journal.begin(written(field, OLD, ("old",), "run"))
        assert (
            len(
                await settle(
                    field.client, field.store, registry=REGISTRY, clock=field.clock, may_write=lambda: None
                )
            )
            == 1
        )
        assert (
            await settle(
                field.client, field.store, registry=REGISTRY, clock=field.clock, may_write=lambda: None
            )
            == []
        )
        await field.clean()
        assert (
            await settle(
                field.client, field.store, registry=REGISTRY, clock=field.clock, may_write=lambda: None
            )
            == []
        )

    on(work)
