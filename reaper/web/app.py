"""The web side of the daemon: metrics, health, events from registries, and pages for people."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from reaper.core.errors import InvalidInputError
from reaper.core.manifest import parse_time
from reaper.store import Store, StoreError
from reaper.web.access import EVENTS, Access, Hardened
from reaper.web.pages import Pages, content_security_policy
from reaper.web.receiver import Receiver
from reaper.web.state import DaemonState

_log = structlog.get_logger(__name__)


def build_app(
    state: DaemonState,
    store: Store,
    metrics: Callable[[], tuple[bytes, str]],
    *,
    token: str | None,
    events_secret: str | None,
    clock: Callable[[], datetime],
    on_event: Callable[[str, str, str], None],
) -> Starlette:
    """Return the application.

    ``metrics`` gives the exposition and its content type. ``token`` is what readers have to show for
    everything but health, ``events_secret`` what registries have to send with events (else the token); None:
    nothing. ``on_event`` is told of each event once it is stored: the registry's configured name, the action
    (push, pull, delete) and the outcome (recorded, ignored).
    """
    pages = Pages(state, store, clock)
    receiver = Receiver(state, store, clock=clock, on_event=on_event)

    async def health(_request: Request) -> Response:
        reason = state.dead()
        return PlainTextResponse("ok\n" if reason is None else f"{reason}\n", 200 if reason is None else 503)

    async def ready(_request: Request) -> Response:
        reasons = state.unready()
        if reasons:
            return PlainTextResponse("".join(f"{reason}\n" for reason in reasons), 503)
        # Older settings stay in force, so events and metrics must go on coming here: ready, but not well.
        error = state.status().configuration.error
        return PlainTextResponse("ready\n" if error is None else f"ready, but not reloaded: {error}\n")

    async def exposition(_request: Request) -> Response:
        content, content_type = await asyncio.to_thread(metrics)
        return Response(content, headers={"Content-Type": content_type})

    async def status(request: Request) -> Response:
        return HTMLResponse(await asyncio.to_thread(pages.status, _registry(request, state)))

    async def runs(request: Request) -> Response:
        stated = request.query_params.get("before")
        before = parse_time(stated)
        if stated is not None and before is None:
            raise HTTPException(400, "before is a time, such as 2026-07-01T02:00:00Z")
        return HTMLResponse(await asyncio.to_thread(pages.runs, _registry(request, state), before))

    async def run(request: Request) -> Response:
        stated = request.query_params.get("before", "")
        if stated and not (stated.isascii() and stated.isdecimal() and len(stated) < 19):  # of 64 bits
            raise HTTPException(400, "before is the number of an entry in the journal")
        before = int(stated) if stated else None
        return HTMLResponse(await asyncio.to_thread(pages.run, request.path_params["run"], before))

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        stop = asyncio.Event()
        task = asyncio.create_task(receiver.note_listening(stop), name="listening")
        try:
            yield
        finally:
            stop.set()
            await task

    app = Starlette(
        routes=[
            Route("/healthz", health),
            Route("/livez", health),
            Route("/readyz", ready),
            Route("/metrics", exposition),
            Route(EVENTS, receiver.receive, methods=["POST"]),
            Route(f"{EVENTS}/{{registry:path}}", receiver.receive, methods=["POST"]),
            Route("/", status),
            Route("/runs", runs),
            Route("/runs/{run}", run),
        ],
        middleware=[
            Middleware(Hardened, content_security_policy=content_security_policy()),
            Middleware(Access, token=token, events_secret=events_secret),
        ],
        exception_handlers={
            HTTPException: _failed,
            InvalidInputError: _not_found,
            StoreError: _store_failed,
        },
        lifespan=lifespan,
    )
    # A redirect would go to whatever host the client claims to have asked.
    app.router.redirect_slashes = False
    return app


def _registry(request: Request, state: DaemonState) -> str | None:
    """Return the configured registry that the query names, if it does."""
    name = request.query_params.get("registry")
    if name is not None and name not in state.status().registries:
        raise HTTPException(404, "no registry of this name is configured")
    return name


async def _failed(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return PlainTextResponse(f"{error.status_code}: {error.detail}\n", error.status_code, error.headers)


async def _not_found(_request: Request, error: Exception) -> Response:
    assert isinstance(error, InvalidInputError)
    return PlainTextResponse(f"404: {error.message}\n", 404)


async def _store_failed(_request: Request, error: Exception) -> Response:
    assert isinstance(error, StoreError)
    _log.error("page_failed", error=error.message)
    return PlainTextResponse(f"503: {error.message}\n", 503)
