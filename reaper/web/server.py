"""Runs the web application inside the daemon's own event loop."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Final, Self

import structlog
import uvicorn
from starlette.types import ASGIApp

from reaper.core.errors import ReaperError

#: How long, in seconds, requests under way may take to end when the server stops.
GRACE: Final = 5.0
#: More connections than this at once are answered with 503.
_CONNECTIONS: Final = 512
_BACKLOG: Final = 128

_log = structlog.get_logger(__name__)


class ListenError(ReaperError):
    """The address cannot be listened on."""


class WebServer:
    """The application on a port. Use it as an async context manager, or start and stop it.

    ``host`` may be empty for every interface, ``port`` 0 for any that is free: `address` tells which.
    """

    def __init__(self, app: ASGIApp, host: str, port: int, *, grace: float = GRACE) -> None:
        self._host = host
        self._port = port
        self._sockets: list[socket.socket] = []
        self._address: tuple[str, int] | None = None
        self._task: asyncio.Task[None] | None = None
        config = uvicorn.Config(
            app,
            http="h11",
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            limit_concurrency=_CONNECTIONS,
            backlog=_BACKLOG,
            timeout_graceful_shutdown=max(1, round(grace)),
        )
        self._server = _Server(config)

    @property
    def address(self) -> tuple[str, int]:
        """The host and the port that it listens on, once it was started."""
        assert self._address is not None
        return self._address

    @property
    def url(self) -> str:
        """The address as a URL without a slash at its end, once it was started."""
        host, port = self.address
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def start(self) -> None:
        """Listen, and answer from now on.

        Raises:
            ListenError: the address is taken, or is not this machine's.
        """
        self._sockets = await asyncio.to_thread(_listen, self._host, self._port)
        host, port = self._sockets[0].getsockname()[:2]
        self._address = (str(host), int(port))
        self._task = asyncio.create_task(self._server.serve(sockets=self._sockets), name="web server")
        _log.info("web_server_started", url=self.url)

    async def stop(self) -> None:
        """Take no more requests, wait for those under way until the grace ends, and close."""
        self._server.should_exit = True
        if self._task is not None:
            await self._task
        for each in self._sockets:
            each.close()

    async def wait(self) -> None:
        """Return when the server has ended, and raise the error that ended it, if one did."""
        if self._task is not None:
            await asyncio.shield(self._task)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()


class _Server(uvicorn.Server):
    """Uvicorn's server, which leaves the process's signals to the daemon."""

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Capture none."""
        yield


def _listen(host: str, port: int) -> list[socket.socket]:
    """Return listening sockets on every address of ``host``, all on the same port."""
    sockets: list[socket.socket] = []
    with ExitStack() as unless_all:
        for family, address in _addresses(host, port):
            try:
                dual = not host and family == socket.AF_INET6
                one = socket.create_server(
                    (address, port), family=family, backlog=_BACKLOG, dualstack_ipv6=dual
                )
            except OSError as error:
                raise ListenError(
                    f"cannot listen on {host or '*'}:{port}: {error.strerror}",
                    hint="is another reaper running? Name another address under web.listen",
                ) from error
            unless_all.callback(one.close)
            sockets.append(one)
            port = one.getsockname()[1]
        unless_all.pop_all()
    return sockets


def _addresses(host: str, port: int) -> Iterator[tuple[int, str]]:
    if not host:
        dual = socket.has_dualstack_ipv6()
        yield (socket.AF_INET6, "::") if dual else (socket.AF_INET, "0.0.0.0")  # noqa: S104 - it was asked for
        return
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise ListenError(
            f"cannot listen on {host}: {error.strerror}", hint="name an address of this machine (web.listen)"
        ) from error
    yield from dict.fromkeys((family, str(address[0])) for family, _, _, _, address in found)
