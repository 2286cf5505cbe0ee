"""Asking a product's API: documents and lists that are bounded, and read to their end or not believed."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import datetime
from typing import Any

from reaper.core.manifest import parse_time
from reaper.core.reference import is_digest, is_repository, is_tag
from reaper.registry.answers import Answers
from reaper.registry.credentials import Logins
from reaper.registry.errors import AuthenticationError, DeniedError, ProtocolError
from reaper.registry.exchange import Answer, Exchange
from reaper.registry.listing import Pages

#: One answer: a page of at most a thousand entries, of which some have much to say.
MAX_ANSWER = 16 * 1024 * 1024
#: Objects and lists in it; more are made to fill the memory.
_MAX_CONTAINERS = 400_000


class API:
    """The API of one product, ``name``, which speaks JSON.

    ``basic`` has the login that is sent unasked, as name and password; such an API never asks for one, and
    answers anybody with a part.
    """

    def __init__(self, name: str, exchange: Exchange, *, basic: Logins | None = None) -> None:
        self.name = name
        self._exchange = exchange
        self._basic = basic
        self._answers = Answers(exchange.url)

    @property
    def url(self) -> str:
        """Where the API is."""
        return self._exchange.url

    async def get(self, target: str, *, scope: str = "", limit: int = MAX_ANSWER) -> Answer:
        """Return the answer to a GET, whatever its status, but for refused logins.

        Raises:
            AuthenticationError, DeniedError: the login may not read this.
        """
        login = await self._basic.find(None) if self._basic else None
        basic = login.basic() if login else None
        return await self._exchange.ask(
            "GET",
            target,
            scope=scope,
            accept="application/json",
            limit=limit,
            headers={"Authorization": basic} if basic else None,
        )

    async def probe(self, target: str, *, scope: str = "", limit: int = MAX_ANSWER) -> Answer | None:
        """Return the answer where there is one to be had; None where the registry has nothing there.

        A registry that fails (5xx) is an error: what it is remains unknown.
        """
        try:
            answer = await self.get(target, scope=scope, limit=limit)
        except (AuthenticationError, DeniedError):
            return None
        return answer if answer.status == 200 else None

    async def probe_object(self, target: str) -> Mapping[str, Any] | None:
        """Return the JSON object that ``probe`` finds; None where there is none, whatever else there is."""
        answer = await self.probe(target)
        try:
            document = json.loads(answer.body) if answer is not None else None
        except (ValueError, RecursionError):
            return None
        return document if isinstance(document, dict) else None

    def document(self, answer: Answer, what: str) -> Any:
        """Return the JSON of an answer that has to be 200.

        Raises:
            RegistryError: it is not, or it is no JSON.
        """
        self._answers.expect(answer, 200, what)
        body = answer.body
        if body.count(b"{") + body.count(b"[") > _MAX_CONTAINERS:
            raise ProtocolError(f"{self.name}'s API: {what} has far too many parts")
        try:
            return json.loads(body)
        except (ValueError, RecursionError) as error:
            raise ProtocolError(f"{self.name}'s API: {what} is not JSON") from error

    async def listing(
        self, target: str, what: str, *, identity: str, key: str | None = None, scope: str = ""
    ) -> AsyncIterator[Mapping[str, Any]]:
        """Yield the entries of ``target`` and of the pages that follow it by ``Link``.

        A page is a list, or an object that has it under ``key``; ``identity`` tells entries apart.

        Raises:
            ProtocolError: the pages go in circles, or end before the ``X-Total-Count`` that they announce.
        """
        url: str | None = target if "://" in target else self.url + target
        track = Pages(f"{self.name}'s API: {what}")
        known: set[Any] = set()
        read, total = 0, 0
        while url is not None:
            track.turn(url, len(known))
            answer = await self.get(url, scope=scope)
            document = self.document(answer, what)
            if key is not None:
                document = self.mapping(document, what).get(key)
            entries = self.objects(document, what)
            for entry in entries:
                known.add(str(entry.get(identity)))
                yield entry
            read += len(entries)
            total = _count(answer.headers.get("X-Total-Count", ""))
            url = answer.next_page
        if read < total:
            raise self.fault(f"{what}: {read} of {total} entries were listed")

    def fault(self, what: str) -> ProtocolError:
        """Return the error for an answer that is not as documented."""
        return ProtocolError(f"{self.name}'s API: {what}")

    def mapping(self, value: object, what: str) -> Mapping[str, Any]:
        """Return an object."""
        if not isinstance(value, dict):
            raise self.fault(f"{what} is not an object")
        return value

    def objects(self, value: object, what: str) -> list[Mapping[str, Any]]:
        """Return a list of objects; null is an empty one, as Go writes it."""
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
            raise self.fault(f"{what} is not a list of objects")
        return value

    def digest(self, entry: Mapping[str, Any], key: str) -> str:
        """Return a digest of an entry."""
        found = entry.get(key)
        if not isinstance(found, str) or not is_digest(found):
            raise self.fault(f"{key} is not a digest")
        return found

    def tag(self, entry: Mapping[str, Any], key: str) -> str:
        """Return a tag of an entry."""
        found = entry.get(key)
        if not isinstance(found, str) or not is_tag(found):
            raise self.fault(f"{key} is not a tag")
        return found

    def repository(self, entry: Mapping[str, Any], key: str) -> str:
        """Return the name of a repository of an entry."""
        found = entry.get(key)
        if not isinstance(found, str) or not is_repository(found):
            raise self.fault(f"{key} is not the name of a repository")
        return found

    def time(self, entry: Mapping[str, Any], key: str) -> datetime | None:
        """Return an instant of an entry (RFC 3339); None where it is not there, null or empty."""
        found = entry.get(key)
        if found is None or found == "":
            return None
        moment = parse_time(found)
        if moment is None:
            raise self.fault(f"{key} is not a time")
        return moment


def latest(*times: datetime | None) -> datetime | None:
    """Return the latest of those times that are known."""
    return max(_known(times), default=None)


def _count(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) < 10 else 0


def _known(times: Iterable[datetime | None]) -> Iterable[datetime]:
    return (time for time in times if time is not None)
