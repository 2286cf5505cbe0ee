"""Reads every repository and plans for it: inventory, decide, protect, plan, one after the other."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime

from reaper.books import Books
from reaper.capabilities import Capabilities
from reaper.concurrency import in_order
from reaper.core.fingerprint import policies_digest
from reaper.core.guard import check_matches, check_policy_change, check_repository, tally
from reaper.core.plan import Action, PlanError, Untag, explain_shared
from reaper.core.policy import Policy
from reaper.core.retention import Decision, Decisions
from reaper.core.selectors import EVERYTHING, Selector
from reaper.core.snapshot import Snapshot
from reaper.in_use import InUseGuard
from reaper.inventory import IncompleteError, Inventory
from reaper.judging import judge
from reaper.registry import RegistryClient, RegistryError
from reaper.report.build import repository_report, unread_report
from reaper.report.spool import SpooledRepository
from reaper.repositories import AT_ONCE, check_selected
from reaper.store import Store


@dataclass(frozen=True, slots=True)
class Scope:
    """What a run is about: the repositories that ``repositories`` selects and a policy of ``only`` matches.

    ``only`` are names; None: every policy's. Every policy's keeps hold all the same.
    """

    policies: Sequence[Policy]
    repositories: Selector = EVERYTHING
    only: frozenset[str] | None = None

    def concerns(self, repository: str) -> bool:
        """Tell whether the run may change ``repository``."""
        if self.repositories.select(repository) is None:
            return False
        only = self.only
        return only is None or any(p.name in only and p.matches(repository) for p in self.policies)


class Planner:
    """Makes the plans of one run. ``now`` is the moment that decisions are made for.

    ``capabilities`` are the registry's; ``probe``: whether a harmless DELETE may be sent to find them out.
    """

    def __init__(
        self,
        client: RegistryClient,
        store: Store,
        inventory: Inventory,
        scope: Scope,
        *,
        now: datetime,
        in_use: InUseGuard,
        books: Books,
        capabilities: Capabilities,
        probe: bool,
    ) -> None:
        self._client = client
        self._store = store
        self._inventory = inventory
        self._scope = scope
        self._now = now
        self._in_use = in_use
        self._books = books
        self._capabilities = capabilities
        self._may_probe = probe
        self._untag = Untag.NO

    async def plans(self) -> AsyncGenerator[tuple[SpooledRepository | None, int, int], None]:
        """Yield each repository's report and plan (None where the run is not about it), and how far it is.

        Guard rails that a plan runs into are noted in the books.

        Raises:
            InvalidInputError: no repository is among those that the run is about.
            ReaperError: the repositories could not be listed.
            StoreError: the store could not be used.
        """
        listing = await self._inventory.repositories()
        names = listing.names
        check_selected(self._scope.repositories, names)
        if not listing.whole:
            self._books.note(
                f"reclaimable bytes are an estimate: {listing.source} says which repositories are looked at, "
                "and others may share their blobs"
            )
        for name, error in listing.errors.items():
            entry = self._invalid(name, error)
            if entry is not None:
                self._books.read(entry)
                yield entry, 0, len(names)
        policies = self._scope.policies
        matched = {policy.name: sum(policy.matches(name) for name in names) for policy in policies}
        self._books.trip(*check_matches(policies, matched, len(names)))
        self._books.trip(*await self._in_use.begin(names))
        for warning in self._in_use.warnings:
            self._books.note(warning)
        done = 0
        async with aclosing(in_order(names, self._repository, limit=AT_ONCE)) as readings:
            async for entry in readings:
                done += 1
                if entry is not None:
                    self._books.read(entry)
                yield entry, done, len(names)

    async def _repository(self, name: str) -> SpooledRepository | None:
        mine = self._scope.concerns(name)
        matching = [policy for policy in self._scope.policies if mine and policy.matches(name)]
        ledger = self._books.ledger
        try:
            snapshot = await self._inventory.read(name, with_created=bool(matching))
            if not mine:
                ledger.keep(entry.manifest for entry in snapshot.manifests.values())
                return None
            snapshot, decisions, plan = await judge(
                self._client,
                self._inventory,
                snapshot,
                matching,
                self._now,
                in_use=self._in_use.of(snapshot.repository),
                untag=self._find_out_untagging,
            )
        except IncompleteError as error:
            self._books.note("reclaimable bytes may be less: a repository could not be read completely")
            return self._unread(name, matching, error.tags, error.problems) if mine else None
        except (RegistryError, PlanError) as error:
            # It was read, but no plan can be made of it, or what that needs to know was not to be had.
            ledger.keep(entry.manifest for entry in snapshot.manifests.values())
            unjudged = {tag.name: tag.digest for tag in snapshot.tags.values()}
            return self._unread(name, matching, unjudged, (error.message,))
        doomed = {step.digest for step in plan.steps if step.action is Action.DELETE}
        ledger.doom(snapshot.manifests[digest].manifest for digest in doomed)
        ledger.keep(e.manifest for digest, e in snapshot.manifests.items() if digest not in doomed)
        self._books.trip(*check_repository(plan, matching))
        if snapshot.policies_before not in (None, policies_digest(matching)):
            self._books.trip(*check_policy_change(snapshot, decisions, matching))
        self._books.total += tally(plan)
        tags = explain_shared(decisions.tags, plan, can_untag=self._untag is not Untag.NO)
        report = repository_report(snapshot, decisions, plan, tags)
        return SpooledRepository(report, plan if plan.steps else None)

    def _invalid(self, name: str, error: str) -> SpooledRepository | None:
        """Return the report on what is listed and cannot be looked at, where the run is about it."""
        self._books.note("reclaimable bytes may be less: a repository could not be read completely")
        mine = self._scope.repositories.select(name) is not None
        return self._unread(name, (), {}, (error,)) if mine else None

    def _unread(
        self, name: str, matching: Sequence[Policy], tags: Mapping[str, str], problems: Sequence[str]
    ) -> SpooledRepository:
        self._books.counts.partial += 1
        policies = sorted(policy.name for policy in matching)
        return SpooledRepository(unread_report(name, policies, tags, tuple(problems)))

    async def _find_out_untagging(self, snapshot: Snapshot, decisions: Decisions) -> Untag:
        """Tell how a tag can be taken off, finding it out only where an answer matters."""
        shared = any(
            tag.decision is Decision.EXPIRE and tag.digest in decisions.kept
            for tag in decisions.tags.values()
        )
        if shared:
            self._untag = await self._capabilities.untag(snapshot.repository, probe=self._may_probe)
        return self._untag
