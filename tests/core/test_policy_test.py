"""Policy tests say what a run would say."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from reaper.core.policy import Clock, KeepNewest, KeepPulledWithin, KeepWithin, Policy
from reaper.core.policy_test import DEFAULT_NOW, Case, ExpectedTag, ExpectedUntagged, Outcome, run_case
from reaper.core.retention import Decision
from reaper.core.selectors import Glob, Selector
from tests.core.build import DAY, policy

KEEP, EXPIRE, IGNORE = Decision


def tag(name: str, days: int, *, image: str = "", pulled: int | None = None) -> ExpectedTag:
    when = DEFAULT_NOW - days * DAY
    last = None if pulled is None else DEFAULT_NOW - pulled * DAY
    return ExpectedTag(name, image or name, KEEP, when, when, last)


def found(case: Case, *policies: Policy) -> dict[str | None, Decision]:
    return {outcome.tag: outcome.found for outcome in run_case(policies, case)}


def test_the_default_moment_is_a_wednesday() -> None:
    assert datetime(2026, 7, 1, 12, tzinfo=UTC) == DEFAULT_NOW
    assert DEFAULT_NOW.isoweekday() == 3


def test_tags_are_judged_together() -> None:
    case = Case("t", "app", tags=(tag("a", 1), tag("b", 2), tag("c", 3), tag("latest", 9)))
    assert found(case, policy(KeepNewest(1))) == {"a": KEEP, "b": EXPIRE, "c": EXPIRE, "latest": KEEP}
    assert found(case, policy(KeepNewest(1)), policy(KeepWithin(2 * DAY + DAY / 2), name="q"))["b"] is KEEP
    outcomes = list(run_case([policy(KeepNewest(1))], replace(case, in_use=frozenset("c"))))
    assert (outcomes[2].found, outcomes[2].reason) == (KEEP, "in-use: in use by the test")


def test_tags_of_one_image_count_once() -> None:
    case = Case("t", "app", tags=(tag("a", 1, image="x"), tag("b", 1, image="x"), tag("c", 3), tag("d", 4)))
    assert found(case, policy(KeepNewest(2))) == {"a": KEEP, "b": KEEP, "c": KEEP, "d": EXPIRE}


def test_tags_of_one_image_were_built_at_once() -> None:
    when = DEFAULT_NOW - 3 * DAY
    dated = ExpectedTag("dated", "x", KEEP, when, when)
    undated = ExpectedTag("undated", "x", KEEP, DEFAULT_NOW - 9 * DAY)
    rule = policy(KeepWithin(5 * DAY, Clock.CREATED))
    for tags in ((dated, undated), (undated, dated)):
        assert found(Case("t", "app", tags=tags), rule) == {"dated": KEEP, "undated": KEEP}
    old = ExpectedTag("old", "y", EXPIRE, DEFAULT_NOW, DEFAULT_NOW - 9 * DAY)
    assert found(Case("t", "app", tags=(old,)), rule) == {"old": EXPIRE}


def test_an_image_is_there_since_its_first_tag() -> None:
    case = Case("t", "app", tags=(tag("old", 9, image="x"), tag("new", 1, image="x")))
    assert found(case, policy(KeepWithin(5 * DAY), minimum_age="2d")) == {"old": EXPIRE, "new": KEEP}


def test_what_is_not_known_keeps() -> None:
    case = Case("t", "app", tags=(ExpectedTag("a", "a", EXPIRE), tag("b", 1)))
    (outcome, _) = run_case([policy(KeepNewest(1))], case)
    assert outcome.found is KEEP
    assert not outcome.passed


def test_where_one_pull_is_known_all_are() -> None:
    rule = policy(KeepPulledWithin(30 * DAY))
    assert found(Case("t", "app", tags=(tag("a", 90), tag("b", 90))), rule) == {"a": KEEP, "b": KEEP}
    case = Case("t", "app", tags=(tag("a", 90), tag("b", 90, pulled=3), tag("c", 90, pulled=40)))
    assert found(case, rule) == {"a": EXPIRE, "b": KEEP, "c": EXPIRE}


def test_manifests_without_a_tag() -> None:
    hour = timedelta(hours=1)
    untagged = (
        ExpectedUntagged(hour, KEEP),
        ExpectedUntagged(30 * hour, KEEP),
        ExpectedUntagged(99 * hour, EXPIRE),
    )
    case = Case("t", "app", untagged=untagged)
    waiting = policy(KeepNewest(1), untagged_keep_within=48 * hour, minimum_age="24h")
    outcomes = list(run_case([waiting], case))
    assert [(outcome.found, outcome.passed) for outcome in outcomes] == [
        (KEEP, True),
        (KEEP, True),
        (EXPIRE, True),
    ]
    assert [(outcome.tag, outcome.number) for outcome in outcomes] == [(None, 0), (None, 1), (None, 2)]
    told = "2026-07-01 11:00:00Z (push event), younger than 1d"
    assert outcomes[0].reason == f"after 1h: minimum-age: pushed 1h ago, {told}"
    assert outcomes[2].reason.startswith("after 99h: untagged for 4d")
    assert {outcome.found for outcome in run_case([policy(KeepNewest(1))], case)} == {KEEP}


def test_without_a_matching_policy_everything_is_ignored() -> None:
    elsewhere = replace(policy(KeepNewest(1)), repositories=Selector((Glob("other"),)))
    untagged = (ExpectedUntagged(DAY, EXPIRE), ExpectedUntagged(2 * DAY, KEEP))
    case = Case("t", "app", tags=(tag("a", 1),), untagged=untagged)
    reason = "no policy matches this repository"
    assert list(run_case([elsewhere], case)) == [
        Outcome("a", 0, KEEP, IGNORE, reason),
        Outcome(None, 0, EXPIRE, IGNORE, reason),
        Outcome(None, 1, KEEP, IGNORE, reason),
    ]
