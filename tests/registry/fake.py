"""A scriptable server on loopback, for faults and bad bytes that no real registry sends on request."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from aiohttp import web
from aiohttp.test_utils import TestServer

from reaper.registry import (
    NOBODY,
    Credentials,
    Observer,
    OneLogin,
    Patience,
    RegistryClient,
    RegistryOptions,
    parse_address,
)

Result = TypeVar("Result")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Fake:
    """What a test sees of the server: its address, and the requests that reached it."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.url = ""

    def paths(self, method: str = "GET") -> list[str]:
        """Return the paths (with their queries) of the requests of one method."""
        return [path for sent, path, _ in self.requests if sent == method]

    def client(
        self,
        *,
        credentials: Credentials | None = None,
        read_only: bool = False,
        attempts: int = 2,
        observer: Observer = NOBODY,
        patience: Patience | None = None,
    ) -> RegistryClient:
        """Return a client for this server."""
        return RegistryClient(
            RegistryOptions(
                parse_address(self.url),
                logins=OneLogin(credentials),
                read_only=read_only,
                attempts=attempts,
                observer=observer,
                patience=patience or Patience(),
            )
        )


def with_fake(handler: Handler, work: Callable[[Fake], Coroutine[Any, Any, Result]]) -> Result:
    """Serve every request with ``handler`` while ``work`` runs, and return what it returns."""
    fake = Fake()

    async def answer(request: web.Request) -> web.StreamResponse:
        fake.requests.append((request.method, request.path_qs, dict(request.headers)))
        return await handler(request)

    async def run() -> Result:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", answer)
        async with TestServer(app, host="127.0.0.1") as server:
            fake.url = f"http://127.0.0.1:{server.port}"
            return await work(fake)

    return asyncio.run(run())
