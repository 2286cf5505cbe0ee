"""Sweeps of a real registry: what is written down first, looked at again, sent, and undone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from aiohttp import web

from devtools.images import OCI_INDEX, Image, build_image, build_index, build_referrer, signature_tag
from devtools.pusher import Pusher
from reaper.core.capabilities import UNSAFE, Name
from reaper.core.plan import Action
from reaper.core.reference import is_digest
from reaper.registry import DeletesDisabledError, ReadOnlyRegistryError
from reaper.store import Action as JournalAction
from reaper.store import State, StoreError, open_store
from reaper.store.capabilities import recall
from reaper.sweep import Outcome, StepResult, settle, with_parts
from tests.registry.proxy import hang_up
from tests.sweep.conftest import REGISTRY, REPOSITORY, Field, On

pytestmark = pytest.mark.integration

OLD, NEW = build_image(seed="old"), build_image(seed="new")


def outcomes(results: list[StepResult]) -> dict[str, Outcome]:
    return {result.step.digest: result.outcome for result in results}


def push_two(pusher: Pusher) -> None:
    """Push an image that a plan deletes with its two tags, and one that it keeps."""
    pusher.push(REPOSITORY, OLD, "old", "older")
    pusher.push(REPOSITORY, NEW, "keep")


def delete(pusher: Pusher, image: Image) -> None:
    """Delete an image behind reaper's back."""
    assert pusher.delete(REPOSITORY, image.digest)


class TestOrder:
    def test_parents_and_subjects_go_first(self, pusher: Pusher, on: On) -> None:
        shared, own = build_image(seed="shared"), build_image(seed="own")
        inner = build_index([own, shared])
        outer = build_index([inner])
        pusher.push(REPOSITORY, outer, "old")
        pusher.push(REPOSITORY, build_index([shared]), "keep")
        signature = pusher.push_signature(REPOSITORY, outer)
        sbom = build_referrer(outer)
        listing = pusher.get_manifest(REPOSITORY, pusher.push_referrer(REPOSITORY, sbom))
        assert listing is not None

        async def work(field: Field) -> None:
            results = await field.clean()
            assert set(outcomes(results).values()) == {Outcome.DONE}
            order = [digest for _, digest in field.sent("DELETE")]
            assert order[0] == outer.digest
            assert set(order[1:]) == {inner.digest, own.digest, signature.digest, sbom.digest, listing.digest}
            assert order.index(inner.digest) < order.index(own.digest)
            assert order.index(listing.digest) < order.index(sbom.digest)

        on(work)
        pusher.pull(REPOSITORY, "keep")
        assert pusher.tags(REPOSITORY) == ["keep"]

    def test_what_depends_on_a_step_that_is_not_done_is_not_done(self, pusher: Pusher, on: On) -> None:
        child = build_image(seed="child")
        index = build_index([child])
        pusher.push(REPOSITORY, index, "old")
        pusher.push_signature(REPOSITORY, index)
        pusher.push(REPOSITORY, OLD, "independent")

        async def work(field: Field) -> None:
            plan = await field.plan()
            pusher.push(REPOSITORY, index, "keep")
            results = await field.sweep(plan)
            assert {digest for digest, outcome in outcomes(results).items() if outcome is Outcome.DONE} == {
                OLD.digest
            }
            held = [result.detail for result in results if result.detail == f"{index.digest} stays"]
            assert len(held) == 2

        on(work)
        pusher.pull(REPOSITORY, "old")
        assert pusher.tags(REPOSITORY) == ["keep", "old", signature_tag(index)]


