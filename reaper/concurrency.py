"""Bounded concurrency: many requests under way, never more than asked for."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


async def in_order(
    items: Iterable[Item], work: Callable[[Item], Awaitable[Result]], *, limit: int
) -> AsyncGenerator[Result, None]:
    """Yield ``work(item)`` of each item in the items' order, with at most ``limit`` under way at once.

    An item's error is raised where its result would stand; what is still under way is cancelled.
    """
    pending: deque[asyncio.Task[Result]] = deque()
    rest = iter(items)

    async def begin(item: Item) -> Result:
        return await work(item)

    try:
        for item in rest:
            pending.append(asyncio.create_task(begin(item)))
            if len(pending) >= limit:
                yield await pending.popleft()
        while pending:
            yield await pending.popleft()
    finally:
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)


async def collect(
    items: Iterable[Item], work: Callable[[Item], Awaitable[Result]], *, limit: int
) -> list[Result]:
    """Return ``work(item)`` of all items, in the items' order. Raises the first error."""
    return [result async for result in in_order(items, work, limit=limit)]
