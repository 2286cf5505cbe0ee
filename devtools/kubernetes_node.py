"""A node of the test cluster, as far as the API server asks it: the logs of its pods, and commands in them.

Pods are on it when their ``spec.nodeName`` says so. Nothing runs in them by itself: a test writes their logs,
and what is executed in them is a process of this machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import subprocess
import tempfile
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import trustme
from aiohttp import web
from aiohttp.typedefs import Handler

from devtools.kubernetes import KubernetesServer

_CHANNEL_PROTOCOL = "v5.channel.k8s.io"
_STDOUT, _STDERR, _ERROR = b"\x01", b"\x02", b"\x03"
_CHUNK = 32 * 1024
_POLL = 0.02


@dataclass(frozen=True, slots=True)
class Place:
    """A container of a pod."""

    namespace: str
    pod: str
    container: str


@dataclass(slots=True)
class _Log:
    content: bytearray = field(default_factory=bytearray)
    ended: bool = False


class Node:
    """A node, there while the block runs. ``translate`` makes a local command of what is to run in a pod.

    As with a real one, a command goes on when the connection to whoever started it ends; it ends with
    the node.
    """

    def __init__(
        self,
        server: KubernetesServer,
        name: str,
        translate: Callable[[Place, Sequence[str]], Sequence[str]] = lambda _place, command: command,
    ) -> None:
        self.name = name
        #: What was executed where, in order.
        self.executed: list[tuple[Place, tuple[str, ...]]] = []
        self._server = server
        self._translate = translate
        self._logs: dict[Place, _Log] = {}
        self._running: set[subprocess.Popen[bytes]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._runner: web.AppRunner | None = None
        self._connections: weakref.WeakSet[asyncio.Transport] = weakref.WeakSet()
        self._closing = False

    def __enter__(self) -> Self:
        self._thread.start()
        port = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()
        self._server.apply(
            {
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": {"name": self.name},
                "status": {
                    "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
                    "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
                    "declaredFeatures": ["ExtendWebSocketsToKubelet"],
                },
            }
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing = True
        for process in list(self._running):
            process.kill()
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        if self._server.pid is not None:
            self._server.request("DELETE", f"/api/v1/nodes/{self.name}")

    @property
    def running(self) -> int:
        """How many commands run."""
        return len(self._running)

    def drop(self) -> None:
        """End every connection to this node, as a broken network does; what runs goes on."""

        def abort() -> None:
            for connection in list(self._connections):
                connection.abort()

        self._loop.call_soon_threadsafe(abort)

    def write_log(self, place: Place, text: str, *, end: bool = False) -> None:
        """Append to a container's log; ``end`` says that nothing more will come."""
        log = self._logs.setdefault(place, _Log())
        log.content += text.encode()
        log.ended = end

    async def _listen(self) -> int:
        application = web.Application(middlewares=[self._note])
        application.router.add_get("/containerLogs/{namespace}/{pod}/{container}", self._send_log)
        application.router.add_get("/exec/{namespace}/{pod}/{container}", self._execute)
        self._runner = web.AppRunner(application, shutdown_timeout=0.1)
        await self._runner.setup()
        listener = socket.create_server(("127.0.0.1", 0))
        await web.SockSite(self._runner, listener, ssl_context=_certified()).start()
        port: int = listener.getsockname()[1]
        return port

    async def _close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
        for connection in list(self._connections):  # which would wait for the other side's goodbye
            connection.abort()
        await asyncio.sleep(0)

    @web.middleware
    async def _note(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.transport is not None:
            self._connections.add(request.transport)
        return await handler(request)

    async def _send_log(self, request: web.Request) -> web.StreamResponse:
        log = self._logs.setdefault(_place(request), _Log())
        response = web.StreamResponse()
        await response.prepare(request)
        sent, follow = 0, request.query.get("follow") == "true"
        with contextlib.suppress(ConnectionError):  # whoever followed it has gone
            while True:
                ended = log.ended or not follow or self._closing
                news = bytes(log.content[sent:])
                await response.write(news)
                sent += len(news)
                if ended:
                    break
                await asyncio.sleep(_POLL)
        return response

    async def _execute(self, request: web.Request) -> web.StreamResponse:
        place, command = _place(request), request.query.getall("command")
        self.executed.append((place, tuple(command)))
        socket_ = web.WebSocketResponse(protocols=(_CHANNEL_PROTOCOL,))
        await socket_.prepare(request)
        try:
            process = await asyncio.to_thread(_start, self._translate(place, command))
        except OSError as error:
            await _send(socket_, _ERROR, _status(f"cannot run: {error}", "InternalError"))
        else:
            await _send(socket_, _ERROR, _outcome(await self._run(process, socket_)))
        await socket_.close()
        return socket_

    async def _run(self, process: subprocess.Popen[bytes], output: web.WebSocketResponse) -> int:
        self._running.add(process)

        async def forward(channel: bytes, file: Any) -> None:
            while data := await asyncio.to_thread(file.read1, _CHUNK):
                await _send(output, channel, data)

        try:
            with process:
                await asyncio.gather(forward(_STDOUT, process.stdout), forward(_STDERR, process.stderr))
                return await asyncio.to_thread(process.wait)
        finally:
            self._running.discard(process)


def _start(command: Sequence[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


async def _send(output: web.WebSocketResponse, channel: bytes, data: bytes) -> None:
    with contextlib.suppress(ConnectionError):  # nobody listens any more, which a command does not notice
        await output.send_bytes(channel + data)


def _place(request: web.Request) -> Place:
    parts = request.match_info
    return Place(parts["namespace"], parts["pod"], parts["container"])


def _outcome(code: int) -> bytes:
    if code == 0:
        return json.dumps({"metadata": {}, "status": "Success"}).encode()
    # A process that a signal ended is reported as a shell does it.
    told = code if code > 0 else 128 - code
    causes = [{"reason": "ExitCode", "message": str(told)}]
    message = f"command terminated with non-zero exit code: exit status {told}"
    return _status(message, "NonZeroExitCode", {"causes": causes})


def _status(message: str, reason: str, details: Mapping[str, Any] | None = None) -> bytes:
    status = {"metadata": {}, "status": "Failure", "message": message, "reason": reason}
    return json.dumps(status | ({"details": details} if details else {})).encode()


def _certified() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issued = trustme.CA().issue_cert("127.0.0.1")
    with tempfile.TemporaryDirectory(prefix="reaper-node-") as folder:
        path = Path(folder) / "node.pem"
        issued.private_key_and_cert_chain_pem.write_to_path(str(path))
        context.load_cert_chain(path)
    return context
