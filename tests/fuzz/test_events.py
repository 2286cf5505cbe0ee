"""Whatever comes in as an event is told apart: a message that is read, or one that is refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from reaper.core.errors import InvalidInputError
from reaper.core.manifest import OCI_MANIFEST
from reaper.core.reference import digest_of, is_digest, is_repository, is_tag
from reaper.web.notifications import parse_message

NOW = datetime(2026, 3, 1, tzinfo=UTC)
TEXTS = [
    *(
        "push",
        "pull",
        "delete",
        "mount",
        "com.example.image.updated",
        "GET",
        "HEAD",
        "containerd/1",
        "reaper/1",
    ),
    *("team/app", "../x", "Team", "v1", "a\nb", "\x00", "\ud800", digest_of(b"x"), "sha256:x", OCI_MANIFEST),
    *("http://r/v2/a/manifests/v1", "http://[", "2026-02-28T00:00:00Z", "0001-01-01T00:00:00+23:59", "soon"),
    "9999-12-31T23:59:59-23:59",
]
WORDS = "events action timestamp target request repository digest tag mediaType url method useragent"
KEYS = WORDS.split()
KEYS += ["type", "time", "data", "name", "reference"]
LEAVES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.sampled_from(TEXTS))
TARGETS = st.fixed_dictionaries(
    {},
    optional={
        "mediaType": st.one_of(st.just(OCI_MANIFEST), LEAVES),
        "repository": st.one_of(st.just("team/app"), LEAVES),
        "digest": st.one_of(st.just(digest_of(b"x")), LEAVES),
        "tag": LEAVES,
        "url": LEAVES,
    },
)
EVENTS = st.fixed_dictionaries(
    {},
    optional={
        "action": st.sampled_from(TEXTS),
        "timestamp": LEAVES,
        "target": st.one_of(TARGETS, LEAVES),
        "request": st.dictionaries(st.sampled_from(KEYS), LEAVES, max_size=3),
    },
)
ANYTHING: st.SearchStrategy[Any] = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(KEYS), inner, max_size=4)
    ),
    max_leaves=8,
)
BODIES = st.one_of(
    st.lists(st.one_of(EVENTS, ANYTHING), max_size=4).map(lambda events: {"events": events}), ANYTHING
)
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "content-type": st.sampled_from(
            ["application/cloudevents+json", "application/cloudevents-batch+json", "application/json", ""]
        ),
        "ce-type": st.sampled_from(TEXTS),
        "ce-time": st.sampled_from(TEXTS),
    },
)


@given(
    body=st.one_of(BODIES.map(lambda body: json.dumps(body).encode()), st.binary(max_size=40)),
    headers=HEADERS,
)
def test_a_message_is_read_or_refused(body: bytes, headers: dict[str, str]) -> None:
    try:
        message = parse_message(body, headers, NOW)
    except InvalidInputError:
        return
    for event in message.events:
        assert is_repository(event.repository)
        assert is_digest(event.digest)
        assert event.tag is None or is_tag(event.tag)
        assert event.at.tzinfo is not None
    assert message.pulls_heard is None or message.pulls_heard.tzinfo is not None
    assert sum(message.counts.values()) >= len(message.events)
