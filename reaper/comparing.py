"""Compares two sets of policies, repository by repository, on a registry or on what is remembered of it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import datetime

from reaper.concurrency import in_order
from reaper.core.comparison import Change, Turn, changes
from reaper.core.plan import Action, PlanError, RepositoryPlan, Untag, build_plan
from reaper.core.policy import Policy
from reaper.core.reclaim import Ledger
from reaper.core.retention import Decisions, decide
from reaper.core.selectors import EVERYTHING, Selector
from reaper.core.snapshot import Snapshot
from reaper.inventory import IncompleteError, Inventory
from reaper.judging import Judgement, judge
from reaper.progress import Progress, silent
from reaper.registry import RegistryClient, RegistryError
from reaper.repositories import AT_ONCE, Repositories, check_selected
from reaper.store import Store


@dataclass(frozen=True, slots=True)
class Policies:
    """The two sets of policies, and which repositories to compare them on."""

    before: Sequence[Policy]
    after: Sequence[Policy]
    repositories: Selector = EVERYTHING


@dataclass(frozen=True, slots=True)
class Totals:
    """All changes in numbers. ``reclaimable_…`` is what a collection would free, in bytes."""

    repositories: int = 0
    newly_expired_tags: int = 0
    newly_kept_tags: int = 0
    newly_deleted_manifests: int = 0
    newly_kept_manifests: int = 0
    reclaimable_before: int = 0
    reclaimable_after: int = 0


@dataclass(slots=True)
class RepositoryComparison:
    """One repository: what changes, or why that is not known."""

    repository: str
    changes: list[Change] = field(default_factory=list)
    errors: tuple[str, ...] = ()


class Comparison:
    """Compares; ``totals`` are complete once all repositories were gone through.

    ``in_use`` says of a repository what is in use there. ``remembered``: on what the last inventories saw,
    without asking the registry.
    """

    def __init__(
        self,
        client: RegistryClient,
        store: Store,
        policies: Policies,
        *,
        registry: str,
        now: datetime,
        in_use: Callable[[str], Mapping[str, str]],
        untag: Untag,
        remembered: bool = False,
        repositories: Repositories | None = None,
        concurrency: int = 16,
        progress: Progress = silent,
    ) -> None:
        self._client = client
        self._store = store
        self._inventory = Inventory(
            client, store, registry=registry, now=now, concurrency=concurrency, repositories=repositories
        )
        self._policies = policies
        self._registry = registry
        self._now = now
        self._in_use = in_use
        self._untag = untag
        self._remembered = remembered
        self._progress = progress
        self._before, self._after = Ledger(), Ledger()
        self._totals = Totals()

    @property
    def totals(self) -> Totals:
        """The changes so far, in numbers."""
        return replace(
            self._totals,
            reclaimable_before=self._before.reclaimable,
            reclaimable_after=self._after.reclaimable,
        )

    async def repositories(self) -> AsyncGenerator[RepositoryComparison, None]:
        """Yield each repository that either set of policies matches, by name.

        Raises:
            InvalidInputError: no repository is among those to compare them on.
            ReaperError: the repositories could not be listed.
            StoreError: the store could not be used.
        """
        names, invalid = await self._names()
        check_selected(self._policies.repositories, names)
        for name, error in invalid.items():
            yield RepositoryComparison(name, errors=(error,))
        done = 0
        async with aclosing(in_order(names, self._compare, limit=AT_ONCE)) as compared:
            async for found in compared:
                done += 1
                self._progress("read", done, len(names))
                if found is not None:
                    yield found

    async def _names(self) -> tuple[Sequence[str], Mapping[str, str]]:
        """Return the repositories, and those that are listed and have no valid name, each with its error."""
        if not self._remembered:
            listing = await self._inventory.repositories()
            return listing.names, listing.errors
        known = self._store.observations.repositories(self._registry)
        return [entry.name for entry in known if entry.last_inventory is not None], {}

    async def _compare(self, name: str) -> RepositoryComparison | None:
        chosen = self._policies.repositories.select(name) is not None
        before = [policy for policy in self._policies.before if chosen and policy.matches(name)]
        after = [policy for policy in self._policies.after if chosen and policy.matches(name)]
        try:
            snapshot = await self._read(name, judged=bool(before or after))
            if not before and not after:
                self._count(self._before, snapshot, None)
                self._count(self._after, snapshot, None)
                return None
            snapshot, old, new = await self._judge(snapshot, before, after)
        except IncompleteError as error:
            return RepositoryComparison(name, errors=error.problems) if before or after else None
        except (RegistryError, PlanError) as error:
            return RepositoryComparison(name, errors=(error.message,))
        self._count(self._before, snapshot, old[1])
        self._count(self._after, snapshot, new[1])
        found = list(changes(snapshot, old, new))
        self._add(found, _deletions(new[1]) - _deletions(old[1]), _deletions(old[1]) - _deletions(new[1]))
        return RepositoryComparison(name, found)

    async def _read(self, name: str, *, judged: bool) -> Snapshot:
        if self._remembered:
            return await self._inventory.recall(name)
        return await self._inventory.read(name, with_created=judged)

    async def _judge(
        self, snapshot: Snapshot, before: Sequence[Policy], after: Sequence[Policy]
    ) -> tuple[Snapshot, tuple[Decisions, RepositoryPlan], tuple[Decisions, RepositoryPlan]]:
        """Judge by both sets, with the referrers in view that either would delete the subject of."""
        if not self._remembered:
            for policies in (before, after):
                snapshot = (await self._judge_by(policies, snapshot)).snapshot
        old, new = (self._decide(policies, snapshot) for policies in (before, after))
        return snapshot, old, new

    async def _judge_by(self, policies: Sequence[Policy], snapshot: Snapshot) -> Judgement:
        async def untag(_snapshot: Snapshot, _decisions: Decisions) -> Untag:
            return self._untag

        return await judge(
            self._client,
            self._inventory,
            snapshot,
            policies,
            self._now,
            in_use=self._in_use(snapshot.repository),
            untag=untag,
        )

    def _decide(self, policies: Sequence[Policy], snapshot: Snapshot) -> tuple[Decisions, RepositoryPlan]:
        decisions = decide(policies, snapshot, self._now, self._in_use(snapshot.repository))
        return decisions, build_plan(snapshot, decisions, can_untag=self._untag is not Untag.NO)

    def _count(self, ledger: Ledger, snapshot: Snapshot, plan: RepositoryPlan | None) -> None:
        gone = _deletions(plan) if plan else set()
        ledger.doom(snapshot.manifests[digest].manifest for digest in gone)
        ledger.keep(e.manifest for digest, e in snapshot.manifests.items() if digest not in gone)

    def _add(self, found: Sequence[Change], deleted: set[str], kept: set[str]) -> None:
        tags = [change.turn for change in found if change.tag is not None]
        totals = self._totals
        self._totals = replace(
            totals,
            repositories=totals.repositories + 1,
            newly_expired_tags=totals.newly_expired_tags + tags.count(Turn.EXPIRES),
            newly_kept_tags=totals.newly_kept_tags + tags.count(Turn.KEPT),
            newly_deleted_manifests=totals.newly_deleted_manifests + len(deleted),
            newly_kept_manifests=totals.newly_kept_manifests + len(kept),
        )


def _deletions(plan: RepositoryPlan) -> set[str]:
    return {step.digest for step in plan.steps if step.action is Action.DELETE}
