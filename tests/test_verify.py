"""Verification against a real distribution 2.8, with damage done to its files."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import cast

import pytest

from devtools.images import Blob, Image, build_image, build_index, build_layer
from devtools.pusher import BrokenImageError, Pusher
from devtools.registry import RegistryServer
from reaper.core.manifest import OCI_INDEX, OCI_MANIFEST, parse_manifest
from reaper.core.reference import digest_of
from reaper.progress import Progress, silent
from reaper.registry import (
    RawManifest,
    RegistryClient,
    RegistryOptions,
    Resolved,
    TruncatedError,
    parse_address,
)
from reaper.verify import Damage, VerifyReport, unreadable, verify
from tests.collect.storage import blob_path

pytestmark = pytest.mark.integration

OTHER = build_image(seed="other", layers=[500])


def verified(
    server: RegistryServer,
    repositories: Sequence[str] | None = None,
    *,
    deep: bool = False,
    progress: Progress = silent,
) -> VerifyReport:
    """Verify with a client that can send nothing but GET and HEAD."""

    async def run() -> VerifyReport:
        options = RegistryOptions(address=parse_address(server.url), read_only=True, attempts=2)
        async with RegistryClient(options) as client:
            return await verify(client, repositories, deep=deep, progress=progress)

    return asyncio.run(run())


def of(report: VerifyReport) -> list[tuple[str, str, str]]:
    return [(damage.tag, damage.what, damage.digest) for damage in report.damages]


@pytest.fixture
def image(registry: RegistryServer, pusher: Pusher) -> Image:
    """An image with two tags, beside another one that stays whole."""
    image = build_image(seed="it", layers=[3000, 4000])
    pusher.push("team/app", image, "1", "latest")
    pusher.push("team/app", OTHER, "other")
    return image


@pytest.mark.parametrize("deep", [False, True])
def test_a_whole_registry_is_clean(
    registry: RegistryServer, pusher: Pusher, image: Image, deep: bool
) -> None:
    index = build_index([build_image(seed="a"), build_image(seed="b")])
    pusher.push("team/multi", index, "1")
    pusher.push("team/docker", build_image(media="docker", seed="d"), "1")
    pusher.delete("gone", pusher.push("gone", build_image(seed="gone"), "1"))
    seen: list[tuple[int, int | None]] = []

    def tell(phase: str, done: int, total: int | None) -> None:
        seen.append((done, total))

    report = verified(registry, deep=deep, progress=tell)
    assert report.damages == []
    assert report.errors == []
    assert (report.repositories, report.tags, report.manifests, report.blobs) == (4, 5, 6, 3 + 2 + 4 + 2)
    assert report.bytes == sum(
        each.size for each in (image, OTHER, index, build_image(media="docker", seed="d"))
    )
    assert seen == [(done, 4) for done in range(5)]


def test_only_get_and_head_are_sent(registry: RegistryServer, image: Image) -> None:
    before = len(registry.access_log())
    verified(registry, deep=True)
    assert {access.method for access in registry.access_log()[before:]} == {"GET", "HEAD"}


def test_named_repositories_only(registry: RegistryServer, pusher: Pusher, image: Image) -> None:
    pusher.push("another", OTHER, "1")
    assert verified(registry, ["another"]).tags == 1
    report = verified(registry, ["another", "absent"])
    assert report.repositories == 2
    (error,) = report.errors
    assert error.startswith("absent: ")


def remove(path: Path) -> None:
    path.unlink()


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("part", [0, 1, 2])
@pytest.mark.parametrize("harm", [remove, truncate, empty])
@pytest.mark.parametrize("deep", [False, True])
def test_missing_bytes_are_found(
    registry: RegistryServer, image: Image, part: int, harm: Callable[[Path], None], deep: bool
) -> None:
    blob = image.blobs[part]
    harm(blob_path(registry.storage, blob.digest))
    registry.restart()
    report = verified(registry, deep=deep)
    what = "layer" if part else "config"
    assert of(report) == [("1", what, blob.digest), ("latest", what, blob.digest)]
    assert report.errors == []


@pytest.mark.parametrize("harm", [remove, empty])
def test_what_the_cache_hides_is_found(
    registry: RegistryServer, image: Image, harm: Callable[[Path], None]
) -> None:
    """The registry goes on saying that it has the blob: a HEAD answers 200, a GET has no body."""
    blob = image.blobs[1]
    verified(registry)
    harm(blob_path(registry.storage, blob.digest))
    assert of(verified(registry)) == [("1", "layer", blob.digest), ("latest", "layer", blob.digest)]


def test_a_re_push_after_a_naive_collection_is_found(registry: RegistryServer, pusher: Pusher) -> None:
    layer = build_layer(1000, seed="shared")
    pusher.delete("team/app", pusher.push("team/app", build_image(layers=[layer], seed="old"), "old"))
    assert registry.garbage_collect().returncode == 0
    pusher.push("team/app", build_image(layers=[layer], seed="new"), "new")
    with pytest.raises((BrokenImageError, HTTPException)):
        pusher.pull("team/app", "new")
    assert of(verified(registry)) == [("new", "layer", layer.digest)]


def test_a_flipped_bit_is_found_by_reading_everything(registry: RegistryServer, image: Image) -> None:
    blob = image.blobs[2]
    flip(blob_path(registry.storage, blob.digest))
    assert verified(registry).damages == []
    report = verified(registry, deep=True)
    assert report.damages[0] == Damage(
        "team/app", "1", blob.digest, "layer", "has other content than its digest says"
    )
    assert str(report.damages[0]) == (
        f"team/app:1: layer {blob.digest} has other content than its digest says"
    )


def test_a_missing_child_and_a_missing_layer_of_a_child(registry: RegistryServer, pusher: Pusher) -> None:
    one, two = build_image(seed="a"), build_image(seed="b")
    pusher.push("team/app", build_index([build_index([one]), two]), "multi")
    pusher.delete("team/app", one.digest)
    blob_path(registry.storage, two.blobs[1].digest).unlink()
    registry.restart()
    report = verified(registry)
    assert sorted(of(report)) == sorted(
        [("multi", "child", one.digest), ("multi", "layer", two.blobs[1].digest)]
    )


@pytest.mark.parametrize("harm", [remove, flip])
def test_a_broken_manifest_is_found(
    registry: RegistryServer, image: Image, harm: Callable[[Path], None]
) -> None:
    harm(blob_path(registry.storage, image.digest))
    registry.restart()
    report = verified(registry)
    assert {damage.tag for damage in report.damages} == {"1", "latest"}
    assert {damage.what for damage in report.damages} == {"manifest"}
    assert report.tags == 3


@pytest.mark.parametrize("harm", [truncate, empty])
def test_a_manifest_that_the_registry_fails_at_is_an_error(
    registry: RegistryServer, image: Image, harm: Callable[[Path], None]
) -> None:
    """2.8 answers 500: whether that is damage or a bad moment cannot be told, but it is never silence."""
    harm(blob_path(registry.storage, image.digest))
    report = verified(registry)
    assert sorted(report.errors) == [
        f"team/app: tag {tag}: {registry.url}/v2/team/app/manifests/{tag}: the registry failed (500)"
        for tag in ("1", "latest")
    ]


def test_one_manifest_alone(registry: RegistryServer, image: Image) -> None:
    """What a restore is proven by: only its own config and layers."""
    blob_path(registry.storage, OTHER.blobs[1].digest).unlink()

    async def check(image: Image) -> list[str]:
        manifest = parse_manifest(image.body, image.media_type, image.digest)
        async with RegistryClient(RegistryOptions(address=parse_address(registry.url))) as client:
            return await unreadable(client, "team/app", manifest)

    assert asyncio.run(check(image)) == []
    (problem,) = asyncio.run(check(OTHER))
    assert problem.startswith(f"{OTHER.blobs[1].digest} ")


def test_what_is_deleted_meanwhile_is_no_damage(
    registry: RegistryServer, pusher: Pusher, image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = RegistryClient.manifest

    async def delete_first(client: RegistryClient, repository: str, reference: str) -> RawManifest | None:
        if reference == image.digest:
            await asyncio.to_thread(pusher.delete, repository, reference)
        return await read(client, repository, reference)

    monkeypatch.setattr(RegistryClient, "manifest", delete_first)
    report = verified(registry)
    assert report.damages == []
    assert (report.tags, report.manifests) == (1, 1)


class Scripted:
    """A client of a repository with one tag, as 2.8 would not store it."""

    def __init__(self, image: Image, *, flaky: bool = False) -> None:
        self._image = image
        self._blobs = {blob.digest: blob.data for blob in image.blobs}
        self._flaky = flaky

    async def repositories(self) -> AsyncIterator[str]:
        yield "app"

    async def tags(self, repository: str) -> list[str]:
        return ["1"]

    async def head(self, repository: str, reference: str) -> Resolved | None:
        return Resolved(self._image.digest, self._image.media_type)

    async def manifest(self, repository: str, reference: str) -> RawManifest | None:
        if reference != self._image.digest:
            return None
        return RawManifest(self._image.body, self._image.media_type, reference)

    async def head_blob(self, repository: str, digest: str) -> int | None:
        return len(self._blobs[digest]) if digest in self._blobs else None

    async def read_blob(
        self, repository: str, digest: str, *, at_most: int | None = None
    ) -> AsyncIterator[bytes]:
        if self._flaky:
            self._flaky = False
            raise TruncatedError("the connection broke")
        yield self._blobs[digest][:at_most]


def scripted(image: Image, **options: bool) -> VerifyReport:
    return asyncio.run(verify(cast(RegistryClient, Scripted(image, **options)), deep=True))


def described(kind: str, content: bytes) -> dict[str, object]:
    return {"mediaType": kind, "digest": digest_of(content), "size": len(content)}


def test_layers_that_stay_with_their_publisher_need_not_be_there() -> None:
    config = Blob(b"{}", "application/vnd.oci.image.config.v1+json")
    foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
    manifest = {
        "schemaVersion": 2,
        "config": config.descriptor(),
        "layers": [described(foreign, b"windows")],
    }
    image = Image(json.dumps(manifest).encode(), OCI_MANIFEST, (config,))
    assert scripted(image).damages == []


def test_an_index_of_layers_is_a_cache_of_buildkit() -> None:
    layer = Blob(b"a layer", "application/vnd.oci.image.layer.v1.tar+gzip")
    index = {"schemaVersion": 2, "manifests": [layer.descriptor(), described(layer.media_type, b"gone")]}
    report = scripted(Image(json.dumps(index).encode(), OCI_INDEX, (layer,)))
    assert of(report) == [("1", "layer", digest_of(b"gone"))]
    assert report.blobs == 2


def test_a_connection_that_breaks_once_is_no_damage() -> None:
    assert scripted(build_image(), flaky=True).damages == []
