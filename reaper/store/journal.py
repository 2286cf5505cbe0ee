"""The undo journal: what is about to be deleted is written here first, and can be put back from here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from enum import StrEnum
from json import dumps
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, Text, delete, func, insert, literal, select, type_coerce, update

from reaper.store.database import Database
from reaper.store.errors import StoreError
from reaper.store.tables import Instant, journal


class Action(StrEnum):
    """What is done to the registry."""

    DELETE = "delete"
    UNTAG = "untag"


class State(StrEnum):
    """How far an entry has come.

    ``PENDING`` is written before the DELETE leaves; ``CANCELLED`` means that nothing was deleted after all;
    ``COLLECTED`` that a collection swept the blobs, so that nothing can be put back any more.
    """

    PENDING = "pending"
    DELETED = "deleted"
    CANCELLED = "cancelled"
    RESTORING = "restoring"
    RESTORED = "restored"
    COLLECTED = "collected"


#: In an entry's ``plan``: the digests that were to be deleted after it, its children and referrers.
PARTS: Final = "parts"

#: The states from which each state may be reached. A restore that fails goes back to deleted; one that is cut
#: short is begun again.
_FROM: Final[Mapping[State, frozenset[State]]] = {
    State.PENDING: frozenset(),
    State.DELETED: frozenset({State.PENDING, State.RESTORING}),
    State.CANCELLED: frozenset({State.PENDING}),
    State.RESTORING: frozenset({State.DELETED, State.RESTORING}),
    State.RESTORED: frozenset({State.RESTORING}),
    State.COLLECTED: frozenset({State.DELETED, State.RESTORING}),
}
_CLOSED: Final = (State.CANCELLED, State.RESTORED, State.COLLECTED)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEntry:
    """One delete, or one tag to be taken off, as it is written down before it happens.

    ``content`` are the manifest's exact bytes and ``tags`` all tags on it (of an untag: those taken off).
    ``plan`` is whatever the sweep needs to finish or close this after a crash; it must fit into JSON.
    ``reclaimable_bytes`` is what a collection may free for this entry, as far as the plan knows.
    """

    registry: str
    repository: str
    digest: str
    action: Action
    media_type: str
    content: bytes
    tags: tuple[str, ...]
    policy: str
    rule: str
    reason: str
    run_id: str
    created_at: datetime
    plan: Mapping[str, Any] = field(default_factory=dict)
    reclaimable_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalEntry(NewEntry):
    """An entry as it stands. ``id`` grows: what was deleted later has the higher one.

    ``deleted_at`` is when the DELETE was answered, and stays when a restore fails.
    """

    id: int
    state: State
    updated_at: datetime
    deleted_at: datetime | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class JournalLine:
    """An entry without the manifest: what a list of many shows."""

    id: int
    repository: str
    digest: str
    action: Action
    tags: tuple[str, ...]
    policy: str
    rule: str
    reason: str
    run_id: str
    state: State
    created_at: datetime
    deleted_at: datetime | None
    error: str | None


@dataclass(frozen=True, slots=True)
class Collectable:
    """What a collection may sweep: entries, the bytes that their plans expected, and the oldest delete."""

    count: int
    reclaimable_bytes: int
    oldest: datetime | None


@dataclass(frozen=True, slots=True)
class LeftOver:
    """A part's owner, which was deleted while the part was not, and when that was begun."""

    owner: str
    since: datetime


