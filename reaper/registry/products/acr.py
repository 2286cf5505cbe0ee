"""Azure Container Registry: its API v1.

Source: Azure's REST reference of the data plane ("Tag", "Manifests"), whose scope is ``metadata_read``. A
time of the last update is when the tag was put on its manifest, or when its attributes were last changed:
never earlier than the push. Pulls are not told.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from reaper.core.product_times import DigestTime, RepositoryTimes, TagTime
from reaper.registry import scopes
from reaper.registry.errors import UnsupportedError
from reaper.registry.exchange import Exchange
from reaper.registry.products.api import API, latest
from reaper.registry.products.base import Fact

_API: Final = "/acr/v1"
_PAGE: Final = 500
#: In the clouds of Azure.
DOMAINS: Final = (".azurecr.io", ".azurecr.cn", ".azurecr.us", ".azurecr.de")


class ACR:
    """An Azure Container Registry; ``exchange`` is the registry's own."""

    name = "acr"
    reads = frozenset({Fact.PUSHED})

    def __init__(self, exchange: Exchange) -> None:
        self._api = API(self.name, exchange)

    async def recognise(self) -> bool:
        """Tell whether the API is there: its catalog, of which one name is asked for."""
        answer = await self._api.probe(f"{_API}/_catalog?n=1", scope=scopes.CATALOG)
        return answer is not None

    async def times(self, repository: str) -> RepositoryTimes:
        """Return when each tag was put on its manifest, and when each manifest came."""
        scope = f"repository:{repository}:metadata_read"
        tags: dict[str, TagTime] = {}
        digests: dict[str, DigestTime] = {}
        base = f"{_API}/{repository}"
        async for entry in self._api.listing(
            f"{base}/_tags?n={_PAGE}", f"the tags of {repository}", identity="name", key="tags", scope=scope
        ):
            moment = latest(self._api.time(entry, "createdTime"), self._api.time(entry, "lastUpdateTime"))
            tags[self._api.tag(entry, "name")] = TagTime(self._api.digest(entry, "digest"), moment)
        async for entry in self._api.listing(
            f"{base}/_manifests?n={_PAGE}",
            f"the manifests of {repository}",
            identity="digest",
            key="manifests",
            scope=scope,
        ):
            moment = latest(self._api.time(entry, "createdTime"), self._api.time(entry, "lastUpdateTime"))
            digests[self._api.digest(entry, "digest")] = DigestTime(moment)
        return RepositoryTimes(tags, digests)

    def repositories(self) -> AsyncIterator[str]:
        """Refuse: the catalog has them all."""
        raise UnsupportedError("Azure lists repositories in the catalog")
