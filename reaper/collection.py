"""When to collect, and what a collection means for the journal: the procedure, applied to one registry."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from reaper.collect import (
    CollectError,
    CollectionResult,
    Collector,
    Mode,
    Outcome,
    Phase,
    recover,
    run_procedure,
)
from reaper.collect.base import Tally
from reaper.core.duration import format_duration
from reaper.core.manifest import ManifestError, parse_manifest
from reaper.mend import mend
from reaper.registry import NotFoundError, RegistryClient, RegistryMode
from reaper.report.model import CollectionReport
from reaper.repositories import Repositories
from reaper.store import State, Store
from reaper.verify import verify

_log = structlog.get_logger(__name__)

_PHASE = "collection_phase"
_DAMAGE = "known_damage"
_OWED = "collection_owed"
_DAMAGES_REMEMBERED = 10_000
_MODES = {
    RegistryMode.WRITABLE: Mode.WRITABLE,
    RegistryMode.READ_ONLY: Mode.READ_ONLY,
    RegistryMode.DELETES_DISABLED: Mode.DELETES_DISABLED,
}


@dataclass(frozen=True, slots=True)
class Wait:
    """Why a collection has to wait: ``entries`` deletes could be undone until ``until``."""

    entries: int
    until: datetime


class Watch:
    """Is told what becomes of collections, from whichever thread they run in. This one does not listen."""

    def progress(self, tally: Tally) -> None:
        """Take note of what the collector has said so far."""

    def phase(self, phase: Phase) -> None:
        """Take note of a step that begins."""

    def verified(self, problems: int) -> None:
        """Take note of how much cannot be pulled, or could not be looked at, after a collection."""

    def collected(self, report: CollectionReport, seconds: float) -> None:
        """Take note of a collection that ended, and of how long the whole procedure took."""


class Collection:
    """The collections of one registry.

    A collector cannot choose: it sweeps whatever was deleted. So it waits until the youngest delete is
    older than ``undo_window``, counted from the start of the run that made it.

    With ``scheduled`` a run collects only what a schedule called for and had to postpone: the moment at
    which nothing is younger than the window is often just before a run deletes more.
    """

    def __init__(
        self,
        client: RegistryClient,
        store: Store,
        collector: Collector,
        *,
        registry: str,
        undo_window: timedelta,
        clock: Callable[[], datetime],
        scheduled: bool = False,
        concurrency: int = 16,
        watch: Watch | None = None,
        repositories: Repositories | None = None,
    ) -> None:
        self._client = client
        self._store = store
        self._collector = collector
        self._registry = registry
        self._undo_window = undo_window
        self._clock = clock
        self._scheduled = scheduled
        self._concurrency = concurrency
        self._watch = watch or Watch()
        self._repositories = repositories or Repositories(client)

    async def before_run(self) -> CollectionReport | None:
        """Collect at the start of a run, if it is up to runs to do so; put right what was cut short anyway.

        Raises:
            CollectError: the registry could not be made writable again.
            ReaperError: the collection was refused before anything was touched.
        """
        await self.recover()
        if self._scheduled and not await asyncio.to_thread(
            self._store.observations.fact, self._registry, _OWED
        ):
            return None
        return await self.when_due()

    async def owe(self) -> None:
        """Note that a scheduled collection had to be postponed: the next run makes up for it."""
        now = self._clock().isoformat()
        await asyncio.to_thread(self._store.observations.set_fact, self._registry, _OWED, now)

    def wait(self) -> Wait | None:
        """Return what a collection has to wait for, or None when it need not."""
        youngest = self._store.journal.undoable(self._registry, limit=1)
        if not youngest:
            return None
        deleted = youngest[0].deleted_at or youngest[0].created_at
        started = {run.id: run.started_at for run in self._store.runs.recent(100, self._registry)}
        until = started.get(youngest[0].run_id, deleted) + self._undo_window
        # A schedule fires a little early or late; one percent of a day is a quarter of an hour.
        if self._clock() >= until - self._undo_window / 100:
            return None
        return Wait(self._store.journal.count_by_state(self._registry)[State.DELETED], until)

    async def when_due(self) -> CollectionReport | None:
        """Collect what earlier runs deleted, unless there is nothing, or it may still be undone.

        Raises:
            CollectError: the registry could not be made writable again.
            ReaperError: the collection was refused before anything was touched.
        """
        if not self._collector.capabilities.collects:
            return None
        if not self._store.journal.count_by_state(self._registry)[State.DELETED]:
            return None
        return await self.unless_undoable()

    async def unless_undoable(self) -> CollectionReport:
        """Collect, or say what has to be waited for. Raises as `when_due` does."""
        wait = await asyncio.to_thread(self.wait)
        if wait is not None and self._collector.capabilities.collects:
            window = format_duration(self._undo_window)
            detail = (
                f"{wait.entries} deletes can be undone until {wait.until:%Y-%m-%d %H:%M:%SZ} "
                f"(undo_window {window})"
            )
            return CollectionReport(self._collector.via, "postponed", detail=detail)
        return await self.now()

    async def now(self, *, dry_run: bool = False) -> CollectionReport:
        """Collect, or in a dry run see what would be collected.

        Raises:
            CollectError: the registry could not be made writable again.
            ReaperError: the collection was refused before anything was touched.
        """
        began = self._clock()
        result = await run_procedure(
            self._collector,
            probe_mode=self._mode,
            record_phase=self._record,
            verify=self._verify,
            has_repositories=self._has_repositories,
            dry_run=dry_run,
            on_progress=self._watch.progress,
        )
        if not dry_run and (result.began or result.outcome is Outcome.NOTHING):
            # Also after a failure: once it has begun, any blob may be gone.
            journal = self._store.journal
            swept = await asyncio.to_thread(journal.mark_collected, self._registry, began, self._clock())
            await asyncio.to_thread(self._store.observations.set_fact, self._registry, _OWED, None)
            _log.info("collected", registry=self._registry, blobs=result.blobs, entries=swept)
        report = _report(result)
        if not dry_run:
            self._watch.collected(report, result.seconds)
        return report

    async def recover(self) -> None:
        """Put the registry back where a collection was cut short, and see what that has cost.

        Raises:
            CollectError: it could not be put back, or something tagged cannot be pulled any more.
        """
        phase = await asyncio.to_thread(cut_short, self._store, self._registry)
        if phase is None:
            return
        _log.warning("collection_was_cut_short", registry=self._registry, phase=phase.value)
        problems = await recover(phase, self._collector, probe_mode=self._mode, record_phase=self._record)
        if phase is not Phase.MAKING_READ_ONLY:
            await asyncio.to_thread(
                self._store.journal.mark_collected, self._registry, self._clock(), self._clock()
            )
            problems += await self._verify()
        if problems:
            raise CollectError(f"a collection was cut short while {phase.value}: {'; '.join(problems)}")

    async def _mode(self) -> Mode:
        return _MODES[await self._client.mode()]

    async def _record(self, phase: Phase) -> None:
        self._watch.phase(phase)
        value = None if phase is Phase.FINISHED else phase.value
        await asyncio.to_thread(self._store.observations.set_fact, self._registry, _PHASE, value)

    async def _verify(self) -> Sequence[str]:
        """Return what cannot be pulled, apart from what could not be pulled at the last look either.

        Old damage is not the collection's doing, and must not keep the disk from being freed for ever. What
        reaper remembers of the damaged is put back; it was damaged all the same, and is said to have been.
        """
        found = await verify(self._client, listed=self._repositories, concurrency=self._concurrency)
        changed = await mend(self._client, self._store, self._registry, found.damages)
        left = await verify(self._client, sorted(changed), concurrency=self._concurrency)
        still = [*(damage for damage in found.damages if damage.repository not in changed), *left.damages]
        mended = [f"{damage}; it was put back" for damage in found.damages if damage not in still]
        damages = [str(damage) for damage in still]
        facts = self._store.observations
        earlier = await asyncio.to_thread(facts.fact, self._registry, _DAMAGE)
        known = json.loads(earlier) if earlier else []
        noted = json.dumps(damages[:_DAMAGES_REMEMBERED])
        await asyncio.to_thread(facts.set_fact, self._registry, _DAMAGE, noted)
        errors = [*found.errors, *left.errors]
        self._watch.verified(len(damages) + len(errors))
        return [*(damage for damage in damages if damage not in known), *mended, *errors]

    async def _has_repositories(self) -> bool:
        listing = await self._repositories.list()
        if listing.whole:
            return bool(listing.names)
        for name in listing.names:
            try:
                if await self._client.tags(name):
                    return True
            except NotFoundError:
                continue
        return False


def cut_short(store: Store, registry: str) -> Phase | None:
    """Return the step at which a collection of ``registry`` was cut short, None where none was."""
    value = store.observations.fact(registry, _PHASE)
    return None if value is None else Phase(value)


def known_damage(store: Store, registry: str) -> int | None:
    """Return how much of ``registry`` could not be pulled at the last verify, None where there was none."""
    value = store.observations.fact(registry, _DAMAGE)
    return None if value is None else len(json.loads(value))


def _report(result: CollectionResult) -> CollectionReport:
    return CollectionReport(
        via=result.via,
        outcome=result.outcome.value,
        blobs=result.blobs,
        bytes=result.bytes,
        detail=result.detail,
        warnings=list(result.warnings),
    )


class JournaledSizes:
    """The sizes of the blobs that journaled deletes set free: a collector does not print any.

    Read once, when the first size is asked for; only what can still be undone counts.
    """

    def __init__(self, store: Store, registry: str) -> None:
        self._store = store
        self._registry = registry
        self._sizes: dict[str, int] | None = None

    def __call__(self, digest: str) -> int | None:
        """Return the blob's size in bytes, or None where no journaled manifest says it."""
        if self._sizes is None:
            self._sizes = dict(self._read())
        return self._sizes.get(digest)

    def _read(self) -> Iterator[tuple[str, int]]:
        before: int | None = None
        while page := self._store.journal.undoable(self._registry, limit=500, before=before):
            before = page[-1].id
            for entry in page:
                yield entry.digest, len(entry.content)
                try:
                    manifest = parse_manifest(entry.content, entry.media_type, entry.digest)
                except ManifestError:
                    continue
                for blob in manifest.blobs:
                    yield blob.digest, blob.size
