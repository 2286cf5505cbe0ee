"""Carries out the plans of a run, as long as nothing that they touch comes into use."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping
from contextlib import aclosing
from datetime import datetime

from reaper.books import skipped_in
from reaper.core.errors import ReaperError
from reaper.core.manifest import Manifest, ManifestError, parse_manifest
from reaper.core.plan import RepositoryPlan, Step
from reaper.in_use import InUseGuard
from reaper.ongoing import OngoingRun
from reaper.progress import Progress, silent
from reaper.registry import RegistryClient
from reaper.report.spool import SpooledRepository
from reaper.store import Store
from reaper.sweep import Outcome, StepResult, Sweeper


class Sweeping:
    """The sweep of ``run``: all of its repositories, as they were at ``planned_at``.

    ``may_write`` is called directly before each change, and raises when the right to make it is gone. An
    error that ends the sweep early is the run's failure; what was done before is reported all the same.
    """

    def __init__(
        self,
        run: OngoingRun,
        client: RegistryClient,
        store: Store,
        *,
        in_use: InUseGuard,
        may_write: Callable[[], None],
        planned_at: datetime,
        concurrency: int,
        progress: Progress = silent,
    ) -> None:
        self._sweeper = Sweeper(
            client,
            store,
            registry=run.registry,
            run_id=run.id,
            clock=run.clock,
            may_write=may_write,
            concurrency=concurrency,
            planned_at=planned_at,
        )
        self._run = run
        self._store = store
        self._in_use = in_use
        self._books = run.books
        self._progress = progress

    async def blind(self) -> bool:
        """Tell whether nothing may be deleted because it is not known (any more) what is in use."""
        return await self._blind() is not None

    async def carry_out(
        self, entries: Iterable[SpooledRepository]
    ) -> AsyncGenerator[SpooledRepository, None]:
        """Yield each repository with what became of its plan; ``entries`` are read twice."""
        steps, done = sum(len(entry.plan.steps) for entry in entries if entry.plan), 0
        for entry in entries:
            if entry.plan is None or self._run.failure is not None or self._run.stop.is_set():
                yield entry
                continue
            # A step that is undone by a last look comes a second time.
            results: dict[Step, StepResult] = {}
            tags = {tag.tag: tag.digest for tag in entry.report.tags}
            try:
                async with aclosing(self._plan(entry.plan, tags)) as found:
                    async for result in found:
                        done += result.step not in results
                        results[result.step] = result
                        self._progress("delete", done, steps)
                        if self._run.stop.is_set():
                            break
            except ReaperError as failure:
                self._run.failure = failure
            report = self._books.swept(entry.report, list(results.values()))
            self._books.ledger.keep(self._stored(skipped_in(report.manifests)))
            yield SpooledRepository(report)

    async def _plan(self, plan: RepositoryPlan, tags: Mapping[str, str]) -> AsyncGenerator[StepResult, None]:
        """Yield what becomes of each step: none is made any more once what the plan touches is in use."""
        done = 0
        held = await self._held(plan)
        if held is None:
            async with aclosing(self._sweeper.sweep(plan, tags)) as steps:
                async for result in steps:
                    done += 1
                    yield result
                    held = await self._held(plan) if done < len(plan.steps) else None
                    if held is not None:
                        break
        for step in plan.steps[done:]:
            yield StepResult(step, Outcome.CANCELLED, held or "")

    async def _held(self, plan: RepositoryPlan) -> str | None:
        """Return why nothing more of ``plan`` may be done, None when it may."""
        unknown = await self._blind()
        if unknown is not None:
            return unknown
        user = await self._in_use.came_into_use(plan)
        return None if user is None else f"since the plan was made it has come into use by {user}"

    async def _blind(self) -> str | None:
        """Read what is in use where that is due; return why it is not known any more."""
        trip = await self._in_use.refresh()
        if trip is None:
            return None
        self._books.trip(trip)
        return trip.message

    def _stored(self, digests: list[str]) -> Iterator[Manifest]:
        for entry in self._store.manifests.load(digests).values():
            try:
                yield parse_manifest(entry.content, entry.media_type, entry.digest)
            except ManifestError:
                self._books.note(f"reclaimable bytes may be less: {entry.digest} cannot be read")
