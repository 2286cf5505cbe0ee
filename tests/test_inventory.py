"""Reading repositories of a real distribution 2.8, through a proxy that counts and breaks requests."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest
from aiohttp import web
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from devtools.images import (
    OCI_INDEX,
    build_image,
    build_index,
    build_referrer,
    build_signature,
    fallback_tag,
    signature_tag,
)
from devtools.pusher import Pusher
from devtools.registry import RegistryServer
from devtools.registry_config import RegistryOptions
from reaper.core.manifest import DOCKER_SCHEMA1_SIGNED, MAX_DEPTH, Kind
from reaper.core.reference import digest_of
from reaper.core.snapshot import Snapshot
from reaper.inventory import IncompleteError, Inventory
from reaper.registry import RegistryClient
from reaper.store import Store, open_store
from tests.registry.fake import Fake, with_fake
from tests.registry.proxy import Proxy

pytestmark = pytest.mark.integration

Result = TypeVar("Result")
REGISTRY = "registry"
FIRST = datetime(2026, 3, 1, tzinfo=UTC)
BUILT = datetime(2025, 12, 24, tzinfo=UTC)


class Eye:
    """Looks at the registry, one inventory after the other, each a day after the last."""

    def __init__(self, client: RegistryClient, store: Store, fake: Fake, proxy: Proxy) -> None:
        self.client = client
        self.store = store
        self.proxy = proxy
        self._fake = fake
        self._looks = 0

    async def read(self, repository: str = "a") -> Snapshot:
        now = FIRST + timedelta(days=self._looks)
        self._looks += 1
        return await self.inventory(now).read(repository)

    def inventory(self, now: datetime = FIRST) -> Inventory:
        return Inventory(self.client, self.store, registry=REGISTRY, now=now)

    def sent(self) -> list[str]:
        """Return the requests since the last call, each as ``METHOD path`` below the repository."""
        found = [f"{method} {path.partition('?')[0]}" for method, path, _ in self._fake.requests]
        self._fake.requests.clear()
        return found

    def refuse(self, *paths: str, status: int = 404, method: str = "") -> None:
        """Answer requests whose path ends so with an error; without paths, pass everything on again."""

        async def before(request: web.Request) -> web.StreamResponse | None:
            if request.path.endswith(paths) and request.method.startswith(method):
                return web.json_response({"errors": [{"code": "REFUSED"}]}, status=status)
            return None

        self.proxy.before = before


Look = Callable[[Callable[[Eye], Coroutine[Any, Any, Result]]], Result]


@pytest.fixture(scope="module")
def server(distribution: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    # Without the cache it notices when a repository is taken away between two tests.
    options = RegistryOptions(schema1=True, descriptor_cache=False)
    with RegistryServer(distribution, tmp_path_factory.mktemp("registry"), options) as server:
        yield server


@pytest.fixture
def pusher(server: RegistryServer) -> Iterator[Pusher]:
    """A client of the shared registry, whose repository `a` is the test's own."""
    pusher = Pusher(server.url)
    yield pusher
    for repository in ("a", "b"):
        folder = server.storage / "docker/registry/v2/repositories" / repository
        if folder.exists():
            folder.rename(server.storage / f"done-{repository}-{len(list(server.storage.iterdir()))}")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(f"sqlite:///{tmp_path}/reaper.db") as store:
        yield store


@pytest.fixture
def look(server: RegistryServer, store: Store) -> Look[Any]:
    """Return a function that gives a coroutine an `Eye`, and returns what it returns."""

    def run(work: Callable[[Eye], Coroutine[Any, Any, Result]]) -> Result:
        proxy = Proxy(server.url)

        async def with_client(fake: Fake) -> Result:
            async with fake.client(read_only=True) as client:
                return await work(Eye(client, store, fake, proxy))

        return with_fake(proxy, with_client)

    return run


def digests(snapshot: Snapshot) -> set[str]:
    return set(snapshot.manifests)


def once(eye: Eye) -> Coroutine[Any, Any, Snapshot]:
    return eye.read()


