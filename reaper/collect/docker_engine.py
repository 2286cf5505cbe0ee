"""The Docker Engine's API, as far as a collection needs it, through the engine's socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote

import httpx

from reaper.collect.base import CollectError

_TIMEOUT: Final = 30.0
_HEADER: Final = 8


class InterruptedExecError(CollectError):
    """The connection to a command ended before the command; ``exec_id`` is by what the engine knows it."""

    def __init__(self, message: str, exec_id: str) -> None:
        super().__init__(message)
        self.exec_id = exec_id


class Engine:
    """An engine, through its socket, while the block lasts. Every call raises CollectError."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._http = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(uds=str(socket)),
            base_url="http://docker",
            timeout=httpx.Timeout(_TIMEOUT),
            trust_env=False,
        )
        self._version = ""

    async def __aenter__(self) -> Self:
        # The API without a version is deprecated, and engines drop old ones: so theirs is asked for.
        version = (await self._request("GET", "/_ping")).headers.get("Api-Version", "")
        self._version = f"/v{version}" if version else ""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def inspect(self, container: str) -> dict[str, Any]:
        """Return what the engine knows of a container."""
        return self._json(await self._request("GET", f"/containers/{quote(container, safe='')}/json"))

    async def restart(self, container: str, *, grace: float, within: float) -> None:
        """Restart a container, and with it everything that runs in it. ``grace``: before it is killed."""
        path = f"/containers/{quote(container, safe='')}/restart?t={round(grace)}"
        await self._request("POST", path, within=within)

    async def exec(
        self, container: str, command: Sequence[str], on_output: Callable[[bytes], None], *, within: float
    ) -> int:
        """Run a command in a container to its end, and return its exit code. Output is handed on as it comes.

        Raises:
            InterruptedExecError: the connection, or the time (in seconds), ended first: it may still run.
            CollectError: it was not begun.
        """
        body = {"AttachStdout": True, "AttachStderr": True, "Tty": False, "Cmd": list(command)}
        path = f"/containers/{quote(container, safe='')}/exec"
        created = self._json(await self._request("POST", path, json=body))
        exec_id: str = created["Id"]
        path = f"{self._version}/exec/{exec_id}/start"
        limits = httpx.Timeout(_TIMEOUT, read=None)
        try:
            async with asyncio.timeout(within):
                stream = self._http.stream("POST", path, json={"Detach": False, "Tty": False}, timeout=limits)
                async with stream as answer:
                    if answer.is_error:
                        await answer.aread()
                        raise self._refused(answer)
                    async for piece in _demultiplexed(answer.aiter_bytes()):
                        on_output(piece)
        except TimeoutError as error:
            raise InterruptedExecError(f"it was not done after {within:g} seconds", exec_id) from error
        except httpx.ConnectError as error:
            raise self._silent(error) from error
        except httpx.TransportError as error:
            raise InterruptedExecError(f"the connection ended ({type(error).__name__})", exec_id) from error
        state = await self.exec_state(exec_id)
        if state["Running"]:
            raise InterruptedExecError("its output ended before it did", exec_id)
        return int(state["ExitCode"])

    async def exec_state(self, exec_id: str) -> dict[str, Any]:
        """Return what the engine knows of a command in a container."""
        return self._json(await self._request("GET", f"/exec/{exec_id}/json"))

    async def _request(
        self, method: str, path: str, *, json: object = None, within: float = _TIMEOUT
    ) -> httpx.Response:
        try:
            answer = await self._http.request(method, self._version + path, json=json, timeout=within)
        except httpx.TransportError as error:
            raise self._silent(error) from error
        if answer.is_error:
            raise self._refused(answer)
        return answer

    def _silent(self, error: httpx.TransportError) -> CollectError:
        return CollectError(
            f"the engine at {self._socket} does not answer: {str(error) or type(error).__name__}",
            hint="give reaper access to the engine's socket, or set collect.docker.socket",
        )

    @staticmethod
    def _json(answer: httpx.Response) -> dict[str, Any]:
        try:
            found = answer.json()
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise CollectError(
                f"the engine answers {answer.request.url.path} with something that is no object"
            )
        return found

    def _refused(self, answer: httpx.Response) -> CollectError:
        try:
            message = answer.json()["message"]
        except (ValueError, KeyError, TypeError):
            message = f"it answered {answer.status_code}"
        return CollectError(f"the engine at {self._socket}: {message}")


async def _demultiplexed(stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield what stands in the frames of an attached stream: a kind, three zeros, a length, the bytes."""
    held = b""
    left = 0
    async for data in stream:
        held += data
        while held:
            if left:
                piece, held = held[:left], held[left:]
                left -= len(piece)
                yield piece
            elif len(held) >= _HEADER:
                left = int.from_bytes(held[4:_HEADER], "big")
                held = held[_HEADER:]
            else:
                break
