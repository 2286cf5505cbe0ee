"""The manifest cache."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from reaper.core.manifest import ImageConfig
from reaper.store import CachedManifest, Store
from tests.store.helpers import AT, REGISTRY, digest

IMAGE = CachedManifest(digest(1), "application/vnd.oci.image.manifest.v1+json", b'{\r\n"a": "\x00\xff"}')


def test_bytes_come_back_exactly(store: Store) -> None:
    store.manifests.save([IMAGE])
    assert store.manifests.load([IMAGE.digest, digest("unknown")]) == {IMAGE.digest: IMAGE}


def test_more_than_one_statement_holds(store: Store) -> None:
    entries = [replace(IMAGE, digest=digest(number)) for number in range(1203)]
    store.manifests.save(iter(entries))
    assert len(store.manifests.load(entry.digest for entry in entries)) == 1203
    store.manifests.save([])
    assert store.manifests.load([]) == {}


def test_what_is_known_of_a_config_stays(store: Store) -> None:
    read = replace(IMAGE, config_created=AT, config_read=True, config_platform="linux/amd64")
    store.manifests.save([read])
    store.manifests.save([IMAGE])
    assert store.manifests.load([IMAGE.digest]) == {IMAGE.digest: read}
    assert read.config == ImageConfig(AT, "linux/amd64")
    assert IMAGE.config is None
    store.manifests.save([replace(read, config_created=None)])
    assert store.manifests.load([IMAGE.digest])[IMAGE.digest].config_created is None


def test_the_config_may_be_read_later(store: Store) -> None:
    store.manifests.save([IMAGE, replace(IMAGE, digest=digest(2))])
    arm = ImageConfig(AT, "linux/arm64/v8")
    store.manifests.save_configs({IMAGE.digest: arm, digest(2): ImageConfig(), digest("unknown"): arm})
    store.manifests.save_configs({})
    found = store.manifests.load([IMAGE.digest, digest(2), digest("unknown")])
    assert found == {
        IMAGE.digest: replace(IMAGE, config_created=AT, config_read=True, config_platform="linux/arm64/v8"),
        digest(2): replace(IMAGE, digest=digest(2), config_read=True),
    }


@pytest.mark.parametrize(
    "created",
    [
        datetime(1, 1, 1, tzinfo=UTC),
        datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14))),
        datetime(1970, 1, 1, tzinfo=UTC) - timedelta(microseconds=1),
        datetime.max.replace(tzinfo=UTC),
        datetime.max.replace(tzinfo=timezone(-timedelta(hours=12))),
        datetime(2026, 7, 1, 3, 4, 5, 678901, timezone(timedelta(hours=5, minutes=45))),
    ],
)
def test_any_time_that_a_config_may_claim(store: Store, created: datetime) -> None:
    store.manifests.save([replace(IMAGE, config_created=created, config_read=True)])
    found = store.manifests.load([IMAGE.digest])[IMAGE.digest].config_created
    assert found is not None
    assert found.tzinfo is UTC
    assert abs(found - created) <= timedelta(hours=14)
    if created.utcoffset() == timedelta(0) or created.year == 2026:
        assert found == created


def test_pruning_keeps_what_a_repository_has(store: Store) -> None:
    store.manifests.save([IMAGE, replace(IMAGE, digest=digest(2))])
    store.observations.record(REGISTRY, "app", AT, {"v1": IMAGE.digest}, [], complete=True)
    assert store.manifests.prune() == 1
    assert store.manifests.load([IMAGE.digest, digest(2)]).keys() == {IMAGE.digest}