class TestGraph:
    def test_nested_indexes_and_shared_children(self, pusher: Pusher, look: Look[Snapshot]) -> None:
        one, two, three = (build_image(seed=n, created=BUILT - timedelta(days=n)) for n in range(3))
        inner = build_index([one, two])
        outer, other = build_index([inner, three]), build_index([two], media="oci", annotations={"a": "b"})
        pusher.push("a", outer, "v1", "latest")
        pusher.push("a", other, "v2")
        snapshot = look(once)
        assert digests(snapshot) == {image.digest for image in (one, two, three, inner, outer, other)}
        assert snapshot.tags_of == {outer.digest: ("latest", "v1"), other.digest: ("v2",)}
        assert set(snapshot.parents[two.digest]) == {inner.digest, other.digest}
        assert snapshot.parents[inner.digest] == (outer.digest,)
        created = {digest: entry.config_created for digest, entry in snapshot.manifests.items()}
        assert created[two.digest] == BUILT - timedelta(days=1)
        assert created[outer.digest] is None
        assert snapshot.missing == frozenset()

    def test_a_missing_image_of_an_index_is_noted(self, pusher: Pusher, look: Look[Snapshot]) -> None:
        there, gone = build_image(seed=1), build_image(seed=2)
        index = build_index([there, gone])
        pusher.push("a", index, "v1")
        pusher.delete("a", gone.digest)
        snapshot = look(once)
        assert digests(snapshot) == {index.digest, there.digest}
        assert snapshot.missing == {gone.digest}

    def test_below_a_missing_index_may_be_anything(self, pusher: Pusher, look: Look[Snapshot]) -> None:
        inner = build_index([build_image(seed=1)])
        outer = build_index([inner])
        pusher.push("a", outer, "v1")
        pusher.delete("a", inner.digest)
        with pytest.raises(IncompleteError, match=f"needs {inner.digest}"):
            look(once)

    def test_indexes_that_nest_without_end_are_not_followed(
        self, pusher: Pusher, look: Look[Snapshot]
    ) -> None:
        nested = build_image(seed=1)
        for _ in range(MAX_DEPTH - 1):
            nested = build_index([nested])
        pusher.push("a", nested, "deep")
        assert len(look(once).manifests) == MAX_DEPTH
        deeper = build_index([nested])
        pusher.push("a", deeper, "deeper")
        for _ in range(2):  # With each index under a tag of its own, and then without.
            with pytest.raises(IncompleteError, match=f"more than {MAX_DEPTH} deep"):
                look(once)
            pusher.push("a", deeper, "deep")

    def test_a_cache_of_buildkit_lists_blobs(self, pusher: Pusher, look: Look[Snapshot]) -> None:
        """Asked for such a blob as a manifest, distribution 2.8 fails with 500."""
        parts = build_image(seed=1)
        config, layer = parts.blobs
        pusher.push("a", parts, "v1")
        listed = [
            layer.descriptor(),
            config.descriptor() | {"mediaType": "application/vnd.buildkit.cacheconfig.v0"},
        ]
        cache = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": listed}).encode()
        pusher.push_manifest("a", "cache", cache, OCI_INDEX)
        manifest = look(once).manifests[digest_of(cache)].manifest
        assert manifest.children == ()
        assert [blob.digest for blob in manifest.blobs] == [layer.digest, config.digest]


