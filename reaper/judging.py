"""Decides and plans for one repository, with all referrers of what would be deleted in view."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from reaper.core.plan import Action, RepositoryPlan, Untag, build_plan
from reaper.core.policy import Policy
from reaper.core.retention import Decisions, decide
from reaper.core.snapshot import Snapshot
from reaper.inventory import Inventory
from reaper.registry import RegistryClient


class Judgement(NamedTuple):
    """What was decided and planned, and the snapshot with the referrers that turned up on the way."""

    snapshot: Snapshot
    decisions: Decisions
    plan: RepositoryPlan


async def judge(
    client: RegistryClient,
    inventory: Inventory,
    snapshot: Snapshot,
    policies: Sequence[Policy],
    now: datetime,
    *,
    in_use: Mapping[str, str],
    untag: Callable[[Snapshot, Decisions], Awaitable[Untag]],
) -> Judgement:
    """Decide and plan, again and again until no more referrers of what would be deleted turn up.

    ``untag`` tells how expired tags are taken off manifests that stay.

    Raises:
        RegistryError, IncompleteError: the registry could not be asked for referrers.
    """
    asked: set[str] = set()
    while True:
        decisions = decide(policies, snapshot, now, in_use)
        how = await untag(snapshot, decisions)
        plan = build_plan(
            snapshot, decisions, can_untag=how is not Untag.NO, placeholder=how is Untag.PLACEHOLDER
        )
        doomed = {step.digest for step in plan.steps if step.action is Action.DELETE} - asked
        if not doomed or not await client.has_referrers_api(snapshot.repository):
            return Judgement(snapshot, decisions, plan)
        wider = await inventory.with_referrers(snapshot, doomed)
        if wider is snapshot:
            return Judgement(snapshot, decisions, plan)
        asked |= doomed
        snapshot = wider
