"""One pass over a registry, from the lock to the report (DESIGN section 7)."""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import structlog
from structlog.contextvars import bound_contextvars

from reaper.concurrency import in_order
from reaper.core.errors import ReaperError
from reaper.core.guard import Tally, Trip, check_clock, check_matches, check_repository, check_run, tally
from reaper.core.manifest import Manifest, ManifestError, parse_manifest
from reaper.core.plan import Action, RepositoryPlan, explain_shared
from reaper.core.policy import Guard, Policy
from reaper.core.reclaim import Ledger
from reaper.core.retention import BUILT_IN, Decision, Decisions
from reaper.core.selectors import EVERYTHING, Selector
from reaper.core.snapshot import Snapshot
from reaper.in_use import InUseGuard
from reaper.inventory import IncompleteError, Inventory
from reaper.judging import judge
from reaper.progress import Progress, silent
from reaper.protect import Protector
from reaper.registry import RegistryClient, RegistryError
from reaper.report.build import repository_report, unread_report
from reaper.report.extract import figures, write_extract
from reaper.report.model import (
    CollectionReport,
    GuardReport,
    ManifestReport,
    Outcome,
    RepositoryReport,
    RunReport,
    Summary,
)
from reaper.report.spool import Spool, SpooledReports, SpooledRepository
from reaper.store import Store
from reaper.sweep import CAN_UNTAG, NO, YES, StepResult, Sweeper, settle
from reaper.sweep import Outcome as StepOutcome
from reaper.writer import WriterLock, writing

_log = structlog.get_logger(__name__)

