"""Carries out a repository's plan: re-check, journal, DELETE, record; one step after the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import structlog

from reaper.core.manifest import ManifestError
from reaper.core.plan import Action, RepositoryPlan, Step
from reaper.registry import (
    DeletesDisabledError,
    RawManifest,
    ReadOnlyRegistryError,
    RegistryClient,
    RegistryError,
)
from reaper.store import Action as JournalAction
from reaper.store import NewEntry, RepositoryRecord, State, Store
from reaper.sweep.memory import remembered
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
    """A step, what became of it, and why where it was not simply done."""

    step: Step
    outcome: Outcome
    detail: str = ""


class Sweeper:
    """Deletes what plans say, so that each delete can be undone until the next collection.

    ``may_write`` is called directly before each change, and raises when the right to make it is gone.
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
    ) -> None:
        self._client = client
        self._store = store
        self._registry = registry
        self._run_id = run_id
        self._clock = clock
        self._may_write = may_write
        self._concurrency = concurrency
        self._freshness = freshness
        self._record = RepositoryRecord()

    async def sweep(self, plan: RepositoryPlan, tags: Mapping[str, str]) -> AsyncIterator[StepResult]:
        """Carry out ``plan`` and yield what became of each step; stop between any two by not asking on.

        ``tags`` is what each tag of the repository pointed to when the plan was made. A step that can't be
        done is cancelled or failed, with all that depends on it; the others go on.

        Raises:
            DeletesDisabledError: the registry does not allow any delete.
            ReadOnlyRegistryError: the registry is in read-only mode.
            StoreError: the journal could not be written.
        """
        recheck = Recheck(
            self._client, plan.repository, tags, concurrency=self._concurrency, freshness=self._freshness
        )
        self._record = await asyncio.to_thread(self._store.observations.load, self._registry, plan.repository)
        stays: set[str] = set()
        for step in plan.steps:
            held_by = next((owner for owner in step.after if owner in stays), None)
            if held_by is not None:
                result = StepResult(step, Outcome.CANCELLED, f"{held_by} stays")
            else:
                result = await self._step(plan.repository, step, recheck)
            if result.outcome in (Outcome.DONE, Outcome.ABSENT):
                await self._forget(plan.repository, step)
            elif step.action is Action.DELETE:
                stays.add(step.digest)
            yield result

    async def _step(self, repository: str, step: Step, recheck: Recheck) -> StepResult:
        log = _log.bind(repository=repository, digest=step.digest, tags=step.tags, rule=step.rule)
        try:
            if step.action is Action.UNTAG:
                await recheck.untagging(step)
                return await self._untag(repository, step, recheck)
            await recheck.deletion(step)
            result = await self._delete(repository, step, recheck)
        except ChangedError as change:
            log.info("delete_cancelled", reason=change.message)
            return StepResult(step, Outcome.CANCELLED, change.message)
        except (DeletesDisabledError, ReadOnlyRegistryError):
            raise
        except (RegistryError, ManifestError) as error:
            log.warning("delete_failed", reason=error.message)
            return StepResult(step, Outcome.FAILED, error.message)
        if result.outcome is Outcome.DONE:
            log.info("manifest_deleted", reason=step.reason, policy=step.policy)
        return result

    async def _delete(self, repository: str, step: Step, recheck: Recheck) -> StepResult:
        raw = await self._client.manifest(repository, step.digest)
        if raw is None:
            return StepResult(step, Outcome.ABSENT, "it was gone already")
        entry = await self._journal(repository, step, raw.content, raw.media_type)
        self._may_write()
        try:
            await self._client.delete_manifest(repository, step.digest)
        except RegistryError as error:
            await self._after_error(entry, error)
            raise
        await self._mark(entry, State.DELETED)
        await self._put_back(repository, step, recheck, entry, raw)
        return StepResult(step, Outcome.DONE)

    async def _untag(self, repository: str, step: Step, recheck: Recheck) -> StepResult:
        raw = await self._client.manifest(repository, step.digest)
        if raw is None:
            raise ChangedError("its manifest is gone")
        entry = await self._journal(repository, step, raw.content, raw.media_type)
        self._may_write()
        try:
            untagged = await self._client.delete_tag(repository, step.tags[0])
        except RegistryError as error:
            await self._after_error(entry, error)
            raise
        if not untagged:
            await self._mark(entry, State.CANCELLED, "the registry cannot delete a tag alone")
            return StepResult(step, Outcome.CANCELLED, "this registry cannot delete the tag alone")
        await self._mark(entry, State.DELETED)
        await recheck.vanished(step.tags)
        return StepResult(step, Outcome.DONE)

    async def _after_error(self, entry: int, error: RegistryError) -> None:
        """Close the journal entry of a refused delete; leave open one whose answer never came.

        An open entry is settled against the registry at the next start: the delete may have happened.
        """
        if error.status is not None and 400 <= error.status < 500:
            await self._mark(entry, State.CANCELLED, error.message)

    async def _put_back(
        self, repository: str, step: Step, recheck: Recheck, entry: int, raw: RawManifest
    ) -> None:
        """Restore the tags that went with the digest although they were not planned to.

        Such a tag was moved onto the digest after the last look at it. A tag whose former manifest is gone
        as well was deleted by somebody else, and stays deleted.
        """
        lost = []
        for tag in await recheck.vanished(step.tags):
            former = recheck.current[tag]
            if former == step.digest or await self._client.head(repository, former) is not None:
                lost.append(tag)
        for tag in lost:
            await self._client.put_manifest(repository, tag, raw.content, raw.media_type)
            recheck.current[tag] = step.digest
            _log.error("tag_put_back", repository=repository, tag=tag, digest=step.digest)
        if lost:
            await self._mark(entry, State.RESTORING)
            await self._mark(entry, State.RESTORED)
            raise ChangedError(f"tag {lost[0]} was put on it during the delete, and has been put back")

    async def _journal(self, repository: str, step: Step, content: bytes, media_type: str) -> int:
        entry = NewEntry(
            registry=self._registry,
            repository=repository,
            digest=step.digest,
            action=JournalAction(step.action.value),
            media_type=media_type,
            content=content,
            tags=step.tags,
            policy=step.policy,
            rule=step.rule or "",
            reason=step.reason,
            run_id=self._run_id,
            created_at=self._clock(),
            plan=remembered(self._record, step),
        )
        return await asyncio.to_thread(self._store.journal.begin, entry)

    async def _mark(self, entry: int, state: State, error: str | None = None) -> None:
        await asyncio.to_thread(self._store.journal.mark, entry, state, self._clock(), error)

    async def _forget(self, repository: str, step: Step) -> None:
        observations = self._store.observations
        if step.action is Action.DELETE:
            await asyncio.to_thread(observations.forget_manifests, self._registry, repository, [step.digest])
        else:
            await asyncio.to_thread(observations.forget_tags, self._registry, repository, step.tags)
