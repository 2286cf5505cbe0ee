"""Who may write, when there is more than one daemon."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol


class Leadership(Protocol):
    """The right to change registries, among several daemons."""

    @property
    def leads(self) -> bool | None:
        """Whether this daemon has it; None where there is no election."""

    def check(self) -> None:
        """Return while the right is certain, whatever the network does. Safe from any thread.

        Raises:
            ReaperError: it is not; nothing may be changed.
        """

    def overdue(self) -> str | None:
        """Return what is wrong when this daemon still takes itself for the leader and no longer may be."""

    async def hold(self, on_change: Callable[[bool], None]) -> None:
        """Take part in the election until cancelled, then give the right back. ``on_change``: it came or went."""


class Alone:
    """No election: this daemon may always write, and the store's lock keeps others out."""

    leads: bool | None = None

    def check(self) -> None:
        """Return."""

    def overdue(self) -> str | None:
        """Return None."""
        return None

    async def hold(self, on_change: Callable[[bool], None]) -> None:
        """Wait until cancelled."""
        del on_change
        await asyncio.Event().wait()
