"""What comes into use while a run deletes what was not in use when it began."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from reaper.core.errors import ReaperError
from reaper.protect.images import InUse
from reaper.protect.protector import Protection, Protector

#: After so many seconds a reading is too old to delete by.
FRESH_FOR = 60.0
#: A cluster that takes long to read is read again after so many times as long.
SHARE = 2.0


class InUseUnknownError(ReaperError):
    """What is in use could not be read again, so nothing more may be deleted."""


class InUseWatch:
    """Reads the protection when a run begins, and again and again while it deletes."""

    def __init__(self, protector: Protector, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._protector = protector
        self._monotonic = monotonic
        self._first: InUse | None = None
        self._news: InUse | None = None
        self._began = 0.0
        self._took = 0.0
        #: How often the protection was read.
        self.readings = 0

    async def begin(self) -> Protection:
        """Read what is in use, for the decisions of this run.

        Raises:
            ReaperError: the store could not be used.
        """
        protection = await self._read()
        self._first, self._news = protection.in_use, None
        return protection

    async def refresh(self) -> None:
        """Read again when the last reading began more than `FRESH_FOR` seconds ago.

        Where reading takes so long that nothing else would be done, a little less often.

        Raises:
            InUseUnknownError: a source could not be read.
            ReaperError: the store could not be used.
        """
        if self._monotonic() - self._began < max(FRESH_FOR, SHARE * self._took):
            return
        protection = await self._read()
        if protection.problems:
            raise InUseUnknownError(
                f"images in use could not be read again: {'; '.join(protection.problems)}"
            )
        self._news = protection.in_use if self._first is None else protection.in_use.without(self._first)

    def of(self, repository: str) -> Mapping[str, str]:
        """Return what is in use in ``repository`` as the decisions have it."""
        return self._first.of(repository) if self._first is not None else {}

    def news(self, repository: str) -> Mapping[str, str]:
        """Return what has come into use in ``repository`` since the decisions."""
        return self._news.of(repository) if self._news is not None else {}

    async def _read(self) -> Protection:
        self._began = self._monotonic()
        self.readings += 1
        protection = await self._protector.read()
        self._took = self._monotonic() - self._began
        return protection
