"""A proxy before a real registry: what reaper sends can be seen, answered otherwise, or cut off."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from http.client import HTTPException

from aiohttp import web

from devtools.pusher import Answer, Pusher

_ANY_STATUS = set(range(100, 600))
_NOT_PASSED_ON = {"connection", "content-length", "keep-alive", "transfer-encoding"}

Before = Callable[[web.Request], Awaitable[web.StreamResponse | None]]
After = Callable[[web.Request, Answer], Awaitable[web.StreamResponse | None]]


async def _pass(*_: object) -> None:
    return None


class Proxy:
    """Passes requests on to ``upstream``; a handler for `tests.registry.fake.with_fake`.

    ``before`` sees each request, ``after`` each with its answer; what they return is answered instead.
    """

    def __init__(self, upstream: str) -> None:
        self._pusher = Pusher(upstream)
        self.before: Before = _pass
        self.after: After = _pass

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        instead = await self.before(request)
        if instead is not None:
            return instead
        body = await request.read()
        headers = {name: value for name, value in request.headers.items() if _is_passed_on(name)}
        try:
            answer = await asyncio.to_thread(
                self._pusher.request, request.method, request.path_qs, _ANY_STATUS, body or None, headers
            )
        except (OSError, HTTPException):
            return hang_up(request)
        instead = await self.after(request, answer)
        if instead is not None:
            return instead
        kept = {name: value for name, value in answer.headers.items() if _is_passed_on(name)}
        if request.method == "HEAD":
            kept["Content-Length"] = answer.headers.get("content-length", "0")
        return web.Response(status=answer.status, headers=kept, body=answer.body or None)


def _is_passed_on(name: str) -> bool:
    return name.lower() not in _NOT_PASSED_ON


def hang_up(request: web.Request) -> web.StreamResponse:
    """End the connection instead of answering."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()
