"""The images that were seen in use, so that they stay protected for a while after that."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime

from sqlalchemy import delete, select

from reaper.core.in_use import Sighting
from reaper.store.database import Database, chunks
from reaper.store.tables import images_in_use


class ImagesInUse:
    """When each source last showed each image in use."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def recall(self, since: datetime) -> list[Sighting]:
        """Return what was last seen at ``since`` or later, the latest first."""
        query = (
            select(images_in_use)
            .where(images_in_use.c.seen_at >= since)
            .order_by(images_in_use.c.seen_at.desc(), images_in_use.c.image, images_in_use.c.source)
        )
        with self._database.reading() as connection:
            return [Sighting(**row._asdict()) for row in connection.execute(query)]

    def remember(self, sightings: Iterable[Sighting]) -> None:
        """Note what was seen; what a source showed before is then known by its new time."""
        statement = self._database.insert(images_in_use)
        statement = statement.on_conflict_do_update(
            index_elements=[images_in_use.c.source, images_in_use.c.image],
            set_={"user": statement.excluded.user, "seen_at": statement.excluded.seen_at},
        )
        with self._database.writing() as connection:
            for chunk in chunks(sightings):
                connection.execute(statement, [asdict(sighting) for sighting in chunk])

    def forget(self, before: datetime) -> int:
        """Drop what was last seen before ``before``; return how many that were."""
        with self._database.writing() as connection:
            return connection.execute(delete(images_in_use).where(images_in_use.c.seen_at < before)).rowcount
