"""What another set of policies would delete or keep of one repository."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from reaper.core.plan import Action, RepositoryPlan
from reaper.core.retention import Decision, Decisions
from reaper.core.snapshot import Snapshot


class Turn(StrEnum):
    """Which way the fate of a tag, or of a manifest without one, turns."""

    EXPIRES = "newly-expired"
    KEPT = "newly-kept"


@dataclass(frozen=True, slots=True)
class Change:
    """One tag, or (``tag`` None) one manifest without a tag, that two sets of policies disagree on.

    ``size`` is what a pull transfers, in bytes.
    """

    repository: str
    tag: str | None
    digest: str
    turn: Turn
    reason_before: str
    reason_after: str
    size: int


def changes(
    snapshot: Snapshot,
    before: tuple[Decisions, RepositoryPlan],
    after: tuple[Decisions, RepositoryPlan],
) -> Iterator[Change]:
    """Yield what becomes of each tag and untagged manifest whose fate differs, tags first, by name."""
    old, new = before[0].tags, after[0].tags
    for name in sorted(snapshot.tags):
        was, now = old[name], new[name]
        turn = _turn(was.decision is Decision.EXPIRE, now.decision is Decision.EXPIRE)
        if turn is not None:
            size = snapshot.size(was.digest)
            yield Change(snapshot.repository, name, was.digest, turn, was.reason, now.reason, size)
    for gone, goes in zip(before[1].manifests, after[1].manifests, strict=True):
        turn = _turn(gone.action is Action.DELETE, goes.action is Action.DELETE)
        if turn is not None and not gone.tags:
            yield Change(snapshot.repository, None, gone.digest, turn, gone.reason, goes.reason, gone.size)


def _turn(before: bool, after: bool) -> Turn | None:
    if before == after:
        return None
    return Turn.EXPIRES if after else Turn.KEPT
