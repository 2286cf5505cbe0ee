"""What every source of images in use has to offer."""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

from reaper.core.errors import ReaperError
from reaper.protect.images import Gathering


class SourceError(ReaperError):
    """A source could not be read completely, so it is not known what is in use."""


class SourceKind(StrEnum):
    """What a source is."""

    CLUSTER = "cluster"
    FILE = "file"
    COMMAND = "command"


class Source(Protocol):
    """A place that names images in use."""

    @property
    def kind(self) -> SourceKind:
        """What it is."""
        ...

    @property
    def name(self) -> str:
        """What it is called among those of its kind."""
        ...

    async def gather(self) -> Gathering:
        """Return all images that it names.

        Raises:
            ReaperError: it could not be read completely; the message names the source.
        """
        ...
