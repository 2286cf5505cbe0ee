"""A proxy on loopback before a real registry that breaks chosen requests, down to bytes on the wire."""

from __future__ import annotations

import dataclasses
import http.client
import json
import re
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

_TIMEOUT = 60.0
_POLL = 0.02
_HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding"})
#: With it, closing a socket sends a reset: what was written and not yet read is lost.
_RESET = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it came; `path` has the query with it, header names are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Answer:
    """A response. Without a ``Content-Length`` of its own it is sent with that of the body."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    def having(self, **headers: str | None) -> Answer:
        """The answer with these headers (``_`` stands for ``-``), without those that are None."""
        changed = {name.replace("_", "-").lower(): value for name, value in headers.items()}
        kept = {name: value for name, value in self.headers.items() if name.lower() not in changed}
        added = {name: value for name, value in changed.items() if value is not None}
        return dataclasses.replace(self, headers={**kept, **added})

    def saying(self, body: bytes) -> Answer:
        """The answer with another body, and the length of that one."""
        return dataclasses.replace(self.having(content_length=None), body=body)


class Exchange:
    """One request on its way: a fault sends what it likes, or hangs up."""

    def __init__(self, proxy: FaultProxy, handler: _Handler, request: Request) -> None:
        self.proxy = proxy
        self.request = request
        self._handler = handler

    def upstream(self) -> Answer:
        """What the registry itself answers."""
        return self._handler.ask(self.request)

    def send(self, answer: Answer, *, only: int | None = None, pause: float = 0.0) -> None:
        """Send an answer, or the first `only` bytes of its body; with a `pause`, byte by byte."""
        length = {} if _has(answer.headers, "content-length") else {"Content-Length": str(len(answer.body))}
        lines = [f"HTTP/1.1 {answer.status} {http.client.responses.get(answer.status, 'Unknown')}"]
        lines += [f"{name}: {value}" for name, value in {**answer.headers, **length}.items()]
        head = "\r\n".join([*lines, "", ""]).encode("utf-8", errors="surrogateescape")
        body = b"" if self.request.method == "HEAD" else answer.body[:only]
        if not pause:
            self._handler.wfile.write(head + body)
            return
        self._handler.wfile.write(head)
        for byte in body:
            if self._handler.is_over(pause):
                return
            self._handler.wfile.write(bytes([byte]))

    def hang_up(self, *, reset: bool = True) -> None:
        """End the connection: with a reset, or as if the answer were complete."""
        self._handler.close_connection = True
        if reset:
            self._handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        else:
            self._handler.connection.shutdown(socket.SHUT_RDWR)

    def wait_for_the_client(self) -> None:
        """Say nothing more until the client gives up, or the proxy ends."""
        self._handler.close_connection = True
        while not self._handler.is_over(_TIMEOUT):
            pass


Fault = Callable[[Exchange], None]


def answer(status: int, body: bytes = b"", **headers: str) -> Fault:
    """Answer so instead of asking the registry; ``_`` in a header's name stands for ``-``."""
    return lambda exchange: exchange.send(Answer(status).having(**headers).saying(body))


def edit(change: Callable[[Answer], Answer]) -> Fault:
    """Send the registry's answer, changed."""
    return lambda exchange: exchange.send(change(exchange.upstream()))


def edit_names(key: str, change: Callable[[list[str]], list[str]]) -> Fault:
    """Change the names that a listing (``repositories``, ``tags``) has under `key`."""

    def edited(real: Answer) -> Answer:
        document: dict[str, Any] = json.loads(real.body)
        return real.saying(json.dumps(document | {key: change(document[key] or [])}).encode())

    return edit(edited)


def hang_up(exchange: Exchange) -> None:
    """Reset the connection instead of answering."""
    exchange.hang_up()


def lose_answer(exchange: Exchange) -> None:
    """Let the registry do what is asked, and reset the connection instead of telling."""
    exchange.upstream()
    exchange.hang_up()


