"""What a decision says of itself: reason, policy, rule, when it ends, and every rule's word (`explain`)."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from reaper.core.manifest import DOCKER_SCHEMA1_SIGNED, Kind
from reaper.core.policy import (
    AllOf,
    AnyOf,
    KeepAll,
    KeepNewest,
    KeepPulledWithin,
    KeepWithin,
    Order,
    Policy,
    Protections,
    Rule,
)
from reaper.core.reference import short
from reaper.core.retention import Decision, TagDecision, UntaggedDecision, Verdict, decide
from reaper.core.selectors import Glob, Regex, Selector, Semver
from reaper.core.snapshot import ManifestEntry
from reaper.core.times import Moment, Source
from tests.core.build import DAY, ago, entry, image, judge, policy, snapshot
from tests.core.generate import NOW, child, digest, manifest

NEVER_KEEPS = KeepNewest(1, Order.SEMVER)
NOT_RANKED = "not a semantic version, not ranked"


def named(name: str, keep: KeepAll | KeepNewest | KeepWithin, *patterns: str) -> Rule:
    """Return a rule on the tags that are like any of ``patterns``."""
    return Rule(name, keep, Selector(tuple(Glob(pattern) for pattern in patterns)))


def signature_tag(of: ManifestEntry) -> str:
    return of.digest.replace(":", "-") + ".sig"


def built(age: str) -> str:
    """Return how a reason shows an image that was built so long ago."""
    return str(Moment(ago(age), Source.CONFIG))


class TestKept:
    def test_the_longest_lasting_keep_is_named_and_the_last_end_told(self) -> None:
        short_, long = KeepWithin(timedelta(days=31)), KeepWithin(timedelta(days=40))
        rules = policy(Rule("a short one", short_), Rule("long", long))
        of = image("a", "30d")
        verdicts = tuple(
            Verdict("p", name, True, f"pushed 30d ago, {built('30d')}, within {within}", expires_at=ends)
            for name, within, ends in (("a short one", "31d", NOW + DAY), ("long", "40d", NOW + 10 * DAY))
        )
        assert judge(snapshot({"a": of}), rules).tags["a"] == TagDecision(
            "a", of.digest, Decision.KEEP, str(verdicts[1]), "p", "long", NOW + 10 * DAY, verdicts
        )
        # What never ends outlasts both.
        forever = replace(rules, rules=(*rules.rules, Rule("all", KeepAll())))
        decision = judge(snapshot({"a": of}), forever).tags["a"]
        assert (decision.reason, decision.rule, decision.expires_at) == ("all: keeps all", "all", None)

    def test_between_equals_the_names_decide(self) -> None:
        one = policy(Rule("z", KeepAll()), Rule("b", KeepAll()), name="m")
        two = policy(Rule("a", KeepAll()), name="n")
        decision = judge(snapshot({"a": image("a", "30d")}), two, one).tags["a"]
        assert (decision.policy, decision.rule) == ("m", "b")

    def test_minimum_age_tells_the_time_it_used(self) -> None:
        decision = judge(snapshot({"a": image("a", "5h")}), policy(NEVER_KEEPS, minimum_age="24h")).tags["a"]
        assert decision.reason == f"minimum-age: pushed 5h ago, {built('5h')}, younger than 1d"
        assert (decision.policy, decision.rule, decision.expires_at) == (
            "built-in",
            "minimum-age",
            ago("5h") + DAY,
        )

    def test_minimum_age_ends_at_its_moment(self) -> None:
        patient = policy(NEVER_KEEPS, minimum_age="24h")
        assert judge(snapshot({"a": image("a", "24h")}), patient).tags["a"].decision is Decision.EXPIRE

    def test_minimum_age_counts_from_the_later_of_tag_and_digest(self) -> None:
        patient = policy(NEVER_KEEPS, minimum_age="24h")
        moved = snapshot({"a": image("a", "9d", seen="9d")}, first_inventory="20d", tag_seen={"a": "5h"})
        assert judge(moved, patient).tags["a"].expires_at == ago("5h") + DAY
        back = snapshot({"a": image("a", "9d", seen="5h")}, first_inventory="20d", tag_seen={"a": "9d"})
        assert judge(back, patient).tags["a"].expires_at == ago("5h") + DAY

    def test_an_unknown_time_is_named(self) -> None:
        unseen = replace(image("a"), first_seen=None)
        look = snapshot({"a": unseen})
        look = replace(look, tags={"a": replace(look.tags["a"], first_seen=None)})
        decision = judge(look, policy(NEVER_KEEPS)).tags["a"]
        assert decision.reason == "unknown-time: nothing is known of when it was pushed"
        assert (decision.policy, decision.rule, decision.expires_at) == ("built-in", "unknown-time", None)
        # Nor is it deleted when only its manifest's age is known: the tag may be new.
        seen = replace(look, manifests={unseen.digest: replace(unseen, pushed_event=ago("90d"))})
        assert judge(seen, policy(NEVER_KEEPS)).tags["a"].decision is Decision.KEEP

    @pytest.mark.parametrize(
        ("name", "kind", "protections", "rule", "saw"),
        [
            ("latest", Kind.IMAGE, Protections(), "latest", "the tag latest is protected"),
            (
                "v1",
                Kind.IMAGE,
                Protections(immutable=Selector((Glob("v*"),))),
                "immutable",
                "immutable in policy p: v*",
            ),
            (
                "v1",
                Kind.SCHEMA1,
                Protections(),
                "unknown-media-type",
                f"manifest of type {DOCKER_SCHEMA1_SIGNED}",
            ),
        ],
    )
    def test_a_built_in_protection_names_itself(
        self, name: str, kind: Kind, protections: Protections, rule: str, saw: str
    ) -> None:
        media_type = {"media_type": DOCKER_SCHEMA1_SIGNED} if kind is Kind.SCHEMA1 else {}
        of = entry(manifest("a", kind, **media_type), "90d")
        bare = policy(named("none", KeepAll(), "no-such-tag"), protections=protections)
        decision = judge(snapshot({name: of}), bare).tags[name]
        assert [verdict for verdict in decision.verdicts if verdict.keeps] == [
            Verdict("built-in", rule, True, saw)
        ]
        assert (decision.reason, decision.policy, decision.rule) == (f"{rule}: {saw}", "built-in", rule)

    def test_a_tag_whose_manifest_was_not_read_is_kept_whatever_the_policies_say(self) -> None:
        look = snapshot({"a": image("a", "90d")})
        careless = policy(NEVER_KEEPS, protections=Protections(unknown_media_type=False))
        (decision,) = judge(replace(look, manifests={}), careless).tags.values()
        assert decision.decision is Decision.KEEP
        assert "unknown-media-type: manifest of type unread" in map(str, decision.verdicts)

    def test_a_referrer_is_kept_as_long_as_its_subject(self) -> None:
        subject = image("subject", "30d")
        by_tag, by_field = image("signature"), entry(manifest("sbom", subject=subject.digest))
        name = signature_tag(subject)
        look = snapshot({"v1": subject, name: by_tag, "sbom": by_field})
        decisions = judge(look, policy(named("v", KeepWithin(timedelta(days=31)), "v1")))
        verdict = Verdict(
            "built-in",
            "referrer",
            True,
            f"refers to {short(subject.digest)}, which is kept",
            expires_at=NOW + DAY,
        )
        assert decisions.tags[name] == TagDecision(
            name, by_tag.digest, Decision.KEEP, str(verdict), "built-in", "referrer", NOW + DAY, (verdict,)
        )
        assert decisions.tags["sbom"].verdicts[-1] == verdict
        assert set(decisions.ends.values()) == {NOW + DAY}


class TestExpired:
    def test_all_that_selected_it_is_named(self) -> None:
        rules = policy(
            Rule("newest", KeepNewest(1)), named("all", KeepAll(), "x"), named("age", KeepWithin(DAY), "o*")
        )
        old, new = image("old", "30d"), image("new", "2d")
        decision = judge(snapshot({"old": old, "new": new}), rules).tags["old"]
        rank = f"newest: rank 2 of 2 by pushed {built('30d')}, keeps 1"
        within = f"age: pushed 30d ago, {built('30d')}, beyond 1d"
        assert decision == TagDecision(
            "old",
            old.digest,
            Decision.EXPIRE,
            f"no rule keeps it: {rank}; {within}",
            "p",
            None,
            None,
            (
                Verdict("p", "newest", False, rank.removeprefix("newest: ")),
                Verdict("p", "all", False, "the tag is not in x", selected=False),
                Verdict("p", "age", False, within.removeprefix("age: ")),
            ),
        )

    def test_the_only_rule_that_selected_it_is_its_rule(self) -> None:
        rules = policy(named("none", KeepAll(), "x"), Rule("newest", NEVER_KEEPS))
        decision = judge(snapshot({"a": image("a", "30d")}), rules).tags["a"]
        assert (decision.policy, decision.rule) == ("p", "newest")
        assert decision.reason == f"no rule keeps it: newest: {NOT_RANKED}"

    def test_rules_of_several_policies_are_told_with_the_policys_name(self) -> None:
        look = snapshot({"a": image("a", "30d")})
        one, two = policy(Rule("r", NEVER_KEEPS), name="one"), policy(Rule("s", NEVER_KEEPS), name="two")
        decision = judge(look, two, one).tags["a"]
        assert decision.reason == f"no rule keeps it: one/r: {NOT_RANKED}; two/s: {NOT_RANKED}"
        assert (decision.policy, decision.rule) == ("one", None)

    def test_the_policy_that_selected_it_is_its_policy(self) -> None:
        other, its = policy(named("none", KeepAll(), "x"), name="a"), policy(Rule("r", NEVER_KEEPS), name="b")
        decision = judge(snapshot({"a": image("a", "30d")}), other, its).tags["a"]
        assert (decision.policy, decision.rule) == ("b", "r")

    def test_what_no_rule_selects_tells_its_age_and_the_first_policy(self) -> None:
        rules = named("none", KeepAll(), "x")
        decision = judge(
            snapshot({"a": image("a", "30d")}), policy(rules, name="z"), policy(rules, name="b")
        ).tags["a"]
        assert decision.reason == f"no rule selects it; pushed {built('30d')}"
        assert (decision.policy, decision.rule, decision.expires_at) == ("b", None, None)

    def test_a_referrer_expires_with_its_subject(self) -> None:
        subject = image("subject", "30d")
        by_tag, by_field = image("signature"), entry(manifest("sbom", subject=subject.digest))
        name, refers = signature_tag(subject), f"refers to {short(subject.digest)}, which expires"
        look = snapshot({"v1": subject, name: by_tag, "sbom": by_field, "free": by_field})
        decisions = judge(look, policy(Rule("r", NEVER_KEEPS, Selector(exclude=(Glob("free"),)))))
        assert decisions.tags[name] == TagDecision(
            name, by_tag.digest, Decision.EXPIRE, refers, "p", "referrer"
        )
        assert decisions.tags["sbom"].reason == f"{refers}; no rule keeps it: r: a referrer is never counted"
        assert (decisions.tags["sbom"].policy, decisions.tags["sbom"].rule) == ("p", "r")
        assert decisions.tags["free"].reason == refers

    def test_a_referrers_tag_on_a_kept_manifest_says_so(self) -> None:
        subject, signature = image("subject", "30d"), image("signature", "9d")
        name = signature_tag(subject)
        look = snapshot({"v1": subject, name: signature, "keep": signature})
        decision = judge(look, policy(named("k", KeepAll(), "keep"))).tags[name]
        assert decision.decision is Decision.EXPIRE
        assert (
            decision.reason == f"refers to {short(subject.digest)}, which expires, but its manifest is kept"
        )


class TestVersions:
    """`explain` shows the version that a rule's range saw in a tag."""

    rule = Rule("releases", KeepAll(), Selector((Semver(">=2"),)))

    def test_the_version_is_told_with_each_word(self) -> None:
        tags = {name: image(name, "30d") for name in ("v2.1.0", "v1.0.0", "main")}
        decisions = judge(snapshot(tags), policy(self.rule, Rule("rest", NEVER_KEEPS)))
        assert decisions.tags["v2.1.0"].verdicts[0] == Verdict(
            "p", "releases", True, "keeps all", version="2.1.0"
        )
        not_in = "the tag is not in semver >=2: "
        assert decisions.tags["v1.0.0"].verdicts[0] == Verdict(
            "p", "releases", False, f"{not_in}version 1.0.0", selected=False, version="1.0.0"
        )
        assert decisions.tags["main"].verdicts[0] == Verdict(
            "p", "releases", False, f"{not_in}not a semantic version", selected=False
        )
        # A rule that reads no versions tells none.
        assert {tag.verdicts[1].version for tag in decisions.tags.values()} == {None}


