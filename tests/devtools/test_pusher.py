"""The small client against a real registry: what is pushed comes back, and nothing broken is called whole."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from devtools.images import (
    OCI_MANIFEST,
    Image,
    Media,
    build_image,
    build_index,
    build_layer,
    build_referrer,
    fallback_tag,
    signature_tag,
)
from devtools.pusher import AnswerError, BrokenImageError, Pusher
from devtools.registry import RegistryServer
from devtools.registry_config import RegistryOptions
from devtools.skopeo import Skopeo
from tests.conftest import MakeRegistry

pytestmark = pytest.mark.integration
MEDIA: tuple[Media, ...] = ("oci", "docker")


def two_platforms(media: Media) -> Image:
    """An index for the two usual platforms."""
    platforms = ("linux/amd64", "linux/arm64")
    return build_index([build_image(seed=p, platform=p, media=media) for p in platforms], media=media)


def blob_path(registry: RegistryServer, digest: str) -> Path:
    """Where a blob's bytes are in the storage."""
    value = digest.removeprefix("sha256:")
    return registry.storage / "docker/registry/v2/blobs/sha256" / value[:2] / value / "data"


@pytest.mark.parametrize("media", MEDIA)
def test_pulls_what_it_pushed(pusher: Pusher, media: Media) -> None:
    layer = build_layer(70_000, media=media)
    image = build_image(layers=[layer, layer, 10], media=media)
    assert pusher.push("team/app", image, "v1", "v2") == image.digest
    assert pusher.tags("team/app") == ["v1", "v2"]
    assert pusher.pull("team/app", "v2") == image
    assert pusher.pull("team/app", image.digest) == image


@pytest.mark.parametrize("media", MEDIA)
def test_index(pusher: Pusher, media: Media) -> None:
    index = two_platforms(media)
    pusher.push("app", index, "latest")
    assert pusher.pull("app", "latest") == index


def test_nested_index(pusher: Pusher) -> None:
    index = build_index([two_platforms("oci"), build_image(seed="more")])
    pusher.push("app", index, "latest")
    assert pusher.pull("app", "latest") == index


def test_uploads_only_what_is_absent(registry: RegistryServer, pusher: Pusher) -> None:
    layer = build_layer(100)
    pusher.push("app", build_image(seed=1, layers=[layer]), "a")
    pusher.push("app", build_image(seed=2, layers=[layer]), "b")
    uploads = [access for access in registry.access_log() if access.method == "POST"]
    assert len(uploads) == 3  # two configs, one layer


def test_a_digest_deleted_takes_its_tags(pusher: Pusher) -> None:
    image = build_image()
    pusher.push("app", image, "a", "b")
    assert pusher.delete("app", image.digest)
    assert not pusher.delete("app", image.digest)
    assert pusher.tags("app") == []
    assert pusher.get_manifest("app", "a") is None


def test_get_manifest_tells_the_stored_form(pusher: Pusher) -> None:
    image = build_image()
    pusher.push("app", image, "a")
    fetched = pusher.get_manifest("app", "a")
    assert fetched is not None
    assert fetched == (image.body, OCI_MANIFEST, image.digest)


def test_lists_every_page(make_registry: MakeRegistry) -> None:
    server = make_registry(RegistryOptions(max_catalog_entries=2))
    pusher = Pusher(server.url)
    names = [f"r{number}" for number in range(5)]
    for name in names:
        pusher.push(name, build_image(), "a")
    assert pusher.tags("unknown") == []
    answer = pusher.request("GET", "/v2/_catalog?n=3", {400})
    assert b"PAGINATION_NUMBER_INVALID" in answer.body
    pages = pusher.request("GET", "/v2/_catalog?n=2", {200})
    assert "link" in pages.headers
    assert pusher.repositories() == names


def test_signature_and_referrers(pusher: Pusher) -> None:
    image = build_image()
    pusher.push("app", image, "v1")
    signature = pusher.push_signature("app", image)
    first, second = build_referrer(image, content=b"1"), build_referrer(image, content=b"2")
    for referrer in (first, second, first):
        assert pusher.push_referrer("app", referrer) == fallback_tag(image.digest)
    assert pusher.pull("app", signature_tag(image)) == signature
    listing = pusher.pull("app", fallback_tag(image.digest))
    assert {child.digest for child in listing.children} == {first.digest, second.digest}
    assert all(entry["artifactType"] == "application/spdx+json" for entry in listing.manifest["manifests"])
    assert pusher.tags("app") == sorted([signature_tag(image), fallback_tag(image.digest), "v1"])


def test_a_missing_tag_is_broken(pusher: Pusher) -> None:
    with pytest.raises(BrokenImageError, match="no manifest v1"):
        pusher.pull("app", "v1")


def test_a_deleted_child_is_broken(pusher: Pusher) -> None:
    index = two_platforms("oci")
    pusher.push("app", index, "v1")
    pusher.delete("app", index.children[1].digest)
    with pytest.raises(BrokenImageError, match=index.children[1].digest):
        pusher.pull("app", "v1")


def test_a_lost_layer_is_broken(registry: RegistryServer, pusher: Pusher) -> None:
    image = build_image()
    pusher.push("app", image, "v1")
    shutil.rmtree(blob_path(registry, image.blobs[1].digest).parent)
    registry.restart()
    with pytest.raises(BrokenImageError, match=f"no blob {image.blobs[1].digest}"):
        pusher.pull("app", "v1")


@pytest.mark.parametrize("damage", ["flipped", "shorter"])
def test_a_damaged_layer_is_broken(registry: RegistryServer, pusher: Pusher, damage: str) -> None:
    image = build_image()
    pusher.push("app", image, "v1")
    path = blob_path(registry, image.blobs[1].digest)
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]) if damage == "flipped" else data[:-1])
    registry.restart()
    with pytest.raises(BrokenImageError, match=image.blobs[1].digest):
        pusher.pull("app", "v1")


def test_an_unexpected_answer_names_itself(pusher: Pusher) -> None:
    with pytest.raises(AnswerError, match=r"PUT /v2/app/manifests/a: 400 .*MANIFEST_BLOB_UNKNOWN"):
        pusher.push_manifest("app", "a", build_image().body, OCI_MANIFEST)


@pytest.mark.parametrize("media", MEDIA)
def test_skopeo_accepts_an_image(
    registry: RegistryServer, pusher: Pusher, skopeo: Skopeo, media: Media, tmp_path: Path
) -> None:
    image = build_image(layers=[1000, 2000], media=media)
    pusher.push("app", image, "v1")
    inspected = skopeo.inspect(f"docker://{registry.host}/app:v1")
    assert inspected["Digest"] == image.digest
    assert inspected["Layers"] == [layer.digest for layer in image.blobs[1:]]
    skopeo.copy(f"docker://{registry.host}/app:v1", f"dir:{tmp_path / 'copy'}")
    skopeo.copy(f"dir:{tmp_path / 'copy'}", f"docker://{registry.host}/other:v1")
    assert pusher.pull("other", "v1") == image


@pytest.mark.parametrize("media", MEDIA)
def test_skopeo_accepts_an_index(
    registry: RegistryServer, pusher: Pusher, skopeo: Skopeo, media: Media
) -> None:
    index = two_platforms(media)
    pusher.push("app", index, "v1")
    here = f"docker://{registry.host}"
    skopeo.copy(f"{here}/app:v1", f"{here}/other:v1", every_platform=True)
    assert pusher.pull("other", "v1") == index
