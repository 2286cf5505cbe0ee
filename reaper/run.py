"""One pass over a registry, from the lock to the report (DESIGN section 7)."""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import aclosing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Final

import structlog
from structlog.contextvars import bound_contextvars

from reaper.books import Books, Counts
from reaper.core.errors import ReaperError
from reaper.core.fingerprint import PlanId, policies_digest
from reaper.core.guard import check_clock, check_listing, check_run
from reaper.core.policy import Guard
from reaper.core.retention import Decision
from reaper.in_use import GUARD, InUseGuard
from reaper.inventory import Inventory
from reaper.planning import Planner, Scope
from reaper.progress import Progress, silent
from reaper.protect import Protector
from reaper.registry import RegistryClient
from reaper.report.extract import figures, write_extract
from reaper.report.model import CollectionReport, GuardReport, RepositoryReport, RunReport
from reaper.report.plan_file import PlanFile, planned
from reaper.report.spool import Spool, SpooledReports
from reaper.store import Store
from reaper.sweep import Sweeper, settle
from reaper.sweeping import Sweeping
from reaper.writer import WriterLock, writing

_log = structlog.get_logger(__name__)


#: The guard rails that no person can let pass: what is in use is not a matter of opinion.
NOT_ACCEPTABLE: Final = frozenset({GUARD})


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What a run is to do. ``registry`` is the registry's URL: its name in the store and the report.

    ``accept`` names the plan whose guard rails a person lets pass: just that plan, once.
    """

    registry: str
    scope: Scope
    dry_run: bool
    guard: Guard
    concurrency: int = 16
    command: str = "run"
    accept: str | None = None


def utc_now() -> datetime:
    """Return the time; the one clock that runs read."""
    return datetime.now(UTC)


class Run:
    """One pass over one registry.

    ``recover`` puts the registry back, reachable or not, where a collection was cut short.
    ``collect`` runs the collection procedure when one is due; None leaves collecting out. ``protector`` knows
    the images in use. ``may_write`` is called directly before each change, and raises when the right to make
    it is gone; the store's lock is asked besides. The report reads from a temporary file: close the run when
    the report is written.
    """

    def __init__(
        self,
        client: RegistryClient,
        store: Store,
        options: RunOptions,
        *,
        collect: Callable[[], Awaitable[CollectionReport | None]] | None = None,
        recover: Callable[[], Awaitable[None]] | None = None,
        protector: Protector | None = None,
        may_write: Callable[[], None] = lambda: None,
        clock: Callable[[], datetime] = utc_now,
        progress: Progress = silent,
    ) -> None:
        self._client = client
        self._store = store
        self._options = options
        self._collect_when_due = collect
        self._recover = recover
        self._in_use = InUseGuard(protector, store, options.scope.policies)
        self._leads = may_write
        self._clock = clock
        self._progress = progress
        self.run_id = uuid.uuid4().hex[:12]
        self._started = clock()
        self._planned = Spool()
        self._swept: Spool | None = None
        self._books = Books()
        self._plan_id: str | None = None
        self._settled = 0
        self._collection: CollectionReport | None = None
        self._failure: ReaperError | None = None
        self._stop = threading.Event()

    async def execute(self) -> RunReport:
        """Carry the run out and return its report; a run that fails is a report as well.

        Raises:
            LockedError: another process is changing this registry.
            StoreError: the store cannot be used at all.
        """
        # Every log line of the run says which one it is of, whoever writes it.
        with bound_contextvars(registry=self._options.registry, run_id=self.run_id):
            return await self._execute()

    async def _execute(self) -> RunReport:
        options, runs = self._options, self._store.runs
        if options.dry_run:
            runs.begin(self.run_id, options.registry, options.command, True, self._started)
            await self._attempt(self._look())
        else:
            async with writing(self._store, options.registry, options.command, self._clock) as lock:
                runs.interrupt_stale(options.registry, self._clock())
                runs.begin(self.run_id, options.registry, options.command, False, self._started)
                await self._attempt(self._look())
                if self._failure is None and not self._stop.is_set():
                    await self._attempt(self._sweep(lock))
        return self._finish()

    def _finish(self) -> RunReport:
        report = self._report()
        self._store.runs.finish(
            self.run_id, report.finished_at, report.outcome.value, figures(report), write_extract(report)
        )
        return report

    async def _attempt(self, part: Coroutine[Any, Any, None]) -> None:
        """Carry out a part of the run, and keep the error that ends it for the report."""
        try:
            await part
        except ReaperError as failure:
            self._failure = failure
            _log.error("run_failed", error=failure.message)
        except _Stopped:
            _log.info("run_stopped")
        except asyncio.CancelledError:
            # What the journal shows as begun is settled by the next run.
            self._stop.set()
            self._finish()
            raise

    @property
    def counts(self) -> Counts:
        """What was done, in figures that the report does not have."""
        return self._books.counts

    def plan_file(self) -> PlanFile:
        """Return what the run planned, to be saved.

        Raises:
            ReaperError: it came to no plan.
        """
        if self._plan_id is None:
            raise ReaperError("there is no plan to save", hint="the report says why")
        return PlanFile(
            registry=self._options.registry,
            plan_id=self._plan_id,
            run_id=self.run_id,
            created_at=self._started,
            policies=policies_digest(self._options.scope.policies),
            guards=[f"{trip.guard}: {trip}" for trip in self._books.trips],
            summary=asdict(self._books.summary),
            repositories=planned(self._planned),
        )

    def stop(self) -> None:
        """End the run at the next safe point: the request under way is finished and recorded.

        Safe to call from another thread.
        """
        self._stop.set()

    def close(self) -> None:
        """Delete the temporary files behind the report."""
        self._planned.close()
        if self._swept is not None:
            self._swept.close()

    async def _look(self) -> None:
        if self._recover is not None and not self._options.dry_run:
            await self._recover()
        registry_time = await self._client.ping()
        earlier = self._store.runs.recent(registry=self._options.registry)
        ends = [run.finished_at for run in earlier if run.finished_at is not None]
        # By the clock as it is now: a killed run was noted as ended only after this one began.
        self._books.trip(*check_clock(self._clock(), max(ends, default=None), registry_time))
        if not self._options.dry_run:
            await self._settle()
            # A collection ends all undoing, so a clock that cannot be trusted forbids it.
            if not self._books.trips:
                await self._collect()
        await self._plan()

    async def _settle(self) -> None:
        settled = await settle(self._client, self._store, registry=self._options.registry, clock=self._clock)
        self._settled = len(settled)

    async def _collect(self) -> None:
        if self._collect_when_due is not None:
            self._progress("collect", 0, None)
            self._collection = await self._collect_when_due()
            if self._collection is not None and self._collection.outcome == "failed":
                raise ReaperError(f"the collection failed, so nothing was deleted: {self._collection.detail}")

    async def _plan(self) -> None:
        """Read and plan, repository by repository, into the spool; then look at the whole."""
        inventory = Inventory(
            self._client,
            self._store,
            registry=self._options.registry,
            now=self._started,
            concurrency=self._options.concurrency,
            is_short=self._is_short,
        )
        planner = Planner(
            self._client,
            self._store,
            inventory,
            self._options.scope,
            now=self._started,
            in_use=self._in_use,
            books=self._books,
            probe=not self._options.dry_run,
        )
        named = PlanId(self._options.registry)
        async with aclosing(planner.plans()) as plans:
            async for entry, done, total in plans:
                self._progress("read", done, total)
                if self._stop.is_set():
                    raise _Stopped
                if entry is not None:
                    self._planned.append(entry)
                    if entry.plan is not None:
                        named.add(entry.plan)
        self._books.trip(*check_run(self._books.total, self._options.guard))
        self._plan_id = named.name(self._books.trips)
        if self._accept():
            await inventory.believe()

    def _is_short(self, repository: str | None, before: int, gone: int) -> bool:
        """Tell whether a listing is suddenly short, and note it where it concerns the run."""
        scope = self._options.scope
        guards = (
            [self._options.guard]
            if repository is None
            else [policy.guard for policy in scope.policies if policy.matches(repository)]
        )
        trips = list(check_listing(before, gone, guards, repository))
        if repository is None or scope.concerns(repository):
            self._books.trip(*trips)
        return bool(trips)

    def _accept(self) -> bool:
        """Let the guard rails pass if a person said so of this very plan, and never did before.

        Returns True where that was said now, and the registry is to be changed.
        """
        accepted = self._options.accept
        if accepted is None:
            return False
        facts, key = self._store.observations, f"accepted {accepted}"
        unknown = [trip for trip in self._books.trips if trip.guard in NOT_ACCEPTABLE]
        used = facts.fact(self._options.registry, key)
        if accepted != self._plan_id:
            self._books.note(f"--accept {accepted} is for another plan; this one is {self._plan_id}")
        elif used is not None:
            self._books.note(f"--accept {accepted} was used before, by run {used}")
        elif unknown:
            self._books.note(f"--accept cannot pass {unknown[0].guard}: nobody can know what is in use")
        elif self._books.trips:
            self._books.accept(accepted)
            if not self._options.dry_run:
                facts.set_fact(self._options.registry, key, self.run_id)
                return True
        return False

    async def _sweep(self, lock: WriterLock) -> None:
        if self._books.trips:
            return

        def may_write() -> None:
            lock.check()
            self._leads()

        sweeper = Sweeper(
            self._client,
            self._store,
            registry=self._options.registry,
            run_id=self.run_id,
            clock=self._clock,
            may_write=may_write,
            concurrency=self._options.concurrency,
            planned_at=self._started,
        )
        sweeping = Sweeping(
            sweeper,
            self._store,
            in_use=self._in_use,
            books=self._books,
            stop=self._stop,
            progress=self._progress,
        )
        if await sweeping.blind():
            return
        self._swept = Spool()
        steps = sum(len(entry.plan.steps) for entry in self._planned if entry.plan)
        async with aclosing(sweeping.carry_out(self._planned, steps)) as entries:
            async for entry in entries:
                self._swept.append(entry)
                self._remember(entry.report)
        self._failure = sweeping.failure

    def _remember(self, report: RepositoryReport) -> None:
        """Remember the decisions: the next run compares them with its own when policies have changed."""
        if report.policies and report.manifests:
            matching = [policy for policy in self._options.scope.policies if policy.name in report.policies]
            kept = {tag.tag: tag.decision != Decision.EXPIRE.value for tag in report.tags}
            self._store.observations.record_decisions(
                self._options.registry, report.name, policies_digest(matching), kept
            )

    def _report(self) -> RunReport:
        books = self._books
        return RunReport(
            run_id=self.run_id,
            registry=self._options.registry,
            dry_run=self._options.dry_run,
            started_at=self._started,
            finished_at=self._clock(),
            outcome=books.outcome(self._failure, stopped=self._stop.is_set()),
            summary=books.summary,
            guards=[GuardReport(trip.guard, trip.message, trip.repository) for trip in books.trips],
            collection=self._collection,
            settled=self._settled,
            error=_line(self._failure),
            notes=books.notes,
            plan_id=self._plan_id,
            repositories=SpooledReports(self._swept if self._swept is not None else self._planned),
        )


class _Stopped(Exception):  # noqa: N818 - a signal, not an error
    """Somebody asked the run to stop."""


def _line(error: ReaperError | None) -> str | None:
    if error is None:
        return None
    return f"{error.message} ({error.hint})" if error.hint else error.message