class TestSeveralConditions:
    """All that keeps is told; where nothing does, all that does not."""

    look = snapshot({"a": image("a", "30d"), "b": image("b", "1d")})

    @pytest.mark.parametrize("kind", [AnyOf, AllOf])
    def test_all_that_does_not_keep_is_told(self, kind: type[AnyOf | AllOf]) -> None:
        both = kind((KeepNewest(1), KeepWithin(2 * DAY)))
        verdict = judge(self.look, policy(both)).tags["a"].verdicts[0]
        rank, age = (
            f"rank 2 of 2 by pushed {built('30d')}, keeps 1",
            f"pushed 30d ago, {built('30d')}, beyond 2d",
        )
        assert verdict == Verdict("p", "rule 1", False, f"{rank}; {age}")

    @pytest.mark.parametrize(("kind", "word"), [(AnyOf, "; "), (AllOf, " and ")])
    def test_all_that_keeps_is_told(self, kind: type[AnyOf | AllOf], word: str) -> None:
        both = kind((KeepNewest(1), KeepWithin(2 * DAY)))
        verdict = judge(self.look, policy(both)).tags["b"].verdicts[0]
        parts = [f"rank 1 of 2 by pushed {built('1d')}, keeps 1", f"pushed 1d ago, {built('1d')}, within 2d"]
        ends = None if kind is AnyOf else NOW + DAY
        assert verdict == Verdict("p", "rule 1", True, word.join(parts), expires_at=ends)

    def test_only_what_decides_is_told(self) -> None:
        rules = (KeepNewest(1), KeepWithin(40 * DAY))
        within = f"pushed 30d ago, {built('30d')}, within 40d"
        assert judge(self.look, policy(AnyOf(rules))).tags["a"].verdicts[0].saw == within
        rank = f"rank 2 of 2 by pushed {built('30d')}, keeps 1"
        assert judge(self.look, policy(AllOf(rules))).tags["a"].verdicts[0].saw == rank