class TestJournal:
    def test_the_entry_is_on_the_disk_before_the_delete_leaves(
        self, pusher: Pusher, on: On, store_url: str
    ) -> None:
        """The registry's side looks: at each DELETE, another connection sees all that an undo needs."""
        docker = build_image(seed="docker", media="docker")
        pusher.push(REPOSITORY, OLD, "old", "older")
        pusher.push(REPOSITORY, docker, "docker")
        seen: list[str] = []

        def check(request: web.Request) -> None:
            digest = request.path.rpartition("/")[2]
            image = next(image for image in (OLD, docker) if image.digest == digest)
            with open_store(store_url, read_only=True) as store:
                (entry,) = store.journal.pending(REGISTRY)
            assert (entry.digest, entry.repository, entry.run_id) == (digest, REPOSITORY, "run")
            assert entry.action is JournalAction.DELETE
            assert (entry.content, entry.media_type) == (image.body, image.media_type)
            assert entry.tags == (("old", "older") if image is OLD else ("docker",))
            assert entry.reason
            seen.append(digest)

        async def work(field: Field) -> None:
            field.at("DELETE", check, times=2)
            await field.clean()
            assert sorted(seen) == sorted([OLD.digest, docker.digest])
            assert field.states() == [State.DELETED, State.DELETED]

        on(work)

    def test_everything_is_looked_at_after_it_is_written_down(self, pusher: Pusher, on: On) -> None:
        """Writing waits for the disk, and nothing may be waited for between the look and the DELETE."""
        push_two(pusher)
        pending: list[bool] = []

        async def work(field: Field) -> None:
            async def before(request: web.Request) -> None:
                if request.path.endswith(("/tags/list", "/manifests/keep")):
                    pending.append(bool(field.store.journal.pending(REGISTRY)))

            plan = await field.plan()
            field.proxy.before = before
            await field.sweep(plan)
            sent = field.sent("GET", "HEAD", "DELETE")
            delete = sent.index(("DELETE", OLD.digest))
            look = sent.index(("GET", "list"))
            # The listing comes as late as can be: only what it lists anew, and the digest's own tags, follow.
            assert sent.index(("HEAD", "keep")) < look
            assert {("HEAD", "old"), ("HEAD", "older")} <= set(sent[look:delete])
            assert pending == [True, True, False, False, False]

        on(work)

    def test_without_the_right_to_write_nothing_is_sent(self, pusher: Pusher, on: On) -> None:
        push_two(pusher)

        def lost() -> None:
            raise StoreError("the lock was lost")

        async def work(field: Field) -> None:
            with pytest.raises(StoreError, match="the lock was lost"):
                await field.sweep(await field.plan(), may_write=lost)
            assert field.sent("DELETE", "PUT") == []

        on(work)


def move_its_tag(pusher: Pusher, _image: Image) -> str:
    pusher.push(REPOSITORY, NEW, "old")
    return "tag old has moved"


def delete_its_tag(pusher: Pusher, image: Image) -> str:
    pusher.delete(REPOSITORY, image.digest)
    pusher.push(REPOSITORY, image, "old")
    return "tag older has moved or is gone"


def add_a_tag(pusher: Pusher, image: Image) -> str:
    pusher.push(REPOSITORY, image, "keep-this")
    return "tag keep-this has been put on it"


def move_another_tag_onto_it(pusher: Pusher, image: Image) -> str:
    pusher.push(REPOSITORY, image, "keep")
    return "tag keep has been put on it"


def sign_it(pusher: Pusher, image: Image) -> str:
    pusher.push_signature(REPOSITORY, image)
    return f"referrer {signature_tag(image)} has been attached"


def attach_to_it(pusher: Pusher, image: Image) -> str:
    pusher.push(REPOSITORY, build_referrer(image), "sbom")
    return "tag sbom has come to need it"


def add_a_parent(pusher: Pusher, image: Image) -> str:
    pusher.push(REPOSITORY, build_index([build_index([image, NEW])]), "keep-both")
    return "tag keep-both has come to need it"


def move_a_tag_to_a_parent(pusher: Pusher, image: Image) -> str:
    pusher.push(REPOSITORY, build_index([image]), "keep")
    return "tag keep has come to need it"


