"""What must hold for every registry and every policy (DESIGN section 1; issue 2, "How well")."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import timedelta

from hypothesis import assume, given
from hypothesis import strategies as st

from reaper.core.manifest import Kind
from reaper.core.plan import Action, RepositoryPlan, build_plan
from reaper.core.policy import Policy, Rule
from reaper.core.reclaim import Ledger, stored_by
from reaper.core.retention import Decision, Decisions, decide
from reaper.core.snapshot import Snapshot
from tests.core.generate import NOW, policies, policy_sets, rules, snapshots, without

booleans = st.booleans()


def judge(
    policies: list[Policy], snapshot: Snapshot, *, can_untag: bool = True
) -> tuple[Decisions, RepositoryPlan]:
    decisions = decide(policies, snapshot, NOW)
    return decisions, build_plan(snapshot, decisions, can_untag=can_untag)


def deleted(plan: RepositoryPlan) -> set[str]:
    return {step.digest for step in plan.steps if step.action is Action.DELETE}


@given(policy_sets, snapshots(), booleans)
def test_nothing_reachable_from_a_kept_tag_is_deleted(
    policies: list[Policy], snapshot: Snapshot, can_untag: bool
) -> None:
    decisions, plan = judge(policies, snapshot, can_untag=can_untag)
    kept = {tag.digest for tag in decisions.tags.values() if tag.decision is not Decision.EXPIRE}
    needed = set[str]()
    for digest in kept:
        needed |= snapshot.contents(digest).keys() & snapshot.manifests.keys()
    assert not needed & deleted(plan)
    removed_tags = {tag for step in plan.steps for tag in step.tags}
    assert all(decisions.tags[tag].decision is Decision.EXPIRE for tag in removed_tags)


@given(policy_sets, snapshots())
def test_referrers_of_what_is_kept_are_kept(policies: list[Policy], snapshot: Snapshot) -> None:
    _, plan = judge(policies, snapshot)
    gone = deleted(plan)
    for subject in snapshot.manifests.keys() - gone:
        assert not gone & set(snapshot.referrers.get(subject, ()))


@given(policy_sets, snapshots(), rules())
def test_adding_a_rule_never_deletes_more(policies: list[Policy], snapshot: Snapshot, rule: Rule) -> None:
    _, before = judge(policies, snapshot)
    wider = [replace(policies[0], rules=(*policies[0].rules, rule)), *policies[1:]]
    _, after = judge(wider, snapshot)
    assert deleted(after) <= deleted(before)


@given(policy_sets, snapshots(), st.randoms(use_true_random=False))
def test_order_never_matters(policies: list[Policy], snapshot: Snapshot, chance: random.Random) -> None:
    shuffled = []
    for policy in policies:
        rules = list(policy.rules)
        chance.shuffle(rules)
        shuffled.append(replace(policy, rules=tuple(rules)))
    chance.shuffle(shuffled)
    first, plan = judge(policies, snapshot)
    second, other = judge(shuffled, snapshot)
    assert [(step.action, step.digest, step.tags, step.after) for step in plan.steps] == [
        (step.action, step.digest, step.tags, step.after) for step in other.steps
    ]
    for name, decision in first.tags.items():
        also = second.tags[name]
        assert (decision.decision, decision.expires_at) == (also.decision, also.expires_at)


@given(policy_sets, snapshots(), booleans)
def test_a_plan_applied_and_planned_again_is_empty(
    policies: list[Policy], snapshot: Snapshot, can_untag: bool
) -> None:
    _, plan = judge(policies, snapshot, can_untag=can_untag)
    after = without(snapshot, deleted(plan), {tag for step in plan.steps for tag in step.tags})
    _, again = judge(policies, after, can_untag=can_untag)
    assert not again.steps


@given(policy_sets, snapshots(times=st.none()))
def test_unknown_time_never_deletes(policies: list[Policy], snapshot: Snapshot) -> None:
    """Where no time is known, only what belongs to something else may go; and there is nothing such."""
    unknown = replace(
        snapshot,
        manifests={
            d: replace(e, manifest=replace(e.manifest, created_annotation=None))
            for d, e in snapshot.manifests.items()
        },
    )
    _, plan = judge(policies, unknown)
    assert not [step for step in plan.steps if step.action is Action.DELETE]


@given(policy_sets, snapshots())
def test_parents_and_subjects_go_first(policies: list[Policy], snapshot: Snapshot) -> None:
    _, plan = judge(policies, snapshot)
    gone = deleted(plan)
    seen: set[str] = set()
    for step in plan.steps:
        if step.action is not Action.DELETE:
            continue
        parents = set(snapshot.parents.get(step.digest, ())) & gone
        subject = snapshot.manifests[step.digest].manifest.subject
        assert parents <= seen
        assert parents <= set(step.after)
        assert subject not in gone or subject in seen
        seen.add(step.digest)


@given(policy_sets, snapshots(), booleans)
def test_every_manifest_has_one_action_and_a_reason(
    policies: list[Policy], snapshot: Snapshot, can_untag: bool
) -> None:
    decisions, plan = judge(policies, snapshot, can_untag=can_untag)
    assert [m.digest for m in plan.manifests] == sorted(snapshot.manifests)
    assert all(m.reason for m in plan.manifests)
    assert all(step.reason for step in plan.steps)
    assert {m.digest for m in plan.manifests if m.action is Action.DELETE} == deleted(plan)
    assert decisions.tags.keys() == snapshot.tags.keys()
    assert all(tag.reason for tag in decisions.tags.values())


@given(policy_sets, snapshots())
def test_unknown_types_are_kept_while_any_policy_protects_them(
    policies: list[Policy], snapshot: Snapshot
) -> None:
    assume(any(policy.protections.unknown_media_type for policy in policies))
    _, plan = judge(policies, snapshot)
    assert not [d for d in deleted(plan) if snapshot.manifests[d].manifest.kind is Kind.UNKNOWN]


@given(policies(), snapshots())
def test_younger_than_minimum_age_is_never_deleted(policy: Policy, snapshot: Snapshot) -> None:
    minimum = timedelta(days=30)
    _, plan = judge([replace(policy, minimum_age=minimum)], snapshot)
    for step in plan.steps:
        entry = snapshot.manifests[step.digest]
        assert entry.pushed_event is None or NOW - entry.pushed_event >= minimum


@given(st.lists(st.tuples(policy_sets, snapshots()), min_size=1, max_size=3))
def test_reclaimable_counts_each_blob_once_and_only_unneeded_ones(
    repositories: list[tuple[list[Policy], Snapshot]],
) -> None:
    ledger = Ledger()
    kept_blobs: dict[str, int] = {}
    doomed_blobs: dict[str, int] = {}
    for matching, snapshot in repositories:
        decisions, plan = judge(matching, snapshot)
        gone = deleted(plan)
        ledger.keep(snapshot.manifests[d].manifest for d in decisions.kept)
        ledger.doom(snapshot.manifests[d].manifest for d in gone)
        for digest, entry in snapshot.manifests.items():
            into = doomed_blobs if digest in gone else kept_blobs
            into |= {blob.digest: blob.size for blob in stored_by(entry.manifest)}
    expected = sum(size for digest, size in doomed_blobs.items() if digest not in kept_blobs)
    assert ledger.reclaimable == expected


@given(policy_sets, snapshots())
def test_a_kept_tag_outlives_its_clock_but_not_longer(policies: list[Policy], snapshot: Snapshot) -> None:
    """``expires_at`` is honest: one moment earlier the tag is still kept by something."""
    decisions = decide(policies, snapshot, NOW)
    for tag in decisions.tags.values():
        if tag.decision is Decision.KEEP and tag.expires_at is not None:
            assert tag.expires_at > NOW
