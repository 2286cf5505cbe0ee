"""The application over a store of its own, asked directly or on a real port."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from reaper.store import Store, open_store
from reaper.web.app import build_app
from reaper.web.server import WebServer
from tests.web.site import NOW, Daemon, daemon

METRICS = (b"# TYPE up gauge\nup 1\n", "text/plain; version=1.0.0; charset=utf-8")


@dataclass
class Site:
    """An application, and all that it works with."""

    store: Store
    state: Daemon = field(default_factory=daemon)
    token: str | None = None
    events_secret: str | None = None
    clock: Callable[[], datetime] = lambda: NOW
    metrics: Callable[[], tuple[bytes, str]] = lambda: METRICS
    events: list[tuple[str, str, str]] = field(default_factory=list)

    def app(self) -> Starlette:
        """Return the application, as the site is now."""
        return build_app(
            self.state,
            self.store,
            self.metrics,
            token=self.token,
            events_secret=self.events_secret,
            clock=self.clock,
            on_event=lambda *event: self.events.append(event),
        )

    def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        """Send one request to the application."""

        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(self.app())
            async with httpx.AsyncClient(transport=transport, base_url="http://reaper") as client:
                return await client.request(method, path, **more)

        return asyncio.run(send())

    def get(self, path: str, **more: Any) -> httpx.Response:
        """Get a page."""
        return self.ask("GET", path, **more)

    @contextmanager
    def serve(self) -> Iterator[str]:
        """Serve the application on a free port, from a thread with a loop of its own; yield its URL."""
        started, stop = threading.Event(), asyncio.Event()
        found: dict[str, Any] = {}

        async def run() -> None:
            async with WebServer(self.app(), "127.0.0.1", 0) as server:
                found.update(url=server.url, loop=asyncio.get_running_loop())
                started.set()
                await stop.wait()

        def work() -> None:
            try:
                asyncio.run(run())
            finally:
                started.set()

        thread = threading.Thread(target=work)
        thread.start()
        try:
            assert started.wait(30)
            yield found["url"]
        finally:
            found["loop"].call_soon_threadsafe(stop.set)
            thread.join(30)
            assert not thread.is_alive()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty store."""
    with open_store(f"sqlite:///{tmp_path}/reaper.db") as opened:
        yield opened


@pytest.fixture
def site(store: Store) -> Site:
    """A site over an empty store."""
    return Site(store)