class TestGroups:
    def test_tags_without_the_group_are_one_group_of_their_own(self) -> None:
        pattern = Selector((Regex("(?:(?P<branch>[a-z]+)-)?[0-9]+"),))
        tags = {
            name: image(name, f"{age}d") for name, age in (("main-1", 9), ("main-2", 8), ("1", 7), ("2", 6))
        }
        decisions = judge(snapshot(tags), policy(Rule("r", KeepNewest(1), pattern, "branch")))
        assert decisions.tags["main-1"].reason == (
            f"no rule keeps it: r: rank 2 of 2 in branch=main by pushed {built('9d')}, keeps 1"
        )
        assert decisions.tags["1"].reason == (
            f"no rule keeps it: r: rank 2 of 2 in branch= by pushed {built('7d')}, keeps 1"
        )

    def test_without_group_by_no_group_is_named(self) -> None:
        pattern = Selector((Regex("(?P<branch>[a-z]+)-[0-9]+"),))
        tags = {"main-1": image("main-1", "9d"), "dev-1": image("dev-1", "8d")}
        decisions = judge(snapshot(tags), policy(Rule("r", KeepNewest(1), pattern)))
        assert decisions.tags["main-1"].reason == (
            f"no rule keeps it: r: rank 2 of 2 by pushed {built('9d')}, keeps 1"
        )

    def test_the_start_of_pull_tracking_is_told(self) -> None:
        look = snapshot({"a": image("a", "90d")}, pulls_tracked="10d")
        decision = judge(look, policy(Rule("r", KeepPulledWithin(30 * DAY)))).tags["a"]
        assert decision.reason == "r: pulls are known only since 2026-06-05 12:00:00Z, less than 30d"
        assert decision.expires_at == ago("10d") + 30 * DAY


