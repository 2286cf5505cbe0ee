"""What a registry product tells beyond the distribution API: times, and which repositories there are."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol


class Fact(StrEnum):
    """What a product's own API can be asked for."""

    PUSHED = "push times"
    PULLED = "pull times"
    REPOSITORIES = "repositories"


@dataclass(frozen=True, slots=True)
class TagTime:
    """When a tag was put on its ``digest``, in UTC; None where the product does not know."""

    digest: str
    pushed: datetime | None = None


@dataclass(frozen=True, slots=True)
class DigestTime:
    """When a manifest came into its repository, and was last pulled, in UTC.

    None where the product does not know, or where it was never pulled: products do not tell these apart.
    """

    pushed: datetime | None = None
    pulled: datetime | None = None


@dataclass(frozen=True, slots=True)
class RepositoryTimes:
    """All that a product knows of one repository's times, by tag and by digest, as it says them.

    Whether they are believable is for those who have a clock.
    """

    tags: Mapping[str, TagTime] = field(default_factory=dict)
    digests: Mapping[str, DigestTime] = field(default_factory=dict)


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
        """What this product, as it is installed and set up here, can be asked for."""
        ...

    async def recognise(self) -> bool:
        """Tell whether the registry is this product, and find out what it can be asked for."""
        ...

    async def times(self, repository: str) -> RepositoryTimes:
        """Return the times of all that is in ``repository``.

        Raises:
            UnsupportedError: it can be asked for neither push nor pull times.
        """
        ...

    def repositories(self) -> AsyncIterator[str]:
        """Yield the names of all repositories, each once.

        Raises:
            UnsupportedError: it cannot be asked for them.
        """
        ...

    async def aclose(self) -> None:
        """Close its connections, where it has its own."""
        ...
