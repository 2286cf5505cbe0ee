"""The server in the daemon's loop: where it listens, how it ends, what it logs."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Iterator

import httpx
import pytest
import structlog
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from reaper.observe.logging import configure_logging
from reaper.web.server import ListenError, WebServer


def app(*, gate: asyncio.Event | None = None, entered: asyncio.Event | None = None) -> Starlette:
    async def slow(_request: Request) -> Response:
        assert gate is not None
        assert entered is not None
        entered.set()
        await gate.wait()
        return PlainTextResponse("done")

    async def broken(_request: Request) -> Response:
        raise LookupError("a fault of reaper's")

    async def quick(_request: Request) -> Response:
        return PlainTextResponse("ok")

    return Starlette(routes=[Route("/", quick), Route("/slow", slow), Route("/broken", broken)])


async def status(url: str) -> int:
    async with httpx.AsyncClient(trust_env=False) as client:
        return (await client.get(url)).status_code


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", ""])
def test_any_free_port_on_any_address(host: str) -> None:
    async def work() -> None:
        async with WebServer(app(), host, 0) as server:
            port = server.address[1]
            assert port > 0
            asked = f"[{host}]" if ":" in host else host or "127.0.0.1"
            assert await status(f"http://{asked}:{port}/") == 200
            if host:
                assert server.url.endswith(f":{port}")
                assert await status(server.url) == 200

    asyncio.run(work())


def test_an_address_that_is_taken_or_not_ours_is_an_error() -> None:
    async def work(host: str, port: int) -> None:
        async with WebServer(app(), host, port):
            raise AssertionError("it listens")

    with socket.create_server(("127.0.0.1", 0)) as taken:
        with pytest.raises(ListenError, match="Address already in use") as failure:
            asyncio.run(work("127.0.0.1", taken.getsockname()[1]))
        assert "web.listen" in (failure.value.hint or "")
    with pytest.raises(ListenError, match=r"cannot listen on 192\.0\.2\.1:0"):
        asyncio.run(work("192.0.2.1", 0))
    with pytest.raises(ListenError, match=r"cannot listen on host\.invalid"):
        asyncio.run(work("host.invalid", 0))


def test_a_stop_waits_for_what_is_under_way_and_takes_nothing_new() -> None:
    async def work() -> None:
        gate, entered = asyncio.Event(), asyncio.Event()
        server = WebServer(app(gate=gate, entered=entered), "127.0.0.1", 0, grace=20)
        await server.start()
        asked = asyncio.create_task(status(f"{server.url}/slow"))
        await entered.wait()
        stopping = asyncio.create_task(server.stop())
        async with asyncio.timeout(20):
            while True:
                try:
                    await status(server.url)
                except httpx.ConnectError:
                    break
                await asyncio.sleep(0.01)
        assert not stopping.done()
        gate.set()
        assert await asked == 200
        await stopping

    asyncio.run(work())


def test_a_stop_gives_up_what_does_not_end() -> None:
    async def work() -> None:
        entered = asyncio.Event()
        server = WebServer(app(gate=asyncio.Event(), entered=entered), "127.0.0.1", 0, grace=1)
        await server.start()
        asked = asyncio.create_task(status(f"{server.url}/slow"))
        await entered.wait()
        async with asyncio.timeout(20):
            await server.stop()
        assert (await asyncio.gather(asked, return_exceptions=True))[0] != 200

    asyncio.run(work())


def test_an_idle_connection_does_not_keep_it_from_stopping() -> None:
    async def work() -> None:
        async with WebServer(app(), "127.0.0.1", 0, grace=20) as server:
            client = httpx.AsyncClient(trust_env=False)
            assert (await client.get(server.url)).status_code == 200
            async with asyncio.timeout(10):
                await server.stop()
            await client.aclose()

    asyncio.run(work())


def test_signals_stay_the_daemons() -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    async def work() -> None:
        async with WebServer(app(), "127.0.0.1", 0):
            for number, handler in before.items():
                # asyncio.run has a handler of its own for SIGINT.
                assert number == signal.SIGINT or signal.getsignal(number) == handler

    asyncio.run(work())
    assert {number: signal.getsignal(number) for number in before} == before


@pytest.fixture
def logging_is_ours() -> Iterator[None]:
    """Logging as the daemon sets it up, until the test ends."""
    root = logging.getLogger()
    before = list(root.handlers)
    configure_logging("json", "info")
    yield
    root.handlers[:] = before
    structlog.reset_defaults()


@pytest.mark.usefixtures("logging_is_ours")
def test_a_fault_is_logged_as_ours_and_answered_without_details(capfd: pytest.CaptureFixture[str]) -> None:
    async def work() -> None:
        async with (
            WebServer(app(), "127.0.0.1", 0) as server,
            httpx.AsyncClient(trust_env=False) as client,
        ):
            answer = await client.get(f"{server.url}/broken")
            assert (answer.status_code, answer.text) == (500, "Internal Server Error")
            reader, writer = await asyncio.open_connection(*server.address)
            writer.write(b"not http\r\n\r\n")
            assert b"400" in await reader.read()
            writer.close()
            await writer.wait_closed()

    with structlog.testing.capture_logs() as logs:
        asyncio.run(work())
    faults = [entry for entry in logs if entry["log_level"] == "error"]
    assert len(faults) == 1
    assert faults[0]["exc_info"][0] is LookupError
    assert any("Invalid HTTP" in entry.get("message", "") for entry in logs)
    assert "/broken" not in str([entry.get("message") for entry in logs]), "no access log"
    assert capfd.readouterr() == ("", ""), "and nothing but what structlog writes"
