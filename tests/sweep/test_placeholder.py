"""Tags that are taken off by way of a placeholder, on a distribution 2.8 that cannot delete a tag alone."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from aiohttp import web

from devtools.images import Image, build_image, build_index
from devtools.pusher import Answer, Pusher
from devtools.registry import RegistryServer
from devtools.registry_config import RegistryOptions
from reaper.core.capabilities import NO, UNSAFE, YES, Name, Remembered
from reaper.core.plan import Action
from reaper.registry import DeletesDisabledError
from reaper.store import State
from reaper.store.capabilities import recall, remember
from reaper.sweep import Outcome, restore, settle
from reaper.sweep.placeholder import ARTIFACT_TYPE, PLACEHOLDER
from tests.registry.proxy import hang_up
from tests.sweep.conftest import REGISTRY, REPOSITORY, START, Field, On
from tests.sweep.test_restore import same

pytestmark = pytest.mark.integration

NEW, OTHER = build_image(seed="new"), build_image(seed="other")
INDEX = build_index([NEW, OTHER])


def knows(field: Field, value: str) -> None:
    remember(field.store.observations, REGISTRY, Name.UNTAG, Remembered(value, START))


def found(field: Field) -> str | None:
    known = recall(field.store.observations, REGISTRY, Name.UNTAG)
    return None if known is None else known.value


async def nothing(*_: object) -> None:
    return None


async def start_again(field: Field) -> None:
    """Do what the next start does with a journal that is open."""
    await settle(field.client, field.store, registry=REGISTRY, clock=field.clock, may_write=lambda: None)
    assert field.store.journal.pending(REGISTRY) == []


@pytest.mark.parametrize("known", [None, NO, UNSAFE])
@pytest.mark.parametrize("image", [NEW, INDEX], ids=["image", "index"])
def test_a_tag_goes_and_its_manifest_stays(pusher: Pusher, on: On, known: str | None, image: Image) -> None:
    pusher.push(REPOSITORY, image, "keep", "alias", "other")

    async def work(field: Field) -> None:
        if known is not None:
            knows(field, known)
        plan = await field.plan(can_untag=True, placeholder=True)
        results = await field.sweep(plan)
        assert [(r.step.action, r.step.tags, r.outcome) for r in results] == [
            (Action.UNTAG, ("alias",), Outcome.DONE),
            (Action.UNTAG, ("other",), Outcome.DONE),
        ]
        assert field.states() == [State.DELETED, State.DELETED]
        entries = field.journal()
        assert {entry.digest for entry in entries} == {image.digest}
        placeholders = [entry.plan[PLACEHOLDER] for entry in entries]
        assert len(set(placeholders)) == 2
        # The tag alone was tried where it was not known, and only once.
        tried = [("DELETE", "alias")] if known is None else []
        assert field.sent("DELETE") == [*tried, *(("DELETE", digest) for digest in placeholders)]
        assert found(field) == (known or NO)
        assert all(pusher.get_manifest(REPOSITORY, digest) is None for digest in placeholders)
        assert pusher.tags(REPOSITORY) == ["keep"]
        assert set(field.store.observations.load(REGISTRY, REPOSITORY).tags) == {"keep"}
        # And back.
        results_ = await restore(field.client, field.store, field.undoable(), clock=field.clock)
        assert all(result.restored for result in results_)

    on(work)
    for tag in ("keep", "alias", "other"):
        same(pusher, image, tag)


def test_a_registry_that_can_delete_a_tag_alone_gets_no_placeholder(pusher: Pusher, on: On) -> None:
    pusher.push(REPOSITORY, NEW, "keep", "alias")

    async def work(field: Field) -> None:
        knows(field, YES)

        def delete_alone(request: web.Request) -> web.StreamResponse:
            field.delete_tag_folder(request.path.rpartition("/")[2])
            return web.Response(status=202)

        field.at("DELETE", delete_alone)
        (result,) = await field.sweep(await field.plan(can_untag=True, placeholder=True))
        assert result.outcome is Outcome.DONE
        assert field.sent("PUT", "POST") == []

    on(work)
    assert pusher.tags(REPOSITORY) == ["keep"]


def test_the_placeholder_says_what_it_is_for(pusher: Pusher, on: On) -> None:
    pusher.push(REPOSITORY, NEW, "keep", "alias")

    async def work(field: Field) -> None:
        knows(field, NO)
        seen: list[dict[str, object]] = []

        def look(_request: web.Request) -> None:
            held = pusher.get_manifest(REPOSITORY, "alias")
            assert held is not None
            (entry,) = field.journal("the-run")
            assert held.digest == entry.plan[PLACEHOLDER]
            seen.append(json.loads(held.body))

        field.at("DELETE", look)
        await field.sweep(await field.plan(can_untag=True, placeholder=True), run="the-run")
        (document,) = seen
        assert document["artifactType"] == ARTIFACT_TYPE
        annotations = document["annotations"]
        assert isinstance(annotations, dict)
        assert annotations["reaper.run"] == "the-run"
        assert annotations["reaper.tag"] == "alias"
        assert annotations["reaper.digest"] == NEW.digest

    on(work)


def test_a_tag_that_moved_stays(pusher: Pusher, on: On) -> None:
    pusher.push(REPOSITORY, NEW, "keep", "alias")

    async def work(field: Field) -> None:
        knows(field, NO)
        plan = await field.plan(can_untag=True, placeholder=True)
        pusher.push(REPOSITORY, OTHER, "alias")
        (result,) = await field.sweep(plan)
        assert result.outcome is Outcome.CANCELLED
        assert ("PUT", "alias") not in field.sent("PUT")
        assert field.states() == [State.CANCELLED]

    on(work)
    same(pusher, OTHER, "alias")


PUSHED_BACK = "tag alias has been pushed again meanwhile"


@pytest.mark.parametrize(("image", "outcome"), [(OTHER, Outcome.DONE), (NEW, Outcome.CANCELLED)])
def test_a_push_between_the_placeholder_and_its_delete_stays(
    pusher: Pusher, on: On, image: Image, outcome: Outcome
) -> None:
    pusher.push(REPOSITORY, NEW, "keep", "alias")

    async def work(field: Field) -> None:
        knows(field, NO)
        plan = await field.plan(can_untag=True, placeholder=True)

        async def before(request: web.Request) -> None:
            if request.method == "DELETE":
                await asyncio.to_thread(pusher.push, REPOSITORY, image, "alias")

        field.proxy.before = before
        (result,) = await field.sweep(plan)
        assert result.outcome is outcome
        assert (result.detail == PUSHED_BACK) == (outcome is Outcome.CANCELLED)

    on(work)
    same(pusher, image, "alias")
    same(pusher, NEW, "keep")


def test_a_push_at_any_moment_is_lost_only_between_the_look_and_the_placeholder(
    pusher: Pusher, on: On
) -> None:
    """And then, what was pushed is still there by its digest."""

    async def work(field: Field) -> None:
        knows(field, NO)
        lost = []
        total = 100
        at = 0
        while at < total:
            at += 1
            pusher.push(REPOSITORY, NEW, "keep", "alias")
            plan = await field.plan(can_untag=True, placeholder=True)
            sent: list[tuple[str, str]] = []

            async def before(request: web.Request, at: int = at, sent: list[tuple[str, str]] = sent) -> None:
                sent.append((request.method, request.path.rpartition("/")[2]))
                if len(sent) == at:
                    await asyncio.to_thread(pusher.push, REPOSITORY, OTHER, "alias")

            field.proxy.before = before
            await field.sweep(plan, run=f"run-{at}")
            total = len(sent) + 1 if len(sent) < at else total
            same(pusher, NEW, "keep")
            if at > len(sent):
                pusher.push(REPOSITORY, OTHER, "alias")
            held = pusher.get_manifest(REPOSITORY, "alias")
            if held is None:
                assert sent[at - 1] == ("PUT", "alias"), (at, sent)
                assert pusher.get_manifest(REPOSITORY, OTHER.digest) is not None
                lost.append(at)
            else:
                assert held.digest == OTHER.digest, (at, sent)
        assert len(lost) == 1

    on(work)


class Ending:
    """Ends a sweep before the request of this number, or after it was carried out."""

    def __init__(self, sweep: asyncio.Future[Any], number: int, *, after: bool) -> None:
        self._sweep = sweep
        self._number = number
        self._after = after
        self._sent = 0

    async def before_request(self, request: web.Request) -> web.StreamResponse | None:
        self._sent += 1
        return None if self._after else self._end(request)

    async def after_request(self, request: web.Request, _answer: Answer) -> web.StreamResponse | None:
        return self._end(request) if self._after else None

    def _end(self, request: web.Request) -> web.StreamResponse | None:
        if self._sent != self._number:
            return None
        self._sweep.cancel()
        return hang_up(request)


@pytest.mark.parametrize("cut", ["before", "after"])
def test_a_sweep_that_ends_at_any_moment_is_finished_by_the_next_start(
    pusher: Pusher, on: On, cut: str
) -> None:
    async def work(field: Field) -> None:
        knows(field, NO)
        at, finished, states = 0, False, set()
        while not finished:
            at += 1
            pusher.push(REPOSITORY, NEW, "keep", "alias")
            plan = await field.plan(can_untag=True, placeholder=True)
            sweep = asyncio.ensure_future(field.sweep(plan, run=f"run-{at}"))
            ending = Ending(sweep, at, after=cut == "after")
            field.proxy.before, field.proxy.after = ending.before_request, ending.after_request
            (ended,) = await asyncio.gather(sweep, return_exceptions=True)
            finished = not isinstance(ended, asyncio.CancelledError)
            field.proxy.before, field.proxy.after = nothing, nothing
            await start_again(field)
            entries = field.journal(f"run-{at}")
            for entry in entries:
                states.add(entry.state)
                assert pusher.get_manifest(REPOSITORY, entry.plan[PLACEHOLDER]) is None
                there = "alias" in pusher.tags(REPOSITORY)
                assert there == (entry.state is State.CANCELLED), (at, entry.state)
            same(pusher, NEW, "keep")
            if "alias" in pusher.tags(REPOSITORY):
                same(pusher, NEW, "alias")
            else:
                undoable = field.store.journal.undoable(REGISTRY, run_id=f"run-{at}")
                await restore(field.client, field.store, undoable, clock=field.clock)
                same(pusher, NEW, "alias")
        assert states == {State.CANCELLED, State.DELETED}

    on(work)


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_an_answer_that_is_lost_is_looked_up(pusher: Pusher, on: On, method: str) -> None:
    pusher.push(REPOSITORY, NEW, "keep", "alias")

    async def work(field: Field) -> None:
        knows(field, NO)
        plan = await field.plan(can_untag=True, placeholder=True)
        left = [1]

        async def after(request: web.Request, answer: Answer) -> web.StreamResponse | None:
            del answer
            if request.method == method and "/manifests/" in request.path and left[0]:
                left[0] -= 1
                return hang_up(request)
            return None

        field.proxy.after = after
        (result,) = await field.sweep(plan)
        assert result.outcome is Outcome.DONE
        assert field.states() == [State.DELETED]
        assert len([last for _, last in field.sent("PUT") if last == "alias"]) == 1

    on(work)
    assert pusher.tags(REPOSITORY) == ["keep"]


def test_a_placeholder_that_cannot_be_deleted_gives_the_tag_back(
    server: RegistryServer, pusher: Pusher, on: On
) -> None:
    pusher.push(REPOSITORY, NEW, "keep", "alias")
    server.stop()
    server.options = RegistryOptions(delete_enabled=False)
    server.start()

    async def work(field: Field) -> None:
        knows(field, NO)
        with pytest.raises(DeletesDisabledError):
            await field.sweep(await field.plan(can_untag=True, placeholder=True))
        assert field.states() == [State.CANCELLED]

    on(work)
    same(pusher, NEW, "alias")
    same(pusher, NEW, "keep")


def test_a_placeholder_that_is_said_to_be_absent_gives_the_tag_back(pusher: Pusher, on: On) -> None:
    pusher.push(REPOSITORY, NEW, "keep", "alias")

    async def work(field: Field) -> None:
        knows(field, NO)
        plan = await field.plan(can_untag=True, placeholder=True)
        field.at("DELETE", lambda _: web.Response(status=404), times=9)
        with pytest.raises(DeletesDisabledError):
            await field.sweep(plan)
        assert field.states() == [State.CANCELLED]

    on(work)
    same(pusher, NEW, "alias")
    same(pusher, NEW, "keep")


def test_an_open_placeholder_gives_the_tag_back_where_nothing_can_be_deleted_any_more(
    server: RegistryServer, pusher: Pusher, on: On
) -> None:
    pusher.push(REPOSITORY, NEW, "keep", "alias")

    async def interrupted(field: Field) -> None:
        knows(field, NO)
        plan = await field.plan(can_untag=True, placeholder=True)
        field.at("DELETE", lambda _: web.Response(status=500), times=9)
        (result,) = await field.sweep(plan)
        assert result.outcome is Outcome.FAILED
        assert field.states() == [State.PENDING]

    on(interrupted)
    server.stop()
    server.options = RegistryOptions(delete_enabled=False)
    server.start()

    async def next_start(field: Field) -> None:
        await start_again(field)
        assert field.states() == [State.CANCELLED]

    on(next_start)
    same(pusher, NEW, "alias")
