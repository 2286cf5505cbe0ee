"""One pass over a registry, from the lock to the report (DESIGN section 7)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Final

import structlog

from reaper.books import Counts
from reaper.capabilities import Capabilities, Wanted
from reaper.core.errors import ReaperError
from reaper.core.fingerprint import PlanId, policies_digest
from reaper.core.guard import check_clock, check_listing, check_run
from reaper.core.policy import Guard
from reaper.core.retention import Decision
from reaper.in_use import GUARD, InUseGuard
from reaper.inventory import Inventory
from reaper.ongoing import OngoingRun, Stopped
from reaper.planning import Planner, Scope
from reaper.progress import Progress, silent
from reaper.protect import Protector
from reaper.registry import DeletesDisabledError, RegistryClient, RegistryError
from reaper.report.model import CollectionReport, RepositoryReport, RunReport
from reaper.report.plan_file import PlanFile, planned
from reaper.report.spool import Spool
from reaper.repositories import Repositories
from reaper.store import Store
from reaper.sweep import settle
from reaper.sweeping import Sweeping

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
    the images in use, ``repositories`` which there are (by default those of the catalog), ``capabilities``
    what the registry can do (by default what is found out). ``may_write`` is called directly before each
    change, and raises when the right to make it is gone; the store's lock is asked besides. The report reads
    from a temporary file: close the run when the report is written.
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
        repositories: Repositories | None = None,
        capabilities: Capabilities | None = None,
        may_write: Callable[[], None] = lambda: None,
        clock: Callable[[], datetime] = utc_now,
        progress: Progress = silent,
    ) -> None:
        self._client = client
        self._store = store
        self._options = options
        self._collect_when_due = collect
        self._recover = recover
        self._repositories = repositories
        self._capabilities = capabilities or Capabilities(client, store, Wanted(), clock=clock)
        self._in_use = InUseGuard(protector, store, options.scope.policies)
        self._leads = may_write
        self._clock = clock
        self._progress = progress
        self._run = OngoingRun(store, options.registry, options.command, dry_run=options.dry_run, clock=clock)
        self._books = self._run.books
        self._planned = self._run.entries

    async def execute(self) -> RunReport:
        """Carry the run out and return its report; a run that fails is a report as well.

        Raises:
            LockedError: another process is changing this registry.
            StoreError: the store cannot be used at all.
        """
        run = self._run
        async with run.under_way(self._leads) as may_write:
            await run.attempt(self._look(may_write))
            if may_write is not None and run.failure is None and not run.stop.is_set():
                await run.attempt(self._sweep(may_write))
        return run.finish()

    @property
    def failure(self) -> ReaperError | None:
        """What ended the run early."""
        return self._run.failure

    @property
    def run_id(self) -> str:
        """The run's name in the store, the journal and the report."""
        return self._run.id

    @property
    def counts(self) -> Counts:
        """What was done, in figures that the report does not have."""
        return self._books.counts

    def plan_file(self) -> PlanFile:
        """Return what the run planned, to be saved.

        Raises:
            ReaperError: it came to no plan.
        """
        if self._run.plan_id is None:
            raise ReaperError("there is no plan to save", hint="the report says why")
        return PlanFile(
            registry=self._options.registry,
            plan_id=self._run.plan_id,
            run_id=self.run_id,
            created_at=self._run.started,
            policies=policies_digest(self._options.scope.policies),
            guards=[f"{trip.guard}: {trip}" for trip in self._books.trips],
            summary=asdict(self._books.summary),
            repositories=planned(self._planned),
        )

    def stop(self) -> None:
        """End the run at the next safe point: the request under way is finished and recorded.

        Safe to call from another thread.
        """
        self._run.stop.set()

    def close(self) -> None:
        """Delete the temporary files behind the report."""
        self._planned.close()
        self._run.entries.close()

    async def _look(self, may_write: Callable[[], None] | None) -> None:
        if self._recover is not None and not self._options.dry_run:
            await self._recover()
        registry_time = await self._client.ping()
        earlier = self._store.runs.recent(registry=self._options.registry)
        ends = [run.finished_at for run in earlier if run.finished_at is not None]
        # By the clock as it is now: a killed run was noted as ended only after this one began.
        self._books.trip(*check_clock(self._clock(), max(ends, default=None), registry_time))
        if may_write is not None:
            await self._settle(may_write)
            # A collection ends all undoing, so a clock that cannot be trusted forbids it.
            if not self._books.trips:
                await self._collect()
        await self._plan()

    async def _settle(self, may_write: Callable[[], None]) -> None:
        settled = await settle(
            self._client,
            self._store,
            registry=self._options.registry,
            clock=self._clock,
            may_write=may_write,
        )
        self._run.settled = len(settled)

    async def _collect(self) -> None:
        if self._collect_when_due is not None:
            self._progress("collect", 0, None)
            self._run.collection = found = await self._collect_when_due()
            if found is not None and found.outcome == "failed":
                raise ReaperError(f"the collection failed, so nothing was deleted: {found.detail}")

    async def _plan(self) -> None:
        """Read and plan, repository by repository, into the spool; then look at the whole."""
        inventory = Inventory(
            self._client,
            self._store,
            registry=self._options.registry,
            now=self._run.started,
            concurrency=self._options.concurrency,
            is_short=self._is_short,
            repositories=self._repositories,
        )
        planner = Planner(
            self._client,
            self._store,
            inventory,
            self._options.scope,
            now=self._run.started,
            in_use=self._in_use,
            books=self._books,
            capabilities=self._capabilities,
            probe=not self._options.dry_run,
        )
        named = PlanId(self._options.registry)
        async with aclosing(planner.plans()) as plans:
            async for entry, done, total in plans:
                self._progress("read", done, total)
                if self._run.stop.is_set():
                    raise Stopped
                if entry is not None:
                    self._planned.append(entry)
                    if entry.plan is not None:
                        named.add(entry.plan)
        self._books.trip(*check_run(self._books.total, self._options.guard))
        self._run.plan_id = named.name(self._books.trips)
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
        if accepted != self._run.plan_id:
            self._books.note(f"--accept {accepted} is for another plan; this one is {self._run.plan_id}")
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

    async def _sweep(self, may_write: Callable[[], None]) -> None:
        if self._books.trips:
            return
        sweeping = Sweeping(
            self._run,
            self._client,
            self._store,
            in_use=self._in_use,
            may_write=may_write,
            planned_at=self._run.started,
            concurrency=self._options.concurrency,
            progress=self._progress,
        )
        if await sweeping.blind():
            return
        self._run.entries = Spool()
        async with aclosing(sweeping.carry_out(self._planned)) as entries:
            async for entry in entries:
                self._run.entries.append(entry)
                self._remember(entry.report)
        if self._books.changed_something or isinstance(self._run.failure, DeletesDisabledError):
            try:
                await self._capabilities.deletes(self._books.changed_something)
            except RegistryError as error:
                # What is done is done, and only the next run would have asked.
                self._books.note(f"what the registry allows could not be noted: {error.message}")

    def _remember(self, report: RepositoryReport) -> None:
        """Remember the decisions: the next run compares them with its own when policies have changed."""
        if report.policies and report.manifests:
            matching = [policy for policy in self._options.scope.policies if policy.name in report.policies]
            kept = {tag.tag: tag.decision != Decision.EXPIRE.value for tag in report.tags}
            self._store.observations.record_decisions(
                self._options.registry, report.name, policies_digest(matching), kept
            )
