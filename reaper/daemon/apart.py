"""Runs a coroutine in a thread and an event loop of its own.

Judging a large repository takes the processor for a while. Health probes, metrics and the renewal of the
lease, which has a deadline, are answered by another loop meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, TypeVar

Result = TypeVar("Result")


async def run_apart(work: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
    """Run ``work`` apart and return its result, or raise its error.

    A cancellation reaches ``work`` in its own loop, and is complete once ``work`` has ended.
    """
    outer = asyncio.get_running_loop()
    started: asyncio.Future[tuple[asyncio.AbstractEventLoop, asyncio.Task[Result]]] = outer.create_future()

    def body() -> Result:
        async def main() -> Result:
            task = asyncio.create_task(work())
            outer.call_soon_threadsafe(started.set_result, (asyncio.get_running_loop(), task))
            return await task

        return asyncio.run(main())

    pool = ThreadPoolExecutor(1, thread_name_prefix="reaper-run")
    ended = outer.run_in_executor(pool, copy_context().run, body)
    pool.shutdown(wait=False)
    try:
        return await asyncio.shield(ended)
    except asyncio.CancelledError:
        loop, task = await started
        if not ended.done():
            loop.call_soon_threadsafe(task.cancel)
            await asyncio.wait([ended])
        if not ended.cancelled():
            ended.exception()  # whatever it was, the cancellation is what counts
        raise
