"""A double of the Docker Engine's API on a Unix socket, for tests: its containers are processes here.

No engine runs where these tests run. What is served here follows the engine's reference: the version in the
answer to a ping, paths with that version only, raw streams without a length that end with the connection,
frames, errors as ``{"message": …}``, and a command in a container that nothing but the container's end ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from aiohttp import web

from devtools import die_with_parent

_VERSION: Final = "1.44"
_STDOUT, _STDERR = 1, 2
_CHUNK: Final = 32 * 1024


@dataclass(slots=True)
class Exec:
    """A command in a container."""

    container: str
    command: list[str]
    process: subprocess.Popen[bytes] | None = None
    connections: list[asyncio.Transport] = field(default_factory=list)

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None


class DockerEngine:
    """An engine with one container, which runs while the block does."""

    def __init__(
        self,
        folder: Path,
        name: str,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        auto_remove: bool = False,
    ) -> None:
        self.socket = folder / "docker.sock"
        self.name = name
        #: How often the container was started.
        self.starts = 0
        self.execs: dict[str, Exec] = {}
        #: What runs in place of a collector that would remove something, if anything.
        self.instead: Sequence[str] | None = None
        self._command = list(command)
        self._environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", **environment}
        self._auto_remove = auto_remove
        self._process: subprocess.Popen[bytes] | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._runner: web.AppRunner | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._begin(), self._loop).result()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def running(self) -> int:
        """How many commands run in the container."""
        return sum(each.running for each in self.execs.values())

    def drop(self) -> None:
        """End the connections over which output goes; what runs goes on."""

        def abort() -> None:
            for each in self.execs.values():
                for connection in each.connections:
                    connection.abort()

        self._loop.call_soon_threadsafe(abort)

    def stop(self) -> None:
        """Stop the container."""
        self._stop(1.0)

    async def _begin(self) -> None:
        app = web.Application()
        app.router.add_get("/_ping", self._ping)
        base = f"/v{_VERSION}"
        app.router.add_get(f"{base}/containers/{{name}}/json", self._inspect)
        app.router.add_post(f"{base}/containers/{{name}}/restart", self._restart)
        app.router.add_post(f"{base}/containers/{{name}}/exec", self._create_exec)
        app.router.add_post(f"{base}/exec/{{id}}/start", self._start_exec)
        app.router.add_get(f"{base}/exec/{{id}}/json", self._inspect_exec)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(self.socket))
        await web.SockSite(self._runner, listener).start()
        self._start()

    async def _end(self) -> None:
        self._stop(1.0)
        if self._runner is not None:
            await self._runner.cleanup()

    async def _ping(self, _request: web.Request) -> web.StreamResponse:
        return web.Response(text="OK", headers={"Api-Version": _VERSION, "Docker-Experimental": "false"})

    async def _inspect(self, request: web.Request) -> web.StreamResponse:
        if request.match_info["name"] != self.name:
            return _refusal(404, f"No such container: {request.match_info['name']}")
        return web.json_response(
            {
                "Id": "0" * 64,
                "Name": f"/{self.name}",
                "Path": self._command[0],
                "Args": self._command[1:],
                "State": {"Running": self._runs(), "Paused": False},
                "HostConfig": {"AutoRemove": self._auto_remove},
                "Config": {
                    "Image": "registry:2",
                    "Env": [f"{name}={value}" for name, value in self._environment.items()],
                },
                "Mounts": [],
                "ExecIDs": [name for name, each in self.execs.items() if each.running] or None,
            }
        )

    async def _restart(self, request: web.Request) -> web.StreamResponse:
        self._stop(float(request.query.get("t", "10")))
        self._start()
        return web.Response(status=204)

    async def _create_exec(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        if not self._runs():
            return _refusal(409, f"container {self.name} is not running")
        found = secrets.token_hex(32)
        self.execs[found] = Exec(self.name, body["Cmd"])
        return web.json_response({"Id": found}, status=201)

    async def _start_exec(self, request: web.Request) -> web.StreamResponse:
        found = self.execs[request.match_info["id"]]
        command = found.command
        if self.instead is not None and "--dry-run" not in command:
            command = list(self.instead)
        try:
            process = found.process = self._popen(command)
        except OSError:
            return _refusal(400, f'OCI runtime exec failed: exec: "{command[0]}": executable file not found')
        transport = request.transport
        assert isinstance(transport, asyncio.Transport)
        found.connections.append(transport)
        # As the engine does it: the connection is the stream from here on, and its end is that of the output.
        transport.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n")

        async def forward(channel: int, file: Any) -> None:
            with file:
                while data := await asyncio.to_thread(file.read1, _CHUNK):
                    frame = bytes([channel, 0, 0, 0]) + len(data).to_bytes(4, "big") + data
                    # In two pieces, wherever they fall: a reader has to put them together.
                    for piece in (frame[:5], frame[5:]):
                        if not transport.is_closing():
                            transport.write(piece)

        await asyncio.gather(forward(_STDOUT, process.stdout), forward(_STDERR, process.stderr))
        await asyncio.to_thread(process.wait)
        transport.close()
        return web.Response()

    async def _inspect_exec(self, request: web.Request) -> web.StreamResponse:
        found = self.execs.get(request.match_info["id"])
        if found is None:
            return _refusal(404, f"No such exec instance: {request.match_info['id']}")
        process = found.process
        return web.json_response(
            {
                "ID": request.match_info["id"],
                "Running": found.running,
                "ExitCode": None if process is None or found.running else process.returncode,
                "ProcessConfig": {"entrypoint": found.command[0], "arguments": found.command[1:]},
                "Pid": process.pid if process else 0,
            }
        )

    def _popen(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def _start(self) -> None:
        self.starts += 1
        command = [sys.executable, "-ISB", die_with_parent.__file__, *self._command]
        self._process = subprocess.Popen(
            command,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def _stop(self, grace: float) -> None:
        """End the container's process, kindly first, and with it whatever runs in the container."""
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            try:
                process.wait(grace)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for each in self.execs.values():
            if each.process is not None and each.running:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(each.process.pid, signal.SIGKILL)
                each.process.wait()

    def _runs(self) -> bool:
        return self._process is not None and self._process.poll() is None


def _refusal(status: int, message: str) -> web.StreamResponse:
    return web.json_response({"message": message}, status=status)
