"""The observer is told of each request, each retry and its cause, throttling, and token fetches."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest
from aiohttp import web

from reaper.observe.metrics import Metrics
from reaper.registry import (
    AuthenticationError,
    Credentials,
    Observer,
    RegistryClient,
    RegistryError,
    RegistryOptions,
    parse_address,
)
from tests.registry.fake import Fake, with_fake


class Notes:
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.responses: list[tuple[str, int]] = []
        self.seconds: list[float] = []
        self.retries: list[str] = []
        self.pauses: list[float] = []
        self.tokens: list[str] = []

    def response(self, method: str, status: int, seconds: float) -> None:
        self.responses.append((method, status))
        self.seconds.append(seconds)

    def retried(self, cause: str) -> None:
        self.retries.append(cause)

    def throttled(self, seconds: float) -> None:
        self.pauses.append(seconds)

    def token_fetched(self, outcome: str) -> None:
        self.tokens.append(outcome)


def listing() -> web.StreamResponse:
    return web.json_response({"tags": ["v1"]})


def watch(answers: Iterator[web.StreamResponse], *, attempts: int = 4) -> Notes:
    """Ask for a repository's tags; the server gives ``answers`` one after the other."""
    notes = Notes()

    async def handler(request: web.Request) -> web.StreamResponse:
        del request
        return next(answers)

    async def work(fake: Fake) -> None:
        async with fake.client(attempts=attempts, observer=notes) as client:
            try:
                await client.tags("a")
            except RegistryError:
                return

    with_fake(handler, work)
    assert all(seconds >= 0 for seconds in notes.seconds)
    return notes


def test_the_daemons_metrics_fit() -> None:
    observer: Observer = Metrics(version="1").registry("main")
    observer.response("GET", 200, 0.1)


def test_a_request_that_succeeds_at_once_is_no_retry() -> None:
    notes = watch(iter([listing()]))
    assert notes.responses == [("GET", 200)]
    assert (notes.retries, notes.pauses, notes.tokens) == ([], [], [])


def test_each_retry_is_told_with_its_cause() -> None:
    notes = watch(
        iter(
            [
                web.Response(status=429, headers={"Retry-After": "0"}),
                web.Response(status=503),
                web.Response(status=500),
                listing(),
            ]
        )
    )
    assert notes.responses == [("GET", 429), ("GET", 503), ("GET", 500), ("GET", 200)]
    assert notes.retries == ["throttled", "server_error", "server_error"]
    assert notes.pauses == [0.0, 0.0]


def test_giving_up_is_no_retry() -> None:
    notes = watch(iter([web.Response(status=500), web.Response(status=500)]), attempts=2)
    assert notes.responses == [("GET", 500), ("GET", 500)]
    assert notes.retries == ["server_error"]


def test_the_pause_that_is_asked_for_is_told_even_when_it_is_too_long_to_wait() -> None:
    notes = watch(iter([web.Response(status=429, headers={"Retry-After": "3600"})]))
    assert notes.pauses == [3600.0]
    assert notes.retries == []


def test_no_answer_is_told_as_status_0() -> None:
    notes = Notes()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, and never listening: every connection is refused
        address = parse_address(f"http://127.0.0.1:{taken.getsockname()[1]}")

        async def ask() -> None:
            async with RegistryClient(RegistryOptions(address, attempts=2, observer=notes)) as client:
                with pytest.raises(RegistryError):
                    await client.tags("a")

        asyncio.run(ask())
    assert notes.responses == [("GET", 0), ("GET", 0)]
    assert notes.retries == ["unreachable"]


@pytest.mark.parametrize(("status", "outcomes"), [(200, ["done"]), (401, ["refused"]), (404, ["failed"])])
def test_the_token_servers_answer_is_told(status: int, outcomes: list[str]) -> None:
    notes = Notes()

    async def handler(request: web.Request) -> web.StreamResponse:
        if request.path == "/token":
            return web.json_response({"token": "t"}, status=status)
        if request.headers.get("Authorization") == "Bearer t":
            return listing()
        challenge = f'Bearer realm="{request.url.origin()}/token",service="reg"'
        return web.Response(status=401, headers={"WWW-Authenticate": challenge})

    async def work(fake: Fake) -> list[str] | None:
        credentials = Credentials("test", "me", "hunter2")
        async with fake.client(credentials=credentials, attempts=1, observer=notes) as client:
            try:
                return await client.tags("a")
            except AuthenticationError:
                return None
            except RegistryError:
                return []

    assert with_fake(handler, work) == {200: ["v1"], 401: None, 404: []}[status]
    assert notes.tokens == outcomes
    # What the token server answers is no answer of the registry.
    assert notes.responses == [("GET", 401), ("GET", 200)][: 2 if status == 200 else 1]