#: How many repositories are read at once; each asks for its tags side by side as well.
REPOSITORIES_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What a run is to do. ``registry`` is the registry's URL: its name in the store and the report.

    ``repositories`` and ``only``, names of policies, narrow the run down to the repositories that they
    match; every policy's keeps hold all the same.
    """

    registry: str
    policies: Sequence[Policy]
    dry_run: bool
    guard: Guard
    repositories: Selector = EVERYTHING
    only: frozenset[str] | None = None
    concurrency: int = 16
    command: str = "run"


@dataclass(slots=True)
class Counts:
    """What a run did, in figures that its report does not have.

    ``deleted`` are manifests by policy, ``skipped`` are planned steps that were not carried out, by what
    became of them; ``protected`` are tags by the built-in protection that explains why they are kept;
    ``put_back`` are tags that came while their manifest was deleted; ``partial`` are repositories that could
    not be read completely.
    """

    deleted: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    protected: Counter[str] = field(default_factory=Counter)
    put_back: int = 0
    partial: int = 0


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
        self._in_use = InUseGuard(protector, store, options.policies)
        self._leads = may_write
        self._clock = clock
        self._progress = progress
        self.run_id = uuid.uuid4().hex[:12]
        self._started = clock()
        self._inventory = Inventory(
            client, store, registry=options.registry, now=self._started, concurrency=options.concurrency
        )
        self._judged = Spool()
        self._swept: Spool | None = None
        self._ledger = Ledger()
        self.counts = Counts()
        self._trips: list[Trip] = []
        self._total = Tally()
        self._summary = Summary()
        self._notes: list[str] = []
        self._settled = 0
        self._collection: CollectionReport | None = None
        self._can_untag = False
        self._asked_to_untag = False
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

    def stop(self) -> None:
        """End the run at the next safe point: the request under way is finished and recorded.

        Safe to call from another thread.
        """
        self._stop.set()

    def close(self) -> None:
        """Delete the temporary files behind the report."""
        self._judged.close()
        if self._swept is not None:
            self._swept.close()

    async def _look(self) -> None:
        if self._recover is not None and not self._options.dry_run:
            await self._recover()
        await self._client.ping()
        earlier = self._store.runs.recent(registry=self._options.registry)
        ends = [run.finished_at for run in earlier if run.finished_at is not None]
        # By the clock as it is now: a killed run was noted as ended only after this one began.
        self._trips += check_clock(self._clock(), max(ends, default=None))
        if not self._options.dry_run and not self._trips:
            await self._settle()
            await self._collect()
        await self._judge()
        self._guard()

    async def _settle(self) -> None:
        settled = await settle(self._client, self._store, registry=self._options.registry, clock=self._clock)
        self._settled = len(settled)

    async def _collect(self) -> None:
        if self._collect_when_due is not None:
            self._progress("collect", 0, None)
            self._collection = await self._collect_when_due()
            if self._collection is not None and self._collection.outcome == "failed":
                raise ReaperError(f"the collection failed, so nothing was deleted: {self._collection.detail}")

    async def _judge(self) -> None:
        """Inventory, decide, protect, plan: repository by repository, into the spool."""
        names = await self._inventory.repositories()
        policies = self._options.policies
        matched = {policy.name: sum(policy.matches(name) for name in names) for policy in policies}
        self._trips += check_matches(policies, matched, len(names))
        self._trips += await self._in_use.begin(names)
        for warning in self._in_use.warnings:
            self._note(warning)
        done = 0
        async with aclosing(in_order(names, self._repository, limit=REPOSITORIES_AT_ONCE)) as readings:
            async for entry in readings:
                done += 1
                self._progress("read", done, len(names))
                if self._stop.is_set():
                    raise _Stopped
                if entry is not None:
                    self._judged.append(entry)
                    self._count(entry)

    async def _repository(self, name: str) -> SpooledRepository | None:
        """Return one repository's report and plan, or None where the run is not about it."""
        mine = self._concerns(name)
        matching = [policy for policy in self._options.policies if mine and policy.matches(name)]
        try:
            snapshot = await self._inventory.read(name, with_created=bool(matching))
            if not mine:
                self._ledger.keep(entry.manifest for entry in snapshot.manifests.values())
                return None
            snapshot, decisions, plan = await judge(
                self._client,
                self._inventory,
                snapshot,
                matching,
                self._started,
                in_use=self._in_use.of(snapshot.repository),
                can_untag=self._find_out_untagging,
            )
        except IncompleteError as error:
            self._note("reclaimable bytes may be less: a repository could not be read completely")
            if not mine:
                return None
            policies = sorted(policy.name for policy in matching)
            self.counts.partial += 1
            return SpooledRepository(unread_report(name, policies, error.tags, error.problems))
        except RegistryError as error:
            # It was read, but what a plan needs to know besides was not to be had.
            self._ledger.keep(entry.manifest for entry in snapshot.manifests.values())
            policies = sorted(policy.name for policy in matching)
            unjudged = {tag.name: tag.digest for tag in snapshot.tags.values()}
            self.counts.partial += 1
            return SpooledRepository(unread_report(name, policies, unjudged, (error.message,)))
        doomed = {step.digest for step in plan.steps if step.action is Action.DELETE}
        self._ledger.doom(snapshot.manifests[digest].manifest for digest in doomed)
        self._ledger.keep(e.manifest for digest, e in snapshot.manifests.items() if digest not in doomed)
        self._trips += check_repository(plan, matching)
        self._total += tally(plan)
        tags = explain_shared(decisions.tags, plan, can_untag=self._can_untag)
        report = repository_report(snapshot, decisions, plan, tags)
        return SpooledRepository(report, plan if plan.steps else None)

    async def _find_out_untagging(self, snapshot: Snapshot, decisions: Decisions) -> bool:
        """Tell whether the registry can delete a tag alone, asking only where an answer matters."""
        shared = any(
            tag.decision is Decision.EXPIRE and tag.digest in decisions.kept
            for tag in decisions.tags.values()
        )
        if shared and not self._can_untag:
            facts = self._store.observations
            known = facts.fact(self._options.registry, CAN_UNTAG)
            if known in (None, NO) and not self._options.dry_run and not self._asked_to_untag:
                # A registry learns it with an update: each run asks again.
                found = await self._client.can_untag(snapshot.repository)
                self._asked_to_untag = True
                if found is not None:
                    known = YES if found else NO
                    facts.set_fact(self._options.registry, CAN_UNTAG, known)
            self._can_untag = known == YES
        return self._can_untag

    def _concerns(self, name: str) -> bool:
        if self._options.repositories.select(name) is None:
            return False
        only = self._options.only
        return only is None or any(p.name in only and p.matches(name) for p in self._options.policies)

    def _guard(self) -> None:
        self._trips += check_run(self._total, self._options.guard)
        for trip in self._trips:
            _log.warning("guard_tripped", guard=trip.guard, repository=trip.repository, figures=trip.message)

    async def _sweep(self, lock: WriterLock) -> None:
        if self._trips or await self._blind():
            return
        self._swept = Spool()

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
        )
        total = sum(len(entry.plan.steps) for entry in self._judged if entry.plan)
        done = 0
        for entry in self._judged:
            if entry.plan is not None and self._failure is None and not self._stop.is_set():
                results: list[StepResult] = []
                tags = {tag.tag: tag.digest for tag in entry.report.tags}
                try:
                    async with aclosing(self._carry_out(sweeper, entry.plan, tags)) as steps:
                        async for result in steps:
                            results.append(result)
                            done += 1
                            self._progress("delete", done, total)
                            if self._stop.is_set():
                                break
                except ReaperError as failure:
                    # What was done before is reported all the same, and nothing more is tried.
                    self._failure = failure
                entry = SpooledRepository(self._with_results(entry.report, results))
            self._swept.append(entry)

    async def _carry_out(
        self, sweeper: Sweeper, plan: RepositoryPlan, tags: Mapping[str, str]
    ) -> AsyncGenerator[StepResult, None]:
        """Yield what becomes of each step: none is made any more once what the plan touches is in use."""
        done = 0
        held = await self._held(plan)
        if held is None:
            async with aclosing(sweeper.sweep(plan, tags)) as steps:
                async for result in steps:
                    done += 1
                    yield result
                    held = await self._held(plan)
                    if held is not None:
                        break
        for step in plan.steps[done:]:
            yield StepResult(step, StepOutcome.CANCELLED, held or "")

    async def _held(self, plan: RepositoryPlan) -> str | None:
        """Return why nothing more of ``plan`` may be done, None when it may."""
        trip = await self._blind()
        if trip is not None:
            return trip.message
        user = await self._in_use.came_into_use(plan)
        return None if user is None else f"since the plan was made it has come into use by {user}"

    async def _blind(self) -> Trip | None:
        """Read what is in use where that is due; return the trip when it is not known any more."""
        trip = await self._in_use.refresh()
        if trip is not None and trip not in self._trips:
            self._trips.append(trip)
            _log.warning("guard_tripped", guard=trip.guard, repository=None, figures=trip.message)
        return trip

    def _with_results(self, report: RepositoryReport, results: Sequence[StepResult]) -> RepositoryReport:
        """Return the report with what really happened, and count it."""
        errors = list(report.errors)
        by_digest: dict[str, list[StepResult]] = {}
        for result in results:
            by_digest.setdefault(result.step.digest, []).append(result)
            if result.outcome in (StepOutcome.CANCELLED, StepOutcome.FAILED):
                self.counts.skipped[result.outcome.value] += 1
                self.counts.put_back += len(result.put_back)
            elif result.outcome is StepOutcome.DONE and result.step.action is Action.DELETE:
                self.counts.deleted[result.step.policy] += 1
            if result.outcome is StepOutcome.FAILED:
                errors.append(f"{result.step.digest}: {result.detail}")
        manifests = [_with_outcome(m, by_digest.get(m.digest, [])) for m in report.manifests]
        done = [result for result in results if result.outcome is StepOutcome.DONE]
        deletes = sum(result.step.action is Action.DELETE for result in done)
        skipped = [m.digest for m in manifests if m.action == Action.SKIP.value]
        self._ledger.keep(self._stored(skipped))
        self._summary = replace(
            self._summary,
            deleted_manifests=self._summary.deleted_manifests + deletes,
            untagged_tags=self._summary.untagged_tags + len(done) - deletes,
            skipped_manifests=self._summary.skipped_manifests + len(skipped),
            errors=self._summary.errors + len(errors) - len(report.errors),
        )
        return replace(report, manifests=manifests, errors=errors)

    def _stored(self, digests: Sequence[str]) -> Iterator[Manifest]:
        for entry in self._store.manifests.load(digests).values():
            try:
                yield parse_manifest(entry.content, entry.media_type, entry.digest)
            except ManifestError:
                self._note(f"reclaimable bytes may be less: {entry.digest} cannot be read")

    def _count(self, entry: SpooledRepository) -> None:
        decisions = [tag.decision for tag in entry.report.tags]
        self.counts.protected.update(
            tag.rule for tag in entry.report.tags if tag.policy == BUILT_IN and tag.rule is not None
        )
        self._summary = replace(
            self._summary,
            repositories=self._summary.repositories + 1,
            tags=self._summary.tags + len(decisions),
            manifests=self._summary.manifests + len(entry.report.manifests),
            kept_tags=self._summary.kept_tags + decisions.count(Decision.KEEP.value),
            expired_tags=self._summary.expired_tags + decisions.count(Decision.EXPIRE.value),
            ignored_tags=self._summary.ignored_tags + decisions.count(Decision.IGNORE.value),
            manifests_to_delete=self._summary.manifests_to_delete
            + (entry.plan.deletions if entry.plan else 0),
            errors=self._summary.errors + len(entry.report.errors),
        )

    def _note(self, text: str) -> None:
        if text not in self._notes:
            self._notes.append(text)

    def _report(self) -> RunReport:
        summary = replace(self._summary, reclaimable_bytes=self._ledger.reclaimable)
        if self._failure is not None:
            outcome = Outcome.FAILED
        elif self._stop.is_set():
            outcome = Outcome.INTERRUPTED
        elif self._trips and not summary.deleted_manifests and not summary.untagged_tags:
            outcome = Outcome.BLOCKED
        elif self._trips or summary.errors:
            outcome = Outcome.PARTIAL
        else:
            outcome = Outcome.DONE
        return RunReport(
            run_id=self.run_id,
            registry=self._options.registry,
            dry_run=self._options.dry_run,
            started_at=self._started,
            finished_at=self._clock(),
            outcome=outcome,
            summary=summary,
            guards=[GuardReport(trip.guard, trip.message, trip.repository) for trip in self._trips],
            collection=self._collection,
            settled=self._settled,
            error=_line(self._failure),
            notes=self._notes,
            repositories=SpooledReports(self._swept if self._swept is not None else self._judged),
        )


class _Stopped(Exception):  # noqa: N818 - a signal, not an error
    """Somebody asked the run to stop."""


def _line(error: ReaperError | None) -> str | None:
    if error is None:
        return None
    return f"{error.message} ({error.hint})" if error.hint else error.message


def _with_outcome(manifest: ManifestReport, results: Sequence[StepResult]) -> ManifestReport:
    """Return the manifest with what became of its steps; the plan's own words where all went well."""
    undone = [r for r in results if r.outcome in (StepOutcome.CANCELLED, StepOutcome.FAILED)]
    if not undone:
        return manifest
    first = undone[0]
    reason = f"{first.outcome.value}: {first.detail}; planned because {manifest.reason}"
    return replace(manifest, action=Action.SKIP.value, reason=reason)
