"""All sources of images in use together, and the memory of what was in use before."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

import structlog

from reaper.core.duration import format_duration
from reaper.core.errors import ReaperError
from reaper.core.in_use import Sighting
from reaper.protect.images import Gathering, InUse
from reaper.protect.references import Aliases, parse_image
from reaper.protect.source import Source, SourceKind

_log = structlog.get_logger(__name__)

#: A source that named so many images before and names none now is not believed: a wrong context, an
#: emptied file.
_SUSPICIOUS: Final = 10
#: What was noted so little ago is not noted again: a run that deletes reads every minute.
_SOON: Final = timedelta(minutes=5)


class Memory(Protocol):
    """What was seen in use before, of all sources that ever were."""

    def recall(self, since: datetime) -> Iterable[Sighting]:
        """Return what was last seen at ``since`` or later. May block."""
        ...

    def remember(self, sightings: Sequence[Sighting]) -> None:
        """Note what has just been seen. May block."""
        ...

    def forget(self, before: datetime) -> object:
        """Drop what was last seen before ``before``. May block."""
        ...


@dataclass(frozen=True, slots=True)
class SourceState:
    """How a source was read. ``problem`` is why it was not, and None when it was read completely.

    ``images`` are different references; ``read`` counts objects or lines, ``unreadable`` what is no image.
    """

    kind: SourceKind
    name: str
    at: datetime
    images: int = 0
    read: int = 0
    unreadable: int = 0
    problem: str | None = None

    @property
    def complete(self) -> bool:
        """Whether all that it names is known."""
        return self.problem is None

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


@dataclass(frozen=True, slots=True)
class Protection:
    """What is in use, as far as it is known. With ``problems`` it is not, and nothing may be deleted."""

    in_use: InUse
    problems: tuple[str, ...]
    warnings: tuple[str, ...]
    sources: tuple[SourceState, ...]
    #: Hosts that are certainly other registries.
    others: frozenset[str] = frozenset()

    def lookalikes(self, repositories: Collection[str]) -> Iterator[str]:
        """Yield a warning for each host that may be one more name of the registry with ``repositories``."""
        yield from self.in_use.lookalikes(repositories, self.others)


class Protector:
    """Reads every source, for one registry.

    Arguments:
        sources: where images in use are named.
        aliases: the names of the registry.
        others: hosts that are certainly other registries.
        memory: keeps what was in use.
        grace: how long an image stays protected after it was last seen in use.
        clock: says what time it is.
        ignore_unreadable: do without the references that are no images; else they are problems.
        on_read: is told how each source was read.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        aliases: Aliases,
        memory: Memory,
        grace: timedelta,
        clock: Callable[[], datetime],
        others: Collection[str] = (),
        ignore_unreadable: bool = False,
        on_read: Callable[[SourceState], None] = lambda _state: None,
    ) -> None:
        self._sources = sources
        self._aliases = aliases
        self._memory = memory
        self._grace = grace
        self._clock = clock
        self._others = frozenset(others) - aliases.hosts
        self._ignore_unreadable = ignore_unreadable
        self._on_read = on_read

    async def read(self) -> Protection:
        """Read all sources now, side by side, and add what was in use within the grace period.

        A source that cannot be read is a problem of the protection, not an error.

        Raises:
            ReaperError: the memory could not be read or written.
        """
        readings = await asyncio.gather(*(self._gather(source) for source in self._sources))
        now = self._clock()
        remembered = await asyncio.to_thread(self._recall, now)
        in_use = InUse(self._aliases)
        seen: dict[tuple[str, str], Sighting] = {}
        states = []
        for source, reading in zip(self._sources, readings, strict=True):
            title = f"{source.kind} {source.name}"
            state = self._judge(source, reading, sum(one.source == title for one in remembered), now)
            self._on_read(state)
            states.append(state)
            for image, users in reading.images.items() if isinstance(reading, Gathering) else ():
                in_use.add(image, str(users))
                seen[title, str(image)] = Sighting(title, str(image), users.first, now)
        warnings = [*self._ignored(readings), *_unheard_of(states, in_use)]
        known = {(one.source, one.image): one.seen_at for one in remembered}
        soon = now - min(_SOON, self._grace / 10)
        news = [one for key, one in seen.items() if key not in known or known[key] < soon]
        await asyncio.to_thread(self._remember, news, now)
        for one in remembered:
            if (one.source, one.image) not in seen:  # else it is in use now
                last = f"{one.seen_at:%Y-%m-%d %H:%M:%SZ}"
                in_use.add(parse_image(one.image), f"{one.user}, last seen {last}")
        problems = tuple(state.problem for state in states if state.problem is not None)
        return Protection(in_use, problems, tuple(warnings), tuple(states), self._others)

    async def _gather(self, source: Source) -> Gathering | ReaperError:
        try:
            return await source.gather()
        except ReaperError as error:
            _log.warning("in_use_unread", source=f"{source.kind} {source.name}", error=error.message)
            return error

    def _judge(
        self, source: Source, reading: Gathering | ReaperError, before: int, now: datetime
    ) -> SourceState:
        """Return whether the reading can be relied on; ``before`` images were seen there of late."""
        if isinstance(reading, ReaperError):
            problem = f"{reading.message} ({reading.hint})" if reading.hint else reading.message
            return SourceState(source.kind, source.name, now, problem=problem)
        found: str | None = None
        if not reading.images and before >= _SUSPICIOUS:
            period = format_duration(self._grace)
            found = (
                f"it names no image any more, and named {before} within the last {period}; if that is right, "
                "take it out of the settings, or wait until then"
            )
        elif reading.unreadable and not self._ignore_unreadable:
            what = "they stand" if reading.unreadable > 1 else "it stands"
            found = f"{_unreadable(reading)}; it is not known what {what} for"
        return SourceState(
            source.kind,
            source.name,
            now,
            images=len(reading.images),
            read=reading.read,
            unreadable=reading.unreadable,
            problem=f"{source.kind} {source.name}: {found}" if found else None,
        )

    def _ignored(self, readings: Sequence[Gathering | ReaperError]) -> Iterator[str]:
        for source, reading in zip(self._sources, readings, strict=True):
            if isinstance(reading, Gathering) and reading.unreadable and self._ignore_unreadable:
                yield f"{source.kind} {source.name}: {_unreadable(reading)}; ignored, as the settings say"

    def _recall(self, now: datetime) -> list[Sighting]:
        return list(self._memory.recall(now - self._grace)) if self._grace else []

    def _remember(self, sightings: Sequence[Sighting], now: datetime) -> None:
        if self._grace:
            self._memory.remember(sightings)
            self._memory.forget(now - self._grace)


def _unreadable(reading: Gathering) -> str:
    count, examples = reading.unreadable, ", ".join(reading.examples)
    return f"{count} references are no images: {examples}" if count > 1 else f"this is no image: {examples}"


def _unheard_of(states: Iterable[SourceState], in_use: InUse) -> Iterator[str]:
    """Yield a warning when clusters run images, and none of them is of this registry."""
    clusters = [state for state in states if state.kind is SourceKind.CLUSTER and state.complete]
    images = sum(state.images for state in clusters)
    if images and not in_use.ours:
        names = ", ".join(state.name for state in clusters)
        yield (
            f"none of the {images} images in use ({names}) names this registry: if they call it "
            "otherwise than its URL does, list those names under the registry's hosts"
        )
