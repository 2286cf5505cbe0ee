"""Guard rails: which plans wait for a person."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from reaper.core.guard import (
    Tally,
    Trip,
    check_clock,
    check_listing,
    check_matches,
    check_policy_change,
    check_repository,
    check_run,
    tally,
)
from reaper.core.plan import RepositoryPlan, build_plan
from reaper.core.policy import Guard, KeepAll, KeepNewest, Policy, Rule
from reaper.core.selectors import Glob, Selector
from tests.core.build import image, judge, policy, snapshot
from tests.core.generate import NOW

OPEN = Guard(None, None, 0, 0, 0)


def plan(tags: int, keep: int) -> RepositoryPlan:
    """Return the plan of a repository of ``tags`` images, of which ``keep`` stay."""
    look = snapshot({f"t{n}": image(f"t{n}", f"{n + 1}d") for n in range(tags)})
    return build_plan(look, judge(look, policy(KeepNewest(keep))), can_untag=False)


def guarded(guard: Guard, name: str = "p") -> Policy:
    return replace(policy(KeepNewest(1)), name=name, guard=guard)


@pytest.mark.parametrize(
    ("guard", "trips"),
    [
        (OPEN, []),
        (replace(OPEN, max_deletions=6), []),
        (replace(OPEN, max_deletions=5), ["max_deletions"]),
        (replace(OPEN, max_share=0.6), []),
        (replace(OPEN, max_share=0.5), ["max_share"]),
        (replace(OPEN, max_share=0.5, share_from=7), []),
        (replace(OPEN, max_share=0.5, share_from=6), ["max_share"]),
        (replace(OPEN, min_tags=4), []),
        (replace(OPEN, min_tags=5), ["min_tags"]),
        (Guard(0, 0.0, 1, 10), ["max_deletions", "max_share", "min_tags"]),
        (Guard(), []),
    ],
)
def test_limits_of_a_repository(guard: Guard, trips: list[str]) -> None:
    found = list(check_repository(plan(10, 4), [guarded(guard)]))
    assert [trip.guard for trip in found] == trips
    assert all(trip.repository == "team/app" for trip in found)


def test_a_trip_has_its_figures() -> None:
    (trip,) = check_repository(plan(10, 4), [guarded(replace(OPEN, max_share=0.5))])
    assert str(trip) == ("team/app: 6 of 10 manifests (60%) would go; policy p allows 50%")
    (trip,) = check_repository(plan(10, 4), [guarded(replace(OPEN, max_deletions=5))])
    assert trip.message == "6 manifests would be deleted; policy p allows 5"
    (trip,) = check_repository(plan(10, 4), [guarded(replace(OPEN, min_tags=5))])
    assert trip.message == "4 of 10 tags would be left; policy p demands 5"


def test_the_guards_of_all_policies_on_a_repository_hold() -> None:
    strict, mild = guarded(replace(OPEN, max_deletions=1), "strict"), guarded(OPEN, "mild")
    elsewhere = replace(guarded(replace(OPEN, min_tags=99), "a"), repositories=Selector((Glob("other"),)))
    found = list(check_repository(plan(10, 4), [mild, strict, elsewhere]))
    assert [trip.guard for trip in found] == ["max_deletions"]


def test_a_guard_that_several_policies_run_into_is_told_once_by_name() -> None:
    policies = [guarded(replace(OPEN, max_deletions=limit), name) for name, limit in (("z", 1), ("b", 2))]
    (trip,) = check_repository(plan(10, 4), policies)
    assert trip.message == "6 manifests would be deleted; policy b allows 2"


def test_the_share_is_that_of_tags_where_more_of_them_go() -> None:
    """Two of three images stay, but the tags of one of these go: half of all."""
    stays, other = image("stays", "1d"), image("other", "1d")
    tags = {"keep-1": stays, "keep-2": other, "a": other, "b": image("gone", "9d")}
    look = snapshot(tags)
    keeps = policy(Rule("k", KeepAll(), Selector((Glob("keep-*"),))))
    made = build_plan(look, judge(look, keeps), can_untag=True)
    (trip,) = check_repository(made, [guarded(replace(OPEN, max_share=0.4))])
    assert trip.message == "2 of 4 tags (50%) would go; policy p allows 40%"


def test_a_share_of_nothing_allows_not_even_one() -> None:
    assert [trip.guard for trip in check_repository(plan(9, 8), [guarded(replace(OPEN, max_share=0.0))])] == [
        "max_share"
    ]


def test_a_plan_without_steps_surprises_nobody() -> None:
    assert list(check_repository(plan(3, 9), [guarded(Guard(0, 0.0, 0, 99))])) == []


def test_referrers_tags_are_not_counted() -> None:
    subject = image("t0", "1d")
    name = subject.digest.replace(":", "-")
    look = snapshot({"t0": subject, "t1": image("t1", "2d"), f"{name}.sig": image("sig"), name: subject})
    made = build_plan(look, judge(look, policy(KeepNewest(1))), can_untag=False)
    # The tag that names its own image is no referrer's.
    assert tally(made) == Tally(manifests=3, deletions=1, tags=3, removed_tags=1)


def test_the_whole_run() -> None:
    total = tally(plan(10, 6)) + tally(plan(10, 8))
    assert total == Tally(20, 6, 20, 6)
    assert list(check_run(total, replace(OPEN, max_deletions=6, max_share=0.3))) == []
    found = list(check_run(total, replace(OPEN, max_deletions=5, max_share=0.2)))
    assert [(trip.guard, trip.repository) for trip in found] == [("max_deletions", None), ("max_share", None)]
    assert str(found[0]) == "6 manifests would be deleted; the run's guard allows 5"
    assert str(found[1]) == "6 of 20 manifests (30%) would go; the run's guard allows 20%"


def test_a_policy_that_matches_too_little() -> None:
    policies = [guarded(Guard()), guarded(replace(OPEN, min_repositories=3), "q"), guarded(OPEN, "r")]
    assert list(check_matches(policies, {"p": 1, "q": 3}, 5)) == []
    found = list(check_matches(policies, {"q": 2}, 5))
    assert [trip.guard for trip in found] == ["empty_match", "empty_match"]
    assert "policy q matches 2 of 5 repositories" in found[1].message
    assert list(check_matches(policies, {}, 0)) == []


def test_a_clock_behind_the_last_run() -> None:
    assert list(check_clock(NOW, None)) == []
    assert list(check_clock(NOW, NOW)) == []
    (trip,) = check_clock(NOW, NOW + timedelta(seconds=1))
    assert isinstance(trip, Trip)
    assert trip.guard == "clock"


class TestPolicyChanges:
    """The last run kept some tags; policies that were changed since expire some of them."""

    def trips(self, kept: int, expired: int, *guards: Guard, others: int = 0) -> list[Trip]:
        """Return what trips when ``expired`` of ``kept`` tags, and all ``others`` not kept before, expire."""
        names = [f"keep-{n}" for n in range(kept - expired)] + [f"go-{n}" for n in range(expired + others)]
        look = snapshot({name: image(name, "30d") for name in names})
        before = set(names[:kept])
        look = replace(look, tags={n: replace(tag, kept_before=n in before) for n, tag in look.tags.items()})
        policies = [guarded(guard, f"p{n}") for n, guard in enumerate(guards)]
        keeps = policy(Rule("k", KeepAll(), Selector((Glob("keep-*"),))))
        return list(check_policy_change(look, judge(look, keeps), policies))

    @pytest.mark.parametrize(
        ("kept", "expired", "limits", "trips"),
        [
            (40, 11, [0.25], True),
            (40, 10, [0.25], False),
            (40, 40, [0.25], True),
            (9, 9, [0.0], False),  # so few surprise nobody
            (10, 10, [0.5], True),
            (40, 40, [1.0], False),
            (40, 40, [None], False),
            (40, 40, [], False),
            (40, 15, [None, 0.9, 0.25], True),  # the strictest counts
            (40, 0, [0.0], False),
        ],
    )
    def test_limits(self, kept: int, expired: int, limits: list[float | None], trips: bool) -> None:
        guards = [replace(OPEN, max_newly_expired=limit) for limit in limits]
        assert bool(self.trips(kept, expired, *guards)) is trips

    def test_only_what_the_last_run_kept_counts(self) -> None:
        assert not self.trips(30, 0, replace(OPEN, max_newly_expired=0.0), others=30)

    def test_figures(self) -> None:
        assert self.trips(20, 15, Guard(), others=5) == [
            Trip(
                "max_newly_expired",
                "the changed policies expire 15 of 20 tags (75%) that the last run kept; "
                "the guard allows 25%",
                "team/app",
            )
        ]

    def test_the_guard_of_a_policy_on_other_repositories_does_not_count(self) -> None:
        look = snapshot({f"t{n}": image(f"t{n}", "30d") for n in range(20)})
        look = replace(look, tags={n: replace(tag, kept_before=True) for n, tag in look.tags.items()})
        decisions = judge(look, policy(Rule("k", KeepAll(), Selector((Glob("t0"),)))))
        strict = guarded(replace(OPEN, max_newly_expired=0.0))
        assert list(check_policy_change(look, decisions, [strict]))
        elsewhere = replace(strict, repositories=Selector((Glob("other"),)))
        assert not list(check_policy_change(look, decisions, [elsewhere]))


class TestListings:
    @pytest.mark.parametrize(
        ("before", "gone", "limits", "trips"),
        [
            (20, 11, [0.5], True),
            (20, 10, [0.5], False),
            (20, 20, [0.5], True),
            (9, 9, [0.0], False),  # so few surprise nobody
            (10, 10, [0.5], True),
            (1000, 10, [0.0], True),
            (20, 20, [1.0], False),
            (20, 20, [None], False),
            (20, 20, [], False),
            (20, 11, [None, 0.9, 0.5], True),  # the strictest counts
            (20, 11, [0.9, 0.6], False),
            (0, 0, [0.0], False),
        ],
    )
    def test_limits(self, before: int, gone: int, limits: list[float | None], trips: bool) -> None:
        guards = [replace(OPEN, max_vanished=limit) for limit in limits]
        assert any(check_listing(before, gone, guards, "a")) is trips

    def test_figures(self) -> None:
        (of_tags,) = check_listing(20, 15, [Guard()], "team/app")
        assert of_tags.guard == "short_listing"
        assert str(of_tags) == (
            "team/app: 15 of 20 tags (75%) that the last inventory saw are gone, and reaper did not delete "
            "them; the guard allows 50%"
        )
        (of_repositories,) = check_listing(20, 15, [Guard()])
        assert of_repositories.repository is None
        assert of_repositories.message.startswith("15 of 20 repositories (75%) ")
