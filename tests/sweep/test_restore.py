"""Undoing what a sweep deleted: the same bytes, in the right order, as old as they were."""

from __future__ import annotations

from datetime import timedelta

import pytest
from aiohttp import web

from devtools.images import Image, build_image, build_index, build_referrer, signature_tag
from devtools.pusher import Pusher
from reaper.registry import ReadOnlyRegistryError, UnreachableError
from reaper.store import Action, JournalEntry, NewEntry, State
from reaper.sweep import RestoreResult, restore, settle, with_parts
from tests.registry.proxy import Proxy
from tests.sweep.conftest import REGISTRY, REPOSITORY, START, Field, On

pytestmark = pytest.mark.integration

OLD, NEW = build_image(seed="old"), build_image(seed="new")


async def put_back(field: Field, *entries: JournalEntry, force: bool = False) -> list[RestoreResult]:
    """Restore the entries, or everything, with its parts."""
    wanted = with_parts(entries or field.undoable(), field.undoable())
    return await restore(field.client, field.store, wanted, clock=field.clock, force=force)


def same(pusher: Pusher, image: Image, *tags: str) -> None:
    """Check that the registry has exactly these bytes under the digest and the tags."""
    for reference in (image.digest, *tags):
        found = pusher.get_manifest(REPOSITORY, reference)
        assert found is not None
        assert (found.body, found.media_type) == (image.body, image.media_type)
    pusher.pull(REPOSITORY, image.digest)


def test_children_before_their_index_and_tags_last_with_the_exact_bytes(pusher: Pusher, on: On) -> None:
    docker, shared = build_image(seed="docker", media="docker"), build_image(seed="shared")
    inner = build_index([build_image(seed="own"), shared])
    outer = build_index([inner])
    listing = build_index([docker], media="docker")
    pusher.push(REPOSITORY, outer, "old", "older")
    pusher.push(REPOSITORY, listing, "docker")
    pusher.push(REPOSITORY, build_index([shared]), "keep")
    signature = pusher.push_signature(REPOSITORY, outer)

    async def work(field: Field) -> None:
        await field.clean()
        assert pusher.tags(REPOSITORY) == ["keep"]
        field.clear()
        results = await put_back(field)
        assert all(result.restored for result in results)
        order = [last for _, last in field.sent("PUT")]
        digests = order[: len(results)]
        assert set(digests) == {result.entry.digest for result in results}
        assert digests.index(inner.digest) < digests.index(outer.digest)
        assert digests.index(docker.digest) < digests.index(listing.digest)
        assert sorted(order[len(results) :]) == ["docker", "old", "older", signature_tag(outer)]
        assert set(field.states()) == {State.RESTORED}
        assert field.undoable() == []

    on(work)
    same(pusher, outer, "old", "older")
    same(pusher, listing, "docker")
    same(pusher, signature, signature_tag(outer))


def test_one_image_comes_with_its_children_and_referrers_and_nothing_else(pusher: Pusher, on: On) -> None:
    child = build_image(seed="child")
    index = build_index([child])
    pusher.push(REPOSITORY, index, "old")
    signature = pusher.push_signature(REPOSITORY, index)
    sbom = build_referrer(index)
    pusher.push(REPOSITORY, sbom, "sbom")
    pusher.push(REPOSITORY, OLD, "other")

    async def work(field: Field) -> None:
        await field.clean()
        (entry,) = field.store.journal.undoable(REGISTRY, repository=REPOSITORY, tag="old")
        await put_back(field, entry)
        assert [left.digest for left in field.undoable()] == [OLD.digest]

    on(work)
    same(pusher, index, "old")
    same(pusher, signature, signature_tag(index))
    same(pusher, sbom, "sbom")
    assert pusher.get_manifest(REPOSITORY, OLD.digest) is None


def test_what_comes_back_is_as_old_as_it_was(pusher: Pusher, on: On) -> None:
    pusher.push(REPOSITORY, OLD, "old", "moved")

    async def work(field: Field) -> None:
        first = await field.look()
        await field.clean()
        pusher.push(REPOSITORY, NEW, "moved")
        await field.look()
        moved = field.now
        await put_back(field)
        again = await field.look()
        assert again.manifests[OLD.digest].first_seen == first.taken_at == START + timedelta(days=1)
        assert again.tags["old"].first_seen == first.taken_at
        # This tag was left where it is now, and keeps the time when it came there.
        assert (again.tags["moved"].digest, again.tags["moved"].first_seen) == (NEW.digest, moved)

    on(work)


