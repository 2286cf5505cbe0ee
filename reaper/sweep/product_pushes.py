"""What a registry product's own API tells of pushes while its repository is swept."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from datetime import datetime

from reaper.core.product_times import RepositoryTimes
from reaper.registry import RegistryClient
from reaper.registry.products import Fact


class ProductPushes:
    """The push times of one repository after the other, each read anew when it is no longer fresh.

    That is after ``freshness`` seconds, or after twice as long as it took: half of the time at most is spent
    on looking.
    """

    def __init__(
        self,
        client: RegistryClient,
        *,
        freshness: float = 1.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._freshness = freshness
        self._monotonic = monotonic
        self._of: str | None = None
        self._times = RepositoryTimes()
        self._stale_at = 0.0

    async def between(
        self, repository: str, digests: Collection[str], since: datetime, now: datetime
    ) -> Mapping[str, str]:
        """Return the tags that were put on one of the ``digests`` after ``since``, each with its digest.

        A time after ``now`` is believed no more than by an inventory.

        Raises:
            RegistryError: the product could not be asked.
        """
        times = (await self._read(repository)).believable(now)
        return {
            name: tag.digest
            for name, tag in times.tags.items()
            if tag.digest in digests and tag.pushed is not None and tag.pushed > since
        }

    async def _read(self, repository: str) -> RepositoryTimes:
        product = await self._client.product()
        if product is None or Fact.PUSHED not in product.reads:
            return RepositoryTimes()
        started = self._monotonic()
        if repository != self._of or started >= self._stale_at:
            self._of = None
            self._times = await product.times(repository)
            took = self._monotonic() - started
            self._of, self._stale_at = repository, started + max(self._freshness, 2 * took)
        return self._times