class TestReferrers:
    def test_by_tag_and_by_subject(self, pusher: Pusher, look: Look[Snapshot]) -> None:
        image = build_image(seed=1)
        pusher.push("a", image, "v1")
        signature = pusher.push_signature("a", image)
        attestation, sbom = build_image(seed="att"), build_image(seed="sbom")
        pusher.push("a", attestation, f"{fallback_tag(image.digest)}.att")
        pusher.push("a", sbom, f"{fallback_tag(image.digest)}.sbom")
        stated = build_referrer(image)
        listing = pusher.get_manifest("a", pusher.push_referrer("a", stated))
        assert listing is not None
        snapshot = look(once)
        expected = {signature.digest, attestation.digest, sbom.digest, stated.digest, listing.digest}
        assert set(snapshot.referrers[image.digest]) == expected
        assert digests(snapshot) == {image.digest, *expected}

    def test_one_without_a_tag_is_known_once_it_was_seen(self, pusher: Pusher, look: Look[Any]) -> None:
        """Distribution 2.8 lists neither referrers nor untagged manifests: one never seen is not known."""
        image = build_image(seed=1)
        seen, unseen = build_referrer(image), build_referrer(image, content=b"never had a tag")
        pusher.push("a", image, "v1")
        pusher.push("a", seen, "sbom")
        pusher.push("a", unseen)

        async def twice(eye: Eye) -> tuple[Snapshot, Snapshot, Snapshot]:
            first = await eye.read()
            pusher.push("a", image, "sbom")
            return first, await eye.read(), await eye.read()

        first, second, third = look(twice)
        assert first.manifests[seen.digest].untagged_since is None
        for later in (second, third):
            assert digests(later) == {image.digest, seen.digest}
            assert later.referrers[image.digest] == (seen.digest,)
            assert later.manifests[seen.digest].untagged_since == FIRST + timedelta(days=1)
            assert later.manifests[seen.digest].first_seen == FIRST

    def test_their_subjects_are_found_without_a_tag(self, pusher: Pusher, look: Look[Snapshot]) -> None:
        """An image that is pushed and deployed by digest is known by its signature alone."""
        child, signed, stated = build_image(seed=1), build_image(seed=2), build_image(seed=3)
        index = build_index([child])
        for untagged in (index, signed, stated):
            pusher.push("a", untagged)
        for subject in (index, signed):
            pusher.push_signature("a", subject)
        sbom = build_referrer(stated)
        pusher.push("a", sbom, "sbom")
        pusher.push("a", build_referrer(sbom), "signature-of-the-sbom")
        gone = build_image(seed=4)
        pusher.push("a", build_signature(gone), signature_tag(gone))
        snapshot = look(once)
        assert {index.digest, child.digest, signed.digest, stated.digest, sbom.digest} < digests(snapshot)
        assert snapshot.missing == {gone.digest}

    def test_those_of_the_api_are_not_remembered(self, pusher: Pusher, look: Look[Any]) -> None:
        image = build_image(seed=1)
        referrer = build_referrer(image)
        pusher.push("a", image, "v1")
        pusher.push("a", referrer)
        answer = build_index([referrer]).body

        async def list_referrers(request: web.Request) -> web.StreamResponse | None:
            if "/referrers/" in request.path:
                return web.Response(body=answer, content_type=OCI_INDEX)
            return None

        async def work(eye: Eye) -> None:
            eye.proxy.before = list_referrers
            snapshot = await eye.read()
            wider = await eye.inventory().with_referrers(snapshot, [image.digest])
            assert wider.referrers[image.digest] == (referrer.digest,)
            assert wider.manifests[referrer.digest].first_seen is None
            assert wider.tags == snapshot.tags
            assert await eye.inventory().with_referrers(wider, [image.digest]) is wider
            assert set(eye.store.observations.load(REGISTRY, "a").manifests) == {image.digest}
            assert digests(await eye.read()) == {image.digest}
            eye.refuse(referrer.digest, status=500)
            eye.store.manifests.prune()
            broken = eye.proxy.before

            async def both(request: web.Request) -> web.StreamResponse | None:
                return await list_referrers(request) or await broken(request)

            eye.proxy.before = both
            with pytest.raises(IncompleteError, match=referrer.digest):
                await eye.inventory().with_referrers(snapshot, [image.digest])

        look(work)


