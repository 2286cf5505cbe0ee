"""What was seen in each repository, and when: the memory that registries lack."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from typing import Final, Generic, NamedTuple, TypeVar

from sqlalchemy import Column, ColumnElement, Connection, Table, delete, func, insert, select, update

from reaper.store import tables
from reaper.store.database import Database, chunks

_PULLS_TRACKED_SINCE: Final = "pulls_tracked_since"


@dataclass(frozen=True, slots=True)
class TagRecord:
    """A tag on its present digest. ``first_seen`` and the events' times belong to that digest."""

    digest: str
    first_seen: datetime
    last_seen: datetime
    pushed_event: datetime | None = None
    pulled: datetime | None = None


@dataclass(frozen=True, slots=True)
class ManifestRecord:
    """A manifest in the repository. ``untagged_since`` is None while a tag points to it."""

    first_seen: datetime
    last_seen: datetime
    untagged_since: datetime | None = None
    pushed_event: datetime | None = None
    pulled: datetime | None = None


@dataclass(frozen=True, slots=True)
class RepositoryRecord:
    """All that is remembered of one repository; empty for one that was never seen.

    ``inventoried_since`` is the first complete inventory, ``last_inventory`` the latest complete one.
    """

    inventoried_since: datetime | None = None
    last_inventory: datetime | None = None
    tags: dict[str, TagRecord] = field(default_factory=dict)
    manifests: dict[str, ManifestRecord] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RepositorySummary:
    """One repository at a glance. ``tag_count`` is that of the latest look."""

    name: str
    first_seen: datetime
    inventoried_since: datetime | None
    last_inventory: datetime | None
    tag_count: int


Record = TypeVar("Record", TagRecord, ManifestRecord)


