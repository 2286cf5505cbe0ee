"""What is in use stays, with all that belongs to it (issue 3, point 6)."""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import assume, given
from hypothesis import strategies as st

from reaper.core.manifest import Kind
from reaper.core.plan import Action, build_plan
from reaper.core.policy import KeepNewest, Order, Policy, Protections
from reaper.core.retention import Decision, Decisions, decide
from reaper.core.snapshot import Snapshot
from tests.core.build import ago, entry, image, kept, policy, snapshot
from tests.core.generate import NOW, child, manifest, policy_sets, snapshots

NOTHING = KeepNewest(1, Order.SEMVER)
EXPIRING = policy(NOTHING, untagged_keep_within=ago("0s") - ago("0s"))


def judge(look: Snapshot, in_use: Mapping[str, str], *policies: Policy) -> tuple[Decisions, set[str]]:
    """Return the decisions and what the plan deletes."""
    decisions = decide(policies or [EXPIRING], look, NOW, in_use)
    plan = build_plan(look, decisions, can_untag=True)
    return decisions, {step.digest for step in plan.steps if step.action is Action.DELETE}


def test_a_tag_in_use_is_kept_and_says_who_uses_it() -> None:
    used, other = image("used", "40d"), image("other", "40d")
    look = snapshot({"used": used, "other": other})
    decisions, gone = judge(look, {"used": "Pod shop/web"})
    assert gone == {other.digest}
    assert decisions.tags["used"].reason == "in-use: in use by Pod shop/web"
    assert decisions.tags["used"].policy == "built-in"


def test_a_digest_in_use_stays_after_its_tag_moved_away() -> None:
    old = image("old", "40d")
    look = snapshot({}, old, first_inventory="30d")
    assert judge(look, {})[1] == {old.digest}
    decisions, gone = judge(look, {old.digest: "Pod shop/web"})
    assert gone == set()
    assert decisions.held == {old.digest: "in use by Pod shop/web"}


def test_a_digest_in_use_keeps_all_its_tags() -> None:
    used = image("used", "40d")
    assert kept(judge(snapshot({"a": used, "b": used}), {used.digest: "Pod x"})[0]) == {"a", "b"}


def test_a_config_in_use_keeps_its_manifest() -> None:
    used, other = image("used", "40d"), image("other", "40d")
    config = used.manifest.config
    assert config is not None
    decisions, gone = judge(snapshot({"used": used, "other": other}), {config.digest: "Pod x"})
    assert gone == {other.digest}
    assert kept(decisions) == {"used"}


def test_an_index_in_use_keeps_its_children_and_their_referrers() -> None:
    parts = [manifest(n) for n in range(2)]
    index = entry(manifest("index", Kind.INDEX, children=tuple(map(child, parts))))
    signature = entry(manifest("signature", subject=parts[0].digest))
    look = snapshot({"v1": index}, *map(entry, parts), signature, first_inventory="30d")
    assert judge(look, {})[1] == look.manifests.keys()
    assert judge(look, {index.digest: "Pod x"})[1] == set()


def test_a_child_in_use_keeps_every_index_around_it_whole() -> None:
    used, sibling, stranger = (manifest(name) for name in ("used", "sibling", "stranger"))
    inner = manifest("inner", Kind.INDEX, children=(child(used), child(sibling)))
    outer = manifest("outer", Kind.INDEX, children=(child(inner),))
    other = manifest("other", Kind.INDEX, children=(child(sibling), child(stranger)))
    look = snapshot(
        {"outer": entry(outer), "other": entry(other)},
        *map(entry, (inner, used, sibling, stranger)),
        first_inventory="30d",
    )
    decisions, gone = judge(look, {used.digest: "Pod x"})
    assert gone == {other.digest, stranger.digest}
    assert decisions.tags["outer"].reason == (
        f"in-use: in use by Pod x, which needs its part {inner.digest[:19]}"
    )
    assert decisions.held[inner.digest].startswith("in use by Pod x, which needs its part")


def test_a_tag_on_a_child_in_use_keeps_the_index() -> None:
    part = manifest("part")
    index = entry(manifest("index", Kind.INDEX, children=(child(part),)))
    look = snapshot({"v1-amd64": entry(part), "v1": index})
    assert kept(judge(look, {"v1-amd64": "Pod x"})[0]) == {"v1-amd64", "v1"}


def test_the_protection_can_be_switched_off_by_all_policies_together() -> None:
    used = image("used", "40d")
    off = policy(NOTHING, name="off", protections=Protections(in_use=False))
    look, in_use = snapshot({"used": used}), {"used": "Pod x", used.digest: "Pod x"}
    assert judge(look, in_use, off)[1] == {used.digest}
    assert judge(look, in_use, off, policy(NOTHING, name="on"))[1] == set()


@given(policy_sets, snapshots(), st.data())
def test_nothing_in_use_is_ever_deleted(policies: list[Policy], look: Snapshot, data: st.DataObject) -> None:
    configs = {m.manifest.config.digest for m in look.manifests.values() if m.manifest.config}
    keys = sorted({*look.tags, *look.manifests, *configs})
    used = data.draw(st.sets(st.sampled_from(keys)))
    assume(any(policy.protections.in_use and policy.matches(look.repository) for policy in policies))
    decisions, gone = judge(look, dict.fromkeys(used, "Pod x"), *policies)
    needed = used | {look.tags[key].digest for key in used if key in look.tags}
    needed |= {d for d, m in look.manifests.items() if m.manifest.config and m.manifest.config.digest in used}
    assert not look.closure(needed & look.manifests.keys()) & gone
    for digest in needed & look.manifests.keys():
        assert not set(look.parents.get(digest, ())) & gone
    ordinary = used & {name for name, tag in look.tags.items() if tag.subject is None}
    assert all(decisions.tags[name].decision is Decision.KEEP for name in ordinary)
    assert gone <= judge(look, {}, *policies)[1]
