"""Carries out a plan that was saved and looked at: exactly that, each precondition looked up again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from reaper.core.duration import format_duration
from reaper.core.errors import InvalidInputError
from reaper.core.fingerprint import policies_digest
from reaper.core.guard import check_clock
from reaper.core.policy import Policy
from reaper.in_use import InUseGuard
from reaper.ongoing import OngoingRun
from reaper.progress import Progress, silent
from reaper.protect import Protector
from reaper.registry import RegistryClient
from reaper.report.model import ManifestReport, RepositoryReport, RunReport, TagReport
from reaper.report.plan_file import PlanFile, PlannedRepository
from reaper.report.spool import SpooledRepository
from reaper.report.text import rfc3339
from reaper.store import Store
from reaper.sweep import settle
from reaper.sweeping import Sweeping

_log = structlog.get_logger(__name__)

COMMAND = "apply"


@dataclass(frozen=True, slots=True)
class ApplyOptions:
    """What may be applied: plans not older than ``max_age``; blocked ones where ``accept`` names them."""

    policies: Sequence[Policy]
    max_age: timedelta
    accept: str | None = None
    concurrency: int = 16


class Application:
    """One saved plan, carried out. Close it when the report is written."""

    def __init__(
        self,
        client: RegistryClient,
        store: Store,
        plan: PlanFile,
        options: ApplyOptions,
        *,
        clock: Callable[[], datetime],
        protector: Protector | None = None,
        may_write: Callable[[], None] = lambda: None,
        progress: Progress = silent,
    ) -> None:
        self._client = client
        self._store = store
        self._plan = plan
        self._options = options
        self._clock = clock
        self._in_use = InUseGuard(protector, store, options.policies)
        self._may_write = may_write
        self._progress = progress
        self._run = OngoingRun(store, client.url, COMMAND, dry_run=False, clock=clock)
        self._run.plan_id = plan.plan_id

    def check(self) -> None:
        """Refuse a plan that is for something else, or of another time.

        Raises:
            InvalidInputError: it is; the message says why.
        """
        plan, now = self._plan, self._clock()
        if plan.registry != self._client.url:
            raise InvalidInputError(f"the plan is for {plan.registry}, and this is {self._client.url}")
        if plan.policies != policies_digest(self._options.policies):
            raise InvalidInputError(
                "the policies have changed since the plan was made", hint="make the plan anew"
            )
        age = now - plan.created_at
        if age > self._options.max_age or age < timedelta(0):
            limit = format_duration(self._options.max_age)
            raise InvalidInputError(
                f"the plan is of {plan.created_at:%Y-%m-%d %H:%M:%SZ}; it may be {limit} old at the most",
                hint="make the plan anew, or allow its age with --max-age",
            )
        if plan.guards and self._options.accept != plan.plan_id:
            raise InvalidInputError(
                f"the plan ran into guard rails: {'; '.join(plan.guards)}",
                hint=f"if it is meant all the same: --accept {plan.plan_id}",
            )

    async def execute(self) -> RunReport:
        """Carry the plan out and return the report.

        Raises:
            InvalidInputError: the plan is refused; nothing was touched.
            LockedError: another process is changing this registry.
            StoreError: the store cannot be used at all.
        """
        self.check()
        run = self._run
        plan = f"plan {self._plan.plan_id} of {rfc3339(self._plan.created_at)}"
        run.books.note(f"the figures are about {plan} alone")
        async with run.under_way(self._may_write) as may_write:
            if may_write is not None:
                await run.attempt(self._carry_out(may_write))
        return run.finish()

    def stop(self) -> None:
        """End at the next safe point. Safe to call from another thread."""
        self._run.stop.set()

    def close(self) -> None:
        """Delete the temporary file behind the report."""
        self._run.entries.close()

    async def _carry_out(self, may_write: Callable[[], None]) -> None:
        registry_time = await self._client.ping()
        run = self._run
        run.books.trip(*check_clock(self._clock(), None, registry_time))
        settled = await settle(
            self._client, self._store, registry=self._client.url, clock=self._clock, may_write=may_write
        )
        run.settled = len(settled)
        repositories = self._plan.repositories
        run.books.trip(*await self._in_use.begin([each.name for each in repositories]))
        entries = [_entry(each) for each in repositories]
        for entry in entries:
            run.books.read(entry)
        sweeping = Sweeping(
            run,
            self._client,
            self._store,
            in_use=self._in_use,
            may_write=may_write,
            planned_at=self._plan.created_at,
            concurrency=self._options.concurrency,
            progress=self._progress,
        )
        if run.books.trips or await sweeping.blind():
            for entry in entries:
                run.entries.append(entry)
            return
        async with aclosing(sweeping.carry_out(entries)) as done:
            async for entry in done:
                run.entries.append(entry)


def _entry(planned: PlannedRepository) -> SpooledRepository:
    """Return a repository of the plan as a run would have it: with what the plan touches."""
    steps = {step.digest: step for step in planned.plan.steps}
    touched = [manifest for manifest in planned.plan.manifests if manifest.digest in steps]
    manifests = [
        ManifestReport(m.digest, m.kind, m.action.value, m.reason, list(m.tags), m.size) for m in touched
    ]
    report = RepositoryReport(
        planned.name,
        sorted({step.policy for step in planned.plan.steps}),
        list(_tags(planned)),
        manifests,
    )
    return SpooledRepository(report, planned.plan)


def _tags(planned: PlannedRepository) -> Iterator[TagReport]:
    going = {tag: step for step in planned.plan.steps for tag in step.tags}
    for name, digest in planned.tags.items():
        step = going.get(name)
        if step is None:
            yield TagReport(name, digest, "keep", None, "the plan keeps it")
        else:
            yield TagReport(name, digest, "expire", step.rule, step.reason, policy=step.policy)
