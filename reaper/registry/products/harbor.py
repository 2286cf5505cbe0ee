"""Harbor: its API v2.0.

Source: Harbor's api/v2.0/swagger.yaml. Harbor counts the GET of a manifest as a pull, a HEAD not, and nothing
where PULL_TIME_UPDATE_DISABLE is set. A ``pull_time`` of 0001-01-01 is that of what was never pulled. What
Harbor takes for an accessory (signatures, SBOMs) is not listed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, Final
from urllib.parse import quote

from reaper.core.product_times import DigestTime, RepositoryTimes, TagTime
from reaper.registry.credentials import Logins
from reaper.registry.errors import UnsupportedError
from reaper.registry.exchange import Exchange
from reaper.registry.products.api import API, latest
from reaper.registry.products.base import Fact

_API: Final = "/api/v2.0"
_PAGE: Final = 100


class Harbor:
    """A Harbor; ``exchange`` has no login of its own, and the API's are ``logins``.

    A registry is not shown a login before it has said that it is Harbor.
    """

    name = "harbor"

    def __init__(self, exchange: Exchange, logins: Logins) -> None:
        self._api = API(self.name, exchange, basic=logins)
        self._public = API(self.name, exchange)
        self._logins = logins
        self.reads: frozenset[Fact] = frozenset()

    async def recognise(self) -> bool:
        """Tell whether Harbor's system information is there, which anybody may read."""
        document = await self._public.probe_object(f"{_API}/systeminfo")
        if document is None or "auth_mode" not in document:
            return False
        login = await self._logins.find(None)
        # Without a login it would list public repositories, as if those were all.
        known = {Fact.REPOSITORIES} if login is not None and login.basic() else set()
        self.reads = frozenset({Fact.PUSHED, Fact.PULLED, *known})
        return True

    async def times(self, repository: str) -> RepositoryTimes:
        """Return the times of the repository's artifacts and of their tags."""
        project, _, name = repository.partition("/")
        # The name's slashes are encoded twice, as Harbor's documentation has it.
        path = f"/projects/{quote(project, safe='')}/repositories/{quote(quote(name, safe=''), safe='')}"
        query = f"with_tag=true&page=1&page_size={_PAGE}"
        what = f"the artifacts of {repository}"
        tags: dict[str, TagTime] = {}
        digests: dict[str, DigestTime] = {}
        async for artifact in self._api.listing(f"{_API}{path}/artifacts?{query}", what, identity="digest"):
            self._read(artifact, tags, digests)
        return RepositoryTimes(tags, digests)

    def _read(
        self, artifact: Mapping[str, Any], tags: dict[str, TagTime], digests: dict[str, DigestTime]
    ) -> None:
        digest = self._api.digest(artifact, "digest")
        pulled = [self._api.time(artifact, "pull_time")]
        for tag in self._api.objects(artifact.get("tags"), "tags"):
            tags[self._api.tag(tag, "name")] = TagTime(digest, self._api.time(tag, "push_time"))
            pulled.append(self._api.time(tag, "pull_time"))
        digests[digest] = DigestTime(self._api.time(artifact, "push_time"), latest(*pulled))

    async def repositories(self) -> AsyncIterator[str]:
        """Yield the repositories of all projects that the login may see.

        Raises:
            UnsupportedError: there is no login.
        """
        if Fact.REPOSITORIES not in self.reads:
            raise UnsupportedError("Harbor lists its repositories only to who is logged in")
        target = f"{_API}/repositories?page=1&page_size={_PAGE}"
        seen: set[str] = set()
        async for entry in self._api.listing(target, "the repositories", identity="name"):
            name = self._api.repository(entry, "name")
            if name not in seen:
                seen.add(name)
                yield name
