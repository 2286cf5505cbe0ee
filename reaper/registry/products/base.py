"""The one interface behind which registry products stand, each with an API of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from enum import StrEnum
from typing import Protocol

from reaper.core.product_times import RepositoryTimes


class Fact(StrEnum):
    """What a product's own API can be asked for."""

    PUSHED = "push times"
    PULLED = "pull times"
    REPOSITORIES = "repositories"


class Product(Protocol):
    """One registry product's own API, read with GET alone.

    Its methods raise RegistryError when the product cannot be asked, or does not answer as its
    documentation says: an answer that is not understood is never taken for "no time".
    """

    @property
    def name(self) -> str:
        """What settings, reports and people call the product."""
        ...

    @property
    def reads(self) -> frozenset[Fact]:
        """What this product, as it is installed and set up here, can be asked for; known once recognised."""
        ...

    async def recognise(self) -> bool:
        """Tell whether the registry is this product, and find out what it can be asked for."""
        ...

    async def times(self, repository: str) -> RepositoryTimes:
        """Return the times of all that is in ``repository``, as the product says them."""
        ...

    def repositories(self) -> AsyncIterator[str]:
        """Yield the names of all repositories, each once.

        Raises:
            UnsupportedError: it cannot be asked for them.
        """
        ...
