"""What was seen in each repository, and when: the memory that registries lack."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Set
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import Final, Generic, NamedTuple, TypeVar

from sqlalchemy import Column, ColumnElement, Connection, Table, delete, func, select, update

from reaper.core.product_times import RepositoryTimes
from reaper.store import tables
from reaper.store.database import Database, chunks


@dataclass(frozen=True, slots=True)
class TagRecord:
    """A tag on its present digest. ``first_seen`` and the events' times belong to that digest.

    ``kept`` is what the last run decided on it, None where none did. ``product_pushed`` is from a registry
    product's own API.
    """

    digest: str
    first_seen: datetime
    last_seen: datetime
    pushed_event: datetime | None = None
    pulled: datetime | None = None
    kept: bool | None = None
    product_pushed: datetime | None = None

    def is_newer_than(self, at: datetime) -> bool:
        """Tell whether the tag was put on its digest after ``at``, as an event told."""
        return self.pushed_event is not None and self.pushed_event > at


@dataclass(frozen=True, slots=True)
class ManifestRecord:
    """A manifest in the repository. ``untagged_since`` is None while a tag points to it.

    The product's times are from a registry product's own API.
    """

    first_seen: datetime
    last_seen: datetime
    untagged_since: datetime | None = None
    pushed_event: datetime | None = None
    pulled: datetime | None = None
    product_pushed: datetime | None = None
    product_pulled: datetime | None = None

    def is_newer_than(self, at: datetime) -> bool:
        """Tell whether an event told of the manifest after ``at``."""
        return any(event is not None and event > at for event in (self.pushed_event, self.pulled))


@dataclass(frozen=True, slots=True)
class RepositoryRecord:
    """All that is remembered of one repository; empty for one that was never seen.

    ``inventoried_since`` is the first complete inventory, ``last_inventory`` the latest complete one.
    ``policies`` names the policies that the last run judged it by.
    """

    inventoried_since: datetime | None = None
    last_inventory: datetime | None = None
    tags: dict[str, TagRecord] = field(default_factory=dict)
    manifests: dict[str, ManifestRecord] = field(default_factory=dict)
    policies: str | None = None

    def inventoried(self, digest: str) -> bool:
        """Tell whether the latest complete inventory saw the manifest; events may tell of others."""
        known = self.manifests.get(digest)
        return known is not None and known.last_seen == self.last_inventory


@dataclass(frozen=True, slots=True)
class RepositorySummary:
    """One repository at a glance. ``tag_count`` is that of the latest look."""

    name: str
    first_seen: datetime
    inventoried_since: datetime | None
    last_inventory: datetime | None
    tag_count: int


_NO_TIMES: Final = RepositoryTimes()

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
        times: RepositoryTimes = _NO_TIMES,
    ) -> RepositoryRecord:
        """Remember one look at a repository, and return what is remembered now.

        ``tags`` are the tags and their digests, ``manifests`` every digest that exists, with or without a
        tag (those of the tags are added). A tag that is new, or has moved, starts anew at ``at``. ``times``
        are what a registry product's own API tells of them, as far as it is believed.

        A look that is not ``complete`` only adds: nothing is removed, and no manifest begins to count as
        untagged, because the tag that was not seen may be the one that points to it.

        ``at`` is when the look began. What was pushed or pulled since, as events tell, and was not seen any
        more, is remembered for the next look.
        """
        present = {*manifests, *tags.values()}
        with self._database.writing() as connection:
            known = enter(self._database, connection, registry, repository, at)
            before = _load(connection, known)
            seen_tags = _look_at_tags(before.tags, tags, at, complete=complete)
            seen_tags = _with_tag_times(seen_tags, before, times)
            after = RepositoryRecord(
                inventoried_since=(before.inventoried_since or at) if complete else before.inventoried_since,
                last_inventory=at if complete else before.last_inventory,
                tags=seen_tags,
                manifests=_with_digest_times(
                    _look_at_manifests(before.manifests, seen_tags, present, at, complete=complete),
                    before,
                    times,
                ),
                policies=before.policies,
            )
            missed_tags = {
                name: old
                for name, old in before.tags.items()
                if old.is_newer_than(at) and tags.get(name) != old.digest
            }
            missed = {
                digest: old
                for digest, old in before.manifests.items()
                if old.is_newer_than(at) and digest not in present
            }
            write = Writer(self._database, connection, known.id, at)
            write.changes(TAGS, before.tags, {**after.tags, **missed_tags}, tags.keys() - missed_tags.keys())
            write.changes(MANIFESTS, before.manifests, {**after.manifests, **missed}, present)
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

    def not_listed(self, registry: str, repositories: Iterable[str]) -> None:
        """Note that the catalog lacks these now. What was seen in them is remembered, should they return."""
        table = tables.repositories
        with self._database.writing() as connection:
            for chunk in chunks(repositories):
                named = (table.c.registry == registry, table.c.name.in_(chunk))
                connection.execute(update(table).where(*named).values(tag_count=0))

    def record_decisions(
        self, registry: str, repository: str, policies: str, kept: Mapping[str, bool]
    ) -> None:
        """Remember what a run decided on each tag, kept or not, and a name of the ``policies`` behind it."""
        with self._database.writing() as connection:
            known = _identify(connection, registry, repository)
            if known is None:
                return
            table = tables.repositories
            connection.execute(update(table).where(table.c.id == known.id).values(policies=policies))
            for decision in (True, False):
                for chunk in chunks(name for name, keep in kept.items() if keep is decision):
                    named = (TAGS.of(known.id), tables.tags.c.name.in_(chunk))
                    connection.execute(update(tables.tags).where(*named).values(kept=decision))

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
            known = enter(self._database, connection, registry, repository, at)
            write = Writer(self._database, connection, known.id, at)
            write.changes(TAGS, {}, tags, ())
            write.changes(MANIFESTS, {}, manifests, ())

    def _forget(
        self, registry: str, repository: str, values: Iterable[str], columns: Iterable[Column[str]]
    ) -> None:
        with self._database.writing() as connection:
            known = _identify(connection, registry, repository, lock=True)
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

    def fact(self, registry: str, key: str) -> str | None:
        """Return what is noted of a registry under ``key``."""
        with self._database.reading() as connection:
            return read_fact(connection, registry, key)

    def set_fact(self, registry: str, key: str, value: str | None) -> None:
        """Note ``value`` of a registry under ``key``, durably; None removes the note."""
        with self._database.writing() as connection:
            write_fact(self._database, connection, registry, key, value)


def read_fact(connection: Connection, registry: str, key: str) -> str | None:
    """Return what is noted of a registry under ``key``."""
    table = tables.registry_facts
    query = select(table.c.value).where(table.c.registry == registry, table.c.key == key)
    return connection.execute(query).scalar_one_or_none()


def write_fact(
    database: Database, connection: Connection, registry: str, key: str, value: str | None
) -> None:
    """Note ``value`` of a registry under ``key``; None removes the note."""
    table = tables.registry_facts
    if value is None:
        connection.execute(delete(table).where(table.c.registry == registry, table.c.key == key))
        return
    connection.execute(
        database.insert(table)
        .values(registry=registry, key=key, value=value)
        .on_conflict_do_update(index_elements=[table.c.registry, table.c.key], set_={"value": value})
    )


class Known(NamedTuple):
    """A repository's row, as far as a record needs it."""

    id: int
    inventoried_since: datetime | None
    last_inventory: datetime | None
    policies: str | None


