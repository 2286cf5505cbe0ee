"""Listings that are suddenly short: found out where that can be, and else left to a person."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from devtools import fault_proxy as faults
from devtools.images import build_image
from reaper.cli.exits import exit_for_outcome
from reaper.core.policy import KeepAll, Rule
from reaper.report.model import Outcome, RunReport
from tests.faults.conftest import NO_GUARD, POLICY, Ground, by_name

#: Keeps every tag, and deletes what has none at once: whoever loses sight of a tag loses the image.
KEEP_TAGGED = replace(POLICY, rules=(Rule("all", KeepAll()),), guard=replace(NO_GUARD, max_vanished=0.5))
TAGS = [f"v{number:02}" for number in range(1, 13)]


@pytest.fixture
def known(ground: Ground) -> Ground:
    """A registry with a repository of twelve tags, and one of three, which reaper has seen before."""
    ground.policy = KEEP_TAGGED
    ground.guard = replace(NO_GUARD, max_vanished=0.5)
    for number, tag in enumerate(TAGS):
        created = datetime.now(UTC) - timedelta(days=100 - number)
        ground.pusher.push("many", build_image(layers=(), created=created), tag)
    ground.push("few")
    assert ground.run().outcome is Outcome.DONE
    return ground


def lose(ground: Ground, repository: str, *tags: str) -> None:
    """Take tags out of the registry's storage, behind its back; their manifests stay."""
    folder = ground.server.storage / "docker/registry/v2/repositories" / repository / "_manifests/tags"
    for tag in tags:
        shutil.rmtree(folder / tag)


def guards(report: RunReport) -> list[tuple[str, str | None]]:
    return [(guard.guard, guard.repository) for guard in report.guards]


@pytest.mark.parametrize("left", [TAGS[:2], TAGS[1:], []], ids=["most are missing", "one is missing", "none"])
def test_a_listing_that_lacks_what_is_there_is_found_out(known: Ground, left: list[str]) -> None:
    """However often: or else what it lacks would count as untagged, and be deleted."""
    known.proxy.inject(faults.edit_names("tags", lambda _: left), "GET", "/v2/many/tags/list")
    for minute in range(1, 4):
        report = known.run(after=timedelta(minutes=minute))
        assert report.outcome is Outcome.PARTIAL
        assert guards(report) == []
        (error,) = by_name(report)["many"].errors
        assert "can be resolved, but the listing lacks them" in error
    assert known.sent("DELETE") == 0
    assert known.pusher.tags("many") == TAGS


def test_a_page_that_is_shortened_in_the_middle(known: Ground) -> None:
    def page(exchange: faults.Exchange) -> None:
        names, second = exchange.upstream(), "last=" in exchange.request.path
        found = TAGS[8:] if second else TAGS[:3]  # and not the five between
        answer = names.saying(json.dumps({"name": "many", "tags": found}).encode())
        exchange.send(answer if second else answer.having(link='</v2/many/tags/list?last=v03>; rel="next"'))

    known.proxy.inject(page, "GET", "/v2/many/tags/list")
    report = known.run()
    assert report.outcome is Outcome.PARTIAL
    (error,) = by_name(report)["many"].errors
    assert "tag v04 and 4 more can be resolved, but the listing lacks them" in error
    assert known.sent("DELETE") == 0


def test_tags_that_are_gone_block_the_run_until_a_person_lets_it_pass(known: Ground) -> None:
    lose(known, "many", *TAGS[:10])
    first, again = known.run(), known.run(after=timedelta(minutes=1))
    for report in (first, again):
        assert report.outcome is Outcome.BLOCKED
        assert exit_for_outcome(report.outcome) == 3
        assert guards(report) == [("short_listing", "many")]
        assert "10 of 12 tags (83%) that the last inventory saw are gone" in report.guards[0].message
    # An audit tells it as well, and does not get used to it.
    assert guards(known.run(dry_run=True, after=timedelta(minutes=1))) == [("short_listing", "many")]
    assert known.sent("DELETE") == 0
    accepted = known.run(accept=again.plan_id, after=timedelta(minutes=1))
    assert accepted.outcome is Outcome.DONE
    assert accepted.guards == []
    # From now on it is known that they are without a tag.
    later = known.run(after=timedelta(minutes=2))
    assert later.outcome is Outcome.DONE
    assert later.summary.deleted_manifests == 10
    assert known.pusher.tags("many") == TAGS[10:]


def test_a_few_that_are_gone_surprise_nobody(known: Ground) -> None:
    lose(known, "many", *TAGS[:5])
    lose(known, "few", "v1", "v2", "v3")
    assert known.run(after=timedelta(minutes=1)).outcome is Outcome.DONE
    # They are not counted once more with those that go next.
    lose(known, "many", *TAGS[5:8])
    assert known.run(after=timedelta(minutes=2)).outcome is Outcome.DONE


def test_what_reaper_itself_deletes_is_not_missed(known: Ground) -> None:
    known.policy = replace(POLICY, guard=replace(NO_GUARD, max_vanished=0.0, max_newly_expired=None))
    assert known.run().summary.deleted_manifests == 11
    assert known.run().outcome is Outcome.DONE


def test_repositories_that_are_gone_from_the_catalog(ground: Ground) -> None:
    ground.guard = replace(NO_GUARD, max_vanished=0.5)
    names = [f"r{number:02}" for number in range(14)]
    ground.push(*names)
    assert ground.run(dry_run=True).outcome is Outcome.DONE
    ground.proxy.inject(faults.edit_names("repositories", lambda found: found[:2]), "GET", "/v2/_catalog")
    first, again = ground.run(), ground.run()
    for report in (first, again):
        assert report.outcome is Outcome.BLOCKED
        assert guards(report) == [("short_listing", None)]
        assert report.guards[0].message.startswith("12 of 14 repositories (86%) that the last inventory saw")
    assert all(ground.whole(name) for name in names)
    assert ground.run(accept=again.plan_id).outcome is Outcome.DONE
    assert ground.run().outcome is Outcome.DONE
    assert ground.whole("r13")
    ground.proxy.heal()
    assert ground.run().outcome is Outcome.DONE
    assert all(ground.swept(name) for name in names)
