"""The policy language, rule by rule (DESIGN section 5)."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from reaper.core.manifest import DOCKER_SCHEMA1_SIGNED, Kind
from reaper.core.plan import SHARED_DIGEST, Action, build_plan, explain_shared
from reaper.core.policy import (
    AllOf,
    AnyOf,
    Clock,
    KeepAll,
    KeepNewest,
    KeepPeriods,
    KeepPulledWithin,
    KeepWithin,
    Order,
    Origin,
    Period,
    Protections,
    Rule,
)
from reaper.core.retention import Decision, Verdict, decide
from reaper.core.selectors import Glob, Regex, Selector, Semver
from reaper.core.snapshot import ManifestEntry
from tests.core.build import DAY, ago, entry, image, judge, kept, policy, snapshot
from tests.core.generate import NOW, child, digest, manifest

BUILDS = {f"build-{n}": image(f"b{n}", f"{40 - n}d") for n in range(1, 7)}
NEVER_KEEPS = KeepNewest(1, Order.SEMVER)


def test_newest_keeps_the_newest_digests() -> None:
    decisions = judge(snapshot(BUILDS), policy(KeepNewest(2)))
    assert kept(decisions) == {"build-5", "build-6"}
    assert "rank 3 of 6 by pushed" in decisions.tags["build-4"].reason
    assert "created in config" in decisions.tags["build-4"].reason


def test_newest_ranks_digests_not_tags() -> None:
    aliases = {f"alias-{n}": BUILDS["build-6"] for n in range(5)}
    assert kept(judge(snapshot({**BUILDS, **aliases}), policy(KeepNewest(2)))) == {
        "build-5",
        "build-6",
        *aliases,
    }


def test_a_digest_has_the_rank_of_its_best_tag() -> None:
    one, two, three = (image(name, "40d") for name in ("one", "two", "three"))
    look = snapshot({"v1.0.0": one, "v9.0.0": one, "v2.0.0": two, "v3.0.0": three})
    assert kept(judge(look, policy(KeepNewest(1, Order.SEMVER)))) == {"v1.0.0", "v9.0.0"}
    assert kept(judge(look, policy(KeepNewest(2, Order.SEMVER)))) == {"v1.0.0", "v9.0.0", "v3.0.0"}


def test_newest_by_name_counts_numbers_as_numbers() -> None:
    tags = {f"build-{n}": image(f"b{n}", f"{n}d") for n in (2, 9, 10, 11)}
    assert kept(judge(snapshot(tags), policy(KeepNewest(2, Order.NAME)))) == {"build-10", "build-11"}


def test_newest_by_semver_follows_precedence_and_leaves_out_the_rest() -> None:
    tags = {name: image(name, "40d") for name in ("v1.9.0", "v1.10.0", "v1.10.0-rc.1", "1.2.3", "nightly")}
    assert kept(judge(snapshot(tags), policy(KeepNewest(2, Order.SEMVER)))) == {"v1.10.0", "v1.10.0-rc.1"}


def test_newest_by_created_falls_back_to_pushed() -> None:
    tags = {"old": image("o", "30d"), "odd": image("x", None, seen="1h"), "new": image("n", "2d")}
    look = snapshot(tags, first_inventory="20d", tag_seen={"odd": "10d"})
    decisions = judge(look, policy(KeepNewest(2, Order.CREATED)))
    assert kept(decisions) == {"new", "odd"}
    assert "first seen by reaper" in decisions.tags["odd"].reason


def test_equal_times_are_never_told_apart() -> None:
    tags = {f"t{n}": image(f"t{n}", "30d") for n in range(4)} | {"newer": image("newer", "1d")}
    assert kept(judge(snapshot(tags), policy(KeepNewest(2)))) == set(tags)
    assert kept(judge(snapshot(tags), policy(KeepNewest(1)))) == {"newer"}


@pytest.mark.parametrize(
    "date", [datetime(1970, 1, 1, tzinfo=UTC), datetime(1980, 1, 1, tzinfo=UTC), NOW + DAY]
)
def test_a_reproducible_date_is_unknown_and_outranks_nobody(date: datetime) -> None:
    odd = {f"odd-{n}": image(f"odd{n}", date) for n in range(3)}
    decisions = judge(snapshot({**BUILDS, **odd}), policy(KeepNewest(2)))
    assert kept(decisions) == {"build-5", "build-6", *odd}
    assert "first inventory" in decisions.tags["odd-0"].reason


def test_group_by_ranks_each_group_alone() -> None:
    tags = {
        f"{branch}-{n:07x}": image(f"{branch}{n}", f"{30 - n}d")
        for branch in ("main", "dev")
        for n in range(3)
    }
    branches = Selector((Regex("^(?P<branch>[a-z0-9-]+)-[0-9a-f]{7,40}$"),))
    decisions = judge(snapshot(tags), policy(Rule("branches", KeepNewest(1), branches, "branch")))
    assert kept(decisions) == {"main-0000002", "dev-0000002"}
    assert "branch=main" in decisions.tags["main-0000001"].reason


def test_within_from_now_says_when_it_ends() -> None:
    decisions = judge(snapshot(BUILDS), policy(KeepWithin(timedelta(days=36))))
    assert kept(decisions) == {"build-5", "build-6"}
    assert decisions.tags["build-5"].expires_at == ago("35d") + timedelta(days=36)


def test_within_from_newest_never_empties_a_dormant_branch() -> None:
    decisions = judge(snapshot(BUILDS), policy(KeepWithin(timedelta(days=2), origin=Origin.NEWEST)))
    assert kept(decisions) == {"build-4", "build-5", "build-6"}
    assert decisions.tags["build-6"].expires_at is None


def test_within_from_the_newest_goes_by_the_time_that_is_asked_for() -> None:
    """Of two images that were pushed at once, one was built a month before the other."""
    look = snapshot(
        {"old": image("old", "60d"), "new": image("new", "30d")},
        first_inventory="20d",
        tag_seen={"old": "1d", "new": "1d"},
    )
    for clock, names in ((Clock.CREATED, {"new"}), (Clock.PUSHED, {"old", "new"})):
        assert kept(judge(look, policy(KeepWithin(7 * DAY, clock, Origin.NEWEST)))) == names


@pytest.mark.parametrize("origin", Origin)
def test_within_keeps_what_is_of_unknown_time(origin: Origin) -> None:
    look = snapshot({"a": replace(image("a"), first_seen=None)})
    look = replace(look, tags={"a": replace(look.tags["a"], first_seen=None)})
    verdict = judge(look, policy(KeepWithin(DAY, origin=origin))).tags["a"].verdicts[0]
    assert verdict == Verdict("p", "rule 1", True, "pushed time unknown")


def test_within_since_created() -> None:
    look = snapshot({"a": image("a", "30d")}, first_inventory="20d", tag_seen={"a": "1d"})
    assert kept(judge(look, policy(KeepWithin(timedelta(days=7), Clock.CREATED)))) == set()
    assert kept(judge(look, policy(KeepWithin(timedelta(days=7), Clock.PUSHED)))) == {"a"}


def test_pulled_within_keeps_what_may_have_been_pulled() -> None:
    tags = {"a": image("a", "90d"), "b": image("b", "90d")}
    rule = policy(KeepPulledWithin(timedelta(days=30)))
    assert kept(judge(snapshot(tags), rule)) == {"a", "b"}
    assert kept(judge(snapshot(tags, pulls_tracked="10d"), rule)) == {"a", "b"}
    decisions = judge(snapshot(tags, pulls_tracked="60d", pulled={"a": "3d", "b": "40d"}), rule)
    assert kept(decisions) == {"a"}
    assert decisions.tags["a"].expires_at == ago("3d") + timedelta(days=30)


@pytest.mark.parametrize("what", ["tag", "digest", "child"])
def test_a_pull_by_any_name_counts_for_the_image(what: str) -> None:
    part, other = image("part", "90d"), image("other", "90d")
    index = entry(manifest("index", Kind.INDEX, children=(child(part.manifest),)), "90d")
    look = snapshot(
        {"v1": index, "v2": index, "v3": other},
        part,
        pulls_tracked="60d",
        pulled={"v1": "3d"} if what == "tag" else None,
    )
    for pulled in {"digest": [index], "child": [part]}.get(what, []):
        look = replace(look, manifests={**look.manifests, pulled.digest: replace(pulled, pulled=ago("3d"))})
    decisions = judge(look, policy(KeepPulledWithin(timedelta(days=30))))
    assert kept(decisions) == ({"v1"} if what == "tag" else {"v1", "v2"})
    assert "pulled 3d ago (pull event)" in decisions.tags["v1"].reason


def test_a_pull_keeps_what_has_no_tag_for_the_wait() -> None:
    def look(pulled: str | None) -> tuple[str, str]:
        loose = replace(image("loose", "90d", seen="10d"), pulled=ago(pulled) if pulled else None)
        found = judge(
            snapshot({}, loose, first_inventory="20d"),
            policy(KeepAll(), untagged_keep_within=timedelta(days=2)),
        ).untagged[loose.digest]
        return found.decision, found.reason

    assert look(None) == ("expire", "untagged for 10d (first seen by reaper), older than 2d")
    assert look("3d") == ("expire", "untagged and not pulled for 3d (pull event), older than 2d")
    assert look("1d") == ("keep", "untagged and not pulled for 1d (pull event), younger than 2d")
    assert look("15d") == look(None)


def test_calendar_keeps_the_newest_of_each_period_that_has_one() -> None:
    ages = {"mon-am": "7d", "mon-pm": "164h", "sun": "8d", "older": "20d", "oldest": "40d"}
    tags = {name: image(name, age) for name, age in ages.items()}
    assert kept(judge(snapshot(tags), policy(KeepPeriods(Period.DAILY, 3)))) == {"mon-pm", "sun", "older"}
    assert kept(judge(snapshot(tags), policy(KeepPeriods(Period.WEEKLY, 1)))) == {"mon-pm"}
    assert kept(judge(snapshot(tags), policy(KeepPeriods(Period.MONTHLY, 2)))) == {"mon-pm", "older"}
    assert kept(judge(snapshot(tags), policy(KeepPeriods(Period.YEARLY, 9)))) == {"mon-pm"}


def test_calendar_days_are_those_of_the_policys_time_zone() -> None:
    # 14:30 and 16:30 UTC are one day in UTC, and two in Tokyo.
    base = datetime(2026, 6, 1, tzinfo=UTC)
    tags = {
        "early": image("early", base.replace(hour=14, minute=30)),
        "late": image("late", base.replace(hour=16, minute=30)),
    }
    daily = KeepPeriods(Period.DAILY, 5)
    assert kept(judge(snapshot(tags), policy(daily))) == {"late"}
    assert kept(judge(snapshot(tags), policy(daily, timezone=ZoneInfo("Asia/Tokyo")))) == {"early", "late"}


def test_iso_weeks_do_not_end_with_the_year() -> None:
    tags = {
        "dec31": image("a", datetime(2024, 12, 31, tzinfo=UTC)),
        "jan1": image("b", datetime(2025, 1, 1, tzinfo=UTC)),
    }
    assert kept(judge(snapshot(tags), policy(KeepPeriods(Period.WEEKLY, 5)))) == {"jan1"}


def test_any_and_all() -> None:
    both = (KeepNewest(3), KeepWithin(timedelta(days=36)))
    assert kept(judge(snapshot(BUILDS), policy(AnyOf(both)))) == {"build-4", "build-5", "build-6"}
    assert kept(judge(snapshot(BUILDS), policy(AllOf(both)))) == {"build-5", "build-6"}


def test_all_of_ends_with_the_first_of_its_conditions_and_any_with_the_last() -> None:
    both = (KeepWithin(timedelta(days=38)), KeepWithin(timedelta(days=60)), KeepNewest(9))
    look = snapshot({"a": image("a", "30d")})
    assert judge(look, policy(AllOf(both))).tags["a"].expires_at == NOW + 8 * DAY
    assert judge(look, policy(AnyOf(both[:2]))).tags["a"].expires_at == NOW + 30 * DAY
    assert judge(look, policy(AnyOf(both))).tags["a"].expires_at is None


def test_an_undated_image_takes_no_days_place_in_the_calendar() -> None:
    odd = image("odd", datetime(1970, 1, 1, tzinfo=UTC))
    tags = {"d1": image("d1", "1d"), "d2": image("d2", "2d"), "d3": image("d3", "3d")}
    decisions = judge(snapshot({**tags, "odd": odd}), policy(KeepPeriods(Period.DAILY, 2)))
    assert kept(decisions) == {"d1", "d2", "odd"}


def test_selectors() -> None:
    tags = {name: image(name, "40d") for name in ("v1.0.0", "2.0.0", "2.0.0-rc.1", "main-1", "tmp")}

    def keep(*include: Glob | Regex | Semver, exclude: tuple[Glob, ...] = ()) -> set[str]:
        return kept(judge(snapshot(tags), policy(Rule("r", KeepAll(), Selector(include, exclude)))))

    assert keep(Semver(">=1.0.0")) == {"v1.0.0", "2.0.0"}
    assert keep(Semver(">=1.0.0", prerelease=True)) == {"v1.0.0", "2.0.0", "2.0.0-rc.1"}
    assert keep(Regex("[a-z]+")) == {"tmp"}
    assert keep(Glob("*"), exclude=(Glob("tmp"),)) == set(tags) - {"tmp"}


def test_what_no_rule_selects_expires_and_says_so() -> None:
    decisions = judge(snapshot(BUILDS), policy(Rule("releases", KeepAll(), Selector((Semver("*"),)))))
    assert decisions.tags["build-1"].decision is Decision.EXPIRE
    assert "no rule selects it" in decisions.tags["build-1"].reason


def test_minimum_age_comes_before_every_rule() -> None:
    tags = {"old": image("old", "25h"), "young": image("young", "23h")}
    decisions = judge(snapshot(tags), policy(NEVER_KEEPS, minimum_age="24h"))
    assert kept(decisions) == {"young"}
    assert decisions.tags["young"].expires_at == ago("23h") + DAY


def test_the_longest_minimum_age_of_all_policies_holds() -> None:
    patient = policy(NEVER_KEEPS, name="patient", minimum_age="14d")
    hasty = policy(NEVER_KEEPS, name="hasty")
    assert kept(judge(snapshot({"a": image("a", "13d")}), hasty, patient)) == {"a"}


def test_a_repository_without_policy_is_ignored() -> None:
    elsewhere = replace(policy(NEVER_KEEPS), repositories=Selector((Glob("other/*"),)))
    decisions = decide([elsewhere], snapshot(BUILDS), NOW)
    assert {tag.decision for tag in decisions.tags.values()} == {Decision.IGNORE}
    assert not build_plan(snapshot(BUILDS), decisions, can_untag=True).steps


def test_any_policy_can_keep() -> None:
    strict, mild = policy(KeepNewest(1), name="strict"), policy(KeepNewest(3), name="mild")
    assert kept(judge(snapshot(BUILDS), strict, mild)) == {"build-4", "build-5", "build-6"}


def test_built_in_protections_can_be_switched_off_by_name() -> None:
    look = snapshot({"latest": image("a", "90d"), "v1": image("b", "90d")})
    assert kept(judge(look, policy(NEVER_KEEPS))) == {"latest"}
    assert kept(judge(look, policy(NEVER_KEEPS, protections=Protections(latest=False)))) == set()
    immutable = Protections(latest=False, immutable=Selector((Glob("v*"),)))
    assert kept(judge(look, policy(NEVER_KEEPS, protections=immutable))) == {"v1"}


def test_one_policy_that_protects_is_enough() -> None:
    off = Protections(latest=False, in_use=False, unknown_media_type=False)
    odd = entry(manifest("odd", Kind.UNKNOWN, media_type="application/x"), "90d")
    look = snapshot({"latest": image("a", "90d"), "odd": odd})
    careless, careful = policy(NEVER_KEEPS, name="careless", protections=off), policy(NEVER_KEEPS, name="z")
    assert kept(judge(look, careless)) == set()
    assert kept(judge(look, careless, careful)) == {"latest", "odd"}


def test_images_in_use_are_kept_by_tag_and_by_digest() -> None:
    tags = {"a": image("a", "90d"), "b": image("b", "90d"), "c": image("c", "90d")}
    users = {"a": "pod shop/web", tags["b"].digest: "pod shop/db"}
    decisions = decide([policy(NEVER_KEEPS)], snapshot(tags), NOW, in_use=users)
    assert kept(decisions) == {"a", "b"}
    assert "pod shop/web" in decisions.tags["a"].reason


@pytest.mark.parametrize("kind", [Kind.UNKNOWN, Kind.SCHEMA1])
def test_unknown_types_are_kept(kind: Kind) -> None:
    odd = entry(manifest("odd", kind, media_type=DOCKER_SCHEMA1_SIGNED), "90d")
    assert kept(judge(snapshot({"a": odd}), policy(NEVER_KEEPS))) == {"a"}


def sig(of: ManifestEntry) -> str:
    """Return the tag of a signature of ``of``."""
    return of.digest.replace(":", "-") + ".sig"


class TestGraph:
    amd64, arm64 = manifest("amd64"), manifest("arm64")
    index = manifest("index", Kind.INDEX, children=(child(amd64), child(arm64)))

    def test_children_of_a_kept_index_stay(self) -> None:
        look = snapshot(
            {"v1": entry(self.index, "9d"), "arm": entry(self.arm64, "90d")}, entry(self.amd64, "9d")
        )
        decisions = judge(look, policy(Rule("v", KeepAll(), Selector((Glob("v*"),)))))
        plan = build_plan(look, decisions, can_untag=False)
        assert decisions.tags["arm"].decision is Decision.EXPIRE
        assert not plan.steps
        shown = explain_shared(decisions.tags, plan, can_untag=False)
        assert SHARED_DIGEST in shown["arm"].reason
        untagging = build_plan(look, decisions, can_untag=True)
        assert [(step.action, step.tags) for step in untagging.steps] == [(Action.UNTAG, ("arm",))]

    def test_an_index_goes_before_its_children(self) -> None:
        look = snapshot(
            {"v1": entry(self.index), "keep": image("keep", "1d")},
            entry(self.amd64, "90d"),
            entry(self.arm64, "90d"),
        )
        decisions = judge(look, policy(Rule("k", KeepAll(), Selector((Glob("keep"),)))))
        steps = build_plan(look, decisions, can_untag=False).steps
        assert steps[0].digest == self.index.digest
        assert {step.digest for step in steps[1:]} == {self.amd64.digest, self.arm64.digest}
        assert all(step.after == (self.index.digest,) for step in steps[1:])

    def test_a_shared_child_stays_while_one_index_needs_it(self) -> None:
        other = manifest("other", Kind.INDEX, children=(child(self.amd64),))
        look = snapshot(
            {"v1": entry(self.index), "v2": entry(other)}, entry(self.amd64, "90d"), entry(self.arm64, "90d")
        )
        decisions = judge(look, policy(Rule("v2", KeepAll(), Selector((Glob("v2"),)))))
        gone = {step.digest for step in build_plan(look, decisions, can_untag=False).steps}
        assert gone == {self.index.digest, self.arm64.digest}

    def test_signatures_follow_their_subject(self) -> None:
        doomed, fine = image("doomed", "90d"), image("fine", "90d")
        tags = {"old": doomed, "new": fine}
        for subject in (doomed, fine):
            signature = entry(manifest(("sig", subject.digest)))
            tags[subject.digest.replace(":", "-") + ".sig"] = signature
        look = snapshot(tags)
        decisions = judge(look, policy(Rule("new", KeepAll(), Selector((Glob("new"),)))))
        assert kept(decisions) == {"new", fine.digest.replace(":", "-") + ".sig"}
        steps = build_plan(look, decisions, can_untag=False).steps
        assert [step.digest for step in steps] == [
            doomed.digest,
            tags[doomed.digest.replace(":", "-") + ".sig"].digest,
        ]

    def test_referrers_by_subject_are_never_counted(self) -> None:
        subject = image("subject", "30d")
        sbom = entry(manifest("sbom", subject=subject.digest), "1d")
        look = snapshot({"v1": subject, "sbom": sbom})
        assert kept(judge(look, policy(KeepNewest(1)))) == {"v1", "sbom"}

    def test_parts_seen_at_the_first_inventory_do_not_outlive_their_image(self) -> None:
        """They rarely carry a date, and are as old as what they belong to."""
        index, signature = entry(self.index, "90d"), image("signature")
        look = snapshot({"v1": index, sig(index): signature}, entry(self.amd64), entry(self.arm64))
        decisions = judge(look, policy(NEVER_KEEPS, minimum_age="24h"))
        gone = {step.digest for step in build_plan(look, decisions, can_untag=False).steps}
        assert gone == look.manifests.keys()

    def test_untagged_manifests_wait_for_the_minimum_age_from_when_they_were_seen_untagged(self) -> None:
        loose = image("loose", "90d", seen="10d")
        for minimum, expires in (("11d", False), ("9d", True)):
            eager = policy(KeepAll(), untagged_keep_within=timedelta(), minimum_age=minimum)
            decisions = judge(snapshot({}, loose, first_inventory="10d"), eager)
            assert (decisions.untagged[loose.digest].decision is Decision.EXPIRE) == expires

    def test_a_new_signature_outlives_an_expired_subject(self) -> None:
        subject = image("subject", "90d", seen="30d")
        name = subject.digest.replace(":", "-") + ".sig"
        signature = image("signature", None, seen="2h")
        look = snapshot(
            {"v1": subject, name: signature}, first_inventory="30d", tag_seen={"v1": "30d", name: "2h"}
        )
        decisions = judge(look, policy(NEVER_KEEPS, minimum_age="24h"))
        assert kept(decisions) == {name}

    def test_tags_that_name_each_other_in_a_circle_are_deleted_all_the_same(self) -> None:
        """Anybody who may push can push such tags, and must not keep a registry from being cleaned."""
        one, two = image("one", "90d"), image("two", "80d")
        index = entry(manifest("index", Kind.INDEX, children=(child(one.manifest),)), "90d")

        for tags in (
            {"v1": one, sig(one): one},
            {sig(one): two, sig(two): one},
            {"v1": one, sig(one): two, sig(two): one},
            {"v1": index, sig(one): index},
        ):
            look = snapshot(tags, *([one] if index in tags.values() else []))
            anything = policy(NEVER_KEEPS, untagged_keep_within=timedelta())
            steps = build_plan(look, judge(look, anything), can_untag=False).steps
            order = [step.digest for step in steps]
            assert set(order) == set(look.manifests)
            assert all(owner in order[: order.index(step.digest)] for step in steps for owner in step.after)
            assert index.digest not in order or order == [index.digest, one.digest]

    def test_tags_that_only_name_each_other_are_kept_as_long_as_untagged_ones(self) -> None:
        one, two = image("one", "90d"), image("two", "80d")
        look = snapshot({sig(one): two, sig(two): one}, first_inventory="10d")
        assert kept(judge(look, policy(KeepAll()))) == {sig(one), sig(two)}
        for days, left in ((11, {sig(one), sig(two)}), (9, set[str]())):
            decisions = judge(look, policy(KeepAll(), untagged_keep_within=days * DAY))
            assert kept(decisions) == left
        assert "a referrer of its own" in decisions.tags[sig(one)].reason

    def test_an_image_whose_tag_names_itself_is_no_referrer(self) -> None:
        own, other = image("own", "90d"), image("other", "80d")
        name = own.digest.replace(":", "-")
        look = snapshot({name: own, "v1": other})
        assert kept(judge(look, policy(KeepNewest(2)))) == {name, "v1"}
        assert kept(judge(look, policy(KeepNewest(1)))) == {"v1"}

    def test_what_an_interrupted_sweep_left_over_goes_without_a_policy_on_untagged(self) -> None:
        part, other = image("part", "90d", seen="10d"), image("other", "90d", seen="10d")
        signature, young = image("signature", None, seen="10d"), image("young", None, seen="2h")
        name = digest("gone").replace(":", "-") + ".sig"
        look = replace(
            snapshot({name: signature}, part, other, young, first_inventory="20d", tag_seen={name: "10d"}),
            left_over=dict.fromkeys([part.digest, signature.digest, young.digest], digest("gone")),
        )
        decisions = judge(look, policy(KeepAll(), minimum_age="24h"))
        plan = build_plan(look, decisions, can_untag=False)
        assert {step.digest for step in plan.steps} == {part.digest, signature.digest}
        assert {step.reason for step in plan.steps} == {
            f"left over from {digest('gone')[:19]}, which was deleted"
        }

    @pytest.mark.parametrize(("keep_within", "expires"), [(None, False), ("30d", False), ("2d", True)])
    def test_untagged_and_orphaned_manifests_wait(self, keep_within: str | None, expires: bool) -> None:
        loose = image("loose", "90d", seen="10d")
        orphan = image("orphan", "90d", seen="10d")
        name = digest("nobody").replace(":", "-") + ".sig"
        look = snapshot({name: orphan}, loose, first_inventory="20d", tag_seen={name: "10d"})
        wait = None if keep_within is None else timedelta(days=int(keep_within[:-1]))
        decisions = judge(look, policy(KeepAll(), untagged_keep_within=wait))
        gone = {step.digest for step in build_plan(look, decisions, can_untag=False).steps}
        assert gone == ({loose.digest, orphan.digest} if expires else set())