def _identify(connection: Connection, registry: str, repository: str, *, lock: bool = False) -> Known | None:
    """Return the repository's row; with ``lock`` no other transaction writes about it until this one ends."""
    table = tables.repositories
    query = select(*(table.c[name] for name in Known._fields)).where(
        table.c.registry == registry, table.c.name == repository
    )
    row = connection.execute(query.with_for_update() if lock else query).one_or_none()
    return None if row is None else Known(*row)


def enter(database: Database, connection: Connection, registry: str, repository: str, at: datetime) -> Known:
    """Return the repository's row, made where there is none, for this transaction alone to write about."""
    known = _identify(connection, registry, repository, lock=True)
    if known is None:
        table = tables.repositories
        connection.execute(
            database.insert(table)
            .values(registry=registry, name=repository, first_seen=at, tag_count=0)
            .on_conflict_do_nothing(index_elements=[table.c.registry, table.c.name])
        )
        known = _identify(connection, registry, repository, lock=True)
    assert known is not None
    return known


@dataclass(frozen=True, slots=True)
class Kind(Generic[Record]):
    """A table of things in repositories: which column names a thing, and what is remembered of it."""

    table: Table
    key: str
    record: type[Record]

    def of(self, repository: int) -> ColumnElement[bool]:
        """Select the rows of one repository."""
        return self.table.c.repository_id == repository

    def load(
        self, connection: Connection, repository: int, names: Collection[str] | None = None
    ) -> dict[str, Record]:
        """Return what is remembered of each thing, or of those ``names``, by its name."""
        key = self.table.c[self.key]
        columns = [key, *(self.table.c[field.name] for field in fields(self.record))]
        query = select(*columns).where(self.of(repository))
        queries = [query] if names is None else [query.where(key.in_(chunk)) for chunk in chunks(names)]
        rows = (row for each in queries for row in connection.execute(each))
        return {row[0]: self.record(*row[1:]) for row in rows}


