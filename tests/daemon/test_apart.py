"""Work in a thread and a loop of its own."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest
import structlog

from reaper.daemon.apart import run_apart


def test_the_outer_loop_goes_on_while_the_work_hogs_its_own() -> None:
    async def work() -> tuple[str, int]:
        ticks = 0

        async def hog() -> str:
            time.sleep(0.3)  # noqa: ASYNC251 - a loop that is blocked is the point
            return threading.current_thread().name

        task = asyncio.create_task(run_apart(hog))
        while not task.done():
            await asyncio.sleep(0.01)
            ticks += 1
        return await task, ticks

    name, ticks = asyncio.run(work())
    assert name.startswith("reaper-run")
    assert ticks > 5


def test_errors_come_out() -> None:
    async def fail() -> None:
        raise KeyError("inside")

    with pytest.raises(KeyError, match="inside"):
        asyncio.run(run_apart(fail))


def test_a_cancellation_waits_until_the_work_has_cleaned_up() -> None:
    cleaned = []

    async def work() -> None:
        outer, begun = asyncio.get_running_loop(), asyncio.Event()

        async def long() -> None:
            outer.call_soon_threadsafe(begun.set)
            try:
                await asyncio.sleep(3600)
            finally:
                await asyncio.sleep(0.1)
                cleaned.append(True)

        task = asyncio.create_task(run_apart(long))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert cleaned == [True]

    asyncio.run(work())


def test_log_context_goes_along() -> None:
    async def inside() -> object:
        return structlog.contextvars.get_contextvars().get("registry")

    async def work() -> object:
        with structlog.contextvars.bound_contextvars(registry="main"):
            return await run_apart(inside)

    assert asyncio.run(work()) == "main"
