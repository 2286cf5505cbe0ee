"""What a change of policies newly deletes or keeps."""

from __future__ import annotations

from hypothesis import given

from reaper.core.comparison import Change, Turn, changes
from reaper.core.manifest import Kind
from reaper.core.plan import RepositoryPlan, build_plan
from reaper.core.policy import KeepAll, KeepNewest, Policy, Rule
from reaper.core.reference import short
from reaper.core.retention import Decision, Decisions
from reaper.core.selectors import Glob, Selector
from reaper.core.snapshot import Snapshot
from tests.core.build import DAY, entry, image, judge, policy, snapshot
from tests.core.generate import child, manifest, policy_sets, snapshots


def decided(look: Snapshot, *policies: Policy) -> tuple[Decisions, RepositoryPlan]:
    decisions = judge(look, *policies)
    return decisions, build_plan(look, decisions, can_untag=False)


def compared(look: Snapshot, before: list[Policy], after: list[Policy]) -> list[Change]:
    return list(changes(look, decided(look, *before), decided(look, *after)))


def test_tags_and_the_parts_that_follow_them() -> None:
    part = entry(manifest("part"), "9d")
    index = entry(manifest("index", Kind.INDEX, children=(child(part.manifest),)), "9d")
    look = snapshot({"new": image("new", "1d"), "old": image("old", "5d"), "index": index}, part)
    after = policy(KeepNewest(1), Rule("i", KeepAll(), Selector((Glob("index"),))))
    found = compared(look, [policy(KeepNewest(2))], [after])
    assert [(change.tag, change.turn) for change in found] == [
        ("index", Turn.KEPT),
        ("old", Turn.EXPIRES),
        (None, Turn.KEPT),
    ]
    assert found[0].reason_after == "i: keeps all"
    assert "keeps 2" in found[1].reason_before
    whole, gone = short(index.digest), "no rule keeps it: rule 1: rank 3 of 3 by pushed 2026-06-06 12:00:00Z"
    assert found[0].reason_before == f"{gone} (created in config), keeps 2"
    assert found[2] == Change(
        "team/app",
        None,
        part.digest,
        Turn.KEPT,
        f"part of {whole}, which is deleted",
        f"part of {whole}, which is kept",
        1110,
    )
    assert (found[0].repository, found[0].digest, found[0].size) == ("team/app", index.digest, 1210)


def test_an_untagged_manifest_that_goes_sooner() -> None:
    loose = image("loose", "90d", seen="10d")
    look = snapshot({}, loose, first_inventory="20d")
    waits = [policy(KeepAll(), untagged_keep_within=days * DAY) for days in (11, 9)]
    (change,) = compared(look, waits[:1], waits[1:])
    assert (change.tag, change.digest, change.turn) == (None, loose.digest, Turn.EXPIRES)
    assert change.reason_before.endswith("younger than 11d")
    assert change.reason_after.endswith("older than 9d")


def test_no_policy_any_more_is_a_keep() -> None:
    look = snapshot({"old": image("old", "5d"), "new": image("new", "1d")})
    (change,) = compared(look, [policy(KeepNewest(1))], [])
    assert (change.tag, change.turn) == ("old", Turn.KEPT)
    assert change.reason_after == "no policy matches this repository"


@given(policy_sets, policy_sets, snapshots())
def test_it_is_the_difference_of_the_two_plans(
    before: list[Policy], after: list[Policy], look: Snapshot
) -> None:
    old, new = decided(look, *before), decided(look, *after)
    found = list(changes(look, old, new))
    expiring = [
        {name for name, tag in decisions.tags.items() if tag.decision is Decision.EXPIRE}
        for decisions, _ in (old, new)
    ]
    tags = {change.tag: change.turn for change in found if change.tag is not None}
    assert {tag for tag, turn in tags.items() if turn is Turn.EXPIRES} == expiring[1] - expiring[0]
    assert {tag for tag, turn in tags.items() if turn is Turn.KEPT} == expiring[0] - expiring[1]
    assert not list(changes(look, old, old))
    assert [(change.tag, change.digest) for change in changes(look, new, old)] == [
        (change.tag, change.digest) for change in found
    ]
