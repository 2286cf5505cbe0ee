"""zot: its search extension, GraphQL over GET.

Sources: zot's "Using GraphQL for Enhanced Searches", and the extension's schema (pkg/extensions/search).
``PushTimestamp`` and ``LastPullTimestamp`` came at the end of 2024 (zot's pull request 2699),
``TaggedTimestamp`` in 2026; which of them there are, the schema is asked. zot counts GETs of a manifest as
pulls, HEADs not.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final
from urllib.parse import urlencode

from reaper.core.product_times import DigestTime, RepositoryTimes, TagTime
from reaper.core.reference import is_digest
from reaper.registry.errors import UnsupportedError
from reaper.registry.exchange import Exchange
from reaper.registry.listing import Pages
from reaper.registry.products.api import API, latest
from reaper.registry.products.base import Fact

_PATH: Final = "/v2/_zot/ext/search"
_FIELDS: Final = '{__type(name:"ImageSummary"){fields{name}}}'
_PAGE: Final = 500
_PUSHED: Final = "PushTimestamp"
_PULLED: Final = "LastPullTimestamp"
_TAGGED: Final = "TaggedTimestamp"


class Zot:
    """A zot whose search extension is on; ``exchange`` is the registry's own."""

    name = "zot"

    def __init__(self, exchange: Exchange) -> None:
        self._api = API(self.name, exchange)
        self._fields: tuple[str, ...] = ()
        self.reads: frozenset[Fact] = frozenset()

    async def recognise(self) -> bool:
        """Tell whether there is a search extension, and which times its schema has."""
        document = await self._api.probe_object(_query(_FIELDS))
        if document is None or not document.keys() & {"data", "errors"}:
            return False
        fields = _names(document)
        self._fields = tuple(name for name in (_PUSHED, _PULLED, _TAGGED) if name in fields)
        reads = {_PUSHED: Fact.PUSHED, _TAGGED: Fact.PUSHED, _PULLED: Fact.PULLED}
        self.reads = frozenset(reads[name] for name in self._fields)
        return True

    async def times(self, repository: str) -> RepositoryTimes:
        """Return the times of the repository's tags, and of the digests that have one."""
        what = f"the images of {repository}"
        tags: dict[str, TagTime] = {}
        digests: dict[str, DigestTime] = {}
        track = Pages(f"zot's API: {what}")
        known: set[tuple[str, str]] = set()
        read, total = 0, 1
        while len(known) < total:
            target = _query(_images(repository, self._fields, read))
            track.turn(target, len(known))
            answer = await self._api.get(target)
            document = self._api.mapping(self._api.document(answer, what), what)
            data = document.get("data")
            if document.get("errors") or not isinstance(data, dict):
                raise self._api.fault(f"{what} cannot be queried")
            page = self._api.mapping(data.get("ImageList"), what)
            images = self._api.objects(page.get("Results"), what)
            count = self._api.mapping(page.get("Page"), what).get("TotalCount")
            if not isinstance(count, int) or isinstance(count, bool) or count < 0:
                raise self._api.fault(f"{what}: TotalCount is not a number")
            total, before = count, len(known)
            read += len(images)
            for image in images:
                self._read(image, tags, digests)
                known.add((str(image.get("Tag")), str(image.get("Digest"))))
            if len(known) == before and before < total:
                raise self._api.fault(f"{what}: {before} of {total} were listed")
        return RepositoryTimes(tags, digests)

    def _read(
        self, image: Mapping[str, Any], tags: dict[str, TagTime], digests: dict[str, DigestTime]
    ) -> None:
        digest = self._api.digest(image, "Digest")
        held = digests.get(digest, DigestTime())
        digests[digest] = DigestTime(
            latest(held.pushed, self._api.time(image, _PUSHED)),
            latest(held.pulled, self._api.time(image, _PULLED)),
        )
        # What has no tag stands under its digest.
        if not is_digest(str(image.get("Tag") or digest)):
            tags[self._api.tag(image, "Tag")] = TagTime(digest, self._api.time(image, _TAGGED))

    def repositories(self) -> AsyncIterator[str]:
        """Refuse: zot's catalog has them all."""
        raise UnsupportedError("zot lists its repositories in the catalog")


def _query(text: str) -> str:
    return f"{_PATH}?{urlencode({'query': text})}"


def _images(repository: str, fields: tuple[str, ...], offset: int) -> str:
    page = f"limit:{_PAGE},offset:{offset},sortBy:ALPHABETIC_ASC"
    wanted = " ".join(("Tag", "Digest", *fields))
    return (
        f"{{ImageList(repo:{json.dumps(repository)},requestedPage:{{{page}}})"
        f"{{Page{{TotalCount}}Results{{{wanted}}}}}}}"
    )


def _names(document: Mapping[str, Any]) -> set[str]:
    """Return the fields that the schema has; none where it does not say."""
    found: Any = document.get("data")
    for key in ("__type", "fields"):
        found = found.get(key) if isinstance(found, dict) else None
    return {str(field.get("name")) for field in found or () if isinstance(field, dict)}
