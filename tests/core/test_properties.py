"""What must hold for every registry and every policy (DESIGN section 1; issue 2, "How well")."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TypeVar

from hypothesis import assume, event, given
from hypothesis import strategies as st

from reaper.core.manifest import Kind
from reaper.core.plan import Action, RepositoryPlan, build_plan
from reaper.core.policy import (
    AllOf,
    AnyOf,
    Condition,
    KeepAll,
    KeepNewest,
    KeepPeriods,
    Period,
    Policy,
    Rule,
)
from reaper.core.reclaim import Ledger
from reaper.core.retention import Decision, Decisions, decide
from reaper.core.selectors import Glob, Selector
from reaper.core.snapshot import ManifestEntry, Snapshot, TagEntry
from reaper.core.times import Source, pushed, pushed_digest
from tests.core.generate import (
    NOW,
    REPOSITORY,
    manifest,
    names,
    policies,
    policy_sets,
    rankings,
    rules,
    snapshots,
    without,
)

MOMENT = timedelta(microseconds=1)
#: Keeps nothing.
NEVER = Rule("never", KeepAll(), Selector((Glob("no-such-tag"),)))
Item = TypeVar("Item")
booleans = st.booleans()
chances = st.randoms(use_true_random=False)


def judge(
    policies: Iterable[Policy],
    snapshot: Snapshot,
    *,
    can_untag: bool = True,
    in_use: Mapping[str, str] | None = None,
) -> tuple[Decisions, RepositoryPlan]:
    decisions = decide(list(policies), snapshot, NOW, in_use)
    return decisions, build_plan(snapshot, decisions, can_untag=can_untag)


def deleted(plan: RepositoryPlan) -> set[str]:
    return {step.digest for step in plan.steps if step.action is Action.DELETE}


def removed(plan: RepositoryPlan) -> set[str]:
    return {tag for step in plan.steps for tag in step.tags}


def kept(decisions: Decisions) -> set[str]:
    return {name for name, tag in decisions.tags.items() if tag.decision is not Decision.EXPIRE}


def needed_by(snapshot: Snapshot, roots: Iterable[str]) -> set[str]:
    """Return what a pull of ``roots`` needs, told by the manifests alone."""
    found: set[str] = set()
    pending = list(roots)
    while pending:
        digest = pending.pop()
        if digest in snapshot.manifests and digest not in found:
            found.add(digest)
            of = snapshot.manifests[digest].manifest
            pending += [child.digest for child in of.children]
            pending += of.mentions
    return found


# Nothing reachable from a kept tag is ever deleted.


@given(policy_sets, snapshots(), booleans)
def test_nothing_reachable_from_a_kept_tag_is_deleted(
    policies: list[Policy], snapshot: Snapshot, can_untag: bool
) -> None:
    decisions, plan = judge(policies, snapshot, can_untag=can_untag)
    stay = {snapshot.tags[name].digest for name in kept(decisions)}
    event(f"deletes {bool(plan.steps)}, keeps {bool(stay)}")
    assert not needed_by(snapshot, stay) & deleted(plan)
    assert not removed(plan) & kept(decisions)
    # A manifest goes with all of its tags, so all of them have to be expired.
    for step in plan.steps:
        if step.action is Action.DELETE:
            assert set(step.tags) == {n for n, tag in snapshot.tags.items() if tag.digest == step.digest}


@given(policy_sets, snapshots(), booleans)
def test_what_stays_is_whole(policies: list[Policy], snapshot: Snapshot, can_untag: bool) -> None:
    """Not only tagged ones: no manifest that stays loses a child, or a referrer."""
    _, plan = judge(policies, snapshot, can_untag=can_untag)
    gone = deleted(plan)
    stay = snapshot.manifests.keys() - gone
    assert not needed_by(snapshot, stay) & gone
    for digest in gone:
        subjects = {snapshot.manifests[digest].manifest.subject}
        subjects |= {snapshot.tags[name].subject for name in snapshot.tags_of.get(digest, ())}
        assert not subjects & stay


@given(policy_sets, snapshots(), booleans, st.integers(0, 20))
def test_a_plan_that_stops_half_way_breaks_nothing(
    policies: list[Policy], snapshot: Snapshot, can_untag: bool, done: int
) -> None:
    """A crash between two steps: what was kept is still kept, and no index lost a child."""
    decisions, plan = judge(policies, snapshot, can_untag=can_untag)
    before = [step for step in plan.steps[:done] if step.action is Action.DELETE]
    gone = {step.digest for step in before}
    for digest in snapshot.manifests.keys() - gone:
        assert not gone & set(snapshot.children(digest))
    after = without(snapshot, gone, {tag for step in plan.steps[:done] for tag in step.tags})
    again, _ = judge(policies, after, can_untag=can_untag)
    assert kept(decisions) <= kept(again)


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


# Adding a rule that keeps never deletes more.


@given(policy_sets, snapshots(), rules(), booleans, chances)
def test_adding_a_rule_never_deletes_more(
    policies: list[Policy], snapshot: Snapshot, rule: Rule, can_untag: bool, chance: random.Random
) -> None:
    decisions, before = judge(policies, snapshot, can_untag=can_untag)
    changed = chance.randrange(len(policies))
    more = list(policies[changed].rules)
    more.insert(chance.randint(0, len(more)), replace(rule, name="new"))
    wider = [*policies[:changed], replace(policies[changed], rules=tuple(more)), *policies[changed + 1 :]]
    after_decisions, after = judge(wider, snapshot, can_untag=can_untag)
    assert deleted(after) <= deleted(before)
    assert removed(after) <= removed(before)
    assert kept(decisions) <= kept(after_decisions)


@given(policies(), snapshots(), rules())
def test_a_condition_beside_another_keeps_more_and_one_on_top_keeps_less(
    policy: Policy, snapshot: Snapshot, other: Rule
) -> None:
    rule = policy.rules[0]

    def deletes(keep: Condition) -> set[str]:
        return deleted(judge([replace(policy, rules=(replace(rule, keep=keep),))], snapshot)[1])

    assert deletes(AnyOf((rule.keep, other.keep))) <= deletes(rule.keep)
    assert deletes(rule.keep) <= deletes(AllOf((rule.keep, other.keep)))


# The order of policies, of rules and of everything in them never matters.


def shuffled(items: Iterable[Item], chance: random.Random) -> list[Item]:
    found = list(items)
    chance.shuffle(found)
    return found


def reordered(condition: Condition, chance: random.Random) -> Condition:
    if isinstance(condition, AnyOf | AllOf):
        parts = shuffled((reordered(part, chance) for part in condition.conditions), chance)
        return replace(condition, conditions=tuple(parts))
    return condition


@given(policy_sets, snapshots(), booleans, chances)
def test_order_never_matters(
    policies: list[Policy], snapshot: Snapshot, can_untag: bool, chance: random.Random
) -> None:
    other_policies = [
        replace(
            policy,
            rules=tuple(
                replace(rule, keep=reordered(rule.keep, chance)) for rule in shuffled(policy.rules, chance)
            ),
        )
        for policy in shuffled(policies, chance)
    ]
    other_snapshot = replace(
        snapshot,
        tags=dict(shuffled(snapshot.tags.items(), chance)),
        manifests=dict(shuffled(snapshot.manifests.items(), chance)),
    )
    first, plan = judge(policies, snapshot, can_untag=can_untag)
    second, other = judge(other_policies, other_snapshot, can_untag=can_untag)
    assert [(step.action, step.digest, step.tags, step.policy, step.after) for step in plan.steps] == [
        (step.action, step.digest, step.tags, step.policy, step.after) for step in other.steps
    ]
    assert [(m.digest, m.action, m.tags, m.size) for m in plan.manifests] == [
        (m.digest, m.action, m.tags, m.size) for m in other.manifests
    ]
    assert first.ends == second.ends
    for name, decision in first.tags.items():
        also = second.tags[name]
        assert (decision.decision, decision.expires_at, decision.policy, decision.rule) == (
            also.decision,
            also.expires_at,
            also.policy,
            also.rule,
        )


# A plan applied to the snapshot and planned again is empty.


@given(policy_sets, snapshots(), booleans)
def test_a_plan_applied_and_planned_again_is_empty(
    policies: list[Policy], snapshot: Snapshot, can_untag: bool
) -> None:
    decisions, plan = judge(policies, snapshot, can_untag=can_untag)
    after = without(snapshot, deleted(plan), removed(plan))
    again_decisions, again = judge(policies, after, can_untag=can_untag)
    assert not again.steps
    assert kept(decisions) == kept(again_decisions) & kept(decisions)


# Unknown time never deletes.


@given(policy_sets, snapshots(known=False))
def test_where_no_time_is_known_nothing_is_deleted(policies: list[Policy], snapshot: Snapshot) -> None:
    _, plan = judge(policies, snapshot)
    assert not deleted(plan)


@given(policy_sets, snapshots(), chances)
def test_a_tag_of_unknown_time_is_kept(
    policies: list[Policy], snapshot: Snapshot, chance: random.Random
) -> None:
    """Whatever is known of the others: take from some tags, and all that they need, every time there is."""
    chosen = {name for name in sorted(snapshot.tags) if chance.random() < 0.4}
    emptied = needed_by(snapshot, (snapshot.tags[name].digest for name in chosen))
    tags = {n: TagEntry(n, tag.digest) if n in chosen else tag for n, tag in snapshot.tags.items()}
    entries = {
        d: ManifestEntry(replace(e.manifest, created_annotation=None)) if d in emptied else e
        for d, e in snapshot.manifests.items()
    }
    forgetful = replace(snapshot, tags=tags, manifests=entries)
    decisions, plan = judge(policies, forgetful)
    ordinary = {name for name in chosen if tags[name].subject is None}
    assert ordinary <= kept(decisions)
    assert not {tags[name].digest for name in ordinary} & deleted(plan)


@given(policies(rankings), snapshots(), names, booleans)
def test_an_image_of_unknown_time_costs_no_other_its_place(
    policy: Policy, snapshot: Snapshot, name: str, seen: bool
) -> None:
    """Nor does one that was there, without a believable date, when reaper first looked: just now, say."""
    assume(name not in snapshot.tags)
    hasty = replace(policy, minimum_age=timedelta())
    new = manifest("newcomer")
    first_seen = NOW if seen else None
    known = replace(snapshot, inventoried_since=NOW)
    wider = replace(
        known,
        tags={**snapshot.tags, name: TagEntry(name, new.digest, first_seen=first_seen)},
        manifests={**snapshot.manifests, new.digest: ManifestEntry(new, first_seen=first_seen)},
    )
    before, plan = judge([hasty], known)
    after, wider_plan = judge([hasty], wider)
    assert deleted(wider_plan) - {new.digest} <= deleted(plan)
    assert kept(before) <= kept(after)
    if first_seen is None:
        assert name in kept(after)


@given(policy_sets, snapshots(), st.integers(0, 2))
def test_what_was_pushed_since_the_longest_minimum_age_is_never_deleted(
    policies: list[Policy], snapshot: Snapshot, number: int
) -> None:
    """By whatever time is known; of children and referrers, by what is more than an upper bound."""
    minimum = timedelta(days=30)
    patient = {number % len(policies)}
    ages = [replace(p, minimum_age=minimum if n in patient else timedelta()) for n, p in enumerate(policies)]
    assume(any(policy.matches(snapshot.repository) for policy in ages if policy.minimum_age))
    _, plan = judge(ages, snapshot)
    for step in plan.steps:
        ordinary = [name for name in step.tags if snapshot.tags[name].subject is None]
        moments = [pushed(snapshot, snapshot.tags[name]) for name in step.tags]
        if step.action is Action.DELETE:
            moments.append(pushed_digest(snapshot, step.digest))
        assert all(pushed(snapshot, snapshot.tags[name]) for name in ordinary)
        for moment in moments:
            if moment is not None and (ordinary or moment.source is not Source.FIRST_INVENTORY):
                assert NOW - moment.time >= minimum


# Protections.


@given(policy_sets, snapshots(), chances)
def test_protections_hold_while_any_policy_has_them_on(
    policies: list[Policy], snapshot: Snapshot, chance: random.Random
) -> None:
    """Each by itself keeps its tags and manifests where no rule keeps anything."""
    bare = [replace(p, rules=(NEVER,), minimum_age=timedelta(), untagged_keep_within=None) for p in policies]
    users = {name: "pod" for name in snapshot.tags if chance.random() < 0.2}
    users |= {digest: "pod" for digest in snapshot.manifests if chance.random() < 0.2}
    decisions, plan = judge(bare, snapshot, in_use=users)
    on = [policy.protections for policy in bare if policy.matches(snapshot.repository)]
    tags, digests = set[str](), set[str]()
    if any(protections.latest for protections in on):
        tags |= {"latest"} & snapshot.tags.keys()
    if any(protections.unknown_media_type for protections in on):
        strange = (Kind.UNKNOWN, Kind.SCHEMA1)
        digests |= {d for d, e in snapshot.manifests.items() if e.manifest.kind in strange}
    if any(protections.in_use for protections in on):
        tags |= users.keys() & snapshot.tags.keys()
        digests |= users.keys() & snapshot.manifests.keys()
    for protections in on:
        if protections.immutable is not None:
            tags |= {name for name in snapshot.tags if protections.immutable.select(name) is not None}
    tags |= {name for name, tag in snapshot.tags.items() if tag.digest in digests}
    assert tags <= kept(decisions)
    stay = digests | {snapshot.tags[name].digest for name in tags}
    assert not needed_by(snapshot, stay) & deleted(plan)


@given(policy_sets, snapshots())
def test_what_has_no_tag_waits_for_the_longest_of_all_policies(
    policies: list[Policy], snapshot: Snapshot
) -> None:
    hasty = [replace(p, untagged_keep_within=p.untagged_keep_within or timedelta()) for p in policies[:1]]
    matching = [p for p in [*hasty, *policies[1:]] if p.matches(snapshot.repository)]
    decisions, plan = judge(matching, snapshot)
    event(
        f"has untagged to delete: {any(d.decision is Decision.EXPIRE for d in decisions.untagged.values())}"
    )
    waits = [p.untagged_keep_within for p in matching if p.untagged_keep_within is not None]
    for digest in decisions.untagged.keys() & deleted(plan):
        since = snapshot.manifests[digest].untagged_since
        assert since is not None
        assert waits
        assert NOW - since >= max([*waits, *(policy.minimum_age for policy in matching)])


@given(st.lists(policies(), max_size=3, unique_by=lambda policy: policy.name), snapshots())
def test_what_no_policy_matches_is_never_touched(policies: list[Policy], snapshot: Snapshot) -> None:
    nowhere = Selector(exclude=(Glob("**"),))
    elsewhere = [replace(policy, repositories=nowhere) for policy in policies]
    decisions, plan = judge(elsewhere, snapshot)
    assert not plan.steps
    assert {tag.decision for tag in decisions.tags.values()} <= {Decision.IGNORE}


# Referrers follow their subject, and are never counted.


@given(policy_sets, snapshots(), st.sampled_from(["untagged", "tag", ".sig"]), chances)
def test_a_referrer_more_changes_nothing_for_the_others(
    policies: list[Policy], snapshot: Snapshot, scheme: str, chance: random.Random
) -> None:
    subject = chance.choice(sorted(snapshot.manifests))
    by_field = scheme != ".sig"
    new = manifest("newcomer", subject=subject if by_field else None)
    name = "newcomer" if by_field else subject.replace(":", "-") + ".sig"
    assume(name not in snapshot.tags)
    tag = {} if scheme == "untagged" else {name: TagEntry(name, new.digest, first_seen=NOW)}
    wider = replace(
        snapshot,
        tags={**snapshot.tags, **tag},
        manifests={**snapshot.manifests, new.digest: ManifestEntry(new, first_seen=NOW)},
    )
    before, plan = judge(policies, snapshot)
    after, wider_plan = judge(policies, wider)
    assert deleted(wider_plan) - {new.digest} == deleted(plan)
    assert kept(after) - {name} == kept(before)
    if subject not in deleted(plan):
        assert new.digest not in deleted(wider_plan)


@given(policy_sets, snapshots())
def test_a_referrers_tag_is_kept_with_its_subject(policies: list[Policy], snapshot: Snapshot) -> None:
    decisions, plan = judge(policies, snapshot)
    gone = deleted(plan)
    for name, tag in snapshot.tags.items():
        subject = tag.subject or snapshot.manifests[tag.digest].manifest.subject
        if subject in snapshot.manifests and subject not in gone:
            assert name in kept(decisions)


# Ranks are those of digests, told by sorting.


ages = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 400)), min_size=1, max_size=12)
_DAY_OF = {
    Period.DAILY: "%Y-%m-%d",
    Period.WEEKLY: "%G-%V",
    Period.MONTHLY: "%Y-%m",
    Period.YEARLY: "%Y",
}


def pushed_at(drawn: list[tuple[int, int]]) -> tuple[Snapshot, dict[str, datetime]]:
    """Return a repository with a tag for each (image, age in hours), and when each image was last pushed."""
    tags, latest = {}, dict[str, datetime]()
    for number, (image, hours) in enumerate(drawn):
        at = NOW - timedelta(hours=hours * 5)
        to = manifest(image).digest
        tags[f"t{number}"] = TagEntry(f"t{number}", to, pushed_event=at)
        latest[to] = max(at, latest.get(to, at))
    entries = {manifest(image).digest: ManifestEntry(manifest(image)) for image, _ in drawn}
    return Snapshot(REPOSITORY, NOW, tags, entries), latest


def kept_digests(look: Snapshot, keep: Condition) -> set[str]:
    hasty = Policy("p", Selector(), (Rule("r", keep),), minimum_age=timedelta())
    decisions, _ = judge([hasty], look)
    return {look.tags[name].digest for name in kept(decisions)}


@given(ages, st.integers(1, 5))
def test_newest_keeps_the_first_of_all_digests_in_order(drawn: list[tuple[int, int]], count: int) -> None:
    look, latest = pushed_at(drawn)
    last = sorted(latest.values(), reverse=True)[:count][-1]
    assert kept_digests(look, KeepNewest(count)) == {d for d, at in latest.items() if at >= last}


@given(ages, st.integers(1, 5), st.sampled_from(Period))
def test_the_calendar_keeps_the_newest_digest_of_each_of_the_latest_periods(
    drawn: list[tuple[int, int]], count: int, period: Period
) -> None:
    look, latest = pushed_at(drawn)
    newest: dict[str, datetime] = {}
    for at in latest.values():
        key = at.strftime(_DAY_OF[period])
        newest[key] = max(at, newest.get(key, at))
    wanted = {newest[key] for key in sorted(newest, reverse=True)[:count]}
    assert kept_digests(look, KeepPeriods(period, count)) == {d for d, at in latest.items() if at in wanted}


# Every decision is accounted for, and honest.


@given(policy_sets, snapshots(), booleans)
def test_every_manifest_has_one_action_and_a_reason(
    policies: list[Policy], snapshot: Snapshot, can_untag: bool
) -> None:
    decisions, plan = judge(policies, snapshot, can_untag=can_untag)
    assert [m.digest for m in plan.manifests] == sorted(snapshot.manifests)
    assert all(m.reason for m in plan.manifests)
    assert all(step.reason for step in plan.steps)
    assert {m.digest for m in plan.manifests if m.action is Action.DELETE} == deleted(plan)
    assert len(plan.steps) == len({(step.digest, step.tags) for step in plan.steps})
    assert decisions.tags.keys() == snapshot.tags.keys()
    assert all(tag.reason for tag in decisions.tags.values())
    assert decisions.kept == decisions.ends.keys() == snapshot.manifests.keys() - deleted(plan)


@given(policy_sets, snapshots())
def test_expires_at_is_when_a_kept_tag_expires_by_time_alone(
    policies: list[Policy], snapshot: Snapshot
) -> None:
    def fate(name: str, now: datetime) -> Decision:
        return decide(policies, snapshot, now).tags[name].decision

    decisions = decide(policies, snapshot, NOW)
    for name, tag in decisions.tags.items():
        if tag.decision is not Decision.KEEP:
            assert tag.expires_at is None
        elif tag.expires_at is None:
            assert fate(name, NOW + timedelta(days=365 * 300)) is Decision.KEEP
        else:
            assert tag.expires_at > NOW
            assert fate(name, tag.expires_at - MOMENT) is Decision.KEEP
            assert fate(name, tag.expires_at) is Decision.EXPIRE
    for digest, ends in decisions.ends.items():
        later = NOW + timedelta(days=365 * 300) if ends is None else ends - MOMENT
        assert digest in decide(policies, snapshot, later).kept
        assert ends is None or digest not in decide(policies, snapshot, ends).kept


@given(st.lists(st.tuples(policy_sets, snapshots()), min_size=1, max_size=3))
def test_reclaimable_counts_each_blob_once_and_only_unneeded_ones(
    repositories: list[tuple[list[Policy], Snapshot]],
) -> None:
    """What a registry-wide mark and sweep would free, told by the manifests alone."""
    ledger = Ledger()
    marked: set[str] = set()
    sizes: dict[str, int] = {}
    stored: set[str] = set()
    for matching, snapshot in repositories:
        decisions, plan = judge(matching, snapshot)
        gone = deleted(plan)
        ledger.keep(snapshot.manifests[d].manifest for d in decisions.kept)
        ledger.doom(snapshot.manifests[d].manifest for d in gone)
        for digest, entry in snapshot.manifests.items():
            of = entry.manifest
            parts = {blob.digest: blob.size for blob in (of.config, *of.layers) if blob} | {digest: of.size}
            sizes |= parts
            stored |= parts.keys()
            if digest not in gone:
                marked |= {*parts, *of.mentions}
    assert ledger.reclaimable == sum(sizes[digest] for digest in stored - marked)