def cut(exchange: Exchange) -> None:
    """Reset the connection in the middle of the body."""
    real = exchange.upstream()
    exchange.send(real, only=len(real.body) // 2)
    exchange.hang_up()


def truncate(exchange: Exchange) -> None:
    """Promise more than the body has, and end the connection as if that were all."""
    real = exchange.upstream()
    exchange.send(real.having(content_length=str(len(real.body) + 100)))
    exchange.hang_up(reset=False)


def stall(exchange: Exchange) -> None:
    """Send half of the body, and then nothing more."""
    real = exchange.upstream()
    exchange.send(real, only=len(real.body) // 2)
    exchange.wait_for_the_client()


def mute(exchange: Exchange) -> None:
    """Never answer at all."""
    exchange.wait_for_the_client()


def drip(pause: float) -> Fault:
    """Send the body byte by byte, each `pause` seconds after the other: no single wait is long."""
    return lambda exchange: exchange.send(exchange.upstream(), pause=pause)


def slow(seconds: float) -> Fault:
    """Answer correctly, after so many seconds."""

    def fault(exchange: Exchange) -> None:
        time.sleep(seconds)
        exchange.send(exchange.upstream())

    return fault


def vanish(exchange: Exchange) -> None:
    """Stop listening, so that connections are refused from now on, and end those that stand."""
    exchange.proxy.stop_listening()
    exchange.hang_up()


@dataclass
class _Rule:
    fault: Fault
    method: re.Pattern[str]
    path: re.Pattern[str]
    nth: Collection[int] | None
    met: int = 0


class FaultProxy:
    """Passes requests on to the registry at `upstream`, apart from those that a rule breaks.

    A context manager; its threads end with it. The registry sees the proxy's own address as ``Host``, so
    the links in its answers lead here.
    """

    def __init__(self, upstream: str) -> None:
        self._host = urlsplit(upstream).netloc
        self._lock = threading.Lock()
        self._rules: list[_Rule] = []
        self._requests: list[Request] = []
        self._closing = threading.Event()
        proxy = self

        class Handler(_Handler):
            owner = proxy

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": _POLL})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop_listening()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        """Where the proxy answers, without ``/v2/``."""
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def upstream_host(self) -> str:
        """The registry's own host and port."""
        return self._host

    @property
    def closing(self) -> bool:
        """Whether the proxy takes no more requests."""
        return self._closing.is_set()

    def inject(
        self, fault: Fault, method: str = ".*", path: str = ".*", *, nth: int | Collection[int] | None = None
    ) -> None:
        """Break requests whose method and path match these patterns as a whole.

        `nth` names which of the matching requests, counted from 1; without it, all. The path is compared
        without its query. Of several rules the one that came last goes first.
        """
        which = (nth,) if isinstance(nth, int) else nth
        with self._lock:
            self._rules.insert(0, _Rule(fault, re.compile(method), re.compile(path), which))

    def heal(self) -> None:
        """Drop all rules, and forget the requests."""
        with self._lock:
            self._rules.clear()
            self._requests.clear()

    def requests(self, method: str = ".*", path: str = ".*") -> list[Request]:
        """The requests so far whose method and path (without the query) match these patterns."""
        with self._lock:
            return [each for each in self._requests if _matches(each, re.compile(method), re.compile(path))]

    def stop_listening(self) -> None:
        """Refuse every connection from now on, and end those that wait for a request."""
        self._closing.set()
        self._server.shutdown()
        self._server.socket.close()

    def note(self, request: Request) -> Fault | None:
        """Record a request, and return what is to become of it; None: it is passed on."""
        with self._lock:
            self._requests.append(request)
            chosen = None
            for rule in self._rules:
                if _matches(request, rule.method, rule.path):
                    rule.met += 1
                    if chosen is None and (rule.nth is None or rule.met in rule.nth):
                        chosen = rule.fault
            return chosen


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 128

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, client = super().get_request()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection, client

    def shutdown_request(self, request: Any) -> None:
        """Close without a shutdown, which would come before the reset."""
        self.close_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that is gone is what many a fault is about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    owner: FaultProxy

    def setup(self) -> None:
        super().setup()
        self._upstream = http.client.HTTPConnection(self.owner.upstream_host, timeout=_TIMEOUT)

    def finish(self) -> None:
        self._upstream.close()
        try:
            super().finish()
        except OSError:
            self.wfile.close()

    def handle_one_request(self) -> None:
        # Kept connections must not keep the proxy from ending.
        ready = False
        while not ready and not self.owner.closing:
            ready = bool(select.select([self.connection], [], [], _POLL)[0])
        if self.owner.closing:
            self.close_connection = True
        else:
            super().handle_one_request()

    def is_over(self, seconds: float) -> bool:
        """Wait so long; True as soon as the client is gone, or the proxy ends."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if self.owner.closing:
                return True
            if select.select([self.connection], [], [], min(left, _POLL))[0]:
                return not self.connection.recv(1, socket.MSG_PEEK)
        return False

    def ask(self, request: Request) -> Answer:
        connection = self._upstream
        connection.putrequest(request.method, request.path, skip_host=True, skip_accept_encoding=True)
        for name, value in request.headers.items():
            if name not in _HOP_BY_HOP:
                connection.putheader(name, value)
        connection.endheaders(request.body or None)
        response = connection.getresponse()
        body = response.read()
        kept = {name: value for name, value in response.getheaders() if name.lower() not in _HOP_BY_HOP}
        return Answer(response.status, kept, body)

    def _serve(self) -> None:
        length = int(self.headers.get("Content-Length", "0"))
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, self.path, headers, self.rfile.read(length))
        exchange = Exchange(self.owner, self, request)
        fault = self.owner.note(request)
        if fault is None:
            exchange.send(exchange.upstream())
        else:
            fault(exchange)

    do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = _serve  # noqa: N815 - http.server's names

    def log_message(self, *_args: object) -> None:
        """Keep quiet."""


def _has(headers: Mapping[str, str], name: str) -> bool:
    return any(known.lower() == name for known in headers)


def _matches(request: Request, method: re.Pattern[str], path: re.Pattern[str]) -> bool:
    return bool(method.fullmatch(request.method) and path.fullmatch(request.path.partition("?")[0]))