class TestRecheck:
    @pytest.mark.parametrize(
        "change",
        [
            move_its_tag,
            delete_its_tag,
            add_a_tag,
            move_another_tag_onto_it,
            sign_it,
            attach_to_it,
            add_a_parent,
            move_a_tag_to_a_parent,
        ],
    )
    def test_what_changed_since_the_plan_cancels_the_delete(
        self, pusher: Pusher, on: On, change: Callable[[Pusher, Image], str]
    ) -> None:
        push_two(pusher)

        async def work(field: Field) -> None:
            plan = await field.plan()
            why = change(pusher, OLD)
            (result,) = await field.sweep(plan)
            assert result.outcome is Outcome.CANCELLED
            assert why in result.detail
            assert field.sent("DELETE", "PUT") == []
            (entry,) = field.journal()
            assert entry.state is State.CANCELLED
            assert entry.error == result.detail

        on(work)
        assert pusher.get_manifest(REPOSITORY, OLD.digest) is not None

    def test_so_does_a_referrer_that_only_the_api_lists(self, pusher: Pusher, on: On) -> None:
        push_two(pusher)
        sbom, late = build_referrer(OLD), build_referrer(OLD, content=b"late")
        pusher.push(REPOSITORY, sbom)
        listed = [sbom]

        async def referrers(request: web.Request) -> web.StreamResponse | None:
            if "/referrers/" not in request.path:
                return None
            found = listed if request.path.endswith(OLD.digest) else []
            return web.Response(body=build_index(found).body, content_type=OCI_INDEX)

        async def work(field: Field) -> None:
            field.proxy.before = referrers
            pusher.push(REPOSITORY, sbom, "sbom")  # So that the plan knows it.
            plan = await field.plan()
            pusher.push(REPOSITORY, late)
            listed.append(late)
            (first, second) = await field.sweep(plan)
            assert first.detail == f"referrer {late.digest} has been attached since the plan was made"
            assert second.outcome is Outcome.CANCELLED
            listed.remove(late)
            assert set(outcomes(await field.clean(run="again")).values()) == {Outcome.DONE}

        on(work)

    def test_what_cannot_be_looked_at_is_not_deleted(self, pusher: Pusher, on: On) -> None:
        push_two(pusher)

        async def work(field: Field) -> None:
            plan = await field.plan()

            async def fail(request: web.Request) -> web.StreamResponse | None:
                return web.Response(status=500) if request.path.endswith("/manifests/keep") else None

            field.proxy.before = fail
            (result,) = await field.sweep(plan)
            assert result.outcome is Outcome.FAILED
            assert field.sent("DELETE") == []
            assert field.states() == [State.CANCELLED]

        on(work)

    def test_a_manifest_that_is_gone_already_is_no_failure(self, pusher: Pusher, on: On) -> None:
        push_two(pusher)

        async def work(field: Field) -> None:
            plan = await field.plan()
            pusher.delete(REPOSITORY, OLD.digest)
            (result,) = await field.sweep(plan)
            assert result.outcome is Outcome.ABSENT
            assert field.journal() == []
            pusher.push(REPOSITORY, OLD, "old", "older")
            field.at("DELETE", lambda _: delete(pusher, OLD))
            (result,) = await field.sweep(plan)
            assert result.outcome is Outcome.ABSENT
            # Somebody else deleted it, so it is not for a restore of this run to bring back.
            assert field.states() == [State.CANCELLED]

        on(work)

    def test_a_registry_that_says_not_found_of_what_it_has_has_deleted_nothing(
        self, pusher: Pusher, on: On
    ) -> None:
        push_two(pusher)

        async def work(field: Field) -> None:
            plan = await field.plan()
            field.at("DELETE", lambda _: web.Response(status=404), times=9)
            (result,) = await field.sweep(plan)
            assert (result.outcome, "answers 404, and has it" in result.detail) == (Outcome.FAILED, True)
            assert field.states() == [State.CANCELLED]
            assert len(field.sent("DELETE")) == 1

        on(work)
        pusher.pull(REPOSITORY, "old")