class TestCost:
    def test_a_digest_is_fetched_once_and_a_second_look_is_one_head_a_tag(
        self, pusher: Pusher, look: Look[Any]
    ) -> None:
        image, child = build_image(seed=1), build_image(seed=2)
        index = build_index([child, image])
        pusher.push("a", index, "v1")
        pusher.push("a", image, "v2", "v3")
        pusher.push("b", index, "v1")

        async def work(eye: Eye) -> None:
            await eye.read()
            first = eye.sent()
            for digest in (image.digest, child.digest, index.digest):
                assert first.count(f"GET /v2/a/manifests/{digest}") == 1
            configs = {f"GET /v2/a/blobs/{each.blobs[0].digest}" for each in (image, child)}
            assert {request for request in first if "/blobs/" in request} == configs
            heads = {f"HEAD /v2/a/manifests/{tag}" for tag in ("v1", "v2", "v3")}
            for _ in range(2):
                await eye.read()
                again = eye.sent()
                assert sorted(again) == sorted({"GET /v2/a/tags/list", *heads})
            await eye.read("b")
            elsewhere = eye.sent()
            assert not any(request.startswith("GET") and "tags" not in request for request in elsewhere)

        look(work)

    def test_what_lost_its_tag_costs_one_head_more_until_it_is_gone(
        self, pusher: Pusher, look: Look[Any]
    ) -> None:
        old, new = build_image(seed=1), build_image(seed=2)
        pusher.push("a", old, "latest")

        async def work(eye: Eye) -> None:
            await eye.read()
            pusher.push("a", new, "latest")
            eye.sent()
            assert digests(await eye.read()) == {old.digest, new.digest}
            assert f"HEAD /v2/a/manifests/{old.digest}" in eye.sent()
            pusher.delete("a", old.digest)
            assert digests(await eye.read()) == {new.digest}
            eye.sent()
            await eye.read()
            assert sorted(eye.sent()) == ["GET /v2/a/tags/list", "HEAD /v2/a/manifests/latest"]

        look(work)

    def test_what_an_image_is_for_is_read_with_its_time_and_remembered(
        self, pusher: Pusher, look: Look[Any]
    ) -> None:
        pusher.push("a", build_image(seed=1, created=BUILT, platform="linux/arm64/v8"), "v1")

        async def work(eye: Eye) -> None:
            for _ in range(2):
                (entry,) = (await eye.read()).manifests.values()
                assert (entry.config_created, entry.platform) == (BUILT, "linux/arm64/v8")

        look(work)

    def test_without_times_no_config_is_read(self, pusher: Pusher, look: Look[Any]) -> None:
        pusher.push("a", build_image(seed=1, created=BUILT), "v1")

        async def work(eye: Eye) -> None:
            await eye.inventory().read("a", with_created=False)
            assert not any("/blobs/" in request for request in eye.sent())
            (entry,) = (await eye.inventory().read("a")).manifests.values()
            assert entry.config_created == BUILT

        look(work)


ABSENT = f"sha256:{'0' * 64}"


class TestRecall:
    """What was seen can be looked at again without the registry."""

    def test_it_is_what_was_read(self, pusher: Pusher, look: Look[Any]) -> None:
        part, gone = build_image(seed=1, created=BUILT), build_image(seed=2)
        index = build_index([part, gone])
        pusher.push("a", index, "v1", "latest")
        pusher.push_signature("a", index)
        pusher.delete("a", gone.digest)

        async def work(eye: Eye) -> None:
            with pytest.raises(IncompleteError, match="it was never read completely"):
                await eye.inventory().recall("a")
            seen = await eye.read()
            eye.sent()
            recalled = await eye.inventory().recall("a")
            assert not eye.sent()
            assert replace(recalled, taken_at=seen.taken_at) == seen

        look(work)

    def test_what_was_forgotten_is_missed(self, pusher: Pusher, look: Look[Any]) -> None:
        pusher.push("a", build_image(seed=1), "v1")

        async def work(eye: Eye) -> None:
            await eye.read()
            eye.store.observations.record(REGISTRY, "a", FIRST, {}, [ABSENT], complete=True)
            with pytest.raises(IncompleteError, match="is no longer remembered"):
                await eye.inventory().recall("a")

        look(work)


