"""What a collection would free (see also `test_reclaimable_counts_each_blob_once_and_only_unneeded_ones`)."""

from __future__ import annotations

from reaper.core.manifest import OCI_MANIFEST, Descriptor, Kind, Manifest
from reaper.core.reclaim import Ledger
from tests.core.generate import digest, manifest

SHARED = digest("shared")


def image(seed: str, *layers: tuple[str, int]) -> Manifest:
    """Return an image of 100 bytes with these layers, and no config."""
    return Manifest(
        digest(seed),
        OCI_MANIFEST,
        Kind.IMAGE,
        100,
        layers=tuple(Descriptor(digest, size, "layer") for digest, size in layers),
    )


def freed(doomed: list[Manifest], kept: list[Manifest]) -> int:
    ledger = Ledger()
    ledger.doom(doomed)
    ledger.keep(kept)
    other_way_round = Ledger()
    other_way_round.keep(kept)
    other_way_round.doom(reversed(doomed))
    assert ledger.reclaimable == other_way_round.reclaimable
    return ledger.reclaimable


def test_each_blob_is_counted_once() -> None:
    assert freed([image("a", (SHARED, 7), (digest("x"), 1)), image("b", (SHARED, 7))], []) == 208


def test_what_is_kept_needs_its_blobs() -> None:
    assert freed([image("a", (SHARED, 7), (digest("x"), 1))], [image("b", (SHARED, 7))]) == 101


def test_a_blob_of_which_two_manifests_say_different_sizes_has_the_larger() -> None:
    """Schema 1 names no sizes."""
    assert freed([image("a", (SHARED, 7)), image("b", (SHARED, 0))], []) == 207


def test_an_empty_blob_frees_nothing() -> None:
    assert freed([image("a", (SHARED, 0))], []) == 100


def test_what_an_unknown_document_mentions_is_needed_and_of_unknown_size() -> None:
    unknown = manifest("odd", Kind.UNKNOWN, mentions=frozenset({SHARED}))
    assert freed([unknown], []) == 100
    assert freed([image("a", (SHARED, 7))], [unknown]) == 100


def test_a_digest_of_another_algorithm_is_another_blob() -> None:
    longer = f"sha512:{'ab' * 64}"
    assert freed([image("a", (longer, 7), (SHARED, 5))], []) == 112