class TestWithoutATag:
    loose = image("loose", "90d", seen="10d")
    look = snapshot({}, loose, first_inventory="20d")

    def of(self, *policies: Policy, entry: ManifestEntry = loose) -> UntaggedDecision:
        return judge(replace(self.look, manifests={entry.digest: entry}), *policies).untagged[entry.digest]

    def test_it_is_kept_where_no_policy_says_how_long(self) -> None:
        reason = "untagged and no policy says how long to keep those"
        assert self.of(policy(KeepAll())) == UntaggedDecision(self.loose.digest, Decision.KEEP, reason)

    def test_it_is_kept_while_its_time_is_unknown(self) -> None:
        unknown = replace(self.loose, untagged_since=None)
        assert self.of(
            policy(KeepAll(), untagged_keep_within=timedelta()), entry=unknown
        ) == UntaggedDecision(self.loose.digest, Decision.KEEP, "untagged since an unknown time")

    def test_it_waits_for_the_longest_of_all_policies(self) -> None:
        quick = policy(KeepAll(), name="b", untagged_keep_within=2 * DAY)
        silent = policy(KeepAll(), name="a")
        slow = policy(KeepAll(), name="c", untagged_keep_within=11 * DAY)
        assert self.of(silent, slow, quick) == UntaggedDecision(
            self.loose.digest,
            Decision.KEEP,
            "untagged for 10d (first seen by reaper), younger than 11d",
            "b",
            NOW + DAY,
        )
        assert self.of(silent, quick) == UntaggedDecision(
            self.loose.digest,
            Decision.EXPIRE,
            "untagged for 10d (first seen by reaper), older than 2d",
            "b",
        )

    def test_it_goes_at_the_end_of_its_wait_and_not_before(self) -> None:
        moment = timedelta(microseconds=1)
        assert self.of(policy(KeepAll(), untagged_keep_within=10 * DAY)).decision is Decision.EXPIRE
        assert self.of(policy(KeepAll(), untagged_keep_within=10 * DAY + moment)).decision is Decision.KEEP

    def test_a_pull_before_it_lost_its_tag_tells_nothing(self) -> None:
        rule = policy(KeepAll(), untagged_keep_within=2 * DAY)
        for pulled in (ago("10d"), ago("11d")):
            assert "first seen by reaper" in self.of(rule, entry=replace(self.loose, pulled=pulled)).reason

    def test_what_an_interrupted_sweep_left_goes_by_the_first_policy(self) -> None:
        look = replace(self.look, left_over={self.loose.digest: digest("gone")})
        decisions = judge(look, policy(KeepAll(), name="z"), policy(KeepAll(), name="b"))
        reason = f"left over from {short(digest('gone'))}, which was deleted"
        assert decisions.untagged == {
            self.loose.digest: UntaggedDecision(self.loose.digest, Decision.EXPIRE, reason, "b")
        }

    def test_an_unknown_type_is_kept_for_ever_and_by_its_own_account(self) -> None:
        odd = entry(manifest("odd", Kind.UNKNOWN, media_type="application/x"), seen="10d")
        rule = policy(KeepAll(), untagged_keep_within=timedelta())
        assert self.of(rule, entry=odd) == UntaggedDecision(
            odd.digest, Decision.KEEP, "manifest of type application/x"
        )
        look = replace(self.look, manifests={odd.digest: odd})
        assert judge(look, rule).held == {odd.digest: "manifest of type application/x"}
        careless = replace(rule, protections=Protections(unknown_media_type=False))
        assert judge(look, careless).held == {}
        assert self.of(careless, entry=odd).decision is Decision.EXPIRE
        assert self.of(careless, replace(rule, name="careful"), entry=odd).decision is Decision.KEEP

    def test_a_young_part_is_held_until_the_minimum_age(self) -> None:
        part = image("part", None, seen="5h")
        index = entry(manifest("index", Kind.INDEX, children=(child(part.manifest),)), "90d", seen="10d")
        look = snapshot({"v1": index}, part, first_inventory="20d", tag_seen={"v1": "10d"})
        decisions = judge(look, policy(NEVER_KEEPS, minimum_age="24h"))
        seen = Moment(ago("5h"), Source.SEEN_NEW)
        assert decisions.held == {part.digest: f"minimum-age: pushed 5h ago, {seen}, younger than 1d"}
        assert decisions.ends == {part.digest: ago("5h") + DAY}
        assert judge(look, policy(NEVER_KEEPS)).held == {}

    def test_a_tagged_manifest_is_not_held_by_its_own_age(self) -> None:
        """Its tags are judged by that, and one of them keeps it."""
        look = snapshot({"a": image("a", "5h")})
        assert judge(look, policy(NEVER_KEEPS, minimum_age="24h")).held == {}