class TestMeanwhile:
    """Between the last look and the DELETE: no registry can make a delete depend on what was seen."""

    def test_a_tag_that_is_moved_onto_it_comes_back_and_brings_all_with_it(
        self, pusher: Pusher, on: On
    ) -> None:
        push_two(pusher)

        def move(_request: web.Request) -> None:
            pusher.push_manifest(REPOSITORY, "keep", OLD.body, OLD.media_type)

        async def work(field: Field) -> None:
            plan = await field.plan()
            field.at("DELETE", move)
            (result,) = await field.sweep(plan)
            assert result.outcome is Outcome.CANCELLED
            assert "tag keep was put on it during the delete" in result.detail
            assert result.put_back == ("keep",)
            assert field.states() == [State.RESTORED]

        on(work)
        assert pusher.tags(REPOSITORY) == ["keep", "old", "older"]
        assert pusher.pull(REPOSITORY, "keep") == OLD

    def test_an_index_that_comes_to_need_it_brings_it_back(self, pusher: Pusher, on: On) -> None:
        push_two(pusher)
        index = build_index([OLD, NEW])

        async def work(field: Field) -> None:
            plan = await field.plan()

            def push_index(_request: web.Request) -> None:
                pusher.push(REPOSITORY, index, "keep-both")

            field.at("DELETE", push_index)
            (result,) = await field.sweep(plan)
            assert result.outcome is Outcome.CANCELLED
            assert "tag keep-both came to need it during the delete" in result.detail

        on(work)
        assert pusher.tags(REPOSITORY) == ["keep", "keep-both", "old", "older"]
        assert pusher.pull(REPOSITORY, "keep-both") == index

    def test_what_somebody_else_deletes_stays_deleted(self, pusher: Pusher, on: On) -> None:
        push_two(pusher)

        async def work(field: Field) -> None:
            plan = await field.plan()
            field.at("DELETE", lambda _: delete(pusher, NEW))
            (result,) = await field.sweep(plan)
            assert result.outcome is Outcome.DONE
            assert field.sent("PUT") == []

        on(work)
        assert pusher.tags(REPOSITORY) == []

    def test_what_came_of_it_that_cannot_be_looked_at_is_a_failure_that_says_so(
        self, pusher: Pusher, on: On
    ) -> None:
        push_two(pusher)

        async def work(field: Field) -> None:
            plan = await field.plan()

            async def fail(request: web.Request) -> web.StreamResponse | None:
                deleted = ("DELETE", OLD.digest) in field.sent("DELETE")
                return web.Response(status=403) if deleted and request.method == "GET" else None

            field.proxy.before = fail
            (result,) = await field.sweep(plan)
            assert result.outcome is Outcome.FAILED
            assert "it was deleted, but what came of it could not be looked up" in result.detail
            assert field.states() == [State.DELETED]

        on(work)


