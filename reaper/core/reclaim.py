"""How many bytes a registry-wide plan sets free: each blob once, and only those that nothing kept needs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from reaper.core.manifest import Manifest


def _stored_by(manifest: Manifest) -> Iterator[tuple[bytes, int]]:
    """Yield what the registry stores for ``manifest``, with its bytes: itself, its config and its layers.

    Of what an unknown document mentions the bytes are unknown, and count as none.
    """
    yield _key(manifest.digest), manifest.size
    for blob in manifest.blobs:
        yield _key(blob.digest), blob.size
    for mentioned in manifest.mentions:
        yield _key(mentioned), 0


class Ledger:
    """Adds up kept and doomed blobs over all repositories.

    It holds a small constant per blob: the digest in binary, and a doomed blob's size.
    """

    def __init__(self) -> None:
        self._kept: set[bytes] = set()
        self._doomed: dict[bytes, int] = {}

    def keep(self, manifests: Iterable[Manifest]) -> None:
        """Count everything that ``manifests`` store as needed."""
        for manifest in manifests:
            self._kept.update(key for key, _ in _stored_by(manifest))

    def doom(self, manifests: Iterable[Manifest]) -> None:
        """Count everything that ``manifests`` store as free, unless something kept needs it."""
        for manifest in manifests:
            for key, size in _stored_by(manifest):
                self._doomed[key] = max(size, self._doomed.get(key, 0))

    @property
    def reclaimable(self) -> int:
        """The bytes that only doomed manifests need."""
        return sum(size for key, size in self._doomed.items() if key not in self._kept)


def _key(digest: str) -> bytes:
    return bytes.fromhex(digest.partition(":")[2])
