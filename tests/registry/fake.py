"""A scriptable server on loopback, for faults and bad bytes that no real registry sends on request."""

from __future__ import annotations

import asyncio
import ssl
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
    TLSOptions,
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
        tls: TLSOptions | None = None,
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
                tls=tls or TLSOptions(),
            )
        )


def with_fake(
    handler: Handler,
    work: Callable[[Fake], Coroutine[Any, Any, Result]],
    *,
    tls: ssl.SSLContext | None = None,
) -> Result:
    """Serve every request with ``handler`` while ``work`` runs, and return what it returns."""
    fake = Fake()

    async def answer(request: web.Request) -> web.StreamResponse:
        fake.requests.append((request.method, request.path_qs, dict(request.headers)))
        return await handler(request)

    async def run() -> Result:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", answer)
        server = TestServer(app, host="127.0.0.1")
        await server.start_server(ssl=tls)
        try:
            fake.url = f"http{'s' if tls else ''}://127.0.0.1:{server.port}"
            return await work(fake)
        finally:
            await server.close()

    return asyncio.run(run())
