"""Listings: pages of names, followed to their end or not believed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Container, Iterable
from urllib.parse import quote

import httpx

from reaper.core.reference import is_repository
from reaper.registry.answers import Answers
from reaper.registry.errors import HangUpError, NotFoundError, ProtocolError, TooLargeError, UnsupportedError
from reaper.registry.exchange import Exchange

#: One page of a listing. A registry may cap what it gives; a larger answer than this is no listing.
MAX_LISTING = 64 * 1024 * 1024
#: Names in one listing, a list of referrers included: more than any registry holds in one place.
MAX_NAMES = 2_000_000
#: So many pages in a row may bring nothing new; some registries leave out what one may not see.
_MAX_BARREN_PAGES = 100
#: A listing is one list in one object; what holds far more of them is made to fill the memory.
_MAX_CONTAINERS = 1_000


class Pages:
    """Watches that the pages of a listing come to an end."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._seen: set[str] = set()
        self._known = 0
        self._barren = 0

    def turn(self, url: str, known: int) -> None:
        """Note that the page at ``url`` is next, with so many names ``known`` before it.

        Raises:
            ProtocolError: the pages lead nowhere, or to more than any registry holds.
        """
        self._barren = self._barren + 1 if known == self._known else 0
        self._known = known
        if url in self._seen or self._barren > _MAX_BARREN_PAGES:
            raise ProtocolError(f"{self._what}: the pages go in circles")
        if known > MAX_NAMES:
            raise TooLargeError(f"{self._what}: there are more than {MAX_NAMES} names")
        self._seen.add(url)


class PageSizes:
    """How many names to ask for at a time: at first ``most``, later what each kind of listing has given."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._given: dict[str, int] = {}

    def ask_for(self, key: str) -> int:
        """Return how many names to ask for in a listing of this kind."""
        return self._given.get(key, self._most)

    def given(self, key: str, size: int) -> None:
        """Note that the registry accepted this size."""
        self._given[key] = size

    @property
    def smallest(self) -> int | None:
        """The smallest size that was needed; None before the first listing."""
        return min(self._given.values(), default=None)


def left_out_by_pages(ends: Iterable[str], listed: Container[str]) -> list[str]:
    """Return which repositories a catalog may lack whose pages ``ends`` end with.

    Distribution walks through some of a repository's children before it names the repository itself, and
    begins the next page behind the last name: ``app`` is lost when a page ends with ``app/0-base``.
    """
    found = set()
    for end in ends:
        parent = end.rpartition("/")[0]
        while parent:
            if is_repository(parent) and parent not in listed:
                found.add(parent)
            parent = parent.rpartition("/")[0]
    return sorted(found)


async def pages(
    exchange: Exchange, answers: Answers, path: str, *, scope: str, key: str, sizes: PageSizes
) -> AsyncIterator[list[str]]:
    """Yield the new names on each page; a listing that cannot be read to its end is an error."""
    size = sizes.ask_for(key)
    url: str | None = f"{exchange.url}{path}?n={size}"
    first, moved = True, False
    track = Pages(f"{exchange.url}{path}")
    known: set[str] = set()
    while url is not None:
        track.turn(url, len(known))
        try:
            answer = await exchange.ask("GET", url, scope=scope, accept="application/json", limit=MAX_LISTING)
        except HangUpError:
            # Where 2.8 only forgets that there is more, 3.1 hangs up: the page has to end elsewhere.
            if key != "repositories" or moved or size == 1:
                raise
            moved, size = True, size - 1
            url = str(httpx.URL(url).copy_set_param("n", size))
            continue
        moved = False
        if answer.status == 400 and first and size > 1:
            # The registry caps the page size, and does not say at what.
            size = max(1, size // 10)
            url = f"{exchange.url}{path}?n={size}"
            continue
        if key == "repositories" and answer.status in (404, 405, 501):
            said = f"{exchange.url} has no catalog of repositories ({answer.status})"
            raise UnsupportedError(said, status=answer.status)
        if answer.status == 404:
            raise NotFoundError(f"{exchange.url}{path} is not there (404)", status=404)
        answers.expect(answer, 200, path)
        if first:
            sizes.given(key, size)
        first = False
        if answer.body.count(b"[") + answer.body.count(b"{") > _MAX_CONTAINERS:
            raise ProtocolError(f"{exchange.url}{path}: {key} is not a list of names")
        if answer.body.count(b'"') > 2 * MAX_NAMES:
            raise TooLargeError(f"{exchange.url}{path}: a page has more than {MAX_NAMES} names")
        names = answers.json(answer, path).get(key)
        if names is None:
            names = []
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ProtocolError(f"{exchange.url}{path}: {key} is not a list of names")
        new = [name for name in dict.fromkeys(names) if name not in known]
        known.update(new)
        yield new
        url = answer.next_page
        if url is None and key == "repositories" and new and len(names) == size:
            # Where the next is one with others below it, distribution 2.8 forgets to say that there is more.
            url = f"{exchange.url}{path}?n={size}&last={quote(names[-1], safe='')}"