class Observations:
    """What was seen, by registry and repository. One transaction a call; all instants in UTC."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def load(self, registry: str, repository: str) -> RepositoryRecord:
        """Return what is remembered of the repository."""
        with self._database.reading() as connection:
            known = _identify(connection, registry, repository)
            return RepositoryRecord() if known is None else _load(connection, known)

    def repositories(self, registry: str) -> list[RepositorySummary]:
        """Return every repository that was ever seen in the registry, by name."""
        table = tables.repositories
        columns = [table.c[column.name] for column in fields(RepositorySummary)]
        query = select(*columns).where(table.c.registry == registry).order_by(table.c.name)
        with self._database.reading() as connection:
            return [RepositorySummary(*row) for row in connection.execute(query)]

    def record(
        self,
        registry: str,
        repository: str,
        at: datetime,
        tags: Mapping[str, str],
        manifests: Iterable[str],
        *,
        complete: bool,
    ) -> RepositoryRecord:
        """Remember one look at a repository, and return what is remembered now.

        ``tags`` are the tags and their digests, ``manifests`` every digest that exists, with or without a
        tag (those of the tags are added). A tag that is new, or has moved, starts anew at ``at``.

        A look that is not ``complete`` only adds: nothing is removed, and no manifest begins to count as
        untagged, because the tag that was not seen may be the one that points to it.
        """
        present = {*manifests, *tags.values()}
        with self._database.writing() as connection:
            known = _identify(connection, registry, repository)
            if known is None:
                known = _introduce(connection, registry, repository, at)
                before = RepositoryRecord()
            else:
                before = _load(connection, known)
            seen_tags = _look_at_tags(before.tags, tags, at, complete=complete)
            after = RepositoryRecord(
                inventoried_since=(before.inventoried_since or at) if complete else before.inventoried_since,
                last_inventory=at if complete else before.last_inventory,
                tags=seen_tags,
                manifests=_look_at_manifests(before.manifests, seen_tags, present, at, complete=complete),
            )
            write = _Writer(self._database, connection, known.id, at)
            write.changes(_TAGS, before.tags, after.tags, None if complete else tags)
            write.changes(_MANIFESTS, before.manifests, after.manifests, None if complete else present)
            connection.execute(
                update(tables.repositories)
                .where(tables.repositories.c.id == known.id)
                .values(
                    inventoried_since=after.inventoried_since,
                    last_inventory=after.last_inventory,
                    tag_count=len(after.tags),
                )
            )
        return after

    def forget_manifests(self, registry: str, repository: str, digests: Iterable[str]) -> None:
        """Forget manifests that were deleted, and with them, as the registry does, every tag on them."""
        columns = (tables.tags.c.digest, tables.repository_manifests.c.digest)
        self._forget(registry, repository, digests, columns)

    def forget_tags(self, registry: str, repository: str, names: Iterable[str]) -> None:
        """Forget tags that were taken off. Their manifests count as untagged from the next complete look."""
        self._forget(registry, repository, names, (tables.tags.c.name,))

    def remember(
        self,
        registry: str,
        repository: str,
        at: datetime,
        tags: Mapping[str, TagRecord],
        manifests: Mapping[str, ManifestRecord],
    ) -> None:
        """Put records back that were forgotten, as they were: what is restored was not pushed just now."""
        with self._database.writing() as connection:
            known = _identify(connection, registry, repository) or _introduce(
                connection, registry, repository, at
            )
            write = _Writer(self._database, connection, known.id, at)
            write.changes(_TAGS, {}, tags, ())
            write.changes(_MANIFESTS, {}, manifests, ())

    def _forget(
        self, registry: str, repository: str, values: Iterable[str], columns: Iterable[Column[str]]
    ) -> None:
        with self._database.writing() as connection:
            known = _identify(connection, registry, repository)
            if known is None:
                return
            for chunk in chunks(values):
                for column in columns:
                    of_repository = column.table.c.repository_id == known.id
                    connection.execute(delete(column.table).where(of_repository, column.in_(chunk)))
            left = select(func.count()).where(tables.tags.c.repository_id == known.id).scalar_subquery()
            connection.execute(
                update(tables.repositories).where(tables.repositories.c.id == known.id).values(tag_count=left)
            )

    def pulls_tracked_since(self, registry: str) -> datetime | None:
        """Return when the registry's pull notifications began to arrive, or None without them."""
        value = self.fact(registry, _PULLS_TRACKED_SINCE)
        return None if value is None else datetime.fromisoformat(value)

    def track_pulls(self, registry: str, since: datetime | None) -> None:
        """Note that pull notifications arrive from ``since`` on, or (None) that they do not any more."""
        value = None if since is None else since.astimezone(UTC).isoformat()
        self.set_fact(registry, _PULLS_TRACKED_SINCE, value)

    def fact(self, registry: str, key: str) -> str | None:
        """Return what is noted of a registry under ``key``."""
        table = tables.registry_facts
        query = select(table.c.value).where(table.c.registry == registry, table.c.key == key)
        with self._database.reading() as connection:
            return connection.execute(query).scalar_one_or_none()

    def set_fact(self, registry: str, key: str, value: str | None) -> None:
        """Note ``value`` of a registry under ``key``, durably; None removes the note."""
        table = tables.registry_facts
        with self._database.writing() as connection:
            if value is None:
                connection.execute(delete(table).where(table.c.registry == registry, table.c.key == key))
                return
            connection.execute(
                self._database.insert(table)
                .values(registry=registry, key=key, value=value)
                .on_conflict_do_update(index_elements=[table.c.registry, table.c.key], set_={"value": value})
            )


class _Known(NamedTuple):
    """A repository's row, as far as a record needs it."""

    id: int
    inventoried_since: datetime | None
    last_inventory: datetime | None


def _identify(connection: Connection, registry: str, repository: str) -> _Known | None:
    table = tables.repositories
    query = select(table.c.id, table.c.inventoried_since, table.c.last_inventory).where(
        table.c.registry == registry, table.c.name == repository
    )
    row = connection.execute(query).one_or_none()
    return None if row is None else _Known(*row)