class TestIncomplete:
    """Half a picture is no picture: the repository is skipped, and nothing that was remembered is lost."""

    @pytest.mark.parametrize(
        ("what", "status"), [("tag", 404), ("tag", 500), ("tag", 403), ("manifest", 404), ("config", 500)]
    )
    def test_what_cannot_be_read(self, pusher: Pusher, look: Look[Any], what: str, status: int) -> None:
        fine, broken = build_image(seed=1), build_image(seed=2)
        pusher.push("a", fine, "fine")
        pusher.push("a", broken, "broken")
        path = {
            "tag": "/manifests/broken",
            "manifest": f"/manifests/{broken.digest}",
            "config": f"/blobs/{broken.blobs[0].digest}",
        }[what]

        async def work(eye: Eye) -> None:
            eye.refuse(path, status=status)
            with pytest.raises(IncompleteError) as caught:
                await eye.read()
            assert caught.value.repository == "a"
            (problem,) = caught.value.problems
            assert ("broken" if what == "tag" else path.rpartition("/")[2]) in problem
            assert caught.value.tags["fine"] == fine.digest
            eye.refuse()
            assert digests(await eye.read()) == {fine.digest, broken.digest}

        look(work)

    def test_a_missing_config_hides_a_time_and_nothing_else(self, pusher: Pusher, look: Look[Any]) -> None:
        image = build_image(seed=1, created=BUILT)
        pusher.push("a", image, "v1")

        async def work(eye: Eye) -> None:
            eye.refuse(image.blobs[0].digest)
            assert (await eye.read()).manifests[image.digest].config_created is None
            eye.refuse()
            assert (await eye.read()).manifests[image.digest].config_created == BUILT

        look(work)

    def test_nothing_remembered_is_lost_and_nothing_begins_to_count_as_untagged(
        self, pusher: Pusher, look: Look[Any]
    ) -> None:
        one, two = build_image(seed=1), build_image(seed=2)
        pusher.push("a", one, "one")
        pusher.push("a", two, "two")

        async def work(eye: Eye) -> None:
            await eye.read()
            for path in ("/manifests/two", "/tags/list"):
                eye.refuse(path)
                with pytest.raises(IncompleteError):
                    await eye.read()
                known = eye.store.observations.load(REGISTRY, "a")
                assert set(known.tags) == {"one", "two"}
                assert {record.first_seen for record in known.tags.values()} == {FIRST}
                assert known.manifests[two.digest].untagged_since is None
                assert known.last_inventory == FIRST
            eye.refuse()
            snapshot = await eye.read()
            assert snapshot.manifests[two.digest].first_seen == FIRST
            assert snapshot.inventoried_since == FIRST

        look(work)

    def test_a_listing_that_ends_too_early(self, pusher: Pusher, look: Look[Snapshot]) -> None:
        pusher.push("a", build_image(seed=1), "v1")

        async def cut(request: web.Request) -> web.StreamResponse | None:
            if not request.path.endswith("/tags/list"):
                return None
            response = web.StreamResponse(
                headers={"Content-Length": "100", "Content-Type": "application/json"}
            )
            await response.prepare(request)
            await response.write(b'{"name":"a","tags":["v1"]}')
            assert request.transport is not None
            request.transport.close()
            return response

        async def work(eye: Eye) -> Snapshot:
            eye.proxy.before = cut
            return await eye.read()

        with pytest.raises(IncompleteError, match="tags"):
            look(work)


class TestEmpty:
    def test_a_repository_whose_tags_are_all_gone(self, pusher: Pusher, look: Look[Any]) -> None:
        image = build_image(seed=1)
        pusher.push("a", image, "v1")

        async def work(eye: Eye) -> None:
            await eye.read()
            pusher.delete("a", image.digest)
            listing = json.loads(pusher.request("GET", "/v2/a/tags/list", {200}).body)
            assert listing["tags"] is None
            assert "a" in (await eye.inventory().repositories()).names
            emptied = await eye.read()
            assert (emptied.tags, emptied.manifests) == ({}, {})
            assert eye.store.observations.load(REGISTRY, "a").manifests == {}

        look(work)

    def test_a_listing_that_is_lost_is_no_empty_repository(self, pusher: Pusher, look: Look[Any]) -> None:
        """404 is what a repository without tags answers, too: so what was there before is asked for."""
        image = build_image(seed=1)
        pusher.push("a", image, "v1")

        async def work(eye: Eye) -> None:
            eye.refuse("/tags/list")
            assert (await eye.read()).tags == {}  # Never seen before: nothing to compare with.
            eye.refuse()
            await eye.read()
            eye.refuse("/tags/list")
            with pytest.raises(IncompleteError, match="it had 1 at the last inventory"):
                await eye.read()
            eye.refuse("/tags/list", "/manifests/v1")
            with pytest.raises(IncompleteError, match="it had 1 at the last inventory"):
                await eye.read()
            pusher.delete("a", image.digest)
            assert (await eye.read()).manifests == {}
            assert eye.store.observations.load(REGISTRY, "a").tags == {}

        look(work)


