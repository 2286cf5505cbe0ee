"""A repository that cannot be read is left alone, and the others are tidied, whatever is wrong with it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from devtools import fault_proxy as faults
from devtools.fault_proxy import Exchange, Fault
from reaper.cli.exits import exit_for_outcome
from reaper.core.reference import digest_of
from reaper.report.model import Outcome
from tests.faults.conftest import Ground, by_name

TAGS = "/v2/bad/tags/list"
TAG = "/v2/bad/manifests/v1"
BY_DIGEST = "/v2/bad/manifests/sha256:.*"
CONFIG = "/v2/bad/blobs/.*"
OTHER = digest_of(b"another manifest")
HTML = faults.answer(200, b"<html>please log in</html>", Content_Type="text/html; charset=utf-8")
NOT_FOUND = "listing 404"
#: A request is sent again at most so often.
ATTEMPTS = 4


def in_an_hour() -> str:
    return format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)


def header(**headers: str | None) -> Fault:
    return faults.edit(lambda real: real.having(**headers))


def to_itself(exchange: Exchange) -> None:
    faults.answer(307, Location=exchange.request.path)(exchange)


FAULTS: dict[str, tuple[str, str, Fault, str]] = {
    # name: (method, path, fault, what the report says)
    "listing reset before the answer": ("GET", TAGS, faults.hang_up, "cannot be reached"),
    "listing reset in mid-body": ("GET", TAGS, faults.cut, "ended too early"),
    "listing truncated": ("GET", TAGS, faults.truncate, "ended too early"),
    "listing stalled": ("GET", TAGS, faults.stall, "no answer in time"),
    "listing never answered": ("GET", TAGS, faults.mute, "no answer in time"),
    "listing drips": ("GET", TAGS, faults.drip(0.4), "no answer in time"),
    "listing 500": ("GET", TAGS, faults.answer(500), "the registry failed (500)"),
    "listing 502": ("GET", TAGS, faults.answer(502, b"<html>"), "the registry failed (502)"),
    "listing 503": ("GET", TAGS, faults.answer(503), "the registry failed (503)"),
    "listing 504": ("GET", TAGS, faults.answer(504), "the registry failed (504)"),
    "listing 429": ("GET", TAGS, faults.answer(429), "too many requests (429)"),
    "listing 401": ("GET", TAGS, faults.answer(401), "offers no login that reaper knows"),
    "listing 403": ("GET", TAGS, faults.answer(403), "access is denied (403)"),
    NOT_FOUND: ("GET", TAGS, faults.answer(404), "tags:"),
    "listing 418": ("GET", TAGS, faults.answer(418, b'{"errors":[{}]}'), "unexpected answer 418"),
    "listing is a page": ("GET", TAGS, HTML, "instead of JSON"),
    "listing is an array": ("GET", TAGS, faults.answer(200, b"[]"), "not a JSON object"),
    "listing has no list": ("GET", TAGS, faults.answer(200, b'{"tags":"v1"}'), "not a list of names"),
    "listing redirects in circles": ("GET", TAGS, to_itself, "redirects in circles"),
    "listing has invalid names": (
        "GET",
        TAGS,
        faults.edit_names("tags", lambda names: [*names, "../../etc/passwd"]),
        "an invalid tag '../../etc/passwd'",
    ),
    "listing has control characters": (
        "GET",
        TAGS,
        faults.edit_names("tags", lambda names: [*names, "\x1b[2J\n"]),
        r"an invalid tag '\x1b[2J\n'",
    ),
    "listing has a very long name": (
        "GET",
        TAGS,
        faults.edit_names("tags", lambda names: [*names, "x" * 10_000]),
        "an invalid tag 'xxx",
    ),
    "listing names what is not there": (
        "GET",
        TAGS,
        faults.edit_names("tags", lambda names: [*names, "v9"]),
        "tag v9 is listed, but its manifest is not found",
    ),
    "tag 404": ("HEAD", TAG, faults.answer(404), "tag v1 is listed, but its manifest is not found"),
    "tag 500": ("HEAD", TAG, faults.answer(500), "tag v1: "),
    "tag without an answer": ("HEAD", TAG, faults.mute, "no answer in time"),
    "tag on a digest that is none": (
        "HEAD",
        TAG,
        header(Docker_Content_Digest="sha256:../.."),
        "an invalid digest",
    ),
    "tag on a digest that is not there": (
        "HEAD",
        TAG,
        header(Docker_Content_Digest=OTHER),
        "was there, and is not found",
    ),
    "manifest reset in mid-body": ("GET", BY_DIGEST, faults.cut, "ended too early"),
    "manifest truncated": ("GET", BY_DIGEST, faults.truncate, "ended too early"),
    "manifest stalled": ("GET", BY_DIGEST, faults.stall, "no answer in time"),
    "manifest is another": (
        "GET",
        BY_DIGEST,
        faults.edit(lambda real: real.saying(b"{}")),
        "but the registry says",
    ),
    "manifest is another, and says so": (
        "GET",
        BY_DIGEST,
        faults.edit(lambda real: real.saying(b"{}").having(docker_content_digest=digest_of(b"{}"))),
        "answers with another manifest",
    ),
    "manifest is another, and says nothing": (
        "GET",
        BY_DIGEST,
        faults.edit(lambda real: real.saying(b"{}").having(docker_content_digest=None)),
        "answers with another manifest",
    ),
    "manifest with another's digest": (
        "GET",
        BY_DIGEST,
        header(Docker_Content_Digest=OTHER),
        "but the registry says",
    ),
    "manifest of the wrong type": (
        "GET",
        BY_DIGEST,
        header(Content_Type="application/vnd.oci.image.index.v1+json"),
        "calls itself",
    ),
    "manifest of no type": ("GET", BY_DIGEST, header(Content_Type=None), "does not say the manifest's type"),
    "manifest is a page": ("GET", BY_DIGEST, header(Content_Type="text/html"), "is not a registry"),
    "manifest too large": (
        "GET",
        BY_DIGEST,
        faults.edit(lambda real: real.saying(b" " * (4 * 1024 * 1024 + 1))),
        "the limit is 4194304",
    ),
    "config reset in mid-body": ("GET", CONFIG, faults.cut, "ended too early"),
    "config is another": (
        "GET",
        CONFIG,
        faults.edit(lambda real: real.saying(b"{}")),
        "the bytes do not match the digest",
    ),
    "config 403": ("GET", CONFIG, faults.answer(403), "access is denied"),
}


def test_what_cannot_be_read_is_left_alone(ground: Ground) -> None:
    """One run over a repository for each fault, and one without any."""
    faulty = {f"bad-{number}": name for number, name in enumerate(FAULTS)}
    # Only what was there before tells that a listing that is not found is lost.
    lost = f"bad-{list(FAULTS).index(NOT_FOUND)}"
    ground.push(lost)
    ground.run(dry_run=True)
    ground.proxy.heal()
    ground.push("good", *(repository for repository in faulty if repository != lost))
    for repository, name in faulty.items():
        method, path, fault, _ = FAULTS[name]
        ground.proxy.inject(fault, method, path.replace("/bad/", f"/{repository}/"))
    report = ground.run()
    assert report.outcome is Outcome.PARTIAL
    assert exit_for_outcome(report.outcome) == 4
    found = by_name(report)
    assert found["good"].errors == []
    assert ground.swept("good")
    assert {request.path.split("/")[2] for request in ground.proxy.requests("DELETE")} == {"good"}
    assert report.summary.deleted_manifests == 1
    assert report.summary.errors == sum(len(entry.errors) for entry in report)
    for repository, name in faulty.items():
        method, path, _, says = FAULTS[name]
        entry = found[repository]
        assert any(says in error for error in entry.errors), (name, entry.errors)
        assert {tag.decision for tag in entry.tags} <= {"ignore"}, name
        assert ground.whole(repository), name
        sent = [r.path for r in ground.proxy.requests(method, path.replace("/bad/", f"/{repository}/"))]
        # A redirect in circles is followed a few times, and a request is repeated a few times.
        assert 1 <= max(sent.count(each) for each in sent) <= 2 * ATTEMPTS, name


ONCE = {
    "reset": faults.hang_up,
    "reset in mid-body": faults.cut,
    "truncated": faults.truncate,
    "stalled": faults.stall,
    "500": faults.answer(500),
    "503": faults.answer(503),
    "503 with a pause": faults.answer(503, Retry_After="1"),
    "429": faults.answer(429),
    "429 with a pause": faults.answer(429, Retry_After="1"),
    "429 until a time that has been": faults.answer(429, Retry_After="Wed, 01 Jul 2015 02:00:00 GMT"),
    "429 with a pause that is none": faults.answer(429, Retry_After="soon"),
}


def test_faults_that_pass_are_survived(ground: Ground) -> None:
    """One run: a repository for each fault, which hits its listing and one of its manifests once."""
    faulty = {f"bad-{number}": name for number, name in enumerate(ONCE)}
    ground.push(*faulty)
    for number, (repository, name) in enumerate(faulty.items(), start=1):
        ground.proxy.inject(ONCE[name], "GET", f"/v2/{repository}/tags/list", nth=1)
        ground.proxy.inject(ONCE[name], "GET", f"/v2/{repository}/manifests/sha256:.*", nth=2)
        if number < ATTEMPTS:
            ground.proxy.inject(ONCE[name], "GET", "/v2/_catalog", nth=number)
    report = ground.run()
    assert report.outcome is Outcome.DONE
    assert report.summary.deleted_manifests == len(ONCE)
    assert all(ground.swept(repository) for repository in faulty)


@pytest.mark.parametrize("pause", ["3600", "a date"])
def test_a_pause_that_is_too_long_ends_the_reading_at_once(ground: Ground, pause: str) -> None:
    ground.push("bad", "good")
    asked = in_an_hour() if pause == "a date" else pause
    ground.proxy.inject(faults.answer(429, Retry_After=asked), "GET", TAGS)
    report = ground.run()
    assert report.outcome is Outcome.PARTIAL
    assert ground.sent("GET", TAGS) == 1
    assert any("429" in error for error in by_name(report)["bad"].errors)
    assert ground.whole("bad")
    assert ground.took < 5


def test_a_redirect_on_the_registry_itself_is_followed(ground: Ground) -> None:
    ground.push("bad")
    ground.proxy.inject(faults.answer(307, Location="/v2/bad/tags/list?n=3"), "GET", TAGS, nth=1)
    assert ground.run().outcome is Outcome.DONE
    assert ground.swept("bad")


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v2/_catalog"), ("GET", TAGS), ("HEAD", TAG)],
    ids=["catalog", "tags", "tag"],
)
def test_what_is_not_checked_by_its_digest_comes_from_the_registry_alone(
    ground: Ground, method: str, path: str
) -> None:
    ground.push("bad")
    target = "http://localhost:" + ground.server.url.rpartition(":")[2] + path
    ground.proxy.inject(faults.answer(307, Location=target), method, path)
    report = ground.run()
    says = [report.error or "", *(error for entry in report for error in entry.errors)]
    assert any("redirects to another host" in text for text in says), says
    assert ground.whole("bad")


def test_content_may_come_from_another_host(ground: Ground) -> None:
    ground.push("bad")

    def elsewhere(exchange: Exchange) -> None:
        location = "http://localhost:" + ground.server.url.rpartition(":")[2] + exchange.request.path
        faults.answer(307, Location=location)(exchange)

    ground.proxy.inject(elsewhere, "GET", "/v2/bad/(blobs|manifests)/sha256:.*")
    assert ground.run(dry_run=True).outcome is Outcome.DONE
    assert ground.run().outcome is Outcome.DONE
    assert ground.swept("bad")


def test_slow_answers_are_waited_for(ground: Ground) -> None:
    ground.push("bad")
    ground.proxy.inject(faults.slow(0.3), "GET", "/v2/_catalog|" + TAGS)
    assert ground.run().outcome is Outcome.DONE
    assert ground.swept("bad")


class TestPaging:
    def paged(self, ground: Ground, following: str) -> None:
        """Answer the first page with half of the tags and a link to ``following``."""
        ground.proxy.inject(
            faults.edit(
                lambda real: real.saying(
                    json.dumps({"name": "bad", "tags": json.loads(real.body)["tags"][:2]}).encode()
                ).having(link=f'<{following}>; rel="next"')
            ),
            "GET",
            TAGS,
        )

    def test_a_page_that_cannot_be_read_loses_the_whole_listing(self, ground: Ground) -> None:
        ground.push("bad", "good")
        self.paged(ground, "/v2/bad/tags/page2")
        ground.proxy.inject(faults.answer(500), "GET", "/v2/bad/tags/page2")
        report = ground.run()
        assert report.outcome is Outcome.PARTIAL
        assert by_name(report)["bad"].tags == []
        assert ground.whole("bad")
        assert ground.swept("good")

    def test_pages_in_circles(self, ground: Ground) -> None:
        ground.push("bad", "good")
        self.paged(ground, "/v2/bad/tags/list?n=1000")
        report = ground.run()
        assert any("go in circles" in error for error in by_name(report)["bad"].errors)
        assert ground.whole("bad")

    def test_pages_in_circles_under_ever_new_addresses(self, ground: Ground) -> None:
        ground.push("bad", "good")
        numbers = iter(range(1_000_000))

        def again(exchange: Exchange) -> None:
            exchange.send(
                exchange.upstream().having(link=f'</v2/bad/tags/list?last={next(numbers)}>; rel="next"')
            )

        ground.proxy.inject(again, "GET", TAGS)
        report = ground.run()
        assert any("go in circles" in error for error in by_name(report)["bad"].errors)
        assert ground.sent("GET", TAGS) < 200
        assert ground.whole("bad")

    def test_the_next_page_on_another_host(self, ground: Ground) -> None:
        ground.push("bad", "good")
        self.paged(ground, f"{ground.server.url}/v2/bad/tags/list?last=v2")
        report = ground.run()
        assert any("the next page is on another host" in e for e in by_name(report)["bad"].errors)
        assert ground.whole("bad")

    def test_doubles(self, ground: Ground) -> None:
        ground.push("bad", "good")
        ground.proxy.inject(faults.edit_names("tags", lambda names: names * 3), "GET", TAGS)
        ground.proxy.inject(faults.edit_names("repositories", lambda names: names * 2), "GET", "/v2/_catalog")
        report = ground.run()
        assert report.outcome is Outcome.DONE
        assert report.summary.repositories == 2
        assert len(by_name(report)["bad"].tags) == 3
        assert ground.deleted() == 2
        assert ground.swept("bad")
