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
    @pytest.mark.parametrize("back", [[], ["by digest"], ["by digest", "old"], ["by digest", "old", "older"]])
    def test_is_finished_wherever_it_was_cut_short(self, pusher: Pusher, on: On, back: list[str]) -> None:
        pusher.push(REPOSITORY, OLD, "old", "older")

        async def work(field: Field) -> None:
            await field.clean()
            (entry,) = field.undoable()
            field.store.journal.mark(entry.id, State.RESTORING, field.now)
            for reference in back:
                reference = OLD.digest if reference == "by digest" else reference
                pusher.push_manifest(REPOSITORY, reference, OLD.body, OLD.media_type)
            assert await settled(field) == [State.RESTORED]
            again = await field.look()
            assert again.manifests[OLD.digest].first_seen == START + timedelta(days=1)
            assert {tag.first_seen for tag in again.tags.values()} == {START + timedelta(days=1)}

        on(work)
        same(pusher, OLD, "old", "older")

    def test_of_an_index_and_its_child(self, pusher: Pusher, on: On) -> None:
        child = build_image(seed="child")
        index = build_index([child])
        pusher.push(REPOSITORY, index, "old")

        async def work(field: Field) -> None:
            await field.clean()
            for entry in field.undoable():
                field.store.journal.mark(entry.id, State.RESTORING, field.now)
            assert await settled(field) == [State.RESTORED, State.RESTORED]

        on(work)
        same(pusher, index, "old")

    def test_leaves_a_tag_where_somebody_has_put_it_meanwhile(self, pusher: Pusher, on: On) -> None:
        pusher.push(REPOSITORY, OLD, "old")

        async def work(field: Field) -> None:
            await field.clean()
            (entry,) = field.undoable()
            field.store.journal.mark(entry.id, State.RESTORING, field.now)
            pusher.push(REPOSITORY, NEW, "old")
            assert await settled(field) == [State.RESTORED]

        on(work)
        same(pusher, NEW, "old")

    def test_of_what_the_registry_refuses_is_closed(self, pusher: Pusher, on: On) -> None:
        child = build_image(seed="child")
        index = build_index([child])
        pusher.push(REPOSITORY, index, "old")

        async def work(field: Field) -> None:
            await field.clean()
            entries = {entry.digest: entry for entry in field.undoable()}
            # Its child is not put back, so the registry does not take it.
            field.store.journal.mark(entries[index.digest].id, State.RESTORING, field.now)
            assert set(await settled(field)) == {State.DELETED}
            (refused,) = [entry for entry in field.undoable() if entry.digest == index.digest]
            assert refused.error is not None

        on(work)


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