class TestOldAndUnknown:
    def test_schema_1(self, pusher: Pusher, look: Look[Snapshot]) -> None:
        layer = build_image(seed=1).blobs[1]
        pusher.push_blob("a", layer)
        signed = sign_schema1("a", "old", layer.digest)
        answer = pusher.request(
            "PUT", "/v2/a/manifests/old", {201}, signed, {"Content-Type": DOCKER_SCHEMA1_SIGNED}
        )
        snapshot = look(once)
        # Its digest is that of the part that is signed, and only the registry can say it.
        assert answer.headers["docker-content-digest"] != digest_of(signed)
        (entry,) = snapshot.manifests.values()
        assert entry.digest == snapshot.tags["old"].digest == answer.headers["docker-content-digest"]
        assert entry.manifest.kind is Kind.SCHEMA1
        assert [blob.digest for blob in entry.manifest.layers] == [layer.digest]

    def test_an_unknown_type_keeps_all_that_it_mentions(self, pusher: Pusher, look: Look[Any]) -> None:
        part = build_image(seed=1)
        pusher.push("a", part)
        body = json.dumps({"mediaType": "application/vnd.new+json", "parts": [{"is": part.digest}]}).encode()

        async def answer(request: web.Request) -> web.StreamResponse | None:
            if request.path.endswith("/tags/list"):
                return web.json_response({"name": "a", "tags": ["new"]})
            if request.path.endswith(("/manifests/new", digest_of(body))):
                headers = {"Docker-Content-Digest": digest_of(body)}
                return web.Response(body=body, content_type="application/vnd.new+json", headers=headers)
            return None

        async def work(eye: Eye) -> Snapshot:
            eye.proxy.before = answer
            return await eye.read()

        snapshot = look(work)
        manifest = snapshot.manifests[digest_of(body)].manifest
        assert (manifest.kind, manifest.media_type) == (Kind.UNKNOWN, "application/vnd.new+json")
        assert snapshot.closure([digest_of(body)]) == {digest_of(body), part.digest}


def sign_schema1(repository: str, tag: str, layer: str) -> bytes:
    """Return a signed schema 1 manifest (distribution-spec of Docker, "Image Manifest V 2, Schema 1")."""
    manifest = {
        "schemaVersion": 1,
        "name": repository,
        "tag": tag,
        "architecture": "amd64",
        "fsLayers": [{"blobSum": layer}],
        "history": [{"v1Compatibility": json.dumps({"id": "0" * 64})}],
    }
    payload = json.dumps(manifest, indent=3).encode()
    head, tail = payload[:-2], payload[-2:]
    protected = _encode(json.dumps({"formatLength": len(head), "formatTail": _encode(tail)}).encode())
    key = ec.generate_private_key(ec.SECP256R1())
    numbers = key.public_key().public_numbers()
    r, s = decode_dss_signature(
        key.sign(f"{protected}.{_encode(payload)}".encode(), ec.ECDSA(hashes.SHA256()))
    )
    jwk = {"kty": "EC", "crv": "P-256", "x": _number(numbers.x), "y": _number(numbers.y)}
    signature = {
        "header": {"jwk": jwk, "alg": "ES256"},
        "signature": _encode(r.to_bytes(32) + s.to_bytes(32)),
        "protected": protected,
    }
    return head + f',\n   "signatures": {json.dumps([signature])}'.encode() + tail


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _number(value: int) -> str:
    return _encode(value.to_bytes(32))
