"""Plans: what each step says, in which order they go, and what they refuse."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import ClassVar

import pytest

from reaper.core.manifest import OCI_INDEX, OCI_MANIFEST, Kind
from reaper.core.plan import (
    Action,
    ManifestDecision,
    PlanError,
    RepositoryPlan,
    Step,
    build_plan,
    explain_shared,
)
from reaper.core.policy import KeepAll, KeepNewest, Order, Policy, Protections, Rule
from reaper.core.reference import short
from reaper.core.retention import decide
from reaper.core.selectors import Glob, Selector
from reaper.core.snapshot import ManifestEntry, Snapshot
from tests.core.build import entry, image, judge, policy, snapshot
from tests.core.generate import NOW, child, digest, manifest

NEVER_KEEPS = KeepNewest(1, Order.SEMVER)
EXPIRES = "no rule keeps it: rule 1: not a semantic version, not ranked"
#: The bytes of an image of `tests.core.build`: manifest, config, layer.
IMAGE_SIZE = 100 + 10 + 1000


def only(pattern: str) -> Policy:
    """Return a policy that keeps just the tags like ``pattern``."""
    return policy(Rule("chosen", KeepAll(), Selector((Glob(pattern),))))


def planned(look: Snapshot, *policies: Policy, can_untag: bool = True) -> RepositoryPlan:
    return build_plan(look, judge(look, *policies), can_untag=can_untag)


def decisions_on(plan: RepositoryPlan) -> Mapping[str, tuple[Action, str]]:
    """Return the action on each manifest, and why."""
    return {manifest.digest: (manifest.action, manifest.reason) for manifest in plan.manifests}


def signature_tag(of: ManifestEntry) -> str:
    return of.digest.replace(":", "-") + ".sig"


def test_a_deletion_names_all_that_has_to_be_true_before_it() -> None:
    old = image("old", "30d")
    plan = planned(snapshot({"b": old, "a": old}), policy(NEVER_KEEPS))
    assert plan.repository == "team/app"
    assert plan.deletions == 1
    assert plan.steps == (Step(Action.DELETE, old.digest, OCI_MANIFEST, ("a", "b"), EXPIRES, "p", "rule 1"),)
    assert plan.manifests == (
        ManifestDecision(old.digest, Kind.IMAGE, Action.DELETE, EXPIRES, ("a", "b"), IMAGE_SIZE),
    )


def test_a_digest_whose_tags_expire_for_different_reasons_names_each() -> None:
    old, new = image("old", "30d"), image("new", "1d")
    look = snapshot({"old-1": old, "other": old, "old-2": new})
    (step,) = planned(look, policy(Rule("olds", KeepNewest(1), Selector((Glob("old-*"),))))).steps
    assert step.tags == ("old-1", "other")
    built = "pushed 2026-05-16 12:00:00Z (created in config)"
    assert step.reason == (
        f"old-1: no rule keeps it: olds: rank 2 of 2 by {built}, keeps 1; other: no rule selects it; {built}"
    )


def test_what_belongs_to_a_deleted_manifest_goes_after_it_and_says_why() -> None:
    amd64, arm64 = entry(manifest("amd64"), "90d"), entry(manifest("arm64"), "90d")
    children = (child(amd64.manifest), child(arm64.manifest))
    index = entry(manifest("index", Kind.INDEX, children=children), "90d")
    sbom = entry(manifest("sbom", subject=index.digest), "90d")
    nested = entry(manifest("nested", subject=sbom.digest), "90d")
    signature = entry(manifest("signature"), "90d")
    name = signature_tag(amd64)
    look = snapshot({"v1": index, name: signature}, amd64, arm64, sbom, nested)
    plan = planned(look, policy(NEVER_KEEPS))

    part = f"part of {short(index.digest)}, which is deleted"
    expected = {
        index.digest: Step(Action.DELETE, index.digest, OCI_INDEX, ("v1",), EXPIRES, "p", "rule 1"),
        sbom.digest: Step(
            Action.DELETE,
            sbom.digest,
            OCI_MANIFEST,
            (),
            f"a referrer of {short(index.digest)}, which is deleted",
            "p",
            after=(index.digest,),
        ),
        nested.digest: Step(
            Action.DELETE,
            nested.digest,
            OCI_MANIFEST,
            (),
            f"a referrer of {short(sbom.digest)}, which is deleted",
            "p",
            after=(sbom.digest,),
        ),
        signature.digest: Step(
            Action.DELETE,
            signature.digest,
            OCI_MANIFEST,
            (name,),
            f"refers to {short(amd64.digest)}, which expires",
            "p",
            "referrer",
            (amd64.digest,),
        ),
    } | {d: Step(Action.DELETE, d, OCI_MANIFEST, (), part, "p", after=(index.digest,)) for d in look.parents}
    assert {step.digest: step for step in plan.steps} == expected
    assert decisions_on(plan) == {d: (Action.DELETE, step.reason) for d, step in expected.items()}
    order = [step.digest for step in plan.steps]
    assert all(order.index(owner) < order.index(step.digest) for step in plan.steps for owner in step.after)
    # What a referrer or a child refers to in its turn follows at once: a sweep that stops leaves few parts.
    assert order.index(signature.digest) == order.index(amd64.digest) + 1
    assert order.index(nested.digest) == order.index(sbom.digest) + 1


def test_what_stands_alone_goes_in_the_order_of_its_digests() -> None:
    tags = {f"t{n}": image(f"t{n}", "90d") for n in range(6)}
    steps = planned(snapshot(tags), policy(NEVER_KEEPS)).steps
    assert [step.digest for step in steps] == sorted(e.digest for e in tags.values())


def test_each_image_is_followed_by_its_signatures_and_each_index_by_its_children() -> None:
    """A sweep that is stopped leaves few parts behind, and the same plan is always in the same order."""
    images = {f"t{n}": image(f"t{n}", "90d") for n in range(8)}
    signatures = {signature_tag(of): image(name + "signature") for name, of in images.items()}
    steps = planned(snapshot({**images, **signatures}), policy(NEVER_KEEPS)).steps
    pairs = sorted((of.digest, signatures[signature_tag(of)].digest) for of in images.values())
    assert [step.digest for step in steps] == [digest for pair in pairs for digest in pair]
    assert all(step.after == () for step in steps[::2])
    assert [step.after for step in steps[1::2]] == [(step.digest,) for step in steps[::2]]

    parts = [entry(manifest(n), "90d") for n in range(6)]
    index = entry(
        manifest("index", Kind.INDEX, children=tuple(child(part.manifest) for part in parts)), "90d"
    )
    steps = planned(snapshot({"v1": index}, *parts), policy(NEVER_KEEPS)).steps
    assert [step.digest for step in steps] == [index.digest, *sorted(part.digest for part in parts)]


def test_an_untagged_manifest_goes_by_the_policy_on_those() -> None:
    loose = image("loose", "90d", seen="10d")
    look = snapshot({}, loose, first_inventory="20d")
    plan = planned(look, policy(KeepAll(), name="u", untagged_keep_within=timedelta(days=2)))
    reason = "untagged for 10d (first seen by reaper), older than 2d"
    assert plan.steps == (Step(Action.DELETE, loose.digest, OCI_MANIFEST, (), reason, "u", "untagged"),)


def test_a_kept_manifest_says_what_keeps_it() -> None:
    amd64 = entry(manifest("amd64"), "90d", seen="9d")
    index = entry(manifest("index", Kind.INDEX, children=(child(amd64.manifest),)), "90d")
    sbom, signature = entry(manifest("sbom", subject=index.digest)), image("signature")
    loose, young = image("loose", "90d", seen="10d"), image("young", "90d", seen="1h")
    name = signature_tag(index)
    look = snapshot(
        {"v1": index, name: signature},
        amd64,
        sbom,
        loose,
        young,
        first_inventory="20d",
        tag_seen={name: "20d"},
    )
    plan = planned(look, replace(only("v1"), minimum_age=timedelta(hours=2)))
    assert not plan.steps
    recent = "minimum-age: pushed 1h ago, 2026-06-15 11:00:00Z (first seen by reaper), younger than 2h"
    kept = {
        index.digest: "tag v1 is kept by chosen: keeps all",
        amd64.digest: f"part of {short(index.digest)}, which is kept",
        signature.digest: f"tag {name} is kept by referrer: refers to {short(index.digest)}, which is kept",
        loose.digest: "untagged and no policy says how long to keep those",
        young.digest: recent,
        sbom.digest: recent,
    }
    assert decisions_on(plan) == {d: (Action.KEEP, reason) for d, reason in kept.items()}
    old = replace(
        look, manifests={**look.manifests, sbom.digest: replace(sbom, first_seen=NOW - timedelta(9))}
    )
    reason = f"refers to {short(index.digest)}, which is kept"
    assert decisions_on(planned(old, only("v1")))[sbom.digest] == (Action.KEEP, reason)


def test_a_kept_manifest_without_policy_says_so() -> None:
    amd64 = entry(manifest("amd64"), "90d")
    index = entry(manifest("index", Kind.INDEX, children=(child(amd64.manifest),)), "90d")
    sbom, loose = entry(manifest("sbom", subject=index.digest), "90d"), image("loose", "90d")
    look = snapshot({"v1": index}, amd64, sbom, loose)
    assert set(decisions_on(planned(look)).values()) == {(Action.KEEP, "no policy matches this repository")}


def test_what_an_unknown_document_mentions_says_so() -> None:
    """Its own tag has expired, or the index it belonged to goes: it stays all the same."""
    tagged, part = image("tagged", "90d"), image("part", "90d")
    index = entry(manifest("index", Kind.INDEX, children=(child(part.manifest),)), "90d")
    mentions = frozenset({tagged.digest, part.digest, digest("elsewhere")})
    unknown = {"media_type": "application/x", "mentions": mentions}
    odd, gone = (entry(manifest(name, Kind.UNKNOWN, **unknown), "90d") for name in ("odd", "gone"))
    look = snapshot({"odd": odd, "old": tagged, "index": index, "gone": gone}, part)
    bare = replace(only("odd"), protections=Protections(unknown_media_type=False))
    plan = planned(look, bare, can_untag=False)
    why = f"mentioned by {short(odd.digest)}, which is kept"
    assert {step.digest for step in plan.steps} == {index.digest, gone.digest}
    assert decisions_on(plan)[part.digest] == (Action.KEEP, why)
    assert decisions_on(plan)[tagged.digest] == (
        Action.KEEP,
        f"shared-digest: {why}; this registry cannot delete the tag alone: old",
    )


def test_an_expired_tag_on_a_part_says_what_it_is_part_of() -> None:
    amd64 = entry(manifest("amd64"), "90d")
    old, index = (
        entry(manifest(name, Kind.INDEX, children=(child(amd64.manifest),)), "90d")
        for name in ("old", "index")
    )
    look = snapshot({"v1": index, "v1-amd64": amd64, "old": old})
    assert decisions_on(planned(look, only("v1")))[amd64.digest] == (
        Action.UNTAG,
        f"part of {short(index.digest)}, which is kept; untagged: v1-amd64",
    )


class TestExpiredTagsOnAKeptDigest:
    shared, other = image("shared", "9d"), image("other", "9d")
    gone: ClassVar = {f"alone-{n}": image(f"alone-{n}", "9d") for n in range(8)}
    look = snapshot({"keep": shared, "go-1": shared, "go-2": shared, "keep-too": other, **gone})
    why = "tag keep is kept by chosen: keeps all"
    expired = "no rule selects it; pushed 2026-06-06 12:00:00Z (created in config)"

    def test_are_removed_one_by_one_where_the_registry_can(self) -> None:
        plan = planned(self.look, only("keep*"))
        assert {step.tags for step in plan.steps[:8]} == {(name,) for name in self.gone}
        assert list(plan.steps[8:]) == [
            Step(Action.UNTAG, self.shared.digest, OCI_MANIFEST, (tag,), self.expired, "p")
            for tag in ("go-1", "go-2")
        ]
        assert decisions_on(plan)[self.shared.digest] == (Action.UNTAG, f"{self.why}; untagged: go-1, go-2")
        assert plan.deletions == 8

    def test_may_be_removed_by_way_of_a_placeholder(self) -> None:
        decisions = judge(self.look, only("keep*"))
        plan = build_plan(self.look, decisions, can_untag=True, placeholder=True)
        reason = f"{self.why}; untagged, if need be by a placeholder: go-1, go-2"
        assert decisions_on(plan)[self.shared.digest] == (Action.UNTAG, reason)
        by_way_of = {step.tags: step.placeholder for step in plan.steps}
        assert by_way_of == {(f"go-{n}",): True for n in (1, 2)} | {(name,): False for name in self.gone}

    def test_name_the_rule_that_expired_them(self) -> None:
        two = policy(Rule("chosen", KeepAll(), Selector((Glob("keep*"),))), Rule("none", NEVER_KEEPS))
        untags = [step for step in planned(self.look, two).steps if step.action is Action.UNTAG]
        assert {(step.policy, step.rule) for step in untags} == {("p", "none")}

    def test_stay_and_say_so_where_it_cannot(self) -> None:
        decisions = judge(self.look, only("keep*"))
        plan = build_plan(self.look, decisions, can_untag=False)
        assert {step.tags for step in plan.steps} == {(name,) for name in self.gone}
        assert decisions_on(plan)[self.shared.digest] == (
            Action.KEEP,
            f"shared-digest: {self.why}; this registry cannot delete the tag alone: go-1, go-2",
        )
        shown = explain_shared(decisions.tags, plan, can_untag=False)
        assert {name for name in shown if shown[name] != decisions.tags[name]} == {"go-1", "go-2"}
        assert shown["go-1"] == replace(
            decisions.tags["go-1"],
            reason=f"{self.expired}; shared-digest: the tag stays, its digest is kept",
        )

    def test_are_explained_as_they_are_where_it_can(self) -> None:
        decisions = judge(self.look, only("keep*"))
        plan = build_plan(self.look, decisions, can_untag=True)
        assert explain_shared(decisions.tags, plan, can_untag=True) == decisions.tags


class TestContradictionsAreRefused:
    """A fault in the decisions is caught before any delete."""

    def test_a_kept_tag_on_a_manifest_that_nothing_keeps(self) -> None:
        look = snapshot({"v1": image("a", "9d"), "v2": image("a", "9d")})
        wrong = replace(judge(look, only("v2")), kept=frozenset())
        with pytest.raises(
            PlanError, match=f"^team/app@{digest('a')} would be deleted with its kept tag v2$"
        ):
            build_plan(look, wrong, can_untag=True)

    def test_an_untagged_manifest_that_is_kept_by_its_own_decision(self) -> None:
        look = snapshot({}, image("a", "9d"))
        wrong = replace(judge(look, policy(KeepAll())), kept=frozenset())
        with pytest.raises(PlanError, match=f"^team/app@{digest('a')} would be deleted without a reason$"):
            build_plan(look, wrong, can_untag=True)

    def test_a_manifest_without_any_decision(self) -> None:
        look = snapshot({}, image("a", "9d"))
        wrong = replace(judge(look, policy(KeepAll())), untagged={}, kept=frozenset())
        with pytest.raises(PlanError, match="without a reason"):
            build_plan(look, wrong, can_untag=True)

    def test_a_manifest_that_is_kept_without_a_reason(self) -> None:
        look = snapshot({}, image("a", "9d"))
        wrong = replace(judge(look, policy(KeepAll())), untagged={})
        with pytest.raises(PlanError, match=f"^team/app@{digest('a')} would be kept without a reason$"):
            build_plan(look, wrong, can_untag=True)


class TestManifestsThatContainEachOther:
    """No honest registry has them: a digest would have to contain itself. Nothing may hang on them, or go."""

    one = entry(manifest("one", Kind.INDEX, children=(child(manifest("two", Kind.INDEX)),)), "90d")
    two = entry(
        manifest("two", Kind.INDEX, children=(child(manifest("one", Kind.INDEX)), child(manifest("part")))),
        "90d",
    )
    own = entry(manifest("own", Kind.INDEX, children=(child(manifest("own", Kind.INDEX)),)), "90d")
    part = image("part", "90d")

    @pytest.mark.parametrize("tagged", ["one", "two"])
    def test_are_kept_whole_while_a_tag_leads_to_one_of_them(self, tagged: str) -> None:
        tags = {"v1": self.one if tagged == "one" else self.two}
        look = snapshot({**tags, "old": image("old", "90d")}, self.one, self.two, self.part)
        plan = planned(look, replace(only("v1"), untagged_keep_within=timedelta()))
        assert [step.tags for step in plan.steps] == [("old",)]
        assert {m.size for m in plan.manifests if m.kind is Kind.INDEX} == {100 + 100 + IMAGE_SIZE}

    @pytest.mark.parametrize("tags", [["v1"], []])
    def test_are_never_deleted(self, tags: list[str]) -> None:
        """Tagged or not, expired or not: without a place to begin the repository is given up, loudly."""
        look = snapshot(dict.fromkeys(tags, self.one), self.one, self.two, self.part, first_inventory="99d")
        with pytest.raises(PlanError, match=r"^team/app: manifests that contain each other$"):
            planned(look, policy(NEVER_KEEPS, untagged_keep_within=timedelta()))

    def test_nor_is_one_that_contains_itself(self) -> None:
        look = snapshot({"own": self.own})
        assert not planned(look, only("own")).steps
        with pytest.raises(PlanError, match="manifests that contain each other"):
            planned(look, policy(NEVER_KEEPS))

    def test_nor_are_referrers_of_each_other(self) -> None:
        left, right = manifest("left", subject=digest("right")), manifest("right", subject=digest("left"))
        look = snapshot({"v1": entry(left, "90d")}, entry(right, "90d"))
        assert not planned(look, only("v1")).steps
        with pytest.raises(PlanError, match="manifests that contain each other"):
            planned(look, policy(NEVER_KEEPS))

    def test_in_use_or_pulled_they_are_followed_once(self) -> None:
        look = snapshot({"v1": self.one}, replace(self.two, pulled=NOW), self.part)
        decisions = decide([policy(NEVER_KEEPS)], look, NOW, in_use={self.two.digest: "Pod x"})
        assert decisions.kept == look.manifests.keys()
        assert not build_plan(look, decisions, can_untag=True).steps
