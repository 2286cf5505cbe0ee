"""The clock's guard rail, and the names of plans."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from reaper.core.fingerprint import PlanId, policies_digest
from reaper.core.guard import MAX_CLOCK_SKEW, Trip, check_clock
from reaper.core.plan import Action, RepositoryPlan, Step
from reaper.core.policy import KeepAll, KeepNewest
from tests.core.build import policy

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("last_run", "registry", "blocks"),
    [
        (None, None, False),
        (NOW, None, False),
        (NOW + SECOND, None, True),
        (NOW - SECOND, NOW + MAX_CLOCK_SKEW, False),
        (NOW - SECOND, NOW + MAX_CLOCK_SKEW + SECOND, True),
        (None, NOW - MAX_CLOCK_SKEW - SECOND, True),
    ],
)
def test_a_clock_that_cannot_be_trusted(
    last_run: datetime | None, registry: datetime | None, blocks: bool
) -> None:
    assert [trip.guard for trip in check_clock(NOW, last_run, registry)] == ["clock"] * blocks


def test_a_clock_that_cannot_be_trusted_says_what_it_was_compared_with() -> None:
    (behind,) = check_clock(NOW, NOW + SECOND, NOW)
    assert str(behind) == "the clock says 2026-03-01 12:00:00Z; the last run ended 2026-03-01 12:00:01Z"
    (far,) = check_clock(NOW, None, NOW + timedelta(hours=1))
    assert str(far) == "the clock says 2026-03-01 12:00:00Z; the registry's says 2026-03-01 13:00:00Z"


def plan(repository: str, *digests: str, reason: str = "old") -> RepositoryPlan:
    steps = tuple(Step(Action.DELETE, digest, "type", (f"tag-{digest}",), reason, "p") for digest in digests)
    return RepositoryPlan(repository, (), steps)


def name(*plans: RepositoryPlan, registry: str = "https://r.example", trips: tuple[Trip, ...] = ()) -> str:
    made = PlanId(registry)
    for each in plans:
        made.add(each)
    return made.name(trips)


def test_a_plan_is_named_by_what_it_does() -> None:
    first = name(plan("a", "x", "y"), plan("b", "z"), trips=(Trip("max_share", "60 %", "a"),))
    same = name(plan("b", "z"), plan("a", "y", "x", reason="older"), trips=(Trip("max_share", "61 %", "a"),))
    assert first == same
    others = [
        name(plan("a", "x"), plan("b", "z"), trips=(Trip("max_share", "60 %", "a"),)),
        name(plan("a", "x", "y"), plan("c", "z"), trips=(Trip("max_share", "60 %", "a"),)),
        name(plan("a", "x", "y"), plan("b", "z"), trips=(Trip("max_deletions", "60 %", "a"),)),
        name(plan("a", "x", "y"), plan("b", "z"), trips=(Trip("max_share", "60 %", "b"),)),
        name(plan("a", "x", "y"), plan("b", "z")),
        name(plan("a", "x", "y"), plan("b", "z"), registry="https://s.example"),
    ]
    assert len({first, *others}) == 1 + len(others)


def test_policies_are_named_by_what_they_say() -> None:
    one, two = policy(KeepAll(), name="a"), policy(KeepNewest(3), name="b")
    assert policies_digest([one, two]) == policies_digest([two, one])
    others = [[], [one], [one, one], [one, policy(KeepNewest(4), name="b")], [one, replace(two, name="c")]]
    assert len({policies_digest(policies) for policies in ([one, two], *others)}) == 1 + len(others)


def test_a_plan_has_a_short_name() -> None:
    """A person types it, after ``--accept``."""
    assert len(name(plan("a", "x"))) == 12
