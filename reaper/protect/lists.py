"""Lists of images in use: from files, and from commands. One image a line; ``#`` begins a comment."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from reaper.lines import Line, LinesError, command_lines, file_lines
from reaper.protect.images import Gathering
from reaper.protect.source import SourceError, SourceKind


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
        try:
            return _gathered(await file_lines(self._path), f"{self.kind} {self.name}")
        except LinesError as error:
            raise SourceError(error.message) from error


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
            lines = await command_lines(self._command, name=self.name, limit=self._limit)
        except LinesError as error:
            raise SourceError(error.message) from error
        return _gathered(lines, f"{self.kind} {self.name}")


def _gathered(lines: Iterable[Line], source: str) -> Gathering:
    found = Gathering()
    for line in lines:
        found.add(f"{source}, line {line.number}", [line.text])
    return found
