"""What ``registry garbage-collect`` prints, read while it is printed.

Captured from distribution 2.8.2 and 3.1.1, which differ in the last line only::

    team/app
    team/app: marking manifest sha256:b677…
    team/app: marking blob sha256:516a…

    4 blobs marked, 7 blobs and 0 manifests eligible for deletion
    blob eligible for deletion: sha256:3bb3…
    time="…" level=info msg="Deleting blob: /docker/registry/v2/blobs/sha256/3b/3bb3…" go.version=…
    team/app: layer link eligible for deletion: sha256:3c45…

A blob is announced directly before it is removed. With ``--quiet`` (3.x), only the log's lines are left,
and none at all in a dry run.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import replace
from typing import Final

from reaper.collect.base import Collected, CollectError, Tally
from reaper.collect.sizes import BlobSize, unknown_size
from reaper.core.reference import is_digest, is_repository

_MARKING: Final = re.compile(r"\S+: marking (?:manifest|blob) \S+\s*")
_SUMMARY: Final = re.compile(r"\d+ blobs marked, (\d+) blobs and (\d+) manifests eligible for deletion")
_ELIGIBLE: Final = re.compile(r"blob eligible for deletion: (\S+)")
_DELETING: Final = re.compile(r"Deleting blob: \S*/blobs/(sha\d+)/[0-9a-f]{2}/([0-9a-f]+)")
_OTHER: Final = re.compile(r"(?:\S+: layer link|manifest) eligible for deletion: .*|.*msg=\"Deleting .*")
# The drivers differ in the name before the text: filesystem, s3aws, swift, …
_EMPTY: Final = re.compile(r"failed to mark: (?:\S+: )?Path not found: \S*/repositories/?$")

#: No line of the collector comes near; a longer one is cut, so that memory stays bounded.
_MAX_LINE: Final = 64 * 1024
_TAIL_LINES: Final = 12
_TAIL_WIDTH: Final = 400


class OutputParser:
    """Reads a collector's output piece by piece; ``tally`` is always up to date.

    ``blob_size`` is asked once for each blob, at the moment it is announced.
    """

    def __init__(self, blob_size: BlobSize = unknown_size) -> None:
        self._blob_size = blob_size
        self._rest = b""
        self._seen: set[str] = set()
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self.tally = Tally()
        #: The collector ended because the storage has no repository at all.
        self.empty_storage = False

    def feed(self, data: bytes) -> None:
        """Read the next piece of output, which may end inside a line."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._line(line)
        if len(self._rest) > _MAX_LINE:
            self._rest = self._rest[:_MAX_LINE]

    def finish(self) -> None:
        """Read what stands after the last line's end: 2.x ends its error without one."""
        self._line(self._rest)
        self._rest = b""

    @property
    def message(self) -> str:
        """The last lines that are no part of the regular output, for an error's text."""
        return " | ".join(self._tail)

    def _line(self, raw: bytes) -> None:
        line = raw.decode(errors="replace").strip()
        if not line:
            return
        if _MARKING.fullmatch(line):
            self.tally = replace(self.tally, marked=self.tally.marked + 1)
        elif match := _ELIGIBLE.fullmatch(line):
            self._blob(match[1])
        elif match := _DELETING.search(line):
            self._blob(f"{match[1]}:{match[2]}")
        elif match := _SUMMARY.fullmatch(line):
            self.tally = replace(self.tally, expected=int(match[1]), manifests=int(match[2]))
        elif is_repository(line):
            self.tally = replace(self.tally, repositories=self.tally.repositories + 1)
        elif not _OTHER.fullmatch(line):
            self.empty_storage = self.empty_storage or _EMPTY.search(line) is not None
            self._tail.append(line[:_TAIL_WIDTH])

    def _blob(self, digest: str) -> None:
        """Count a blob once, although the log names it a second time."""
        if not is_digest(digest) or digest in self._seen:
            return
        self._seen.add(digest)
        size = self._blob_size(digest)
        self.tally = replace(
            self.tally,
            blobs=self.tally.blobs + 1,
            size=self.tally.size + (size or 0),
            unsized=self.tally.unsized + (size is None),
        )


def collected(parser: OutputParser, code: int) -> Collected:
    """Return what a collector did that ended with the exit code ``code`` (a signal's, below zero).

    Raises:
        CollectError: it failed; an empty storage, which makes it fail too, is none.
    """
    if code == 1 and parser.empty_storage:
        return Collected(parser.tally, empty_storage=True)
    if code != 0:
        raise CollectError(f"the collector ended with {ending(code)}: {parser.message or 'no message'}")
    return Collected(parser.tally)


def ending(code: int) -> str:
    """Return what an exit code (a signal's, below zero) is called."""
    return f"signal {-code}" if code < 0 else f"exit code {code}"
