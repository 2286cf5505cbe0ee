"""The manifest cache: content-addressed, so what is in it never goes out of date."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import bindparam, delete, select, update

from reaper.core.manifest import ImageConfig
from reaper.store.database import Database, chunks
from reaper.store.tables import manifests, repository_manifests


@dataclass(frozen=True, slots=True)
class CachedManifest:
    """A manifest's exact bytes, and what its config said.

    ``config_read`` tells that the config was looked at (or has nothing to say); ``config_created`` is then
    its ``created``, or None where it names no time, and ``config_platform`` its platform.
    """

    digest: str
    media_type: str
    content: bytes
    config_created: datetime | None = None
    config_read: bool = False
    config_platform: str | None = None

    @property
    def config(self) -> ImageConfig | None:
        """What the config said; None where it was not read."""
        return ImageConfig(self.config_created, self.config_platform) if self.config_read else None


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
                "config_platform": entry.config_platform,
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
                "config_platform": insert.excluded.config_platform,
            },
            where=insert.excluded.config_read,
        )
        with self._database.writing() as connection:
            connection.execute(statement, rows)

    def save_configs(self, configs: Mapping[str, ImageConfig]) -> None:
        """Note that the configs of these manifests were read, and what each said.

        A manifest that is not in the cache is passed over.
        """
        if not configs:
            return
        statement = (
            update(manifests)
            .where(manifests.c.digest == bindparam("of"))
            .values(
                config_created=bindparam("created"),
                config_platform=bindparam("platform"),
                config_read=True,
            )
        )
        with self._database.writing() as connection:
            rows = [{"of": digest, **asdict(config)} for digest, config in configs.items()]
            connection.execute(statement, rows)

    def prune(self) -> int:
        """Drop the manifests that no repository of any registry has any more; return how many."""
        used = select(repository_manifests.c.digest)
        with self._database.writing() as connection:
            return connection.execute(delete(manifests).where(manifests.c.digest.not_in(used))).rowcount
