"""What `ls` shows of a repository and of one image."""

from __future__ import annotations

from dataclasses import replace

from reaper.core.manifest import Descriptor, Kind
from reaper.core.snapshot import ManifestEntry
from reaper.report.contents import part_rows, platforms, referrers, tag_rows
from tests.core.build import ago, entry, image, snapshot
from tests.core.generate import child, manifest


def for_platform(seed: str, platform: str) -> ManifestEntry:
    return replace(image(seed, "9d"), platform=platform)


AMD, ARM = for_platform("amd", "linux/amd64"), for_platform("arm", "linux/arm64/v8")
ATTESTATION = replace(child(manifest("attestation")), platform="unknown/unknown")
INNER = entry(
    manifest(
        "inner",
        Kind.INDEX,
        children=(
            replace(child(AMD.manifest), platform="linux/amd64"),
            replace(child(ARM.manifest), platform="linux/arm64"),
            ATTESTATION,
        ),
    )
)
OUTER = entry(
    manifest("outer", Kind.INDEX, children=(child(AMD.manifest), child(INNER.manifest), child(manifest("x"))))
)


def test_the_platforms_of_an_image_and_of_a_nested_index() -> None:
    look = snapshot({"outer": OUTER, "amd": AMD}, INNER, ARM)
    assert platforms(look, AMD.digest) == ["linux/amd64"]
    # An index's own word goes before the config's; an attestation is for no platform.
    assert platforms(look, INNER.digest) == ["linux/amd64", "linux/arm64"]
    assert platforms(look, OUTER.digest) == ["linux/amd64", "linux/arm64"]
    assert platforms(look, "sha256:unknown") == []


def test_referrers_are_counted_once_and_their_listing_is_none() -> None:
    sbom, signature = entry(manifest("sbom", subject=AMD.digest)), image("signature")
    listing = entry(manifest("listing", Kind.INDEX, children=(child(sbom.manifest),)))
    name = AMD.digest.replace(":", "-")
    look = snapshot({"v1": AMD, name: listing, f"{name}.sig": signature}, sbom)
    assert referrers(look, AMD.digest) == sorted([sbom.digest, signature.digest])
    assert {row["tag"]: row["referrers"] for row in tag_rows(look)} == {"v1": 2, name: 0, f"{name}.sig": 0}


def test_tags_have_their_times_and_sizes() -> None:
    look = snapshot({"v1": AMD}, first_inventory="2d", tag_seen={"v1": "1h"})
    assert list(tag_rows(look)) == [
        {
            "tag": "v1",
            "digest": AMD.digest,
            "created": ago("9d"),
            "pushed": ago("1h"),
            "size": 1110,
            "platforms": ["linux/amd64"],
            "referrers": 0,
        }
    ]


def test_the_parts_of_an_index() -> None:
    signature = entry(manifest("signature", subject=ARM.digest))
    rows = list(part_rows(snapshot({"v1": INNER}, AMD, ARM, signature), INNER.digest))
    assert [(row["depth"], row["part"], row["platform"]) for row in rows] == [
        (0, "index", None),
        (1, "image", "linux/amd64"),
        (2, "config", None),
        (2, "layer", None),
        (1, "image", "linux/arm64"),
        (2, "config", None),
        (2, "layer", None),
        (2, "referrer", None),
        (3, "config", None),
        (3, "layer", None),
        (1, "missing", "unknown/unknown"),
    ]
    assert [row["size"] for row in rows[:4]] == [100, 100, 10, 1000]


def test_tags_that_name_each_other_in_a_circle_are_shown_once() -> None:
    """Anybody may push such tags; `ls` walks round them for ever no more."""
    one, two = image("one"), image("two")
    tags = {one.digest.replace(":", "-") + ".sig": two, two.digest.replace(":", "-") + ".sig": one}
    rows = list(part_rows(snapshot(tags), one.digest))
    assert [(row["depth"], row["part"]) for row in rows if row["part"] not in ("config", "layer")] == [
        (0, "image"),
        (1, "referrer"),
        (2, "referrer (see above)"),
    ]


def test_a_layer_among_the_children_of_a_cache_is_a_layer() -> None:
    layer = Descriptor("sha256:" + "1" * 64, 7, "application/vnd.oci.image.layer.v1.tar+gzip")
    cache = entry(manifest("cache", Kind.INDEX, layers=(layer,)))
    rows = list(part_rows(snapshot({"cache": cache}), cache.digest))
    assert [(row["part"], row["size"]) for row in rows] == [("index", 100), ("layer", 7)]
