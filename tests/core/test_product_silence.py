"""What a registry product does not say, or says no more, makes nothing older than it is."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from reaper.core.policy import KeepNewest, KeepPulledWithin, KeepWithin
from reaper.core.product_times import DigestTime, RepositoryTimes, TagTime
from reaper.core.snapshot import ProductView
from tests.core.build import DAY, ago, entry, image, judge, kept, policy, snapshot
from tests.core.generate import NOW, manifest

ZOT = ProductView("zot", tells_pushes=True)


def test_what_it_does_not_know_pushes_nothing_else_out_of_the_newest() -> None:
    tags = {"a": image("a", "90d", seen="10d"), "b": image("b", "80d", seen="10d")}
    found = replace(snapshot(tags, first_inventory="10d"), product=ZOT)
    known = {**found.tags, "b": replace(found.tags["b"], product_pushed=ago("20d"))}
    assert kept(judge(replace(found, tags=known), policy(KeepNewest(1)))) == {"a", "b"}


def test_a_signature_that_it_does_not_list_is_no_older_than_its_build() -> None:
    subject = image("subject", "90d", seen="10d")
    for built, held in (("2h", True), ("60d", False)):
        signature = entry(replace(manifest("signature"), subject=subject.digest), built, seen="10d")
        found = replace(snapshot({"a": subject}, signature, first_inventory="10d"), product=ZOT)
        found = replace(found, tags={"a": replace(found.tags["a"], product_pushed=ago("60d"))})
        decisions = judge(found, policy(KeepWithin(DAY), minimum_age="24h"))
        assert (signature.digest in decisions.held) is held


def test_notifications_that_have_stopped_expire_nothing_that_was_pulled_once() -> None:
    found = snapshot({"a": replace(image("a", "90d", seen="60d"), pulled=ago("40d"))})
    for since, decision in ((None, "keep"), ("10d", "keep"), ("60d", "expire")):
        look = replace(found, pulls_tracked_since=ago(since) if since else None)
        assert judge(look, policy(KeepPulledWithin(30 * DAY))).tags["a"].decision == decision


def test_a_pull_that_it_tells_of_keeps_what_has_no_tag() -> None:
    loose = replace(image("loose", "90d", seen="10d"), product_pulled=ago("1d"))
    found = replace(snapshot({}, loose, first_inventory="20d"), product=ZOT)
    decision = judge(found, policy(KeepWithin(DAY), untagged_keep_within=2 * DAY)).untagged[loose.digest]
    reason = "untagged and not pulled for 1d (zot's API), younger than 2d"
    assert (decision.decision, decision.reason) == ("keep", reason)


def test_what_happened_while_a_long_look_went_on_happened_at_its_begin() -> None:
    later = NOW + timedelta(hours=2)
    told = RepositoryTimes({"a": TagTime("d", later)}, {"d": DigestTime(later, later)})
    known = RepositoryTimes({"a": TagTime("d", NOW)}, {"d": DigestTime(NOW, NOW)})
    assert told.believable(NOW, timedelta(hours=3)) == known
    unknown = RepositoryTimes({"a": TagTime("d")}, {"d": DigestTime(None, NOW)})
    assert told.believable(NOW, timedelta(hours=1)) == unknown