@pytest.mark.parametrize("force", [False, True])
def test_a_tag_that_is_elsewhere_by_now_is_left_there_unless_forced(
    pusher: Pusher, on: On, force: bool
) -> None:
    pusher.push(REPOSITORY, OLD, "old", "moved")

    async def work(field: Field) -> None:
        await field.clean()
        pusher.push(REPOSITORY, NEW, "moved")
        (result,) = await put_back(field, force=force)
        assert result.restored
        assert result.tags == (("moved", "old") if force else ("old",))
        assert ("tag moved is on" in result.detail) is not force

    on(work)
    same(pusher, OLD, "old")
    same(pusher, OLD if force else NEW, "moved")


def test_a_tag_alone_comes_back(pusher: Pusher, on: On) -> None:
    pusher.push(REPOSITORY, NEW, "keep", "alias")

    async def work(field: Field) -> None:
        def delete_alone(request: web.Request) -> web.StreamResponse:
            field.delete_tag_folder(request.path.rpartition("/")[2])
            return web.Response(status=202)

        field.at("DELETE", delete_alone)
        await field.clean(can_untag=True)
        assert pusher.tags(REPOSITORY) == ["keep"]
        await put_back(field)
        assert field.states() == [State.RESTORED]

    on(work)
    same(pusher, NEW, "alias", "keep")


def test_parts_that_were_deleted_by_an_earlier_run_come_back_before_their_index(
    pusher: Pusher, on: On
) -> None:
    child = build_image(seed="child")
    index = build_index([child])
    pusher.push(REPOSITORY, index, "old")

    async def work(field: Field) -> None:
        for image, run in ((child, "first"), (index, "second")):
            tags = ("old",) if image is index else ()
            entry = field.store.journal.begin(written(field, image, tags, run))
            pusher.delete(REPOSITORY, image.digest)
            field.store.journal.mark(entry, State.DELETED, field.now)
        results = await put_back(field)
        assert all(result.restored for result in results)

    on(work)
    same(pusher, index, "old")


def test_what_a_collection_has_swept_is_reported_and_the_rest_comes_back(pusher: Pusher, on: On) -> None:
    pusher.push(REPOSITORY, OLD, "old")
    pusher.push(REPOSITORY, build_index([NEW]), "keep")
    pusher.push(REPOSITORY, NEW, "alias")

    async def work(field: Field) -> None:
        await field.clean()
        entry = field.store.journal.begin(written(field, NEW, ("alias",), "run"))
        field.store.journal.mark(entry, State.DELETED, field.now)
        field.server.stop()
        assert field.server.garbage_collect().returncode == 0
        field.server.start()
        results = {result.entry.digest: result for result in await put_back(field)}
        assert results[NEW.digest].restored
        assert not results[OLD.digest].restored
        assert "BLOB_UNKNOWN" in results[OLD.digest].detail
        (left,) = field.undoable()
        assert (left.digest, left.error) == (OLD.digest, results[OLD.digest].detail)

    on(work)
    same(pusher, NEW, "alias")


def test_a_registry_in_read_only_mode_takes_nothing_back(pusher: Pusher, on: On) -> None:
    pusher.push(REPOSITORY, OLD, "old")

    async def work(field: Field) -> None:
        await field.clean()
        field.server.restart(readonly=True)
        with pytest.raises(ReadOnlyRegistryError):
            await put_back(field)
        field.server.restart(readonly=False)
        await settle(field.client, field.store, registry=REGISTRY, clock=field.clock, may_write=lambda: None)
        assert field.states() == [State.RESTORED]

    on(work)
    same(pusher, OLD, "old")


def test_a_restore_that_is_cut_off_is_finished_by_the_next_start(pusher: Pusher, on: On) -> None:
    index = build_index([build_image(seed="child")])
    pusher.push(REPOSITORY, index, "old", "older")

    async def work(field: Field) -> None:
        await field.clean()

        async def only_the_first(request: web.Request, _answer: object) -> web.StreamResponse | None:
            if request.method == "PUT" and request.path.endswith("/manifests/old"):
                field.server.stop()
            return None

        field.proxy.after = only_the_first
        with pytest.raises(UnreachableError):
            await put_back(field)
        assert State.RESTORING in field.states()
        field.server.start()
        field.proxy.after = Proxy(field.server.url).after
        await settle(field.client, field.store, registry=REGISTRY, clock=field.clock, may_write=lambda: None)
        assert set(field.states()) == {State.RESTORED}

    on(work)
    same(pusher, index, "old", "older")


def written(field: Field, image: Image, tags: tuple[str, ...], run: str) -> NewEntry:
    return NewEntry(
        registry=REGISTRY,
        repository=REPOSITORY,
        digest=image.digest,
        action=Action.DELETE,
        media_type=image.media_type,
        content=image.body,
        tags=tags,
        policy="tidy",
        rule="",
        reason="a test",
        run_id=run,
        created_at=field.now,
    )
