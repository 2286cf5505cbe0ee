"""Takes the events that registries send: on the disk first, then answered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final

import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response

from reaper.core.errors import InvalidInputError, ReaperError
from reaper.store import Store, StoreError
from reaper.web.notifications import Message, parse_message
from reaper.web.state import DaemonState

#: More than any message: zot's carries a manifest, as text in JSON, of 4 MiB at the most.
MAX_BODY: Final = 16 * 1024 * 1024
#: So many messages are read at once, which bounds what they take in memory; the others wait.
_AT_ONCE: Final = 8
#: How long, in seconds, a message may take to come in.
_TIME_TO_SEND: Final = 30.0
#: How often, in seconds, it is noted that somebody listens.
_LISTENING_EVERY: Final = 60.0

_log = structlog.get_logger(__name__)


class _RefusedError(ReaperError):
    """The message is not taken."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Receiver:
    """What ``/events`` does."""

    def __init__(
        self,
        state: DaemonState,
        store: Store,
        *,
        clock: Callable[[], datetime],
        on_event: Callable[[str, str, str], None],
    ) -> None:
        self._state = state
        self._store = store
        self._clock = clock
        self._on_event = on_event
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def receive(self, request: Request) -> Response:
        """Remember what a message tells. Answered with 200 once it cannot be lost any more.

        503 asks the registry to send the message again, 400, 408 and 413 say why it is not taken.
        """
        try:
            name, url = self._registry(request.path_params.get("registry"))
            async with self._turns:
                body = await _read(request)
                message = await asyncio.to_thread(self._take, body, dict(request.headers), url)
        except _RefusedError as error:
            _log.warning("events_refused", reason=error.message, status=error.status)
            return PlainTextResponse(f"{error.message}\n", error.status)
        except InvalidInputError as error:
            _log.warning("events_refused", reason=error.message, status=400)
            return PlainTextResponse(f"{error.message}\n", 400)
        except StoreError as error:
            _log.error("events_not_stored", error=error.message)
            return PlainTextResponse("the events could not be stored\n", 503, {"Retry-After": "5"})
        for (action, outcome), count in message.counts.items():
            for _ in range(count):
                self._on_event(name, action, outcome)
        return PlainTextResponse("ok\n")

    async def note_listening(self, stop: asyncio.Event) -> None:
        """Note now and then that events are being received, until ``stop`` is set."""
        while not stop.is_set():
            urls = list(self._state.status().registries.values())
            try:
                await asyncio.to_thread(self._store.events.listening, urls, self._clock())
            except StoreError as error:
                _log.warning("listening_not_noted", error=error.message)
            try:
                await asyncio.wait_for(stop.wait(), _LISTENING_EVERY)
            except TimeoutError:
                continue

    def _registry(self, name: str | None) -> tuple[str, str]:
        """Return the name and the URL of the registry that sends."""
        registries = self._state.status().registries
        if name is None:
            if len(registries) != 1:
                raise _RefusedError(404, "several registries are configured: send to /events/NAME")
            name = next(iter(registries))
        if name not in registries:
            raise _RefusedError(404, "no registry of this name is configured")
        return name, registries[name]

    def _take(self, body: bytes, headers: Mapping[str, str], url: str) -> Message:
        now = self._clock()
        message = parse_message(body, headers, now)
        self._store.events.record(url, message.events, now, pulls_heard=message.pulls_heard)
        return message


async def _read(request: Request) -> bytes:
    too_large = f"the message is larger than {MAX_BODY:,} bytes"
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > MAX_BODY:
        raise _RefusedError(413, too_large)
    body = bytearray()
    try:
        async with asyncio.timeout(_TIME_TO_SEND):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BODY:
                    raise _RefusedError(413, too_large)
    except TimeoutError as error:
        raise _RefusedError(408, "the message did not come in in time") from error
    except ClientDisconnect as error:
        raise _RefusedError(400, "the message ended too early") from error
    return bytes(body)
