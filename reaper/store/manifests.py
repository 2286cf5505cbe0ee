"""The manifest cache: content-addressed, so what is in it never goes out of date."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import bindparam, delete, select, update

from reaper.store.database import Database, chunks
from reaper.store.tables import manifests, repository_manifests


@dataclass(frozen=True, slots=True)
class CachedManifest:
    """A manifest's exact bytes, and what its config said.

    ``config_read`` tells that the config was looked at (or has nothing to say); ``config_created`` is then
    its ``created``, or None where it names no time.
    """

    digest: str
    media_type: str
    content: bytes
    config_created: datetime | None = None
    config_read: bool = False


class Manifests:
    """All manifests that were ever fetched, of all registries."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def load(self, digests: Iterable[str]) -> dict[str, CachedManifest]:
        """Return those of ``digests`` that are in the cache, by digest."""
        found: dict[str, CachedManifest] = {}
        with self._database.reading() as connection:
            for chunk in chunks(digests):
                rows = connection.execute(select(manifests).where(manifests.c.digest.in_(chunk)))
                found.update((row.digest, CachedManifest(*row)) for row in rows)
        return found

    def save(self, entries: Iterable[CachedManifest]) -> None:
        """Keep the manifests. An entry that did not read the config leaves what is known of it."""
        rows = [
            {
                "digest": entry.digest,
                "media_type": entry.media_type,
                "content": entry.content,
                "config_created": entry.config_created,
                "config_read": entry.config_read,
            }
            for entry in entries
        ]
        if not rows:
            return
        insert = self._database.insert(manifests)
        statement = insert.on_conflict_do_update(
            index_elements=[manifests.c.digest],
            set_={
                "config_created": insert.excluded.config_created,
                "config_read": insert.excluded.config_read,
            },
            where=insert.excluded.config_read,
        )
        with self._database.writing() as connection:
            connection.execute(statement, rows)

    def save_created(self, times: Mapping[str, datetime | None]) -> None:
        """Note that the configs of these manifests were read, and the ``created`` of each, if it has one.

        A manifest that is not in the cache is passed over.
        """
        if not times:
            return
        statement = (
            update(manifests)
            .where(manifests.c.digest == bindparam("of"))
            .values(config_created=bindparam("created"), config_read=True)
        )
        with self._database.writing() as connection:
            connection.execute(statement, [{"of": digest, "created": at} for digest, at in times.items()])

    def prune(self) -> int:
        """Drop the manifests that no repository of any registry has any more; return how many."""
        used = select(repository_manifests.c.digest)
        with self._database.writing() as connection:
            return connection.execute(delete(manifests).where(manifests.c.digest.not_in(used))).rowcount
