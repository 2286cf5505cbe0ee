"""GitLab: the container registry's own API, and GitLab's for the list of repositories.

Sources: the GitLab container registry's docs-gitlab/api.md ("List Repository Tags"), and GitLab's "Container
registry API". The push times come from the former, which is there where the registry has a metadata database:
it is on the registry's host, takes the registry's tokens, and says when a tag was last put on a manifest.
The latter's ``created_at`` is not asked for: it is the build's date, or when the tag was first made, and
either may be older than the push. Pulls are not told.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Final
from urllib.parse import quote

from reaper.core.product_times import RepositoryTimes, TagTime
from reaper.registry import scopes
from reaper.registry.errors import UnsupportedError
from reaper.registry.exchange import Exchange
from reaper.registry.products.api import API, latest
from reaper.registry.products.base import Fact

_API: Final = "/gitlab/v1"
_PAGE: Final = 1000
_LISTED: Final = 100
_HEADER: Final = "Gitlab-Container-Registry-Version"


class GitLab:
    """GitLab's registry at ``exchange``; ``rails`` is GitLab itself, where ``groups`` are to be listed."""

    name = "gitlab"

    def __init__(self, exchange: Exchange, rails: Exchange | None = None, groups: Sequence[str] = ()) -> None:
        self._api = API(self.name, exchange)
        self._rails = API(self.name, rails) if rails is not None else None
        self._groups = groups
        self.reads: frozenset[Fact] = frozenset()

    async def recognise(self) -> bool:
        """Tell whether this is GitLab's registry, and whether it has a metadata database."""
        answer = await self._api.get(f"{_API}/")
        if _HEADER not in answer.headers:
            return False
        reads = {Fact.PUSHED} if answer.status == 200 else set()
        if self._rails is not None and self._groups:
            reads.add(Fact.REPOSITORIES)
        self.reads = frozenset(reads)
        return True

    async def times(self, repository: str) -> RepositoryTimes:
        """Return when each tag was put on its manifest."""
        tags: dict[str, TagTime] = {}
        async for entry in self._api.listing(
            f"{_API}/repositories/{repository}/tags/list/?n={_PAGE}",
            f"the tags of {repository}",
            identity="name",
            scope=scopes.pull(repository),
        ):
            # `published_at` is the later of the other two, and missing in older registries.
            moments = (self._api.time(entry, key) for key in ("published_at", "updated_at", "created_at"))
            tags[self._api.tag(entry, "name")] = TagTime(self._api.digest(entry, "digest"), latest(*moments))
        return RepositoryTimes(tags)

    async def repositories(self) -> AsyncIterator[str]:
        """Yield the repositories of the groups, and of the groups in them.

        Raises:
            UnsupportedError: the settings name no groups.
        """
        if self._rails is None or not self._groups:
            raise UnsupportedError("GitLab lists the repositories of groups, and the settings name none")
        seen: set[str] = set()
        for group in self._groups:
            target = f"/api/v4/groups/{quote(group, safe='')}/registry/repositories?per_page={_LISTED}&page=1"
            what = f"the repositories of group {group}"
            async for entry in self._rails.listing(target, what, identity="path"):
                name = self._rails.repository(entry, "path")
                if name not in seen:
                    seen.add(name)
                    yield name
