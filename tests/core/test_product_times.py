"""What a registry product's own API tells of pushes and pulls, and what follows from it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from reaper.core.policy import KeepNewest, KeepPulledWithin, Order
from reaper.core.product_times import EARLIEST, MAX_SKEW, DigestTime, RepositoryTimes, TagTime
from reaper.core.retention import TagDecision
from reaper.core.snapshot import ProductView, Snapshot
from reaper.core.times import Moment, Source, pulled, pulled_digest, pushed, pushed_digest
from tests.core.build import DAY, ago, image, judge, policy, snapshot
from tests.core.generate import NOW

SECOND = timedelta(seconds=1)
BERLIN = timezone(timedelta(hours=2))
HARBOR = ProductView("Harbor", tells_pushes=True)


class TestWhatIsBelieved:
    @pytest.mark.parametrize(
        ("told", "push", "pull"),
        [
            (None, None, None),
            (ago("3d"), ago("3d"), ago("3d")),
            (EARLIEST, EARLIEST, EARLIEST),
            (EARLIEST - SECOND, None, None),
            (datetime(1, 1, 1, tzinfo=UTC), None, None),
            (NOW, NOW, NOW),
            # A registry's clock may be a little ahead.
            (NOW + MAX_SKEW, NOW, NOW),
            (NOW + MAX_SKEW + SECOND, None, NOW),
        ],
    )
    def test_of_one_time(self, told: datetime | None, push: datetime | None, pull: datetime | None) -> None:
        times = RepositoryTimes(
            {"v1": TagTime("d", told)}, {"pushed": DigestTime(told), "pulled": DigestTime(None, told)}
        )
        assert times.believable(NOW) == RepositoryTimes(
            {"v1": TagTime("d", push)}, {"pushed": DigestTime(push), "pulled": DigestTime(None, pull)}
        )

    def test_all_becomes_utc(self) -> None:
        local = ago("3d").astimezone(BERLIN)
        times = RepositoryTimes({"v1": TagTime("d", local)}, {"d": DigestTime(local, local)})
        found = times.believable(NOW)
        moments = (found.tags["v1"].pushed, found.digests["d"].pushed, found.digests["d"].pulled)
        assert all(moment is not None and moment.tzinfo is UTC for moment in moments)
        assert set(moments) == {ago("3d")}

    @pytest.mark.parametrize(
        ("before", "believed"), [(timedelta(), True), (MAX_SKEW, True), (MAX_SKEW + SECOND, False)]
    )
    def test_a_pull_before_the_push_is_of_something_else(self, before: timedelta, believed: bool) -> None:
        time = DigestTime(ago("3d"), ago("3d") - before)
        found = RepositoryTimes({}, {"d": time}).believable(NOW).digests["d"]
        assert found == (time if believed else DigestTime(ago("3d")))

    def test_the_latest_pull_is_that_of_anything(self) -> None:
        digests = {"a": DigestTime(), "b": DigestTime(None, ago("2d")), "c": DigestTime(ago("1d"), ago("9d"))}
        assert RepositoryTimes({}, digests).latest_pull == ago("2d")
        assert RepositoryTimes({}, {"a": DigestTime(ago("1d"))}).latest_pull is None


class TestPushes:
    """An image built 30 days ago, and seen at the first inventory, 10 days ago."""

    look = snapshot({"a": image("a", "30d", seen="10d")}, first_inventory="10d")
    known = replace(look, product=HARBOR)

    def told(self, look: Snapshot, *, tag: str | None = None, digest: str | None = None) -> Snapshot:
        """Return what is known once the product told when the tag, and when its digest, was pushed."""
        entry, of = look.tags["a"], look.manifests[look.tags["a"].digest]
        return replace(
            look,
            tags={"a": replace(entry, product_pushed=ago(tag) if tag else None)},
            manifests={of.digest: replace(of, product_pushed=ago(digest) if digest else None)},
        )

    def test_what_is_told_of_the_tag_goes_before_what_is_told_of_its_digest(self) -> None:
        found = self.told(self.known, tag="8d", digest="9d")
        assert pushed(found, found.tags["a"]) == Moment(ago("8d"), Source.PRODUCT, "Harbor")
        assert pushed_digest(found, found.tags["a"].digest) == Moment(ago("9d"), Source.PRODUCT, "Harbor")
        only = self.told(self.known, digest="9d")
        assert pushed(only, only.tags["a"]) == Moment(ago("9d"), Source.PRODUCT, "Harbor")
        assert str(pushed(only, only.tags["a"])) == "2026-06-06 12:00:00Z (Harbor's API)"

    def test_a_tag_that_came_later_than_its_digest_is_as_old_as_it_was_seen(self) -> None:
        later = replace(self.known, tags={"a": replace(self.known.tags["a"], first_seen=ago("5d"))})
        found = self.told(later, digest="9d")
        assert pushed(found, found.tags["a"]) == Moment(ago("5d"), Source.SEEN_NEW)

    def test_a_product_that_is_asked_no_more_is_still_believed(self) -> None:
        found = self.told(self.look, tag="8d")
        assert str(pushed(found, found.tags["a"])) == "2026-06-07 12:00:00Z (registry API)"

    def test_what_a_product_does_not_say_makes_nothing_as_old_as_its_build(self) -> None:
        assert pushed(self.look, self.look.tags["a"]) == Moment(ago("30d"), Source.CONFIG)
        assert pushed(self.known, self.known.tags["a"]) == Moment(ago("10d"), Source.FIRST_INVENTORY)
        silent = replace(self.known, product=ProductView("zot"))
        assert pushed(silent, silent.tags["a"]) == Moment(ago("30d"), Source.CONFIG)
        unseen = replace(self.known, tags={"a": replace(self.known.tags["a"], first_seen=None)})
        assert pushed(unseen, unseen.tags["a"]) == Moment(ago("30d"), Source.CONFIG)

    def test_a_signature_of_which_it_does_not_say_is_no_older_than_its_build(self) -> None:
        """Else what was signed again this morning would go with the image of last year."""
        subject, signature = image("subject", "90d", seen="10d"), image("signature", "2h", seen="10d")
        name = subject.digest.replace(":", "-") + ".sig"
        look = replace(snapshot({"v1": subject, name: signature}, first_inventory="10d"), product=HARBOR)
        none = policy(KeepNewest(1, Order.SEMVER), minimum_age="24h")
        decision = judge(look, none).tags[name]
        built = "2026-06-15 10:00:00Z (created in config)"
        assert decision.reason == f"minimum-age: pushed 2h ago, {built}, younger than 1d"
        old = replace(look.manifests[signature.digest], config_created=ago("25h"))
        look = replace(look, manifests={**look.manifests, signature.digest: old})
        assert judge(look, none).tags[name].decision == "expire"


class TestPulls:
    """An image of 90 days that a policy keeps while it was pulled within 30 days."""

    rule = policy(KeepPulledWithin(30 * DAY))

    def look(
        self,
        *,
        told: str | None = None,
        event: str | None = None,
        events_since: str | None = None,
        since: str | None = "60d",
        latest: str | None = "1d",
    ) -> Snapshot:
        of = replace(
            image("a", "90d"),
            product_pulled=ago(told) if told else None,
            pulled=ago(event) if event else None,
        )
        view = ProductView(
            "Harbor",
            pulls_since=ago(since) if since else None,
            latest_pull=ago(latest) if latest else None,
        )
        return replace(snapshot({"a": of}, pulls_tracked=events_since), product=view)

    def decided(self, look: Snapshot) -> TagDecision:
        return judge(look, self.rule).tags["a"]

    def test_a_pull_that_it_tells_keeps_and_names_it(self) -> None:
        decision = self.decided(self.look(told="3d"))
        assert decision.reason == "rule 1: pulled 3d ago (Harbor's API), within 30d"
        assert decision.expires_at == ago("3d") + 30 * DAY

    def test_the_later_of_what_it_and_an_event_tell_counts(self) -> None:
        for told, event, moment in (
            ("3d", "4d", Moment(ago("3d"), Source.PRODUCT, "Harbor")),
            ("4d", "3d", Moment(ago("3d"), Source.PULL_EVENT)),
            ("3d", "3d", Moment(ago("3d"), Source.PULL_EVENT)),
        ):
            look = self.look(told=told, event=event)
            assert pulled(look, look.tags["a"]) == pulled_digest(look, look.tags["a"].digest) == moment

    def test_what_was_not_pulled_expires(self) -> None:
        assert self.decided(self.look()).reason == "no rule keeps it: rule 1: no pull in 30d"
        for age in ("30d", "40d"):
            reason = f"no rule keeps it: rule 1: pulled {age} ago (Harbor's API), beyond 30d"
            assert self.decided(self.look(told=age)).reason == reason

    def test_pulls_are_known_since_it_was_first_asked_or_events_came(self) -> None:
        decision = self.decided(self.look(since="10d"))
        assert decision.reason == "rule 1: pulls are known only since 2026-06-05 12:00:00Z, less than 30d"
        assert decision.expires_at == ago("10d") + 30 * DAY
        for since, events in (("10d", "20d"), ("20d", "10d")):
            decision = self.decided(self.look(since=since, events_since=events))
            assert decision.expires_at == ago("20d") + 30 * DAY
        assert self.decided(self.look(since="10d", events_since="60d")).decision == "expire"

    @pytest.mark.parametrize(("latest", "keeps"), [(None, True), ("30d", True), ("29d", False)])
    def test_one_that_shows_no_pull_of_anything_may_note_none(self, latest: str | None, keeps: bool) -> None:
        decision = self.decided(self.look(latest=latest))
        assert (decision.decision == "keep") == keeps
        if keeps:
            assert decision.reason == (
                "rule 1: pull times unknown: Harbor shows no pull of anything in 30d: does it note pulls?"
            )
            assert decision.expires_at is None
            # Unless notifications tell as well.
            assert self.decided(self.look(latest=latest, events_since="60d")).decision == "expire"

    def test_one_that_tells_no_pulls_changes_nothing(self) -> None:
        unknown = "rule 1: pull times unknown: the registry sends reaper no pull notifications"
        assert self.decided(self.look(since=None)).reason == unknown
        assert self.decided(snapshot({"a": image("a", "90d")})).reason == unknown
        assert self.decided(self.look(since=None, events_since="60d")).decision == "expire"
