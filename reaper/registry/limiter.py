"""How many requests a registry gets at once: as many as it bears, and never more than the ceiling."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from reaper.registry.errors import ThrottledError

#: A request slower than this many times the fastest ones seen is a sign of strain.
_STRAIN = 4.0
_SMOOTHING = 0.1


class Limiter:
    """Additive increase, multiplicative decrease, as TCP does it.

    ``ceiling`` bounds the requests under way. ``clock`` returns seconds; it never goes back. A registry may
    ask for a pause; requests wait for at most ``longest_pause`` seconds of it.
    """

    def __init__(self, ceiling: int, clock: Callable[[], float], *, longest_pause: float) -> None:
        self._ceiling = float(ceiling)
        self._clock = clock
        self._longest_pause = longest_pause
        self._limit = float(min(8, ceiling))
        self._under_way = 0
        self._resume_at = 0.0
        self._shrunk_at = 0.0
        self._fastest: float | None = None
        self._usual: float | None = None
        self._changed = asyncio.Condition()

    @property
    def limit(self) -> int:
        """How many requests may be under way now."""
        return max(1, int(self._limit))

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Hold one of the places while a request is under way.

        Raises:
            ThrottledError: the registry has asked for a pause that is too long to wait for.
        """
        async with self._changed:
            await self._changed.wait_for(lambda: self._under_way < self.limit)
            self._under_way += 1
        try:
            pause = self._resume_at - self._clock()
            if pause > self._longest_pause:
                raise ThrottledError(
                    f"the registry asked for a pause, for {pause:.0f} more seconds",
                    status=429,
                    retry_after=pause,
                )
            if pause > 0:
                await asyncio.sleep(pause)
            yield
        finally:
            async with self._changed:
                self._under_way -= 1
                self._changed.notify_all()

    def succeeded(self, seconds: float) -> None:
        """Note a good answer that took ``seconds``."""
        self._fastest = seconds if self._fastest is None else min(seconds, self._fastest)
        usual = seconds if self._usual is None else self._usual
        self._usual = usual + _SMOOTHING * (seconds - usual)
        if self._usual <= _STRAIN * max(self._fastest, 0.005):
            self._limit = min(self._ceiling, self._limit + 1 / self._limit)

    def strained(self, retry_after: float | None = None) -> None:
        """Note a 429, a 503 or a time-out; everybody waits ``retry_after`` seconds."""
        now = self._clock()
        # Requests that were under way together are one sign, not many.
        if now - self._shrunk_at >= 1.0:
            self._limit = max(1.0, self._limit / 2)
            self._shrunk_at = now
        if retry_after is not None:
            self._resume_at = max(self._resume_at, now + retry_after)