class TestOrphans:
    """A referrer's tag whose subject is not here: it may be about to be pushed."""

    orphan = image("orphan", "90d", seen="10d")
    name = digest("nobody").replace(":", "-") + ".sig"
    look = snapshot({name: orphan}, first_inventory="20d", tag_seen={name: "10d"})
    absent = f"its subject {short(digest('nobody'))} is not here,"

    def test_waits_like_what_has_no_tag(self) -> None:
        wait = policy(KeepAll(), untagged_keep_within=11 * DAY)
        saw = f"{self.absent} for 10d (first seen by reaper), younger than 11d"
        assert judge(self.look, wait).tags[self.name] == TagDecision(
            self.name,
            self.orphan.digest,
            Decision.KEEP,
            f"referrer: {saw}",
            "p",
            "referrer",
            NOW + DAY,
            (Verdict("p", "referrer", True, saw, expires_at=NOW + DAY),),
        )

    def test_expires_after_that(self) -> None:
        wait = policy(KeepAll(), untagged_keep_within=2 * DAY)
        saw = f"{self.absent} for 10d (first seen by reaper), older than 2d"
        assert judge(self.look, wait).tags[self.name] == TagDecision(
            self.name,
            self.orphan.digest,
            Decision.EXPIRE,
            saw,
            "p",
            "referrer",
            None,
            (Verdict("p", "referrer", False, saw),),
        )

    def test_a_circle_of_signatures_waits_too(self) -> None:
        one, two = image("one", "90d"), image("two", "80d")
        look = snapshot({signature_tag(one): two, signature_tag(two): one}, first_inventory="10d")
        decision = judge(look, policy(KeepAll(), untagged_keep_within=2 * DAY)).tags[signature_tag(one)]
        assert decision.reason == (
            f"its subject {short(one.digest)} is a referrer of its own, for 10d (first seen by reaper), "
            "older than 2d"
        )

    def test_is_kept_where_no_policy_says_how_long(self) -> None:
        silent = policy(KeepAll(), name="b"), policy(KeepAll(), name="a")
        decision = judge(self.look, *silent).tags[self.name]
        assert decision.reason == f"referrer: {self.absent} and no policy says how long to keep those"
        assert (decision.policy, decision.rule, decision.expires_at) == ("a", "referrer", None)

    def test_has_the_minimum_age_of_any_tag(self) -> None:
        look = replace(self.look, tags={self.name: replace(self.look.tags[self.name], first_seen=ago("5h"))})
        young = policy(KeepAll(), untagged_keep_within=timedelta(), minimum_age="24h")
        decision = judge(look, young).tags[self.name]
        assert decision.decision is Decision.KEEP
        assert [(verdict.rule, verdict.policy) for verdict in decision.verdicts if verdict.keeps] == [
            ("minimum-age", "built-in"),
            ("referrer", "p"),
        ]

    def test_its_signatures_go_with_it(self) -> None:
        signed = image("signature of the orphan", None, seen="10d")
        own = signature_tag(self.orphan)
        look = snapshot(
            {self.name: self.orphan, own: signed},
            first_inventory="20d",
            tag_seen={self.name: "10d", own: "10d"},
        )
        decisions = judge(look, policy(KeepAll(), untagged_keep_within=2 * DAY))
        assert decisions.tags[own].reason == f"refers to {short(self.orphan.digest)}, which expires"
        assert not decisions.kept


