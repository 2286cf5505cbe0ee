"""Carries out a repository's plan, one step after the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import structlog

from reaper.core.manifest import ManifestError
from reaper.core.plan import Action, RepositoryPlan, Step
from reaper.registry import DeletesDisabledError, ReadOnlyRegistryError, RegistryClient, RegistryError
from reaper.store import Store
from reaper.sweep.change import AbsentError, Change, Site
from reaper.sweep.finality import Finality
from reaper.sweep.last_look import LastLook
from reaper.sweep.memory import remembered
from reaper.sweep.product_pushes import ProductPushes
from reaper.sweep.recheck import ChangedError, Recheck

_log = structlog.get_logger(__name__)


class Outcome(StrEnum):
    """What became of a step."""

    DONE = "done"
    ABSENT = "absent"
    CANCELLED = "cancelled"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class StepResult:
    """A step, what became of it, and why where it was not simply done.

    ``put_back`` are tags that the step had taken along, because they came too late to be seen before it.
    """

    step: Step
    outcome: Outcome
    detail: str = ""
    put_back: tuple[str, ...] = ()


class Sweeper:
    """Deletes what plans say, so that each delete can be undone until the next collection.

    ``may_write`` is called directly before each change, and raises when the right to make it is gone.
    ``planned_at`` is when the registry was looked at for the plan: what it tells of pushes since is heeded.
    """

    def __init__(
        self,
        client: RegistryClient,
        store: Store,
        *,
        registry: str,
        run_id: str,
        clock: Callable[[], datetime],
        may_write: Callable[[], None],
        concurrency: int = 16,
        freshness: float = 1.0,
        planned_at: datetime | None = None,
    ) -> None:
        pushes = ProductPushes(client, freshness=freshness)
        self._site = Site(
            client,
            store,
            registry,
            run_id,
            clock,
            may_write,
            planned_at,
            pushes,
            Finality(client, store, registry, clock),
        )
        self._concurrency = concurrency
        self._freshness = freshness

    async def sweep(self, plan: RepositoryPlan, tags: Mapping[str, str]) -> AsyncGenerator[StepResult, None]:
        """Carry out ``plan`` and yield what became of each step; stop between any two by not asking on.

        ``tags`` is what each tag of the repository pointed to when the plan was made. A step that can't be
        done is cancelled or failed, with all that depends on it; the others go on. After the last step all
        tags are looked at once more: a step that is undone by that is yielded again.

        Raises:
            DeletesDisabledError: the registry does not allow any delete.
            ReadOnlyRegistryError: the registry is in read-only mode.
            StoreError: the journal could not be written.
        """
        recheck = Recheck(
            self._site.client,
            plan.repository,
            tags,
            {manifest.digest for manifest in plan.manifests},
            concurrency=self._concurrency,
            freshness=self._freshness,
        )
        observations = self._site.store.observations
        record = await asyncio.to_thread(observations.load, self._site.registry, plan.repository)
        parts: dict[str, list[str]] = {step.digest: [] for step in plan.steps}
        for step in plan.steps:
            for owner in step.after:
                parts[owner].append(step.digest)
        stays: set[str] = set()
        deleted: dict[str, Step] = {}
        gone: dict[str, list[Step]] = {}
        try:
            for step in plan.steps:
                held_by = next((owner for owner in step.after if owner in stays), None)
                if held_by is not None:
                    result = StepResult(step, Outcome.CANCELLED, f"{held_by} stays")
                else:
                    memory = remembered(record, step, parts[step.digest])
                    result = await self._step(plan.repository, step, recheck, memory)
                if result.outcome in (Outcome.DONE, Outcome.ABSENT):
                    gone.setdefault(step.digest, []).append(step)
                elif step.action is Action.DELETE:
                    stays.add(step.digest)
                if result.outcome is Outcome.DONE and step.action is Action.DELETE:
                    deleted[step.digest] = step
                yield result
            if deleted:
                for result in await self._afterwards(plan.repository, deleted, recheck):
                    gone.pop(result.step.digest, None)
                    yield result
        finally:
            # Only now: what events tell of these in the meantime is part of the last look.
            await self._forget(plan.repository, [step for steps in gone.values() for step in steps])

    async def _step(
        self, repository: str, step: Step, recheck: Recheck, memory: Mapping[str, Any]
    ) -> StepResult:
        log = _log.bind(
            repository=repository, digest=step.digest, tags=step.tags, policy=step.policy, rule=step.rule
        )
        try:
            await Change(self._site, repository, step, recheck, memory).make()
        except AbsentError as absent:
            return StepResult(step, Outcome.ABSENT, absent.message)
        except ChangedError as change:
            log.info("delete_cancelled", reason=change.message)
            return StepResult(step, Outcome.CANCELLED, change.message, change.put_back)
        except (DeletesDisabledError, ReadOnlyRegistryError):
            raise
        except (RegistryError, ManifestError) as error:
            log.warning("delete_failed", reason=error.message)
            return StepResult(step, Outcome.FAILED, error.message)
        log.info("tag_deleted" if step.action is Action.UNTAG else "manifest_deleted", reason=step.reason)
        return StepResult(step, Outcome.DONE)

    async def _afterwards(
        self, repository: str, deleted: Mapping[str, Step], recheck: Recheck
    ) -> list[StepResult]:
        """Put back what a tag has come to need that was moved, unseen, between two looks at all tags."""
        try:
            undone = await LastLook(self._site, repository, recheck).undo(deleted)
        except (RegistryError, ManifestError) as error:
            last = list(deleted.values())[-1]
            detail = f"it was deleted, but what came of it could not be looked up or undone: {error.message}"
            return [StepResult(last, Outcome.FAILED, detail)]
        return [
            StepResult(
                deleted[digest], Outcome.CANCELLED if it.restored else Outcome.FAILED, it.detail, it.tags
            )
            for digest, it in undone.items()
        ]

    async def _forget(self, repository: str, steps: Sequence[Step]) -> None:
        observations, registry = self._site.store.observations, self._site.registry
        digests = [step.digest for step in steps if step.action is Action.DELETE]
        tags = [tag for step in steps if step.action is Action.UNTAG for tag in step.tags]
        if digests:
            await asyncio.to_thread(observations.forget_manifests, registry, repository, digests)
        if tags:
            await asyncio.to_thread(observations.forget_tags, registry, repository, tags)
