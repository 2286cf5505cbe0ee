"""A forward proxy on loopback, as ``HTTP_PROXY`` and ``HTTPS_PROXY`` name one: plain requests and CONNECT."""

from __future__ import annotations

import base64
import http.client
import select
import socket
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import NamedTuple, Self
from urllib.parse import urlsplit

_TIMEOUT = 30.0
_POLL = 0.02
_HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length"})
_PROXY_HEADERS = frozenset({"proxy-authorization", "proxy-connection"})


class Passed(NamedTuple):
    """What the proxy was asked for, what login it was shown, and the request's headers."""

    method: str
    target: str
    authorization: str | None
    headers: Mapping[str, str]


class ForwardProxy:
    """Leads to the hosts of ``routes`` (``HOST:PORT``, each at an address), and to no other.

    With a ``login`` it asks for that user and password. A context manager; its threads end with it.
    """

    def __init__(self, routes: Mapping[str, str], *, login: tuple[str, str] | None = None) -> None:
        self.routes = dict(routes)
        #: Everything that was asked, in order.
        self.passed: list[Passed] = []
        self.closing = threading.Event()
        self._wanted = None
        if login is not None:
            self._wanted = "Basic " + base64.b64encode(":".join(login).encode()).decode()
        proxy = self

        class Handler(_Handler):
            owner = proxy

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = False
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": _POLL})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def host(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self._server.server_port}"

    def lets_in(self, authorization: str | None) -> bool:
        """Tell whether this is the login that is asked for."""
        return self._wanted is None or authorization == self._wanted


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    owner: ForwardProxy

    def _admit(self, host: str) -> str | None:
        """Return the address behind ``host``, or refuse."""
        authorization = self.headers.get("Proxy-Authorization")
        self.owner.passed.append(Passed(self.command, self.path, authorization, dict(self.headers)))
        if not self.owner.lets_in(authorization):
            self._refuse(407)
            return None
        address = self.owner.routes.get(host)
        if address is None:
            self._refuse(502)
        return address

    def _refuse(self, status: int) -> None:
        self.close_connection = True
        self.send_response(status)
        if status == 407:
            self.send_header("Proxy-Authenticate", 'Basic realm="proxy"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_CONNECT(self) -> None:
        self.close_connection = True
        address = self._admit(self.path)
        if address is None:
            return
        host, _, port = address.rpartition(":")
        with socket.create_connection((host, int(port)), timeout=_TIMEOUT) as upstream:
            self.send_response(200)
            self.end_headers()
            self._shovel(upstream)

    def _shovel(self, upstream: socket.socket) -> None:
        ends = {self.connection: upstream, upstream: self.connection}
        while not self.owner.closing.is_set():
            for ready in select.select(list(ends), [], [], _POLL)[0]:
                try:
                    data = ready.recv(65536)
                    ends[ready].sendall(data)
                except OSError:
                    return
                if not data:
                    return

    def _forward(self) -> None:
        parts = urlsplit(self.path)
        address = self._admit(parts.netloc if parts.port else f"{parts.netloc}:80")
        if address is None:
            return
        length = int(self.headers.get("Content-Length", "0"))
        headers = {k: v for k, v in self.headers.items() if k.lower() not in _HOP_BY_HOP | _PROXY_HEADERS}
        upstream = http.client.HTTPConnection(address, timeout=_TIMEOUT)
        try:
            path = f"{parts.path}?{parts.query}" if parts.query else parts.path
            upstream.request(self.command, path, body=self.rfile.read(length) or None, headers=headers)
            answer = upstream.getresponse()
            body = answer.read()
        finally:
            upstream.close()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in _HOP_BY_HOP:
                self.send_header(name, value)
        said = answer.getheader("Content-Length", "0") if self.command == "HEAD" else str(len(body))
        self.send_header("Content-Length", said)
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _forward  # noqa: N815 - http.server's own names

    def handle_one_request(self) -> None:
        # Kept connections must not keep the proxy from ending.
        while not self.owner.closing.is_set():
            if select.select([self.connection], [], [], _POLL)[0]:
                super().handle_one_request()
                return
        self.close_connection = True

    def log_message(self, *_args: object) -> None:
        pass