def test_a_repository_without_policy_is_ignored_and_stays_for_ever() -> None:
    part = image("part", "90d")
    look = snapshot({"v1": image("a", "90d")}, part)
    decisions = decide([], look, NOW)
    assert decisions.tags["v1"] == TagDecision(
        "v1", look.tags["v1"].digest, Decision.IGNORE, "no policy matches this repository"
    )
    assert decisions.policies == ()
    assert decisions.kept == look.manifests.keys()
    assert decisions.ends == dict.fromkeys(look.manifests)


def test_what_stays_ends_with_the_last_that_leads_to_it() -> None:
    part, alone = image("part", "30d"), image("alone", "30d")
    old = entry(manifest("old", Kind.INDEX, children=(child(part.manifest), child(alone.manifest))), "30d")
    new = entry(manifest("new", Kind.INDEX, children=(child(part.manifest),)), "20d")
    look = snapshot({"old": old, "new": new}, part, alone)
    decisions = judge(look, policy(KeepWithin(timedelta(days=31)), name="q"), policy(NEVER_KEEPS))
    assert decisions.policies == ("p", "q")
    assert decisions.ends == {
        old.digest: NOW + DAY,
        alone.digest: NOW + DAY,
        new.digest: NOW + 11 * DAY,
        part.digest: NOW + 11 * DAY,
    }
    forever = judge(look, policy(KeepWithin(timedelta(days=31)), named("n", KeepAll(), "new")))
    assert forever.ends[part.digest] is None
    assert forever.ends[alone.digest] == NOW + DAY


def test_dates_before_the_clocks_beginning_are_ordered_too() -> None:
    """A registry product that reports 1960 for a push is believed, and must not upset the order of ends."""
    old = datetime(1960, 1, 1, tzinfo=UTC)
    look = snapshot({"a": replace(image("a"), product_pushed=old)})
    look = replace(look, tags={"a": replace(look.tags["a"], product_pushed=old)})
    decision = judge(look, policy(KeepWithin(timedelta(days=100 * 365)), KeepAll())).tags["a"]
    assert decision.expires_at is None
