"""The procedure around a collection, which makes it safe with a registry that people use.

Two facts of distribution make it necessary. A push during the collection can lose the layers that it
relies on, so the registry is read-only meanwhile. And a registry that was running remembers swept blobs:
it accepts a push without them, and the image cannot be pulled; so it is restarted before it is writable.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from reaper.collect.base import (
    Collected,
    CollectError,
    CollectionResult,
    Collector,
    Mode,
    Outcome,
    Phase,
    Progress,
    StuckReadOnlyError,
    Tally,
)
from reaper.core.errors import ReaperError
from reaper.process import uninterrupted

#: Tells the registry's mode; a ReaperError when it does not answer.
Probe = Callable[[], Awaitable[Mode]]
#: Keeps a phase where a successor finds it.
RecordPhase = Callable[[Phase], Awaitable[None]]
#: Proves that everything tagged can be pulled; returns a line for each thing that cannot.
Verify = Callable[[], Awaitable[Sequence[str]]]
#: Tells whether the registry has repositories.
HasRepositories = Callable[[], Awaitable[bool]]

#: Answers in a row that prove a mode: behind a load balancer, one answer speaks for one replica.
CONFIRMATIONS: Final = 3

_NOT_READ_ONLY: Final = frozenset({Mode.WRITABLE, Mode.DELETES_DISABLED})
_ANY: Final = frozenset(Mode)
#: No answer at all, where a probe's mode would stand.
_SILENT: Final = None

_READ_ONLY_WARNING: Final = (
    "collect.read_only is not configured: an image pushed during the collection can lose layers"
)
_RESTART_WARNING: Final = (
    "collect.restart is not configured: unless read_only.off restarts the registry, it remembers swept "
    "blobs, accepts pushes without them, and those images cannot be pulled"
)
_PREVIEW_WARNING: Final = (
    "garbage-collect is not an argument of its own in the command, so no dry run came first: neither "
    "whether it would find anything, nor its sizes, were known"
)
_RESTART_BY_HAND: Final = "restart the registry by hand now, before anything is pushed to it"
_WRITABLE_BY_HAND: Final = (
    "make the registry writable by hand now: run the read_only.off commands, or restart it without "
    "REGISTRY_STORAGE_MAINTENANCE_READONLY; until then every push is refused"
)


@dataclass(frozen=True, slots=True)
class Waits:
    """How long the procedure waits, in seconds.

    ``settle``: at most, until the registry answers in the mode that was asked for. ``poll``: between two
    looks meanwhile. ``watch``: between two looks at its mode while it is collected.
    """

    settle: float = 120.0
    poll: float = 0.5
    watch: float = 5.0


def ignore_progress(_tally: Tally) -> None:
    """Show no progress."""


async def run_procedure(
    collector: Collector,
    *,
    probe_mode: Probe,
    record_phase: RecordPhase,
    verify: Verify | None = None,
    has_repositories: HasRepositories | None = None,
    dry_run: bool = False,
    on_progress: Progress = ignore_progress,
    waits: Waits = Waits(),
) -> CollectionResult:
    """Collect safely, and leave the registry as writable as it was.

    A dry run comes first where the collector has one: it proves that the collector works and that there
    is something to collect before the registry's users notice anything. With ``dry_run``, it is all.

    Whatever fails once the registry was touched makes the outcome ``failed``, and ``detail`` says what.

    Raises:
        StuckReadOnlyError: the registry could not be made writable again.
        ReaperError: nothing was touched; the collection was refused, or cannot work.
    """
    started = time.monotonic()
    run = _Procedure(collector, probe_mode, record_phase, on_progress, waits)
    can = collector.capabilities

    def result(outcome: Outcome, tally: Tally, detail: str, *warnings: str) -> CollectionResult:
        return CollectionResult(
            via=collector.via,
            outcome=outcome,
            dry_run=dry_run,
            began=run.began,
            blobs=tally.blobs,
            bytes=tally.size,
            blobs_of_unknown_size=tally.unsized,
            manifests=tally.manifests,
            seconds=time.monotonic() - started,
            detail=detail,
            warnings=warnings,
        )

    if not can.collects:
        return result(Outcome.NONE, Tally(), "the registry collects by itself")
    await collector.check()

    if dry_run or can.dry_run:
        preview = await collector.collect(dry_run=True, on_progress=on_progress)
        if preview.empty_storage:
            await _agree_on_emptiness(has_repositories)
        if preview.nothing:
            why = "its storage is empty" if preview.empty_storage else "every blob is needed"
            return result(Outcome.NOTHING, preview.tally, f"nothing to collect: {why}")
        if dry_run:
            return result(Outcome.DONE, preview.tally, "a dry run: nothing was removed")

    warnings = [
        text
        for missing, text in (
            (not can.read_only, _READ_ONLY_WARNING),
            (not can.restart and not can.stops, _RESTART_WARNING),
            (not can.dry_run, _PREVIEW_WARNING),
        )
        if missing
    ]
    problems = await run.collect_and_put_back()
    if run.began and verify is not None:
        problems += await run.verify(verify)
    problems += await run.record(Phase.FINISHED)
    if problems:
        return result(Outcome.FAILED, run.collected.tally, "; ".join(problems), *warnings)
    if run.collected.tally.expected is None and not run.collected.empty_storage:
        warnings.append("the collector printed no summary, so blobs and bytes may be incomplete")
    nothing = run.collected.nothing
    detail = "nothing to collect" if nothing else "collected" + (" and verified" if verify else "")
    return result(Outcome.NOTHING if nothing else Outcome.DONE, run.collected.tally, detail, *warnings)


async def recover(
    phase: Phase,
    collector: Collector,
    *,
    probe_mode: Probe,
    record_phase: RecordPhase,
    waits: Waits = Waits(),
) -> list[str]:
    """Put the registry back where a procedure stopped in ``phase``; return what is still wrong.

    The caller verifies afterwards: a collection that was cut off may have removed anything it announced.

    Raises:
        StuckReadOnlyError: the registry could not be made writable again.
    """
    run = _Procedure(collector, probe_mode, record_phase, ignore_progress, waits)
    run.began = phase in (Phase.COLLECTING, Phase.RESTARTING)
    touched = run.began or phase in (Phase.MAKING_READ_ONLY, Phase.MAKING_WRITABLE)
    problems: list[str] = []
    if touched:
        problems += await uninterrupted(run.put_back(writable=collector.capabilities.read_only))
    return problems + await run.record(Phase.FINISHED)


class _Procedure:
    """One procedure under way."""

    def __init__(
        self,
        collector: Collector,
        probe: Probe,
        record_phase: RecordPhase,
        on_progress: Progress,
        waits: Waits,
    ) -> None:
        self._collector = collector
        self._probe = probe
        self._record_phase = record_phase
        self._waits = waits
        self._latest = Tally()
        self._on_progress = on_progress
        #: The collection itself has begun, so blobs may be gone.
        self.began = False
        self.collected = Collected(Tally())

    async def collect_and_put_back(self) -> list[str]:
        """Make read-only, collect, put back. Return what went wrong."""
        guarded = self._collector.capabilities.read_only
        if guarded and await self._probe() is Mode.READ_ONLY:
            raise CollectError(
                "the registry is read-only already, and not by this collection",
                hint="when nobody else maintains it now, run the read_only.off commands by hand",
            )
        await self._record_phase(Phase.MAKING_READ_ONLY if guarded else Phase.COLLECTING)
        problems: list[str] = []
        try:
            if guarded:
                await self._collector.read_only_on()
                stops = self._collector.capabilities.stops
                await self._prove(frozenset({_SILENT if stops else Mode.READ_ONLY}))
                await self._record_phase(Phase.COLLECTING)
            self.began = True
            self.collected = await self._collect(guarded=guarded)
        except ReaperError as error:
            problems.append(str(error))
            self.collected = Collected(self._latest)
        finally:
            problems += await uninterrupted(self.put_back(writable=guarded))
        return problems

    async def put_back(self, *, writable: bool) -> list[str]:
        """Restart after a collection, then make writable. Return what went wrong besides."""
        problems: list[str] = []
        if self.began and self._collector.capabilities.restart:
            problems += await self.record(Phase.RESTARTING)
            try:
                await self._collector.restart()
                await self._prove(_ANY)
            except CollectError as error:
                problems.append(f"the restart after the collection failed ({error}); {_RESTART_BY_HAND}")
        if writable:
            problems += await self.record(Phase.MAKING_WRITABLE)
            problems += await self._make_writable()
        return problems

    async def _make_writable(self) -> list[str]:
        problems: list[str] = []
        try:
            await self._collector.read_only_off()
        except CollectError as error:
            problems.append(str(error))  # Whether it worked all the same is for the probe to say.
        try:
            await self._prove(_NOT_READ_ONLY)
        except CollectError as error:
            told = "; ".join([*problems, str(error)])
            raise StuckReadOnlyError(
                f"the registry may still be read-only after the collection: {told}", hint=_WRITABLE_BY_HAND
            ) from error
        return problems

    async def verify(self, verify: Verify) -> list[str]:
        """Return what cannot be pulled, or why that is not known."""
        problems = await self.record(Phase.VERIFYING)
        try:
            damages = await verify()
        except ReaperError as error:
            return [*problems, f"what is tagged could not be verified: {error}"]
        return [*problems, *(f"damaged: {damage}" for damage in damages)]

    async def record(self, phase: Phase) -> list[str]:
        """Record ``phase``; where that fails, go on: putting the registry back matters more."""
        try:
            await self._record_phase(phase)
        except ReaperError as error:
            return [f"the phase {phase} could not be recorded: {error}"]
        return []

    async def _collect(self, *, guarded: bool) -> Collected:
        """Collect; stop at once when the registry becomes writable meanwhile (a deploy, a self-heal)."""
        collecting = asyncio.create_task(self._collector.collect(dry_run=False, on_progress=self._keep))
        tasks: set[asyncio.Task[Collected] | asyncio.Task[None]] = {collecting}
        if guarded:
            tasks.add(asyncio.create_task(self._until_writable()))
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if collecting.done():
                return collecting.result()
            raise CollectError("the registry became writable during the collection, which was stopped")
        finally:
            for task in tasks:
                task.cancel()
            await uninterrupted(_all_ended(tasks))

    def _keep(self, tally: Tally) -> None:
        self._latest = tally
        self._on_progress(tally)

    async def _until_writable(self) -> None:
        while True:
            await asyncio.sleep(self._waits.watch)
            try:
                mode = await self._probe()
            except ReaperError:
                continue  # A registry that does not answer accepts no push either.
            if mode in _NOT_READ_ONLY:
                return

    async def _prove(self, wanted: frozenset[Mode | None]) -> None:
        """Wait until the registry has answered in a ``wanted`` mode several times in a row.

        Raises:
            CollectError: it did not, in all the time allowed.
        """
        last = "it was not asked"
        in_a_row = 0
        try:
            async with asyncio.timeout(self._waits.settle) as limit:
                while in_a_row < CONFIRMATIONS:
                    mode: Mode | None
                    try:
                        mode = await self._probe()
                    except ReaperError as error:
                        last, mode = f"it does not answer ({error})", _SILENT
                    else:
                        last = f"it is {mode}"
                    in_a_row = in_a_row + 1 if mode in wanted else 0
                    if in_a_row < CONFIRMATIONS:
                        await asyncio.sleep(self._waits.poll)
        except TimeoutError:
            if not limit.expired():
                raise
            raise CollectError(
                f"waited {self._waits.settle:g} seconds for the registry to {_described(wanted)}, but {last}"
            ) from None


def _described(wanted: frozenset[Mode | None]) -> str:
    if wanted == _ANY:
        return "answer"
    if _SILENT in wanted:
        return "stop answering"
    return "be " + " or ".join(sorted(mode for mode in wanted if mode is not None))


async def _agree_on_emptiness(has_repositories: HasRepositories | None) -> None:
    """Refuse to believe in an empty storage while the registry lists repositories."""
    if has_repositories is not None and await has_repositories():
        raise CollectError(
            "the collector finds an empty storage, but the registry has repositories",
            hint="the configuration file in collect.command is not the registry's own",
        )


async def _all_ended(tasks: set[asyncio.Task[Collected] | asyncio.Task[None]]) -> None:
    await asyncio.gather(*tasks, return_exceptions=True)