class TestAnswers:
    """What the registry says to a DELETE, or does not say."""

    def test_deletes_that_are_disabled_name_the_setting(self, pusher: Pusher, on: On) -> None:
        push_two(pusher)

        async def work(field: Field) -> None:
            plan = await field.plan()
            field.server.restart(delete_enabled=False)
            with pytest.raises(DeletesDisabledError) as caught:
                await field.sweep(plan)
            assert caught.value.hint is not None
            assert "REGISTRY_STORAGE_DELETE_ENABLED" in caught.value.hint
            assert "storage.delete.enabled" in caught.value.hint
            assert field.states() == [State.CANCELLED]

        on(work)

    def test_a_registry_in_read_only_mode_ends_the_sweep(self, pusher: Pusher, on: On) -> None:
        push_two(pusher)

        async def work(field: Field) -> None:
            plan = await field.plan()
            field.server.restart(readonly=True)
            with pytest.raises(ReadOnlyRegistryError):
                await field.sweep(plan)
            assert field.states() == [State.CANCELLED]

        on(work)
        assert pusher.pull(REPOSITORY, "old") == OLD

    def test_an_answer_that_is_lost_is_asked_for(self, pusher: Pusher, on: On) -> None:
        push_two(pusher)

        async def work(field: Field) -> None:
            plan = await field.plan()

            async def lose(request: web.Request, _answer: object) -> web.StreamResponse | None:
                return hang_up(request) if request.method == "DELETE" else None

            field.proxy.after = lose
            (result,) = await field.sweep(plan)
            assert result.outcome is Outcome.DONE
            assert field.sent("DELETE") == [("DELETE", OLD.digest)]
            assert field.states() == [State.DELETED]

        on(work)
        assert pusher.tags(REPOSITORY) == ["keep"]

    @pytest.mark.parametrize("status", [None, 400, 429, 503])
    def test_a_delete_is_sent_again_only_after_another_look(
        self, pusher: Pusher, on: On, status: int | None
    ) -> None:
        push_two(pusher)

        def refuse(request: web.Request) -> web.StreamResponse:
            pusher.push_manifest(REPOSITORY, "keep-late", NEW.body, NEW.media_type)
            return hang_up(request) if status is None else web.Response(status=status)

        async def work(field: Field) -> None:
            plan = await field.plan()
            field.at("DELETE", refuse)
            (result,) = await field.sweep(plan)
            assert result.outcome is Outcome.DONE
            sent = field.sent("GET", "HEAD", "DELETE")
            first, second = (n for n, request in enumerate(sent) if request[0] == "DELETE")
            assert {("GET", "list"), ("HEAD", "old"), ("HEAD", "keep-late")} <= set(sent[first:second])

        on(work)

    def test_a_tag_that_moves_between_two_attempts_cancels(self, pusher: Pusher, on: On) -> None:
        push_two(pusher)

        def refuse(_request: web.Request) -> web.StreamResponse:
            pusher.push_manifest(REPOSITORY, "keep-it", OLD.body, OLD.media_type)
            return web.Response(status=429)

        async def work(field: Field) -> None:
            plan = await field.plan()
            field.at("DELETE", refuse)
            (result,) = await field.sweep(plan)
            assert result.outcome is Outcome.CANCELLED
            assert len(field.sent("DELETE")) == 1
            assert field.states() == [State.CANCELLED]

        on(work)
        assert pusher.pull(REPOSITORY, "keep-it") == OLD

    def test_a_delete_whose_fate_is_not_known_stays_open_until_it_is_settled(
        self, pusher: Pusher, on: On
    ) -> None:
        """A request may still arrive after its sender has given up."""
        push_two(pusher)

        async def work(field: Field) -> None:
            plan = await field.plan()
            field.at("DELETE", lambda _: web.Response(status=502), times=9)
            (result,) = await field.sweep(plan)
            assert result.outcome is Outcome.FAILED
            assert len(field.sent("DELETE")) == 3
            assert field.states() == [State.PENDING]
            await settle(
                field.client, field.store, registry=REGISTRY, clock=field.clock, may_write=lambda: None
            )
            assert field.states() == [State.CANCELLED]

        on(work)

    def test_a_refusal_is_final(self, pusher: Pusher, on: On) -> None:
        push_two(pusher)

        async def work(field: Field) -> None:
            plan = await field.plan()
            field.at("DELETE", lambda _: web.Response(status=403), times=9)
            (result,) = await field.sweep(plan)
            assert result.outcome is Outcome.FAILED
            assert "access is denied (403)" in result.detail
            assert len(field.sent("DELETE")) == 1
            assert field.states() == [State.CANCELLED]

        on(work)


class TestInterrupted:
    """A sweep that ends between two steps leaves parts without a tag and without a parent."""

    def test_the_next_run_deletes_what_was_left_over(self, pusher: Pusher, on: On) -> None:
        child = build_image(seed="child")
        index = build_index([child])
        pusher.push(REPOSITORY, index, "old")
        signature = pusher.push_signature(REPOSITORY, index)
        pusher.push(REPOSITORY, NEW, "keep")

        async def work(field: Field) -> None:
            (first,) = await field.sweep(await field.plan(), steps=1)
            assert first.step.digest == index.digest
            snapshot = await field.look()
            assert snapshot.left_over == {child.digest: index.digest, signature.digest: index.digest}
            results = await field.clean(run="next")
            assert outcomes(results) == {child.digest: Outcome.DONE, signature.digest: Outcome.DONE}
            assert (await field.look()).left_over == {}
            entries = [*field.journal(), *field.journal("next")]
            assert {entry.digest for entry in with_parts(entries[:1], field.undoable())} == {
                index.digest,
                child.digest,
                signature.digest,
            }

        on(work)

    def test_what_somebody_pushed_since_is_not_left_over(self, pusher: Pusher, on: On) -> None:
        child = build_image(seed="child")
        pusher.push(REPOSITORY, build_index([child]), "old")

        async def work(field: Field) -> None:
            await field.sweep(await field.plan(), steps=1)
            pusher.delete(REPOSITORY, child.digest)
            await field.look()
            pusher.push(REPOSITORY, child, "mine")
            await field.look()
            pusher.push(REPOSITORY, NEW, "mine")
            snapshot = await field.look()
            assert child.digest in snapshot.manifests
            assert snapshot.left_over == {}

        on(work)