class Journal:
    """The journal of all registries. Every change is on the disk when the call returns."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, entry: NewEntry) -> int:
        """Write the entry down as pending, and return its id. Only then may the DELETE be sent."""
        values = {column.name: getattr(entry, column.name) for column in fields(NewEntry)}
        values |= {"tags": list(entry.tags), "plan": dict(entry.plan)}
        values |= {"state": State.PENDING, "updated_at": entry.created_at}
        with self._database.writing() as connection:
            entry_id: int = connection.execute(
                insert(journal).values(values).returning(journal.c.id)
            ).scalar_one()
        return entry_id

    def mark(
        self,
        entry_id: int,
        state: State,
        at: datetime,
        error: str | None = None,
        *,
        tags: Sequence[str] | None = None,
    ) -> None:
        """Move the entry on. ``error`` says why, where it did not go as planned; None clears it.

        ``tags``, where given, are all tags that went with the manifest, as it turned out.

        Raises:
            StoreError: there is no such entry, or it may not go from its state to this one.
        """
        values: dict[str, object] = {"state": state, "updated_at": at, "error": error}
        if tags is not None:
            values["tags"] = list(tags)
        if state is State.DELETED:
            # A failed restore does not make the delete younger: a collection may have swept it meanwhile.
            values["deleted_at"] = func.coalesce(journal.c.deleted_at, literal(at, Instant))
        with self._database.writing() as connection:
            allowed = update(journal).where(journal.c.id == entry_id, journal.c.state.in_(_FROM[state]))
            if connection.execute(allowed.values(values)).rowcount:
                return
            present = connection.execute(select(journal.c.state).where(journal.c.id == entry_id)).scalar()
        if present is None:
            raise StoreError(f"the journal has no entry {entry_id}")
        raise StoreError(f"the journal's entry {entry_id} is {present} and cannot become {state}")

    def get(self, entry_id: int) -> JournalEntry | None:
        """Return the entry, or None where there is none (any more)."""
        entries = self._entries(select(journal).where(journal.c.id == entry_id))
        return entries[0] if entries else None

    def newest(self, registry: str, repository: str, digest: str) -> JournalEntry | None:
        """Return the last entry of a manifest, whatever became of it, or None where there is none."""
        query = select(journal).where(
            journal.c.registry == registry, journal.c.repository == repository, journal.c.digest == digest
        )
        entries = self._entries(query.order_by(journal.c.id.desc()).limit(1))
        return entries[0] if entries else None

    def tags_deleted_since(self, registry: str, repository: str, since: datetime) -> set[str]:
        """Return the tags that were deleted since then, with their manifests or alone, and not put back."""
        query = select(journal.c.tags).where(
            journal.c.registry == registry,
            journal.c.repository == repository,
            journal.c.state.in_((State.DELETED, State.COLLECTED)),
            journal.c.deleted_at >= since,
        )
        with self._database.reading() as connection:
            return {tag for row in connection.execute(query) for tag in row.tags}

    def pending(self, registry: str) -> list[JournalEntry]:
        """Return what was begun and whose end is unknown, oldest first: empty but after a crash."""
        return self._in_state(registry, State.PENDING)

    def restoring(self, registry: str) -> list[JournalEntry]:
        """Return the restores that were begun and whose end is unknown, in the order of a restore."""
        return self._in_state(registry, State.RESTORING)[::-1]

    def undoable(
        self,
        registry: str,
        *,
        run_id: str | None = None,
        repository: str | None = None,
        tag: str | None = None,
        digest: str | None = None,
        limit: int | None = None,
        before: int | None = None,
    ) -> list[JournalEntry]:
        """Return what can be put back: the deleted entries that match everything given.

        The newest comes first. That is the order of a restore: parents were deleted before their children,
        so children come before their parents here. For a bounded memory, ask for ``limit`` entries at a
        time, each time those ``before`` the last id.
        """
        query = select(journal).where(journal.c.registry == registry, journal.c.state == State.DELETED)
        if run_id is not None:
            query = query.where(journal.c.run_id == run_id)
        if repository is not None:
            query = query.where(journal.c.repository == repository)
        if digest is not None:
            query = query.where(journal.c.digest == digest)
        if tag is not None:
            # The list's text has this text in it; LIKE would take "_" for any letter, and "v" for "V".
            text = type_coerce(journal.c.tags, Text)
            query = query.where(func.replace(text, dumps(tag), "") != text)
        if before is not None:
            query = query.where(journal.c.id < before)
        return self._entries(query.order_by(journal.c.id.desc()).limit(limit))

    def of_run(self, registry: str, run_id: str) -> list[JournalEntry]:
        """Return everything that one run wrote down, oldest first, whatever became of it."""
        return self._entries(
            select(journal)
            .where(journal.c.registry == registry, journal.c.run_id == run_id)
            .order_by(journal.c.id)
        )

    def lines(
        self,
        registry: str,
        *,
        limit: int,
        run_id: str | None = None,
        state: State | None = None,
        before: int | None = None,
    ) -> list[JournalLine]:
        """Return the last ``limit`` entries, of a run or in a state where given, newest first.

        For more, ask for those ``before`` the last id.
        """
        columns = [journal.c[name] for name in JournalLine.__dataclass_fields__]
        query = select(*columns).where(journal.c.registry == registry)
        if run_id is not None:
            query = query.where(journal.c.run_id == run_id)
        if state is not None:
            query = query.where(journal.c.state == state)
        if before is not None:
            query = query.where(journal.c.id < before)
        with self._database.reading() as connection:
            rows = connection.execute(query.order_by(journal.c.id.desc()).limit(limit))
            return [JournalLine(**_typed(row._asdict())) for row in rows]

    def left_over(self, registry: str, repository: str) -> dict[str, LeftOver]:
        """Return, by digest, what was to be deleted after a manifest that is deleted, and was not.

        A sweep that is interrupted leaves such parts. What has an entry of its own since was deleted after
        all, or restored by somebody who wants it.
        """
        columns = (journal.c.digest, journal.c.state, journal.c.plan, journal.c.created_at)
        query = select(*columns).where(
            journal.c.registry == registry,
            journal.c.repository == repository,
            journal.c.action == Action.DELETE,
            journal.c.state != State.CANCELLED,
        )
        found: dict[str, LeftOver] = {}
        with self._database.reading() as connection:
            for row in connection.execute(query.order_by(journal.c.id)):
                found.pop(row.digest, None)
                if row.state in (State.DELETED, State.COLLECTED):
                    owner = LeftOver(row.digest, row.created_at)
                    found |= dict.fromkeys(row.plan.get(PARTS, ()), owner)
        return found

    def deleted_before(self, registry: str, when: datetime) -> Collectable:
        """Return what a collection would sweep of that which was deleted before ``when``."""
        size = func.coalesce(func.sum(journal.c.reclaimable_bytes), 0)
        query = select(func.count(), size, func.min(journal.c.deleted_at)).where(*_deleted(registry, when))
        with self._database.reading() as connection:
            count, total, oldest = connection.execute(query).one()
        # PostgreSQL's sum of a bigint is a decimal.
        return Collectable(count, int(total), oldest)

    def mark_collected(self, registry: str, deleted_before: datetime, at: datetime) -> int:
        """Note that a collection, begun at ``deleted_before``, swept what was deleted until then.

        Returns how many entries can no longer be undone.
        """
        statement = update(journal).where(*_deleted(registry, deleted_before))
        with self._database.writing() as connection:
            return connection.execute(statement.values(state=State.COLLECTED, updated_at=at)).rowcount

    def count_by_state(self, registry: str, run_id: str | None = None) -> dict[State, int]:
        """Return how many entries, of one run or of all, are in each state; every state is named."""
        query = select(journal.c.state, func.count()).where(journal.c.registry == registry)
        if run_id is not None:
            query = query.where(journal.c.run_id == run_id)
        with self._database.reading() as connection:
            counts = {row[0]: row[1] for row in connection.execute(query.group_by(journal.c.state))}
        return {state: counts.get(state, 0) for state in State}

    def prune(self, registry: str, before: datetime) -> int:
        """Drop the closed entries (cancelled, restored, collected) that have not changed since ``before``.

        Returns how many. What can still be undone, or is still under way, stays however old it is.
        """
        old = (journal.c.registry == registry, journal.c.state.in_(_CLOSED), journal.c.updated_at < before)
        with self._database.writing() as connection:
            return connection.execute(delete(journal).where(*old)).rowcount

    def _in_state(self, registry: str, state: State) -> list[JournalEntry]:
        query = select(journal).where(journal.c.registry == registry, journal.c.state == state)
        return self._entries(query.order_by(journal.c.id))

    def _entries(self, query: Select[Any]) -> list[JournalEntry]:
        with self._database.reading() as connection:
            return [_entry(row._asdict()) for row in connection.execute(query)]


def _deleted(registry: str, before: datetime) -> tuple[ColumnElement[bool], ...]:
    return (
        journal.c.registry == registry,
        journal.c.state == State.DELETED,
        journal.c.deleted_at < before,
    )


def _entry(values: dict[str, Any]) -> JournalEntry:
    return JournalEntry(**_typed(values))


def _typed(values: dict[str, Any]) -> dict[str, Any]:
    values["action"] = Action(values["action"])
    values["state"] = State(values["state"])
    values["tags"] = tuple(values["tags"])
    return values
