"""Collections by somebody else, on request: each step is a POST. docs/collection.md has the contract."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal
from urllib.parse import urljoin, urlsplit

import httpx

from reaper.collect.base import Capabilities, Collected, CollectError, Progress, Tally
from reaper.collect.output import OutputParser
from reaper.collect.sizes import BlobSize, unknown_size
from reaper.process import uninterrupted

Step = Literal["collect", "read-only-on", "read-only-off", "restart"]

_VERSION: Final = 1
_TIMEOUT: Final = 30.0
_ATTEMPTS: Final = 3
_MAX_ANSWER: Final = 16 * 1024 * 1024
_LONGEST_PAUSE: Final = 60.0
_STATES: Final = ("running", "done", "failed")


@dataclass(frozen=True, slots=True)
class _Answer:
    """What the receiver says of a step. ``where``: where to ask again while it is running."""

    state: str
    said: Mapping[str, Any]
    where: str | None = None
    pause: float | None = None

    @property
    def message(self) -> str:
        found = self.said.get("message")
        return found if isinstance(found, str) and found else "no message"


class WebhookCollector:
    """Asks a receiver for each step. See Collector.

    Arguments:
        url: where each step is POSTed to.
        registry: the registry's URL, for the receiver to know it by.
        token: returns what is sent as a bearer token, if anything; a ReaperError when it cannot be read.
        read_only, restart, dry_run: what the receiver can do besides collecting.
        timeout: how long the collector may take, in seconds.
        step_timeout: how long each other step may take, in seconds.
        poll: how long to wait between two questions, in seconds, unless the receiver says it.
        blob_size: where the sizes of removed blobs come from, where the receiver shows a log alone.
    """

    via = "webhook"

    def __init__(
        self,
        url: str,
        *,
        registry: str,
        token: Callable[[], str | None] = lambda: None,
        read_only: bool = True,
        restart: bool = True,
        dry_run: bool = True,
        timeout: float = 6 * 3600.0,
        step_timeout: float = 600.0,
        poll: float = 2.0,
        blob_size: BlobSize = unknown_size,
    ) -> None:
        self._url = url
        self._registry = registry
        self._token = token
        self._timeout = timeout
        self._step_timeout = step_timeout
        self._poll = poll
        self._blob_size = blob_size
        # A collector whose end was not seen: nothing may be made writable before it is.
        self._unended: str | None = None
        self.capabilities = Capabilities(read_only=read_only, restart=restart, dry_run=dry_run)

    async def check(self) -> None:
        """Refuse a token that cannot be read. Raises ReaperError."""
        self._token()

    async def collect(self, *, dry_run: bool, on_progress: Progress) -> Collected:
        """Have the registry collected. One that is given up on is asked to end, and waited for.

        Raises:
            CollectError: it failed, or took too long.
        """

        def on_answer(answer: _Answer) -> None:
            on_progress(self._reported(answer).tally)

        answer = await self._step("collect", limit=self._timeout, dry_run=dry_run, on_answer=on_answer)
        found = self._reported(answer)
        if answer.state == "failed" and not found.empty_storage:
            raise CollectError(f"the receiver's collector failed: {answer.message}")
        return found

    async def read_only_on(self) -> None:
        """Have the registry made read-only. Raises CollectError."""
        await self._switch("read-only-on")

    async def read_only_off(self) -> None:
        """Have the registry made writable. Raises CollectError."""
        await self._see_the_end()
        await self._switch("read-only-off")

    async def restart(self) -> None:
        """Have the registry restarted. Raises CollectError."""
        await self._see_the_end()
        await self._switch("restart")

    async def _switch(self, step: Step) -> None:
        answer = await self._step(step, limit=self._step_timeout)
        if answer.state == "failed":
            raise CollectError(f"the receiver failed at {step}: {answer.message}")

    async def _step(
        self,
        step: Step,
        *,
        limit: float,
        dry_run: bool = False,
        on_answer: Callable[[_Answer], None] = lambda _answer: None,
    ) -> _Answer:
        """Ask for a step and wait for its end, at most ``limit`` seconds."""
        asked = {
            "version": _VERSION,
            "id": secrets.token_hex(16),
            "step": step,
            "registry": self._registry,
            "dry_run": dry_run,
        }
        where: str | None = None
        async with self._client() as client:
            try:
                async with asyncio.timeout(limit):
                    answer = await self._ask(client, "POST", self._url, asked)
                    while answer.state == "running":
                        where = _where(answer, where)
                        on_answer(answer)
                        pause = self._poll if answer.pause is None else answer.pause
                        await asyncio.sleep(min(pause, _LONGEST_PAUSE))
                        answer = await self._ask(client, "GET", where)
                    on_answer(answer)
                    return answer
            except TimeoutError as error:
                await self._give_up(client, step, where, dry_run=dry_run)
                raise CollectError(f"the receiver's {step} took longer than {limit:g} seconds") from error
            except (CollectError, asyncio.CancelledError):
                await self._give_up(client, step, where, dry_run=dry_run)
                raise

    async def _give_up(
        self, client: httpx.AsyncClient, step: Step, where: str | None, *, dry_run: bool
    ) -> None:
        """Ask a collector to end; note it when it is not known to have."""
        if step != "collect" or dry_run or where is None:
            return
        self._unended = where
        await uninterrupted(self._end(client, where))

    async def _end(self, client: httpx.AsyncClient, where: str) -> None:
        try:
            async with asyncio.timeout(self._step_timeout):
                answer = await self._ask(client, "DELETE", where)
                while answer.state == "running":
                    await asyncio.sleep(self._poll)
                    answer = await self._ask(client, "GET", where)
        except (TimeoutError, CollectError):
            return
        self._unended = None

    async def _see_the_end(self) -> None:
        """Refuse to go on while a collector may run."""
        if self._unended is None:
            return
        async with self._client() as client:
            await uninterrupted(self._end(client, self._unended))
        if self._unended is not None:
            raise CollectError("the receiver does not say that its collector has ended")

    async def _ask(
        self, client: httpx.AsyncClient, method: str, url: str, body: Mapping[str, Any] | None = None
    ) -> _Answer:
        """Send a request, again when it is not answered: the id tells the receiver that it is the same."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                limits = httpx.Timeout(_TIMEOUT, read=None if method == "POST" else _TIMEOUT)
                async with client.stream(method, url, json=body, timeout=limits) as answer:
                    content = await _read(answer)
            except httpx.TransportError as error:
                problem = str(error) or type(error).__name__
            else:
                if answer.status_code < 500 and answer.status_code != httpx.codes.TOO_MANY_REQUESTS:
                    return self._understood(method, answer, content)
                problem = f"it answered {answer.status_code}"
            if attempt < _ATTEMPTS:
                await asyncio.sleep(self._poll)
        raise CollectError(f"the receiver at {_host(url)} cannot be asked: {problem}")

    def _understood(self, method: str, answer: httpx.Response, content: bytes) -> _Answer:
        if answer.status_code == httpx.codes.NO_CONTENT:
            return _Answer("done", {})
        if method == "DELETE" and answer.status_code in (httpx.codes.NOT_FOUND, httpx.codes.GONE):
            return _Answer("done", {})
        if not answer.is_success:
            raise CollectError(f"the receiver at {_host(self._url)} answered {answer.status_code}")
        if answer.status_code == httpx.codes.ACCEPTED and not content.strip():
            said: Any = {"state": "running"}
        else:
            try:
                said = json.loads(content)
            except ValueError:
                said = None
        if not isinstance(said, dict) or said.get("state") not in _STATES:
            raise CollectError(f"the receiver's answer has no state that is one of {', '.join(_STATES)}")
        pause = answer.headers.get("Retry-After", "")
        return _Answer(
            said["state"],
            said,
            self._location(answer.headers.get("Location")),
            float(pause) if pause.isdecimal() else None,
        )

    def _location(self, location: str | None) -> str | None:
        """Return where to ask again: at the receiver itself, since the token goes there."""
        if location is None:
            return None
        found = urljoin(self._url, location)
        if (urlsplit(found).scheme, urlsplit(found).netloc) != (
            urlsplit(self._url).scheme,
            urlsplit(self._url).netloc,
        ):
            raise CollectError("the receiver sends on to another server, which is not asked")
        return found

    def _reported(self, answer: _Answer) -> Collected:
        """Return what the receiver says was collected: as figures, or as the collector's output."""
        parser = OutputParser(self._blob_size)
        log = answer.said.get("log")
        if isinstance(log, str):
            parser.feed(log.encode())
            parser.finish()
        tally = parser.tally
        blobs, size = (_figure(answer.said, key) for key in ("blobs", "bytes"))
        if blobs is not None:
            tally = Tally(
                repositories=tally.repositories,
                marked=tally.marked,
                blobs=blobs,
                size=tally.size if size is None else size,
                unsized=blobs if size is None else 0,
                manifests=_figure(answer.said, "manifests") or 0,
                expected=blobs if answer.state == "done" else tally.expected,
            )
        elif size is not None:
            tally = replace(tally, size=size, unsized=0)
        return Collected(tally, empty_storage=parser.empty_storage)

    def _client(self) -> httpx.AsyncClient:
        token = self._token()
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        return httpx.AsyncClient(headers=headers, follow_redirects=False)


def _where(answer: _Answer, before: str | None) -> str:
    """Return where to ask for a step's progress."""
    if answer.where is None and before is None:
        raise CollectError("the receiver does not say where to ask for its progress")
    return answer.where or before or ""


async def _read(answer: httpx.Response) -> bytes:
    content = bytearray()
    async for piece in answer.aiter_bytes():
        content += piece
        if len(content) > _MAX_ANSWER:
            raise CollectError(f"the receiver's answer is larger than {_MAX_ANSWER} bytes")
    return bytes(content)


def _figure(said: Mapping[str, Any], key: str) -> int | None:
    found = said.get(key)
    if found is None:
        return None
    if not isinstance(found, int) or isinstance(found, bool) or found < 0:
        raise CollectError(f"the receiver's {key} is no number of them")
    return found


def _host(url: str) -> str:
    """Return what a message may say of a URL: its path may be a secret."""
    return urlsplit(url).netloc
