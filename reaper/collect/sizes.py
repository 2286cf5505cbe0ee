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
