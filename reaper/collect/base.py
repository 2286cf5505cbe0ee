"""What a collection is, and what every way of running one has to offer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from reaper.core.errors import ReaperError


class CollectError(ReaperError):
    """A step of a collection failed, or the collection was refused."""


class StuckReadOnlyError(CollectError):
    """The registry could not be made writable again: a person has to, now. ``hint`` says how."""


class Mode(StrEnum):
    """What a registry accepts, as a harmless probe tells it."""

    WRITABLE = "writable"
    READ_ONLY = "read-only"
    #: Pushes are accepted, deletes are not: for a collection as good as writable.
    DELETES_DISABLED = "deletes-disabled"


class Outcome(StrEnum):
    """How a collection ended."""

    DONE = "done"
    #: There was nothing to collect: the storage is empty, or every blob in it is needed.
    NOTHING = "nothing"
    FAILED = "failed"
    #: The registry collects by itself.
    NONE = "none"


class Phase(StrEnum):
    """A step of the procedure that changes something. Recorded before it begins, for a successor."""

    MAKING_READ_ONLY = "making-read-only"
    COLLECTING = "collecting"
    RESTARTING = "restarting"
    MAKING_WRITABLE = "making-writable"
    VERIFYING = "verifying"
    FINISHED = "finished"


@dataclass(frozen=True, slots=True)
class Tally:
    """What a collector has said so far.

    ``blobs`` are those it removed, or would remove in a dry run; ``size`` is their known sizes' sum in
    bytes, and ``unsized`` says how many have no known size and are not in it. ``expected`` is how many
    it announced, and None until it did, or when it says nothing at all (``--quiet``).
    """

    repositories: int = 0
    marked: int = 0
    blobs: int = 0
    size: int = 0
    unsized: int = 0
    manifests: int = 0
    expected: int | None = None


#: Receives the tally while a collection goes on, after every piece of output.
Progress = Callable[[Tally], None]


@dataclass(frozen=True, slots=True)
class Collected:
    """What one run of a collector did. ``empty_storage``: it found no repository at all."""

    tally: Tally
    empty_storage: bool = False

    @property
    def nothing(self) -> bool:
        """Whether it is certain that there was nothing to remove; silence is not certainty."""
        return self.empty_storage or (self.tally.expected == 0 and self.tally.manifests == 0)


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a collector was configured to do."""

    #: False: the registry collects by itself, and no other step is ever called.
    collects: bool = True
    #: ``read_only_on`` and ``read_only_off`` do something.
    read_only: bool = False
    #: ``read_only_on`` stops the registry, and ``read_only_off`` starts it again, which is its restart.
    stops: bool = False
    #: ``restart`` does something.
    restart: bool = False
    #: ``collect`` can be asked for a dry run.
    dry_run: bool = True


class Collector(Protocol):
    """One way to reach a registry's garbage-collect. The order of its steps is the procedure's business.

    Every step returns when it is complete, and raises CollectError when it is not; a cancelled step has
    ended whatever it started before it lets the cancellation through.
    """

    @property
    def via(self) -> str:
        """The name of this way, as the settings' ``via`` has it."""
        ...

    @property
    def capabilities(self) -> Capabilities:
        """What of the steps below is there."""
        ...

    async def check(self) -> None:
        """Refuse (CollectError) a collection that would do harm, before anything is touched."""
        ...

    async def collect(self, *, dry_run: bool, on_progress: Progress) -> Collected:
        """Run the collector to its end; a dry run removes nothing."""
        ...

    async def read_only_on(self) -> None:
        """Ask the registry to refuse writes. Whether it does is for the probe to prove."""
        ...

    async def read_only_off(self) -> None:
        """Ask the registry to accept writes again."""
        ...

    async def restart(self) -> None:
        """Restart the registry, or flush its descriptor cache, and leave it as read-only as it was."""
        ...


@dataclass(frozen=True, slots=True)
class CollectionResult:
    """What a procedure did.

    ``blobs``, ``bytes`` and ``manifests`` were removed, or would be in a dry run; ``bytes`` leaves out
    ``blobs_of_unknown_size``. ``seconds`` is the whole procedure's time. ``detail`` is a sentence;
    ``warnings`` name the risks that the configuration accepts. ``began`` says that the collector was run
    for real, even if it failed then: what was deleted before it can no longer be restored for certain.
    """

    via: str
    outcome: Outcome
    dry_run: bool = False
    began: bool = False
    blobs: int = 0
    bytes: int = 0
    blobs_of_unknown_size: int = 0
    manifests: int = 0
    seconds: float = 0.0
    detail: str = ""
    warnings: tuple[str, ...] = field(default=())
