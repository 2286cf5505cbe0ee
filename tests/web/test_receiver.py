"""The answers that registries get, and that nothing is answered with 200 before it is stored."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from reaper.store import Store, StoreError, open_store
from reaper.web import receiver
from reaper.web.receiver import MAX_BODY
from tests.web.conftest import Site
from tests.web.messages import ENVELOPE, cloud_event, digest, envelope, notification
from tests.web.site import EDGE, MAIN, NOW

HEADERS = {"Content-Type": ENVELOPE}
A = digest("a")


def send(site: Site, body: bytes, path: str = "/events/main") -> httpx.Response:
    return site.ask("POST", path, content=body, headers=HEADERS)


def test_events_are_stored_for_the_registry_that_the_path_names(site: Site) -> None:
    answer = send(site, envelope(notification("push", tag="v1"), notification()))
    assert (answer.status_code, answer.text) == (200, "ok\n")
    found = site.store.observations.load(MAIN, "team/app")
    assert (found.tags["v1"].digest, found.tags["v1"].pushed_event) == (A, NOW)
    assert found.manifests[A].pulled == NOW
    assert site.store.observations.repositories(EDGE) == []
    assert sorted(site.events) == [("main", "pull", "recorded"), ("main", "push", "recorded")]


def test_zots_events_are_stored(site: Site) -> None:
    headers, body = cloud_event()
    assert site.ask("POST", "/events/edge", content=body, headers=headers).status_code == 200
    assert site.store.observations.load(EDGE, "team/app").tags["v1"].digest == A


def test_without_a_name_there_must_be_one_registry(site: Site) -> None:
    assert send(site, envelope(notification()), "/events").status_code == 404
    site.state.current = replace(site.state.current, registries={"team/main": MAIN})
    assert send(site, envelope(notification()), "/events").status_code == 200
    assert send(site, envelope(notification()), "/events/team/main").status_code == 200
    assert site.events == [("team/main", "pull", "recorded")] * 2


@pytest.mark.parametrize("path", ["/events/other", "/events/", "/events/main/x"])
def test_an_unknown_registry_is_not_found(site: Site, path: str) -> None:
    assert send(site, envelope(notification()), path).status_code == 404
    assert site.store.observations.repositories(MAIN) == []


def test_what_is_no_message_is_refused_with_the_reason(site: Site) -> None:
    for body, reason in ((b"{", "not JSON"), (b"{}", "neither an envelope of events nor a CloudEvent")):
        answer = send(site, body)
        assert (answer.status_code, reason in answer.text) == (400, True)
    assert site.events == []


def test_a_message_of_nothing_new_is_taken(site: Site) -> None:
    """Else distribution would send it again and again, and nothing after it."""
    for body in (envelope(), envelope(notification("delete"), {"strange": True})):
        assert send(site, body).status_code == 200


@pytest.mark.parametrize("stated", [True, False])
def test_a_message_that_is_too_large_is_refused(
    site: Site, stated: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiver, "MAX_BODY", 1000)
    sent = 0

    async def stream() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 1_000_000:
            sent += 100
            yield b" " * 100

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(site.app())
        async with httpx.AsyncClient(transport=transport, base_url="http://reaper") as client:
            content = b" " * 1001 if stated else stream()
            return await client.post("/events/main", content=content, headers=HEADERS)

    assert asyncio.run(ask()).status_code == 413
    assert sent <= 2000
    assert send(site, envelope() + b" " * (1000 - len(envelope()))).status_code == 200


def test_the_largest_message_of_zot_fits() -> None:
    """A manifest of 4 MiB, of which every second byte is escaped."""
    assert MAX_BODY > 2 * 4 * 1024 * 1024 + 4096


def test_a_message_that_does_not_come_in_is_given_up(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiver, "_TIME_TO_SEND", 0.05)

    async def stream() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(site.app())
        async with httpx.AsyncClient(transport=transport, base_url="http://reaper") as client:
            return await client.post("/events/main", content=stream())

    assert asyncio.run(ask()).status_code == 408


def test_a_store_that_fails_is_no_200(site: Site) -> None:
    site.store.close()
    Path(site.store.name).write_bytes(b"not a database" * 100)
    answer = send(site, envelope(notification()))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert "sqlite" not in answer.text.lower()
    assert site.events == []


def test_a_locked_store_is_no_200(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def locked(*_: object, **__: object) -> None:
        raise StoreError("the database is locked by another process")

    monkeypatch.setattr(site.store.events, "record", locked)
    assert send(site, envelope(notification())).status_code == 503


def test_what_was_answered_with_200_is_on_the_disk(site: Site) -> None:
    """Seen by another connection before the answer leaves."""
    seen: list[bool] = []
    app = site.app()

    async def ask() -> None:
        async def watch(message: dict[str, object]) -> None:
            if message["type"] == "http.response.start":
                with open_store(f"sqlite:///{site.store.name}", read_only=True) as other:
                    seen.append(A in other.observations.load(MAIN, "team/app").manifests)

        async def receive() -> dict[str, object]:
            return {"type": "http.request", "body": envelope(notification()), "more_body": False}

        scope = {
            "type": "http",
            "method": "POST",
            "path": "/events/main",
            "headers": [(b"content-type", ENVELOPE.encode())],
            "query_string": b"",
        }
        await app(scope, receive, watch)  # type: ignore[arg-type]  # plain dictionaries

    asyncio.run(ask())
    assert seen == [True]


def test_many_registries_at_once(site: Site) -> None:
    with site.serve() as url:

        def work(number: int) -> None:
            with httpx.Client(base_url=url, trust_env=False) as client:
                for step in range(5):
                    body = envelope(notification("push", tag=f"v{number}-{step}", digest=digest(number)))
                    assert client.post("/events/main", content=body, headers=HEADERS).status_code == 200

        threads = [threading.Thread(target=work, args=(number,)) for number in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert len(site.store.observations.load(MAIN, "team/app").tags) == 50
    assert len(site.events) == 50


def test_it_is_noted_that_somebody_listens(site: Site) -> None:
    send(site, envelope(notification()))
    with site.serve():
        pass
    assert listened(site.store) == NOW.isoformat()


def test_a_failing_store_does_not_end_the_listening(site: Site) -> None:
    site.store.close()
    Path(site.store.name).write_bytes(b"not a database" * 100)
    with site.serve() as url:
        assert httpx.get(f"{url}/healthz", trust_env=False).status_code == 200


def listened(store: Store) -> str | None:
    return store.observations.fact(MAIN, "events_listened_at")
