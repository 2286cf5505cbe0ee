"""Lists that people keep outside of reaper: the lines of a file, or those that a command prints."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from reaper.core.errors import ReaperError
from reaper.process import ProcessError, run_output

#: Enough for more than 100,000 references.
MAX_BYTES: Final = 16 * 1024 * 1024
_COMMENT: Final = re.compile(r"(?:^|\s)#.*")


class LinesError(ReaperError):
    """A list could not be read completely. The message names the file or the command."""


class Line(NamedTuple):
    """A line that says something, without its comment; the first line is number 1."""

    number: int
    text: str


async def file_lines(path: Path) -> list[Line]:
    """Return the lines of a file; ``#`` begins a comment.

    Raises:
        LinesError: it cannot be read, or is no text.
    """
    return _parse(await asyncio.to_thread(_read, path), f"file {path}")


async def command_lines(command: Sequence[str], *, name: str, limit: float) -> list[Line]:
    """Return the lines that a command prints; it has ``limit`` seconds, and ends with 0.

    Its error output is only shown when it fails. Arguments may hold secrets, so errors call it ``name``.

    Raises:
        LinesError: it could not be started, failed, took too long, or printed no text.
    """
    try:
        code, output, errors = await run_output(command, limit=limit, max_bytes=MAX_BYTES)
    except ProcessError as error:
        raise LinesError(f"command {name}: {error.message}") from error
    if code != 0:
        said = f": {errors}" if errors else ""
        ending = f"signal {-code}" if code < 0 else f"exit code {code}"
        raise LinesError(f"command {name} ended with {ending}{said}")
    return _parse(output, f"command {name}")


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise LinesError(f"file {path} cannot be read: {error.strerror}") from error
    if len(content) > MAX_BYTES:
        raise LinesError(f"file {path} has more than {MAX_BYTES} bytes")
    return content


def _parse(content: bytes, source: str) -> list[Line]:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise LinesError(f"{source} is not text in UTF-8") from error
    lines = (
        Line(number, _COMMENT.sub("", line).strip()) for number, line in enumerate(text.split("\n"), start=1)
    )
    return [line for line in lines if line.text]
