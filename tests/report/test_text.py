from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from reaper.report.text import age, count, human_bytes, rfc3339, safe, timestamp
from tests.report.reports import HOSTILE, NOW


@pytest.mark.parametrize("name", HOSTILE)
def test_safe_leaves_nothing_that_is_not_visible(name: str) -> None:
    assert safe(name).isprintable()
    assert safe(name).encode()


def test_safe_escapes_each_in_the_shortest_form_and_leaves_the_rest() -> None:
    assert safe("a\x1b[31m\n\u202e\U000e0041") == "a\\x1b[31m\\x0a\\u202e\\U000e0041"
    assert safe("naïve [x] 日本") == "naïve [x] 日本"


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        (None, "?"),
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536 * 1024, "1.5 MiB"),
        (120 * 1024**2, "120 MiB"),
        (1024**3 - 1, "1.0 GiB"),
        (99_950 * 1024 // 1000, "99.9 KiB"),
        (1000 * 1024**6, "1000 EiB"),
        (2000 * 1024**6, "2000 EiB"),
    ],
)
def test_human_bytes(size: int | None, shown: str) -> None:
    assert human_bytes(size) == shown


def test_times_are_shown_in_utc() -> None:
    moment = datetime(2026, 7, 1, 4, 0, tzinfo=timezone(timedelta(hours=2)))
    assert rfc3339(moment) == "2026-07-01T02:00:00Z"
    assert rfc3339(datetime(2026, 7, 1, 2, 0, 0, 1000, tzinfo=UTC)) == "2026-07-01T02:00:00.001000Z"
    assert timestamp(moment) == "2026-07-01 02:00:00Z"


def test_age_and_count() -> None:
    assert (age(NOW - timedelta(days=3, hours=5), NOW), age(None, NOW)) == ("3d", "?")
    assert (count(1, "tag"), count(1200, "tag"), count(0, "policy", "policies")) == (
        "1 tag",
        "1,200 tags",
        "0 policies",
    )
