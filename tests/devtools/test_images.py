"""Generated images are what real clients accept, and the same for the same seed."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from datetime import UTC, datetime

import pytest

from devtools.images import (
    DOCKER_CONFIG,
    DOCKER_INDEX,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_EMPTY,
    OCI_INDEX,
    OCI_MANIFEST,
    build_image,
    build_index,
    build_layer,
    build_referrer,
    build_signature,
    digest_of,
    fallback_tag,
    signature_tag,
)


def test_layer_is_a_tar_of_the_requested_size() -> None:
    layer = build_layer(1234, seed="a")
    with tarfile.open(fileobj=io.BytesIO(layer.data), mode="r:gz") as archive:
        assert [(member.name, member.size) for member in archive] == [("data/a", 1234)]


def test_layer_of_given_content() -> None:
    layer = build_layer(b"hello")
    with tarfile.open(fileobj=io.BytesIO(layer.data), mode="r:gz") as archive:
        extracted = archive.extractfile("data/0")
        assert extracted is not None
        assert extracted.read() == b"hello"


def test_same_seed_same_image() -> None:
    assert build_image(seed=1, layers=[100, 200]) == build_image(seed=1, layers=[100, 200])
    assert build_image(seed=1).digest != build_image(seed=2).digest
    assert build_image(seed=1, layers=[]).digest != build_image(seed=2, layers=[]).digest


@pytest.mark.parametrize(
    ("media", "manifest_type", "config_type"),
    [("oci", OCI_MANIFEST, OCI_CONFIG), ("docker", DOCKER_MANIFEST, DOCKER_CONFIG)],
)
def test_manifest_and_config(media: str, manifest_type: str, config_type: str) -> None:
    created = datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)
    image = build_image(
        media="oci" if media == "oci" else "docker",
        layers=[10, 20],
        created=created,
        platform="linux/arm/v7",
        labels={"a": "b"},
    )
    config, *layers = image.blobs
    assert image.media_type == image.manifest["mediaType"] == manifest_type
    assert image.manifest["config"] == {
        "mediaType": config_type,
        "size": len(config.data),
        "digest": digest_of(config.data),
    }
    assert image.manifest["layers"] == [layer.descriptor() for layer in layers]
    parsed = json.loads(config.data)
    assert parsed["created"] == "2024-05-06T07:08:09Z"
    assert (parsed["os"], parsed["architecture"], parsed["variant"]) == ("linux", "arm", "v7")
    assert parsed["config"]["Labels"] == {"a": "b"}
    assert parsed["rootfs"]["diff_ids"] == [digest_of(gzip.decompress(layer.data)) for layer in layers]


def test_unknown_creation_is_left_out() -> None:
    assert "created" not in json.loads(build_image().blobs[0].data)


def test_shared_layer_counts_once() -> None:
    layer = build_layer(5000)
    one, other = build_image(seed=1, layers=[layer]), build_image(seed=2, layers=[layer])
    index = build_index([one, other])
    assert index.size == one.size + other.size + len(index.body) - len(layer.data)


def test_index_describes_its_children() -> None:
    amd, arm = build_image(seed="amd"), build_image(seed="arm", platform="linux/arm64/v8")
    inner = build_index([arm])
    index = build_index([amd, inner], annotations={"k": "v"})
    assert index.media_type == OCI_INDEX
    assert build_index([amd], media="docker").media_type == DOCKER_INDEX
    assert index.manifest["annotations"] == {"k": "v"}
    assert index.manifest["manifests"] == [
        {
            "mediaType": OCI_MANIFEST,
            "size": len(amd.body),
            "digest": amd.digest,
            "platform": {"architecture": "amd64", "os": "linux"},
        },
        {"mediaType": OCI_INDEX, "size": len(inner.body), "digest": inner.digest},
    ]
    assert inner.manifest["manifests"][0]["platform"]["variant"] == "v8"


def test_referrer_names_its_subject() -> None:
    image = build_image()
    referrer = build_referrer(image, artifact_type="application/example")
    assert referrer.manifest["subject"] == {
        "mediaType": OCI_MANIFEST,
        "size": len(image.body),
        "digest": image.digest,
    }
    assert referrer.manifest["artifactType"] == "application/example"
    assert referrer.manifest["config"]["mediaType"] == OCI_EMPTY


def test_signature_names_the_digest_it_signs() -> None:
    image = build_image()
    payload = json.loads(build_signature(image).blobs[1].data)
    assert payload["critical"]["image"]["docker-manifest-digest"] == image.digest
    assert signature_tag(image) == f"sha256-{image.digest.removeprefix('sha256:')}.sig"
    assert fallback_tag(image.digest) == signature_tag(image).removesuffix(".sig")


def test_docker_manifests_say_no_more_than_they_can() -> None:
    with pytest.raises(ValueError, match="Docker manifest"):
        build_image(media="docker", annotations={"a": "b"})
    with pytest.raises(ValueError, match="Docker manifest list"):
        build_index([], media="docker", subject=build_image())
