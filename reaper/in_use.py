"""Keeps a run from deleting what is in use: when it decides, and again and again while it deletes."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final

import structlog

from reaper.core.guard import Trip
from reaper.core.manifest import parse_manifest
from reaper.core.plan import RepositoryPlan
from reaper.core.policy import Policy
from reaper.protect import InUseUnknownError, InUseWatch, Protector
from reaper.store import Store

_log = structlog.get_logger(__name__)

#: The guard rail of runs that cannot know what is in use.
GUARD: Final = "in_use_unknown"


class InUseGuard:
    """What is in use, for one run. Without a ``protector`` nothing is known to be, and nothing is missed."""

    def __init__(self, protector: Protector | None, store: Store, policies: Sequence[Policy]) -> None:
        self._watch = None if protector is None else InUseWatch(protector)
        self._store = store
        self._policies = policies
        self._unknown: Trip | None = None
        self._answered: tuple[RepositoryPlan, int, str | None] | None = None
        #: What is probably not meant, a line each.
        self.warnings: tuple[str, ...] = ()

    async def begin(self, repositories: Collection[str]) -> list[Trip]:
        """Read what is in use; return a trip for each source that could not be read.

        Raises:
            StoreError: the store could not be used.
        """
        if self._watch is None:
            return []
        protection = await self._watch.begin()
        self.warnings = (*protection.warnings, *protection.lookalikes(repositories))
        for warning in self.warnings:
            _log.warning("in_use_doubtful", warning=warning)
        return [Trip(GUARD, problem) for problem in protection.problems]

    def of(self, repository: str) -> Mapping[str, str]:
        """Return each tag and digest that is in use in ``repository``, and who uses it."""
        return {} if self._watch is None else self._watch.of(repository)

    async def refresh(self) -> Trip | None:
        """Read again what is in use, unless that was done just now; return the trip if it cannot be known.

        After that it stays unknown.

        Raises:
            StoreError: the store could not be used.
        """
        if self._watch is not None and self._unknown is None:
            try:
                await self._watch.refresh()
            except InUseUnknownError as error:
                self._unknown = Trip(GUARD, error.message)
        return self._unknown

    async def came_into_use(self, plan: RepositoryPlan) -> str | None:
        """Return who has begun to use something that ``plan`` deletes, None when nobody has.

        Raises:
            StoreError: the store could not be used.
        """
        if self._watch is None or not self._protects(plan.repository):
            return None
        known, readings = self._answered, self._watch.readings
        if known is None or known[0] is not plan or known[1] != readings:
            known = (
                plan,
                readings,
                await asyncio.to_thread(self._user, plan, self._watch.news(plan.repository)),
            )
            self._answered = known
        return known[2]

    def _user(self, plan: RepositoryPlan, news: Mapping[str, str]) -> str | None:
        if not news:
            return None
        return next((news[key] for key in self._touched(plan) if key in news), None)

    def _protects(self, repository: str) -> bool:
        return any(policy.protections.in_use and policy.matches(repository) for policy in self._policies)

    def _touched(self, plan: RepositoryPlan) -> Iterator[str]:
        """Yield all by which somebody may use what the plan's steps touch: tags, digests, also of parts."""
        for step in plan.steps:
            yield from step.tags
            yield step.digest
        for stored in self._store.manifests.load({step.digest for step in plan.steps}).values():
            manifest = parse_manifest(stored.content, stored.media_type, stored.digest)
            yield from (child.digest for child in manifest.children)
            if manifest.config is not None:
                yield manifest.config.digest
