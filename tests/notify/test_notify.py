"""What receivers are sent, and what becomes of receivers that do not take it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import httpx
import pytest
import stamina.instrumentation
import structlog

from reaper.notify import Notice, Notifier, Receiver

AT = datetime(2026, 3, 1, 2, 0, tzinfo=UTC)
BLOCKED = Notice(
    registry="main",
    outcome="blocked",
    run_id="abc",
    dry_run=False,
    started_at=AT,
    finished_at=AT,
    figures={"tags": 10, "repositories": 2, "expired_tags": 6, "manifests_to_delete": 6},
    lines=["team/app: would delete 6 of 10 manifests <max_share> & more", "evil\x1b[31m\u202ename"],
)


def send(
    notice: Notice, receivers: list[Receiver], answer: Callable[[httpx.Request], httpx.Response]
) -> tuple[list[httpx.Request], list[tuple[str, str]]]:
    sent: list[httpx.Request] = []
    outcomes: list[tuple[str, str]] = []

    def handle(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return answer(request)

    notifier = Notifier(
        receivers,
        on_sent=lambda receiver, outcome: outcomes.append((receiver, outcome)),
        transport=httpx.MockTransport(handle),
    )
    asyncio.run(notifier.tell(notice))
    return sent, outcomes


def receiver(name: str, *occasions: str, slack: bool = False) -> Receiver:
    return Receiver(
        name, f"https://hooks.example/{name}-s3cret", "slack" if slack else "json", frozenset(occasions)
    )


@pytest.mark.parametrize(
    ("outcome", "told"),
    [
        ("blocked", {"trouble", "digest"}),
        ("failed", {"trouble", "digest"}),
        ("partial", {"digest"}),
        ("done", {"digest"}),
    ],
)
def test_each_receiver_is_told_what_it_asked_for(outcome: str, told: set[str]) -> None:
    receivers = [receiver("trouble", "blocked", "failed"), receiver("digest", "digest")]
    _, outcomes = send(replace(BLOCKED, outcome=outcome), receivers, lambda _: httpx.Response(200))
    assert set(outcomes) == {(name, "sent") for name in told}


def test_the_bodies() -> None:
    receivers = [receiver("json", "blocked"), receiver("chat", "blocked", slack=True)]
    sent, _ = send(BLOCKED, receivers, lambda _: httpx.Response(200))
    bodies = {request.url.path.split("-")[0]: json.loads(request.content) for request in sent}
    told = bodies["/json"]
    assert told["summary"]["expired_tags"] == 6
    assert told["problems"] == BLOCKED.lines
    assert told["started_at"] == "2026-03-01T02:00:00Z"
    text = bodies["/chat"]["text"]
    assert text.startswith("reaper: run of main is blocked (run abc)")
    assert "&lt;max_share&gt; &amp; more" in text
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "6 manifests to delete" in text


def test_a_receiver_that_recovers_is_tried_again() -> None:
    answers = iter([httpx.Response(503), httpx.Response(200)])
    sent, outcomes = send(BLOCKED, [receiver("slow", "blocked")], lambda _: next(answers))
    assert len(sent) == 2
    assert outcomes == [("slow", "sent")]


def test_failures_are_bounded_counted_and_keep_the_secret() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if "down" in request.url.path:
            raise httpx.ConnectError(f"cannot reach {request.url}")
        return httpx.Response(404)

    # As `configure_logging` does: the library's own line on each retry holds the error's text.
    hooks = stamina.instrumentation.get_on_retry_hooks()
    stamina.instrumentation.set_on_retry_hooks([])
    with structlog.testing.capture_logs() as logs:
        sent, outcomes = send(BLOCKED, [receiver("down", "blocked"), receiver("gone", "blocked")], answer)
    stamina.instrumentation.set_on_retry_hooks(hooks)
    assert set(outcomes) == {("down", "failed"), ("gone", "failed")}
    assert len(sent) <= 3 + 1
    assert {log["receiver"] for log in logs if log["event"] == "notification_failed"} == {"down", "gone"}
    assert "s3cret" not in str(logs)
    assert "s3cret" not in repr(receiver("down"))