class TestUntag:
    """A registry that can delete a tag alone: distribution 2.8 cannot, so the proxy does it to its files."""

    def test_a_tag_goes_and_its_manifest_stays(self, pusher: Pusher, on: On) -> None:
        pusher.push(REPOSITORY, NEW, "keep", "alias", "other")

        async def work(field: Field) -> None:
            field.at("DELETE", lambda request: delete_alone(field, request), times=2)
            results = await field.clean(can_untag=True)
            assert [(r.step.action, r.step.tags, r.outcome) for r in results] == [
                (Action.UNTAG, ("alias",), Outcome.DONE),
                (Action.UNTAG, ("other",), Outcome.DONE),
            ]
            entries = field.journal()
            assert [(e.action, e.tags, e.state) for e in entries] == [
                (JournalAction.UNTAG, ("alias",), State.DELETED),
                (JournalAction.UNTAG, ("other",), State.DELETED),
            ]
            assert entries[0].content == NEW.body
            known = field.store.observations.load(REGISTRY, REPOSITORY)
            assert set(known.tags) == {"keep"}

        on(work)
        assert pusher.tags(REPOSITORY) == ["keep"]
        assert pusher.pull(REPOSITORY, "keep") == NEW

    def test_something_holds_the_manifest_before_its_tag_goes(self, pusher: Pusher, on: On) -> None:
        """Another tag, or its own digest: Gitea deletes a manifest with the last name it was pushed as."""
        index = build_index([NEW])
        pusher.push(REPOSITORY, index, "keep")
        pusher.push(REPOSITORY, NEW, "one", "other")

        async def work(field: Field) -> None:
            field.at("DELETE", lambda request: delete_alone(field, request), times=2)
            await field.clean(can_untag=True)
            assert field.sent("PUT", "DELETE") == [
                ("DELETE", "one"),
                ("PUT", NEW.digest),
                ("DELETE", "other"),
            ]

        on(work)
        assert pusher.tags(REPOSITORY) == ["keep"]
        assert pusher.pull(REPOSITORY, "keep") == index

    def test_a_tag_that_moved_stays(self, pusher: Pusher, on: On) -> None:
        pusher.push(REPOSITORY, NEW, "keep", "alias")

        async def work(field: Field) -> None:
            plan = await field.plan(can_untag=True)
            pusher.push(REPOSITORY, OLD, "alias")
            (result,) = await field.sweep(plan)
            assert (result.outcome, field.sent("DELETE")) == (Outcome.CANCELLED, [])
            assert field.states() == [State.CANCELLED]

        on(work)

    def test_a_registry_that_cannot_says_so(self, pusher: Pusher, on: On) -> None:
        pusher.push(REPOSITORY, NEW, "keep", "alias")

        async def work(field: Field) -> None:
            (result,) = await field.clean(can_untag=True)
            assert result.detail == "this registry cannot delete the tag alone"
            assert field.sent("DELETE") == [("DELETE", "alias")]
            assert field.states() == [State.CANCELLED]

        on(work)
        assert pusher.tags(REPOSITORY) == ["alias", "keep"]

    def test_a_registry_that_deletes_the_manifest_as_well_is_found_out_and_undone(
        self, pusher: Pusher, on: On
    ) -> None:
        pusher.push(REPOSITORY, NEW, "keep", "alias", "other")

        def delete_all(request: web.Request) -> web.StreamResponse:
            assert not is_digest(request.path.rpartition("/")[2])
            pusher.delete(REPOSITORY, NEW.digest)
            return web.Response(status=202)

        async def work(field: Field) -> None:
            field.at("DELETE", delete_all, times=2)
            results = await field.clean(can_untag=True)
            assert {result.outcome for result in results} == {Outcome.CANCELLED}
            assert len(field.sent("DELETE")) == 1
            assert field.states() == [State.RESTORED]
            known = recall(field.store.observations, REGISTRY, Name.UNTAG)
            assert known is not None
            assert known.value == UNSAFE

        on(work)
        assert pusher.tags(REPOSITORY) == ["alias", "keep", "other"]
        assert pusher.pull(REPOSITORY, "keep") == NEW


def delete_alone(field: Field, request: web.Request) -> web.StreamResponse:
    """Do what distribution 3 does with a DELETE of a tag."""
    field.delete_tag_folder(request.path.rpartition("/")[2])
    return web.Response(status=202)
