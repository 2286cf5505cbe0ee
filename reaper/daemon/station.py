"""One registry at work: its runs and collections, one at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict
from datetime import datetime

import structlog

from reaper.collection import Collection, cut_short
from reaper.compose import (
    capabilities_for,
    collection_for,
    protector_for,
    registry_options,
    repositories_for,
    retention_for,
)
from reaper.config.settings import RegistrySettings, Settings
from reaper.core.errors import ReaperError
from reaper.core.policy import Policy
from reaper.daemon.apart import run_apart
from reaper.daemon.recording import Recorder
from reaper.gc import collect
from reaper.housekeeping import tidy
from reaper.notify import Notice
from reaper.planning import Scope
from reaper.protect import SourceState
from reaper.registry import RegistryClient, parse_address
from reaper.report.model import CollectionReport, Outcome, RunReport
from reaper.run import Run, RunOptions
from reaper.store import LockedError, Store
from reaper.writer import writing

_log = structlog.get_logger(__name__)


class Station:
    """Works on one registry, as one set of settings and policies says.

    ``turn`` keeps two jobs of the registry apart, also across a reload of the settings. ``may_write`` raises
    when this daemon may not change registries (any more); it is asked before each change. ``on_source`` is
    told how each source of images in use was read.
    """

    def __init__(
        self,
        registry: RegistrySettings,
        settings: Settings,
        policies: tuple[Policy, ...],
        *,
        store: Store,
        recorder: Recorder,
        turn: asyncio.Lock,
        may_write: Callable[[], None],
        on_source: Callable[[SourceState], None],
        clock: Callable[[], datetime],
    ) -> None:
        self._registry = registry
        self._settings = settings
        self._policies = policies
        self._store = store
        self._recorder = recorder
        self._turn = turn
        self._may_write = may_write
        self._on_source = on_source
        self._clock = clock
        self._run: Run | None = None
        self._stopping = False

    async def run(self, only: frozenset[str] | None = None) -> Notice | None:
        """Run once with the policies ``only`` (all when None); return what there is to tell about it.

        None means that another process is at work on the registry, so that nothing was done.
        """
        async with self._turn:
            if self._stopping:
                return None
            began = self._clock()
            self._recorder.run_started(began)
            try:
                return await run_apart(lambda: self._run_once(only))
            except LockedError as error:
                _log.warning("run_skipped", registry=self._registry.name, reason=error.message)
                self._recorder.run_skipped()
                return None
            except ReaperError as error:
                # Without a report: the login, the store or the settings kept it from beginning.
                _log.error("run_failed", registry=self._registry.name, error=error.message)
                self._recorder.run_without_report(began, self._clock())
                return self._notice(Outcome.FAILED, "-", began, lines=[error.message])
            finally:
                self._recorder.nothing_under_way()

    async def collect(self) -> Notice | None:
        """Collect once, as far as nothing may still be undone; else a later run makes up for it."""
        async with self._turn:
            if self._stopping or self._settings.dry_run:
                return None
            began = self._clock()
            try:
                report = await run_apart(self._collect_once)
            except LockedError as error:
                _log.warning("collection_skipped", registry=self._registry.name, reason=error.message)
                return None
            except ReaperError as error:
                _log.error("collection_failed", registry=self._registry.name, error=error.message)
                report = CollectionReport(self._registry.collect.via, "failed", detail=error.message)
                self._recorder.collected(report, (self._clock() - began).total_seconds())
            self._recorder.undoable()
            if report.outcome != "failed":
                return None
            lines = [f"the collection failed: {report.detail}"]
            return self._notice(Outcome.FAILED, "collection", began, lines=lines)

    def was_cut_short(self) -> bool:
        """Tell whether a collection of this registry was begun and never ended."""
        url = parse_address(self._registry.url).url
        found = cut_short(self._store, url) is not None
        if found:
            self._recorder.cut_short()
        return found

    def look_up(self) -> None:
        """Tell the metrics what other processes have done on this registry meanwhile."""
        self._recorder.seed(audits=self._settings.dry_run)

    async def recover(self) -> Notice | None:
        """Put the registry back where a collection was cut short; return what went wrong with that."""
        async with self._turn:
            began = self._clock()
            try:
                await run_apart(self._recover_once)
            except ReaperError as error:
                _log.error("recovery_failed", registry=self._registry.name, error=error.message)
                return self._notice(Outcome.FAILED, "recovery", began, lines=[error.message])
            return None

    def stop(self) -> None:
        """End the run under way at its next safe point, and begin nothing more."""
        self._stopping = True
        run = self._run
        if run is not None:
            run.stop()

    async def _run_once(self, only: frozenset[str] | None) -> Notice:
        settings, registry = self._settings, self._registry
        async with self._client(read_only=settings.dry_run) as client:
            collection = self._collection(client)
            run = Run(
                client,
                self._store,
                RunOptions(
                    registry=client.url,
                    scope=Scope(self._policies, only=only),
                    dry_run=settings.dry_run,
                    guard=settings.guard.to_guard(),
                    concurrency=registry.concurrency,
                    command="serve",
                ),
                collect=collection.before_run,
                recover=collection.recover,
                protector=protector_for(settings, registry, self._store, on_read=self._on_source),
                repositories=repositories_for(registry, client),
                capabilities=capabilities_for(registry, client, self._store, clock=self._clock),
                may_write=self._may_write,
                clock=self._clock,
            )
            self._run = run
            if self._stopping:
                run.stop()
            try:
                report = await run.execute()
            finally:
                self._run = None
                run.close()
            if report.error is not None:
                _log.error("run_failed", registry=registry.name, run_id=report.run_id, error=report.error)
            if not settings.dry_run:
                await tidy(self._store, client.url, self._clock(), retention_for(settings, registry))
            self._recorder.run_finished(report, run.counts)
            return self._notice(report.outcome, report.run_id, report.started_at, report=report)

    async def _collect_once(self) -> CollectionReport:
        async with self._client(read_only=False) as client:
            collection = self._collection(client)
            report = await collect(
                client, self._store, collection, clock=self._clock, may_write=self._may_write
            )
            if report.outcome == "postponed":
                self._recorder.collected(report, 0.0)
                await collection.owe()
            return report

    async def _recover_once(self) -> None:
        async with (
            self._client(read_only=False) as client,
            writing(self._store, client.url, "recover", self._clock),
        ):
            self._may_write()
            await self._collection(client).recover()

    def _collection(self, client: RegistryClient) -> Collection:
        return collection_for(self._registry, client, self._store, watch=self._recorder)

    @asynccontextmanager
    async def _client(self, *, read_only: bool) -> AsyncIterator[RegistryClient]:
        # Anew for each job: a password that was rotated in its file counts from the next job on.
        options = registry_options(self._registry, read_only=read_only, observer=self._recorder.wire)
        async with RegistryClient(options) as client:
            yield client

    def _notice(
        self,
        outcome: Outcome,
        run_id: str,
        began: datetime,
        *,
        lines: list[str] | None = None,
        report: RunReport | None = None,
    ) -> Notice:
        said = list(lines or ())
        if report is not None:
            said += [report.error] if report.error else []
            said += [f"{guard.repository or 'the run'}: {guard.message}" for guard in report.guards]
        return Notice(
            registry=self._registry.name,
            outcome=outcome.value,
            run_id=run_id,
            dry_run=self._settings.dry_run,
            started_at=began,
            finished_at=report.finished_at if report else self._clock(),
            figures=asdict(report.summary) if report else {},
            lines=said,
        )
