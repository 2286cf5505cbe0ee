"""Which registry product's API was asked at the last inventory, and since when it shows pulls."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Final

from reaper.core.snapshot import ProductView
from reaper.store.database import Database
from reaper.store.observations import read_fact, write_fact

_FACT: Final = "product"


class Products:
    """The products of all registries, as far as they were asked. One transaction a call."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def last(self, registry: str) -> ProductView | None:
        """Return the product that was asked at the last inventory, or None where there was none."""
        with self._database.reading() as connection:
            return _parse(read_fact(connection, registry, _FACT))

    def look(self, registry: str, seen: ProductView) -> ProductView:
        """Remember that the product was asked, and return what is known of it now.

        ``seen`` is what it showed: ``pulls_since`` is when it was asked for pull times, which counts only
        the first time; the latest pull only ever grows.
        """
        before = self.last(registry)
        if before is not None and _merged(before, seen) == before:
            return before
        with self._database.writing() as connection:
            known = _merged(_parse(read_fact(connection, registry, _FACT)), seen)
            write_fact(self._database, connection, registry, _FACT, _text(known))
        return known

    def forget(self, registry: str) -> None:
        """Note that no product is asked any more."""
        if self.last(registry) is not None:
            with self._database.writing() as connection:
                write_fact(self._database, connection, registry, _FACT, None)


def _merged(before: ProductView | None, seen: ProductView) -> ProductView:
    if before is None or before.name != seen.name or before.pulls_since is None or seen.pulls_since is None:
        return seen
    pulls = [time for time in (before.latest_pull, seen.latest_pull) if time is not None]
    since = min(before.pulls_since, seen.pulls_since)
    return ProductView(seen.name, seen.tells_pushes, since, max(pulls, default=None))


def _text(view: ProductView) -> str:
    times = {
        "pulls_since": view.pulls_since.isoformat() if view.pulls_since else None,
        "latest_pull": view.latest_pull.isoformat() if view.latest_pull else None,
    }
    return json.dumps({"name": view.name, "tells_pushes": view.tells_pushes, **times})


def _parse(text: str | None) -> ProductView | None:
    if text is None:
        return None
    found = json.loads(text)
    since, latest = (found[key] for key in ("pulls_since", "latest_pull"))
    return ProductView(
        found["name"],
        found["tells_pushes"],
        datetime.fromisoformat(since) if since else None,
        datetime.fromisoformat(latest) if latest else None,
    )