def _introduce(connection: Connection, registry: str, repository: str, at: datetime) -> _Known:
    statement = insert(tables.repositories).values(
        registry=registry, name=repository, first_seen=at, tag_count=0
    )
    return _Known(connection.execute(statement.returning(tables.repositories.c.id)).scalar_one(), None, None)


@dataclass(frozen=True, slots=True)
class _Kind(Generic[Record]):
    """A table of things in repositories: which column names a thing, and what is remembered of it."""

    table: Table
    key: str
    record: type[Record]

    def of(self, repository: int) -> ColumnElement[bool]:
        """Select the rows of one repository."""
        return self.table.c.repository_id == repository

    def load(self, connection: Connection, repository: int) -> dict[str, Record]:
        """Return what is remembered of each thing, by its name."""
        columns = [self.table.c[self.key], *(self.table.c[field.name] for field in fields(self.record))]
        rows = connection.execute(select(*columns).where(self.of(repository)))
        return {row[0]: self.record(*row[1:]) for row in rows}


_TAGS: Final = _Kind(tables.tags, "name", TagRecord)
_MANIFESTS: Final = _Kind(tables.repository_manifests, "digest", ManifestRecord)


def _load(connection: Connection, known: _Known) -> RepositoryRecord:
    return RepositoryRecord(
        known.inventoried_since,
        known.last_inventory,
        _TAGS.load(connection, known.id),
        _MANIFESTS.load(connection, known.id),
    )


def _look_at_tags(
    before: Mapping[str, TagRecord], seen: Mapping[str, str], at: datetime, *, complete: bool
) -> dict[str, TagRecord]:
    after = {} if complete else dict(before)
    for name, digest in seen.items():
        old = before.get(name)
        stays = old is not None and old.digest == digest
        after[name] = replace(old, last_seen=at) if old and stays else TagRecord(digest, at, at)
    return after


def _look_at_manifests(
    before: Mapping[str, ManifestRecord],
    tags: Mapping[str, TagRecord],
    present: Set[str],
    at: datetime,
    *,
    complete: bool,
) -> dict[str, ManifestRecord]:
    after = {} if complete else dict(before)
    tagged = {tag.digest for tag in tags.values()}
    for digest in present:
        old = before.get(digest)
        entry = ManifestRecord(at, at) if old is None else replace(old, last_seen=at)
        if digest in tagged:
            entry = replace(entry, untagged_since=None)
        elif complete and entry.untagged_since is None:
            entry = replace(entry, untagged_since=at)
        after[digest] = entry
    return after


class _Writer:
    """Writes the difference between two records of one repository, in few statements."""

    def __init__(self, database: Database, connection: Connection, repository: int, at: datetime) -> None:
        self._database = database
        self._connection = connection
        self._repository = repository
        self._at = at

    def changes(
        self,
        kind: _Kind[Record],
        before: Mapping[str, Record],
        after: Mapping[str, Record],
        seen: Iterable[str] | None,
    ) -> None:
        """Write what differs. ``seen`` are the things that were seen now, None for all in ``after``."""
        table, key = kind.table, kind.table.c[kind.key]
        for chunk in chunks(before.keys() - after.keys()):
            self._connection.execute(delete(table).where(kind.of(self._repository), key.in_(chunk)))
        # Nearly always only last_seen differs: that is one statement for all of them.
        last_seen = update(table).where(kind.of(self._repository)).values(last_seen=self._at)
        if seen is None:
            self._connection.execute(last_seen)
        else:
            for chunk in chunks(seen):
                self._connection.execute(last_seen.where(key.in_(chunk)))
        columns = [field.name for field in fields(kind.record)]
        rows = [
            {"repository_id": self._repository, kind.key: name}
            | {column: getattr(record, column) for column in columns}
            for name, record in after.items()
            if (old := before.get(name)) is None or replace(old, last_seen=record.last_seen) != record
        ]
        if rows:
            statement = self._database.insert(table)
            self._connection.execute(
                statement.on_conflict_do_update(
                    index_elements=list(table.primary_key),
                    set_={column: statement.excluded[column] for column in columns},
                ),
                rows,
            )
