"""What is read from registries' messages, and what is left out."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reaper.core.errors import InvalidInputError
from reaper.store import EventKind, ManifestEvent
from reaper.web.notifications import Message, parse_message
from tests.web.messages import ENVELOPE, cloud_event, digest, envelope, notification
from tests.web.site import NOW

A = digest("a")
HEADERS = {"content-type": ENVELOPE}


def parse(*events: Any) -> Message:
    return parse_message(envelope(*events), HEADERS, NOW)


def test_a_push_by_tag_and_a_pull_by_digest() -> None:
    found = parse(notification("push", tag="v1"), notification("pull", at=NOW - timedelta(minutes=1)))
    assert found.events == [
        ManifestEvent(EventKind.PUSH, "team/app", A, NOW, "v1"),
        ManifestEvent(EventKind.PULL, "team/app", A, NOW - timedelta(minutes=1)),
    ]
    assert found.counts == {("push", "recorded"): 1, ("pull", "recorded"): 1}
    assert found.pulls_heard == NOW - timedelta(minutes=1)


def test_a_time_of_gos_and_a_time_that_is_none() -> None:
    (precise,) = parse(notification(at="2026-07-01T10:00:00.123456789+02:00")).events
    assert precise.at == datetime(2026, 7, 1, 8, 0, 0, 123456, tzinfo=UTC)
    for at in ("", "yesterday", "2026-07-01T10:00:00"):
        assert parse(notification(at=at)).events[0].at == NOW


@pytest.mark.parametrize(
    ("event", "count"),
    [
        (notification("delete"), ("delete", "ignored")),
        (notification("delete", mediaType="", url="", tag="v1"), ("delete", "ignored")),
        (notification("mount", fromRepository="team/base"), ("push", "ignored")),
        (
            notification("push", mediaType="application/octet-stream", url=f"http://r/v2/team/app/blobs/{A}"),
            ("push", "ignored"),
        ),
        (
            notification(mediaType="application/octet-stream", url=f"http://r/v2/team/app/blobs/{A}"),
            ("pull", "ignored"),
        ),
        (notification("rename"), None),
        (notification(repository="../../etc"), ("pull", "ignored")),
        (notification(digest="sha256:short"), ("pull", "ignored")),
        (notification(tag="no tag"), ("pull", "ignored")),
        (notification(repository=None), ("pull", "ignored")),
        ({}, None),
        ({"action": 3, "target": [], "request": "x"}, None),
        (notification(url="http://[", mediaType=""), ("pull", "ignored")),
    ],
)
def test_what_says_nothing_of_use_is_left_out(event: dict[str, Any], count: tuple[str, str] | None) -> None:
    found = parse(event, notification("push"))
    assert [one.kind for one in found.events] == ["push"], "and the rest of the message holds"
    assert found.counts == {("push", "recorded"): 1} if count is None else found.counts[count] == 1
    assert found.pulls_heard is None


def test_a_manifest_of_a_type_of_its_own_is_known_by_its_url() -> None:
    assert len(parse(notification(mediaType="application/vnd.example.new+json")).events) == 1


@pytest.mark.parametrize("action", ["push", "pull"])
def test_reapers_own_requests_count_for_nothing_but_that_pulls_are_told(action: str) -> None:
    found = parse(notification(action, agent="reaper/0.1.0"))
    assert found.events == []
    assert found.counts == {(action, "ignored"): 1}
    assert found.pulls_heard == (NOW if action == "pull" else None)


@pytest.mark.parametrize(
    ("agent", "counts"),
    [
        ("containerd/1.7.27", True),
        ("docker/27.5.1 go/go1.22.11 git-commit/4c9b3b0 os/linux arch/amd64", True),
        ("go-containerregistry/v0.20.2", False),
        ("Watchtower/v1.7.1", False),
        ("renovate/39", False),
        ("", False),
    ],
)
def test_a_head_is_a_pull_of_container_runtimes_only(agent: str, counts: bool) -> None:
    found = parse(notification(agent=agent, method="HEAD"))
    assert bool(found.events) is counts
    assert found.pulls_heard == NOW, "though it shows that pulls are told"
    assert parse(notification(agent=agent, method="GET")).events


def test_zots_event_in_either_mode() -> None:
    at = datetime(2026, 7, 1, 9, 0, 0, 123456, tzinfo=UTC)
    expected = [ManifestEvent(EventKind.PUSH, "team/app", A, at, "v1")]
    headers, body = cloud_event()
    lower = {name.lower(): value for name, value in headers.items()}
    found = parse_message(body, lower, NOW)
    assert found.events == expected
    assert found.pulls_heard is None, "zot tells of no pulls"
    attributes = {"specversion": "1.0", "type": headers["Ce-Type"], "time": headers["Ce-Time"]}
    structured = {**attributes, "data": json.loads(body)}
    for kind, document in (("cloudevents", structured), ("cloudevents-batch", [structured, structured])):
        content_type = {"content-type": f"application/{kind}+json; charset=UTF-8"}
        found = parse_message(json.dumps(document).encode(), content_type, NOW)
        assert found.events == expected * (2 if kind == "cloudevents-batch" else 1)


@pytest.mark.parametrize(
    ("kind", "data", "counts"),
    [
        ("zotregistry.image.updated", {"reference": A}, {("push", "recorded"): 1}),
        ("com.example.image.updated", {}, {("push", "recorded"): 1}),
        ("zotregistry.image.deleted", {}, {("delete", "ignored"): 1}),
        ("zotregistry.image.lint_failed", {}, {}),
        ("zotregistry.repository.created", {"digest": None}, {}),
        ("zotregistry.image.updated", {"name": 3}, {("push", "ignored"): 1}),
    ],
)
def test_zots_other_events(kind: str, data: dict[str, Any], counts: dict[tuple[str, str], int]) -> None:
    headers, body = cloud_event(kind, **data)
    found = parse_message(body, {name.lower(): value for name, value in headers.items()}, NOW)
    assert found.counts == counts
    assert [event.tag for event in found.events] == ([None] if data.get("reference") == A else ["v1"]) * len(
        found.events
    )


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"", ENVELOPE),
        (b"\xff", ENVELOPE),
        (b"not json", ENVELOPE),
        (b"[" * 100_000, ENVELOPE),
        (b"[]", ENVELOPE),
        (b"{}", ENVELOPE),
        (b'{"events": 3}', ENVELOPE),
        (b'{"events": [3]}', ENVELOPE),
        (b"3", "application/cloudevents+json"),
        (b"{}", "application/cloudevents-batch+json"),
    ],
)
def test_what_no_registry_sends_is_refused(body: bytes, content_type: str) -> None:
    with pytest.raises(InvalidInputError):
        parse_message(body, {"content-type": content_type}, NOW)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
PARTS = st.sampled_from(list(notification(tag="v1").items())) | st.tuples(st.text(), JSON)
EVENTS = st.lists(st.dictionaries(st.sampled_from([*notification()]), JSON) | PARTS.map(lambda p: dict([p])))


@given(EVENTS | JSON, st.sampled_from([ENVELOPE, "application/cloudevents+json", ""]), st.booleans())
def test_no_message_makes_it_fail(events: Any, content_type: str, binary: bool) -> None:
    headers = {"content-type": content_type} | ({"ce-type": "x.image.updated"} if binary else {})
    for document in ({"events": events}, events):
        try:
            found = parse_message(json.dumps(document).encode(), headers, NOW)
        except InvalidInputError:
            continue
        assert all(event.at.tzinfo is not None for event in found.events)
