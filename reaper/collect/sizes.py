"""How large a blob is: the collector says what it removes, and never how much that frees."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

#: The size in bytes of the blob with this digest, or None when it is not known.
BlobSize = Callable[[str], int | None]


def unknown_size(_digest: str) -> int | None:
    """Know no size at all."""
    return None


def stored_sizes(root: Path) -> BlobSize:
    """Look sizes up in distribution's own files, below ``root`` (``storage.filesystem.rootdirectory``).

    A blob that was removed, or is no regular file there, has no known size.
    """
    blobs = root / "docker" / "registry" / "v2" / "blobs"

    def size(digest: str) -> int | None:
        algorithm, _, value = digest.partition(":")
        try:
            return (blobs / algorithm / value[:2] / value / "data").stat().st_size
        except OSError:
            return None

    return size


class RememberedSizes:
    """Sizes as a dry run found them: when a real run announces a blob, it may be gone already."""

    def __init__(self, blob_size: BlobSize) -> None:
        self._blob_size = blob_size
        self._known: dict[str, int | None] = {}

    def begin(self, *, dry_run: bool) -> BlobSize:
        """Return where a run's sizes come from. A dry run forgets what an earlier one found."""
        if not dry_run:
            return self._size
        self._known.clear()
        return self._before_removal

    def _before_removal(self, digest: str) -> int | None:
        return self._known.setdefault(digest, self._blob_size(digest))

    def _size(self, digest: str) -> int | None:
        known = self._known.get(digest)
        return self._blob_size(digest) if known is None else known
