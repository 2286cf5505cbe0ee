"""The web side of the daemon: metrics, health, events from registries, and pages for people."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from reaper.store import Store
from reaper.web.state import DaemonState

Endpoint = Callable[[Request], Response]


def build_app(
    state: DaemonState,
    store: Store,
    metrics: Callable[[], tuple[bytes, str]],
    *,
    token: str | None,
    events_secret: str | None,
    clock: Callable[[], datetime],
    on_event: Callable[[str, str, int], None],
) -> Starlette:
    """Return the application.

    ``metrics`` gives the exposition and its content type. ``token`` is what readers have to show for
    everything but health, ``events_secret`` what registries have to send with events; None: nothing.
    ``on_event`` is told a registry's name, what its events were (push, pull, ignored), and how many.
    """
    del store, token, events_secret, clock, on_event

    def health(_request: Request) -> Response:
        reason = state.dead()
        return PlainTextResponse("ok\n" if reason is None else f"{reason}\n", 200 if reason is None else 503)

    def ready(_request: Request) -> Response:
        reasons = state.unready()
        text = "".join(f"{reason}\n" for reason in reasons) or "ready\n"
        return PlainTextResponse(text, 503 if reasons else 200)

    def exposition(_request: Request) -> Response:
        content, content_type = metrics()
        return Response(content, headers={"Content-Type": content_type})

    return Starlette(
        routes=[
            Route("/healthz", health),
            Route("/livez", health),
            Route("/readyz", ready),
            Route("/metrics", exposition),
        ]
    )