TAGS: Final = Kind(tables.tags, "name", TagRecord)
MANIFESTS: Final = Kind(tables.repository_manifests, "digest", ManifestRecord)


def _load(connection: Connection, known: Known) -> RepositoryRecord:
    return RepositoryRecord(
        known.inventoried_since,
        known.last_inventory,
        TAGS.load(connection, known.id),
        MANIFESTS.load(connection, known.id),
        known.policies,
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


def _with_tag_times(
    tags: Mapping[str, TagRecord], before: RepositoryRecord, times: RepositoryTimes
) -> dict[str, TagRecord]:
    """Return the tags with what ``times`` say of them, of the digests that they were seen on."""
    found = dict(tags)
    for name in tags.keys() & times.tags.keys():
        record, told = tags[name], times.tags[name]
        if told.digest == record.digest:
            old = before.tags.get(name)
            is_new = old is None or old.digest != record.digest
            pushed = _pushed(record, told.pushed, before, is_new=is_new)
            found[name] = replace(record, product_pushed=pushed)
    return found


def _with_digest_times(
    manifests: Mapping[str, ManifestRecord], before: RepositoryRecord, times: RepositoryTimes
) -> dict[str, ManifestRecord]:
    """Return the manifests with what ``times`` say of them."""
    found = dict(manifests)
    for digest in manifests.keys() & times.digests.keys():
        record, told = manifests[digest], times.digests[digest]
        found[digest] = replace(
            record,
            product_pushed=_pushed(record, told.pushed, before, is_new=digest not in before.manifests),
            product_pulled=_later(record.product_pulled, told.pulled),
        )
    return found


def _pushed(
    record: TagRecord | ManifestRecord, told: datetime | None, before: RepositoryRecord, *, is_new: bool
) -> datetime | None:
    """Return the push time that a product is believed to know, which only ever grows.

    It is not believed against an inventory that did not see the thing: a tag that was put on an old image
    just now is new, whatever is known of the image.
    """
    if told is None or record.product_pushed is not None:
        return _later(record.product_pushed, told)
    if is_new:
        return told if before.last_inventory is None or told > before.last_inventory else None
    since = before.inventoried_since
    return told if since is None or record.first_seen <= since or told > record.first_seen else None


def _later(first: datetime | None, second: datetime | None) -> datetime | None:
    if first is None or second is None:
        return first or second
    return max(first, second)


class Writer:
    """Writes the difference between two records of one repository, in few statements."""

    def __init__(self, database: Database, connection: Connection, repository: int, at: datetime) -> None:
        self._database = database
        self._connection = connection
        self._repository = repository
        self._at = at

    def changes(
        self,
        kind: Kind[Record],
        before: Mapping[str, Record],
        after: Mapping[str, Record],
        seen: Collection[str],
    ) -> None:
        """Write what differs. ``seen`` are the things that were seen now."""
        table, key = kind.table, kind.table.c[kind.key]
        for chunk in chunks(before.keys() - after.keys()):
            self._connection.execute(delete(table).where(kind.of(self._repository), key.in_(chunk)))
        # Nearly always only last_seen differs: that is one statement for all of them.
        last_seen = update(table).where(kind.of(self._repository)).values(last_seen=self._at)
        if seen and len(seen) == len(after):
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
