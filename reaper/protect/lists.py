"""Lists of images in use: from files, and from commands. One image a line; ``#`` begins a comment."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from reaper.process import ProcessError, run_output
from reaper.protect.images import Gathering
from reaper.protect.source import SourceError, SourceKind

#: Enough for more than 100,000 references.
MAX_BYTES: Final = 16 * 1024 * 1024
_COMMENT: Final = re.compile(r"(?:^|\s)#.*")


class FileSource:
    """A file that names images."""

    kind = SourceKind.FILE

    def __init__(self, path: Path) -> None:
        self._path = path
        self.name = str(path)

    async def gather(self) -> Gathering:
        """Return the file's images.

        Raises:
            SourceError: it cannot be read, or is no text.
        """
        return _parse(await asyncio.to_thread(self._read), f"{self.kind} {self.name}")

    def _read(self) -> bytes:
        try:
            with self._path.open("rb") as file:
                content = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise SourceError(f"file {self.name} cannot be read: {error.strerror}") from error
        if len(content) > MAX_BYTES:
            raise SourceError(f"file {self.name} has more than {MAX_BYTES} bytes")
        return content


class CommandSource:
    """A command that prints images and ends with exit code 0; ``limit`` is in seconds.

    Its error output is only shown when it fails. Arguments may hold secrets, so ``name`` leaves them out.
    """

    kind = SourceKind.COMMAND

    def __init__(self, command: Sequence[str], *, limit: float, name: str | None = None) -> None:
        self._command = tuple(command)
        self._limit = limit
        self.name = name or command[0]

    async def gather(self) -> Gathering:
        """Return the images that the command prints.

        Raises:
            SourceError: it could not be started, failed, took too long, or printed no text.
        """
        try:
            code, output, errors = await run_output(self._command, limit=self._limit, max_bytes=MAX_BYTES)
        except ProcessError as error:
            raise SourceError(f"command {self.name}: {error.message}") from error
        if code != 0:
            said = f": {errors}" if errors else ""
            ending = f"signal {-code}" if code < 0 else f"exit code {code}"
            raise SourceError(f"command {self.name} ended with {ending}{said}")
        return _parse(output, f"{self.kind} {self.name}")


def _parse(content: bytes, source: str) -> Gathering:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SourceError(f"{source} is not text in UTF-8") from error
    found = Gathering()
    for number, line in enumerate(text.split("\n"), start=1):
        reference = _COMMENT.sub("", line).strip()
        if reference:
            found.add(f"{source}, line {number}", [reference])
    return found
