"""What a manifest's and a config's bytes say."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from reaper.core.manifest import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    DOCKER_SCHEMA1_SIGNED,
    MAX_LISTED,
    MAX_MANIFEST_SIZE,
    OCI_ARTIFACT,
    OCI_INDEX,
    OCI_MANIFEST,
    Descriptor,
    ImageConfig,
    Kind,
    Manifest,
    ManifestError,
    kind_of,
    parse_config,
    parse_manifest,
    parse_time,
)
from tests.core.generate import digest

OWN = digest("own")
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
MANY = MAX_LISTED + 1


def descriptor(seed: str, media_type: str = LAYER, size: int = 7, **more: Any) -> dict[str, Any]:
    return {"digest": digest(seed), "mediaType": media_type, "size": size, **more}


def parse(document: Any, media_type: str = OCI_MANIFEST) -> Manifest:
    return parse_manifest(json.dumps(document).encode(), media_type, OWN)


def image(**more: Any) -> dict[str, Any]:
    return {"config": descriptor("config"), "layers": [descriptor("layer")], **more}


@pytest.mark.parametrize("media_type", [OCI_MANIFEST, DOCKER_MANIFEST, f"{OCI_MANIFEST.upper()}; charset=x"])
def test_an_image(media_type: str) -> None:
    document = image(
        subject=descriptor("subject", OCI_MANIFEST),
        artifactType="application/spdx+json",
        annotations={"org.opencontainers.image.created": "2026-01-02T03:04:05Z"},
    )
    found = parse(document, media_type)
    assert found.kind is Kind.IMAGE
    assert found.config == Descriptor(digest("config"), 7, LAYER)
    assert [blob.digest for blob in found.blobs] == [digest("config"), digest("layer")]
    assert found.subject == digest("subject")
    assert found.artifact_type == "application/spdx+json"
    assert found.created_annotation == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert found.size == len(json.dumps(document))
    assert found.children == ()


@pytest.mark.parametrize("media_type", [OCI_INDEX, DOCKER_LIST])
def test_an_index_with_platforms(media_type: str) -> None:
    arm = descriptor("arm", OCI_MANIFEST, platform={"os": "linux", "architecture": "arm64", "variant": "v8"})
    odd = descriptor("odd", OCI_MANIFEST, platform={"os": 1, "architecture": ""})
    found = parse({"manifests": [arm, odd]}, media_type)
    assert found.kind is Kind.INDEX
    assert [(child.digest, child.platform) for child in found.children] == [
        (digest("arm"), "linux/arm64/v8"),
        (digest("odd"), None),
    ]
    assert parse({}, media_type).children == ()


def test_a_cache_lists_layers_where_an_index_has_manifests() -> None:
    found = parse({"manifests": [descriptor("layer"), descriptor("image", OCI_MANIFEST)]}, OCI_INDEX)
    assert [child.digest for child in found.children] == [digest("image")]
    assert [blob.digest for blob in found.blobs] == [digest("layer")]


def test_the_kind_is_told_by_the_content_type() -> None:
    assert kind_of(f"{OCI_INDEX.upper()} ; charset=utf-8") is Kind.INDEX
    assert kind_of(DOCKER_SCHEMA1_SIGNED) is Kind.SCHEMA1
    assert kind_of("application/json") is Kind.UNKNOWN


def test_all_that_is_known_of_each_kind() -> None:
    config = "application/vnd.oci.image.config.v1+json"
    document: dict[str, Any] = {
        "mediaType": OCI_MANIFEST,
        "config": descriptor("config", config, 9),
        "layers": [descriptor("one"), {"digest": digest("two"), "size": 0}],
    }
    assert parse(document) == Manifest(
        OWN,
        OCI_MANIFEST,
        Kind.IMAGE,
        len(json.dumps(document)),
        config=Descriptor(digest("config"), 9, config),
        layers=(Descriptor(digest("one"), 7, LAYER), Descriptor(digest("two"), 0, "")),
    )
    listed = [descriptor("layer"), descriptor("child", OCI_MANIFEST, platform={"os": "linux"})]
    index = {"manifests": listed, "subject": descriptor("subject"), "artifactType": "a/b"}
    assert parse(index, DOCKER_LIST) == Manifest(
        OWN,
        DOCKER_LIST,
        Kind.INDEX,
        len(json.dumps(index)),
        layers=(Descriptor(digest("layer"), 7, LAYER),),
        children=(Descriptor(digest("child"), 7, OCI_MANIFEST, "linux"),),
        subject=digest("subject"),
        artifact_type="a/b",
    )
    schema1 = {"fsLayers": [{"blobSum": digest("layer")}]}
    gzip = "application/vnd.docker.image.rootfs.diff.tar.gzip"
    assert parse(schema1, DOCKER_SCHEMA1_SIGNED) == Manifest(
        OWN,
        DOCKER_SCHEMA1_SIGNED,
        Kind.SCHEMA1,
        len(json.dumps(schema1)),
        layers=(Descriptor(digest("layer"), 0, gzip),),
    )
    assert parse({}, DOCKER_SCHEMA1_SIGNED).layers == ()
    assert parse({"a": digest("x")}, "application/x; y=z") == Manifest(
        OWN,
        "application/x",
        Kind.UNKNOWN,
        len(json.dumps({"a": digest("x")})),
        mentions=frozenset({digest("x")}),
    )


def test_what_is_optional_may_be_null_or_odd() -> None:
    null = dict.fromkeys(("subject", "artifactType", "annotations", "mediaType", "layers"))
    found = parse({**null, "config": descriptor("config")})
    assert (found.subject, found.artifact_type, found.created_annotation, found.layers) == (
        None,
        None,
        None,
        (),
    )
    odd = {"artifactType": "a\nb", "annotations": ["x"], "mediaType": 7}
    found = parse(image(**odd))
    assert (found.artifact_type, found.created_annotation, found.media_type) == (None, None, OCI_MANIFEST)
    # Null is not a field that may be read in two ways.
    assert parse(image(manifests=None)).kind is Kind.IMAGE
    assert parse({"manifests": None, "config": None, "layers": None}, OCI_INDEX).children == ()


def test_limits_to_the_byte() -> None:
    padded = json.dumps(image()).encode()
    padded += b" " * (MAX_MANIFEST_SIZE - len(padded))
    assert parse_manifest(padded, OCI_MANIFEST, OWN).size == MAX_MANIFEST_SIZE
    with pytest.raises(ManifestError, match=f"^manifest {OWN} has {2**22 + 1} bytes; the limit is {2**22}$"):
        parse_manifest(padded + b" ", OCI_MANIFEST, OWN)
    blob = {"digest": OWN, "size": 2**63 - 1}
    assert len(parse({"manifests": [blob] * MAX_LISTED}, OCI_INDEX).children) == MAX_LISTED
    assert parse({"config": blob}).config == Descriptor(OWN, 2**63 - 1, "")
    assert (
        len(parse({"fsLayers": [{"blobSum": OWN}] * MAX_LISTED}, DOCKER_SCHEMA1_SIGNED).layers) == MAX_LISTED
    )
    assert parse({"a": [{}] * 49_999 + [[]] * 49_999}, "x/unknown").kind is Kind.UNKNOWN
    with pytest.raises(ManifestError, match="has more than 100000 objects and lists"):
        parse({"a": [{}] * 49_999 + [[]] * 50_000}, "x/unknown")
    for field, media_type, entry in (
        ("manifests", OCI_INDEX, blob),
        ("layers", OCI_MANIFEST, blob),
        ("fsLayers", DOCKER_SCHEMA1_SIGNED, {"blobSum": OWN}),
    ):
        with pytest.raises(ManifestError) as refused:
            parse({"config": blob if field == "layers" else None, field: [entry] * MANY}, media_type)
        assert refused.value.message == f"manifest {OWN}: {field} has 10001 entries; the limit is 10000"
    longest = "x" * 255
    assert (parse(image(artifactType="x")).artifact_type, parse(image(artifactType="")).artifact_type) == (
        "x",
        None,
    )
    assert parse(image(artifactType=longest)).artifact_type == longest
    assert parse(image(artifactType=f"{longest}x")).artifact_type is None
    assert parse_config(json.dumps({"os": "x" * 64}).encode()).platform == "x" * 64


def test_a_field_that_stands_twice_is_refused() -> None:
    with pytest.raises(ManifestError) as refused:
        parse_manifest(b'{"config":{},"config":{}}', OCI_MANIFEST, OWN)
    assert refused.value.message == f"manifest {OWN} has a field twice"


def test_schema_1_and_the_deprecated_artifact() -> None:
    found = parse({"fsLayers": [{"blobSum": digest("layer")}]}, DOCKER_SCHEMA1_SIGNED)
    assert (found.kind, [blob.digest for blob in found.blobs]) == (Kind.SCHEMA1, [digest("layer")])
    found = parse({"blobs": [descriptor("blob")], "subject": descriptor("subject")}, OCI_ARTIFACT)
    assert (found.kind, found.subject) == (Kind.ARTIFACT, digest("subject"))
    assert [blob.digest for blob in found.blobs] == [digest("blob")]


def test_of_an_unknown_type_every_digest_is_taken_for_needed() -> None:
    found = parse({"a": [{"b": digest("x")}], "c": digest("y"), "d": "sha256:short"}, "application/x")
    assert found.kind is Kind.UNKNOWN
    assert found.mentions == {digest("x"), digest("y")}
    # What the document calls itself goes before an answer's vague type.
    assert parse(image(mediaType=OCI_MANIFEST), "application/json").kind is Kind.IMAGE


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ([], " is not a JSON object"),
        ({}, " has no config"),
        (
            image(mediaType=DOCKER_MANIFEST),
            f" calls itself {DOCKER_MANIFEST}, but was sent as {OCI_MANIFEST}",
        ),
        (image(mediaType="\n"), " has a mediaType that is none"),
        (image(layers={}), ": layers is not a list"),
        (image(layers=[1]), ": layers is not a descriptor"),
        (image(layers=[{"Size": 1}]), ": layers has 'Size', which some read as size"),
        (image(config={"digest": "sha256:x", "size": 1}), ": config has no valid digest"),
        (image(config={"digest": 1, "size": 1}), ": config has no valid digest"),
        (image(config=descriptor("c", size=-1)), ": config has no valid size"),
        (image(config={**descriptor("c"), "size": True}), ": config has no valid size"),
        (image(config={**descriptor("c"), "size": "7"}), ": config has no valid size"),
        (image(config=descriptor("c", "\n")), ": config has a mediaType that is none"),
        (image(subject={}), ": subject has no valid digest"),
        (image(Layers=[]), " has 'Layers', which some read as layers"),
        (image(manifests=[]), " is an image with manifests: it may be read in two ways"),
    ],
)
def test_what_is_broken_is_an_error_that_names_the_field(document: Any, says: str) -> None:
    with pytest.raises(ManifestError) as refused:
        parse(document)
    assert refused.value.message == f"manifest {OWN}{says}"


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({"fsLayers": {"a": 1}}, ": fsLayers is not a list"),
        ({"fsLayers": [digest("layer")]}, ": an entry of fsLayers has no digest"),
        ({"fsLayers": [{"blobSum": "x"}]}, ": an entry of fsLayers has no digest"),
        ({"fsLayers": [{"blobSum": 1}]}, ": an entry of fsLayers has no digest"),
    ],
)
def test_a_broken_schema_1(document: Any, says: str) -> None:
    with pytest.raises(ManifestError) as refused:
        parse(document, DOCKER_SCHEMA1_SIGNED)
    assert refused.value.message == f"manifest {OWN}{says}"


@pytest.mark.parametrize(
    "content", [b"", b"<html>", b"\xff\xfe", b"[" * 100_000, b" " * (MAX_MANIFEST_SIZE + 1)]
)
def test_bytes_that_are_no_manifest(content: bytes) -> None:
    with pytest.raises(ManifestError, match=OWN):
        parse_manifest(content, OCI_MANIFEST, OWN)


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-01-02T03:04:05Z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02t03:04:05z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02T03:04:05.123456789Z", datetime(2026, 1, 2, 3, 4, 5, 123456, tzinfo=UTC)),
        ("2026-01-02T03:04:05+02:00", datetime(2026, 1, 2, 1, 4, 5, tzinfo=UTC)),
        ("0001-01-01T00:00:00+14:00", datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14)))),
        ("2026-01-02T03:04:05", None),
        ("2026-13-02T03:04:05Z", None),
        ("yesterday", None),
        ("", None),
        (1, None),
        (None, None),
    ],
)
def test_times(text: object, time: datetime | None) -> None:
    assert parse_time(text) == time


def test_configs() -> None:
    config = {"created": "2026-01-02T03:04:05Z", "os": "linux", "architecture": "arm64", "variant": "v8"}
    found = parse_config(json.dumps(config).encode())
    assert found == ImageConfig(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "linux/arm64/v8")
    for content in (b"", b"[]", b"{}", b"[" * 100_000, b'{"created": 1, "os": ["linux"]}'):
        assert parse_config(content) == ImageConfig()


@pytest.mark.parametrize(
    ("content", "media_type", "says"),
    [
        (b'{"config":{},"config":{}}', OCI_MANIFEST, "has a field twice"),
        (b'{"annotations":{"a":"1","a":"2"}}', OCI_MANIFEST, "has a field twice"),
        (b'{"manifests":[],"Manifests":[]}', OCI_INDEX, "has 'Manifests', which some read as manifests"),
        ('{"manife\u017fts":[]}'.encode(), OCI_INDEX, "which some read as manifests"),
        (json.dumps({"manifests": [{"Digest": OWN, "size": 1}]}).encode(), OCI_INDEX, "read as digest"),
        (json.dumps(image(manifests=[])).encode(), OCI_MANIFEST, "with manifests: it may be read in two"),
        (b'{"manifests":[]}', OCI_ARTIFACT, "with manifests: it may be read in two ways"),
        (b'{"manifests":[]}', DOCKER_SCHEMA1_SIGNED, "with manifests: it may be read in two ways"),
        (json.dumps(image(manifests=[])).encode(), OCI_INDEX, "with config: it may be read in two ways"),
        (b'{"manifests":[],"layers":[]}', DOCKER_LIST, "with layers: it may be read in two ways"),
        (b'{"config":{"digest":"%b","size":1e400}}' % OWN.encode(), OCI_MANIFEST, "no valid size"),
        (b'{"config":{"digest":"%b","size":%d}}' % (OWN.encode(), 2**63), OCI_MANIFEST, "no valid size"),
        (b'{"config":{"digest":"%b","size":%b}}' % (OWN.encode(), b"9" * 5000), OCI_MANIFEST, "not JSON"),
        (b'{"mediaType":"\\ud800"}', OCI_MANIFEST, "has a mediaType that is none"),
        (b'{"mediaType":"%b"}' % (b"x" * 1_000_000), OCI_MANIFEST, "has a mediaType that is none"),
        (
            json.dumps(image(config=descriptor("c", "\x1b[31m"))).encode(),
            OCI_MANIFEST,
            "config has a mediaType",
        ),
        (b'{"annotations":{"a":"\xed\xa0\x80"}}', OCI_MANIFEST, "is not JSON"),
        ('{"config":null}'.encode("utf-16"), OCI_MANIFEST, "is not JSON"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, OCI_MANIFEST, "is not JSON"),
        (b"[" * 2_000_000 + b"]" * 2_000_000, OCI_MANIFEST, "more than 100000 objects and lists"),
        (b'{"a":[' + b"{}," * 1_300_000 + b"{}]}", "x/unknown", "more than 100000 objects and lists"),
        (json.dumps({"manifests": [{"digest": OWN, "size": 1}] * MANY}).encode(), OCI_INDEX, "10001 entries"),
        (
            json.dumps({"fsLayers": [{"blobSum": OWN}] * MANY}).encode(),
            DOCKER_SCHEMA1_SIGNED,
            "10001 entries",
        ),
    ],
)
def test_what_may_be_read_in_two_ways_or_is_a_bomb(content: bytes, media_type: str, says: str) -> None:
    with pytest.raises(ManifestError, match=OWN) as refused:
        parse_manifest(content, media_type, OWN)
    assert says in refused.value.message
    assert len(refused.value.message) < 300
    assert refused.value.message.isprintable()


@pytest.mark.parametrize("part", ["\x1b[31m", "\ud800", "a\x00b", "x" * 65, "🐴", 7])
def test_a_platform_that_is_none(part: object) -> None:
    config = {"created": "2026-01-02T03:04:05Z", "os": "linux", "architecture": part}
    found = parse_config(json.dumps(config).encode())
    assert found.created is not None
    assert found.platform == ("linux" if part == 7 else None)


def test_a_config_that_is_a_bomb_says_nothing() -> None:
    bomb = b'{"created":"2026-01-02T03:04:05Z","a":[' + b"[]," * 200_000 + b"[]]}"
    assert parse_config(bomb) == ImageConfig()
    assert (
        parse_config(b'{"created":"2026-01-02T03:04:05Z","created":"2026-01-02T03:04:05Z"}') == ImageConfig()
    )
