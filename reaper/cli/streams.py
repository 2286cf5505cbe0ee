"""The standard streams, so that whatever they are, reaper ends with a line and an exit code."""

from __future__ import annotations

import io
import os
import sys

from reaper.core.errors import ReaperError


class StandardOutput(io.TextIOWrapper):
    """Standard output whose refusal to take more, a full disk's for one, is an error like any other.

    ``write`` and ``flush`` raise ReaperError; BrokenPipeError where its reader has gone.
    """

    def write(self, text: str, /) -> int:
        """Write ``text``."""
        try:
            return super().write(text)
        except OSError as error:
            raise self._refused(error) from error

    def flush(self) -> None:
        """Pass on what was written."""
        try:
            super().flush()
        except OSError as error:
            raise self._refused(error) from error

    def _refused(self, error: OSError) -> Exception:
        # Python flushes once more at exit, and would complain in its own way.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.close(nowhere)
        if isinstance(error, BrokenPipeError):
            return error
        return ReaperError(f"cannot write standard output: {error.strerror}")


def prepare_streams() -> None:
    """Make all three streams usable.

    The number of a stream that was closed must not become one of reaper's files, the database for one: a
    closed standard output refuses what is written to it, a closed standard error takes it silently. A
    character that the encoding of a stream lacks reads ``\\u2713``.
    """
    for number, mode in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            # Opening takes the lowest free number, which is this one.
            os.open(os.devnull, mode)
    out = sys.stdout
    sys.stdout = StandardOutput(
        out.buffer if out is not None else open(1, "wb", closefd=False),  # noqa: SIM115 - open until the end
        encoding=out.encoding if out is not None else "utf-8",
        errors="backslashreplace",
        line_buffering=out is not None and bool(out.line_buffering),
    )
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - as above
