"""Quay: its API v1.

Source: Red Hat Quay's API guide, listRepoTags. The API has OAuth tokens of its own. A tag's ``start_ts`` is
when it was put on its manifest, in seconds since 1970, also where it was restored. Pulls are not told.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import quote

from reaper.core.product_times import RepositoryTimes, TagTime
from reaper.registry.errors import UnsupportedError
from reaper.registry.exchange import Exchange
from reaper.registry.listing import Pages
from reaper.registry.products.api import API
from reaper.registry.products.base import Fact

_API: Final = "/api/v1"
_PAGE: Final = 100
#: The last second of the year 9999.
_LAST: Final = 253_402_300_799


class Quay:
    """A Quay; ``exchange`` shows the API's token."""

    name = "quay"
    reads = frozenset({Fact.PUSHED})

    def __init__(self, exchange: Exchange) -> None:
        self._api = API(self.name, exchange)

    async def recognise(self) -> bool:
        """Tell whether the API describes itself, with the list of tags that is read here."""
        document = await self._api.probe_object(f"{_API}/discovery")
        paths = document.get("paths") if document is not None else None
        return isinstance(paths, dict) and f"{_API}/repository/{{repository}}/tag/" in paths

    async def times(self, repository: str) -> RepositoryTimes:
        """Return when each tag was put on its manifest."""
        what = f"the tags of {repository}"
        tags: dict[str, TagTime] = {}
        track = Pages(f"quay's API: {what}")
        page, more = 1, True
        while more:
            query = f"onlyActiveTags=true&limit={_PAGE}&page={page}"
            target = f"{_API}/repository/{quote(repository)}/tag/?{query}"
            track.turn(target, len(tags))
            document = self._api.mapping(self._api.document(await self._api.get(target), what), what)
            for entry in self._api.objects(document.get("tags"), what):
                tags[self._api.tag(entry, "name")] = TagTime(
                    self._api.digest(entry, "manifest_digest"), self._started(entry)
                )
            found = document.get("has_additional")
            if not isinstance(found, bool):
                raise self._api.fault(f"{what}: has_additional is neither true nor false")
            more = found
            page += 1
        return RepositoryTimes(tags)

    def _started(self, entry: Mapping[str, Any]) -> datetime | None:
        seconds, text = entry.get("start_ts"), entry.get("last_modified")
        if isinstance(seconds, int) and not isinstance(seconds, bool) and 0 <= seconds <= _LAST:
            return datetime.fromtimestamp(seconds, UTC)
        if seconds is not None:
            raise self._api.fault("start_ts is not a time")
        if text is None:
            return None
        try:
            moment = parsedate_to_datetime(str(text))
        except (ValueError, OverflowError) as error:
            raise self._api.fault("last_modified is not a time") from error
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment

    def repositories(self) -> AsyncIterator[str]:
        """Refuse: Quay lists repositories by namespace alone."""
        raise UnsupportedError("Quay's API does not list all repositories")
