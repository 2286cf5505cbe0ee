"""What registries tell of pushes and pulls, and since when they do so without a gap.

An event is told late, twice, out of order, and by a clock of the registry's own. So times only ever grow,
and a time that cannot be right is replaced by one that keeps images longer.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final

from sqlalchemy import Connection, func, select

from reaper.store.database import Database, chunks
from reaper.store.observations import (
    MANIFESTS,
    TAGS,
    ManifestRecord,
    TagRecord,
    Writer,
    enter,
    read_fact,
    write_fact,
)
from reaper.store.tables import repositories, runs, tags

#: An event is not taken to be older than this when it arrives: a registry's clock may be wrong.
MAX_DELAY: Final = timedelta(hours=24)
#: When nobody listened for longer than this, events may have been lost.
MAX_SILENCE: Final = timedelta(hours=1)

_SINCE: Final = "pulls_tracked_since"
_HEARD: Final = "pulls_heard_at"
_LISTENED: Final = "events_listened_at"
#: What arrives so soon was told at once, by a clock that is a little off.
_PROMPT: Final = timedelta(minutes=5)
#: How often the time of the last pull is noted, where no run depends on it.
_PRECISION: Final = timedelta(minutes=1)
#: The outcomes of runs that have looked at every tag.
_LOOKED: Final = ("done", "partial", "blocked")
#: So many runs at most are searched for one that looked at a tag.
_RUNS_SEARCHED: Final = 20


class EventKind(StrEnum):
    """What was done to a manifest."""

    PUSH = "push"
    PULL = "pull"


@dataclass(frozen=True, slots=True)
class ManifestEvent:
    """A push or a pull of a manifest, at the registry's time; by digest where there is no ``tag``."""

    kind: EventKind
    repository: str
    digest: str
    at: datetime
    tag: str | None = None


class Events:
    """The events of all registries. They are on the disk when a method returns."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(
        self,
        registry: str,
        events: Sequence[ManifestEvent],
        now: datetime,
        *,
        pulls_heard: datetime | None = None,
    ) -> None:
        """Remember the events, which arrive at ``now``: all of them, or with an error none.

        ``pulls_heard`` is when the latest pull happened that the registry told of, reaper's own included:
        it shows that the registry does tell of pulls.
        """
        heard = None if pulls_heard is None else _believable(pulls_heard, now)
        if heard is not None and now - heard < _PROMPT:
            heard = now
        if not events and (heard is None or self._is_no_news(registry, heard)):
            return
        by_repository: dict[str, list[ManifestEvent]] = defaultdict(list)
        for event in events:
            by_repository[event.repository].append(replace(event, at=_believable(event.at, now)))
        with self._database.writing() as connection:
            # In one order everywhere, so that two transactions do not wait for each other.
            for repository in sorted(by_repository):
                self._record(connection, registry, repository, by_repository[repository], now)
            if heard is not None:
                self._hear(connection, registry, heard, now)

    def listening(self, registries: Iterable[str], now: datetime) -> None:
        """Note that events of the registries are being received. To be called every few minutes."""
        with self._database.writing() as connection:
            for registry in sorted(registries):
                since = self._time(connection, registry, _SINCE)
                last = self._time(connection, registry, _LISTENED)
                if since is not None and last is not None and now - last > MAX_SILENCE:
                    self._set_time(connection, registry, _SINCE, now)
                self._set_time(connection, registry, _LISTENED, now)

    def tags_pushed_since(
        self, registry: str, repository: str, digests: Collection[str], since: datetime
    ) -> dict[str, str]:
        """Return the tags that were put on one of the ``digests`` after ``since``, each with its digest.

        That is as far as events have told by now, and by the registry's clock.
        """
        found: dict[str, str] = {}
        of_repository = tags.c.repository_id == repositories.c.id
        query = select(tags.c.name, tags.c.digest).where(
            of_repository,
            repositories.c.registry == registry,
            repositories.c.name == repository,
            tags.c.pushed_event > since,
        )
        with self._database.reading() as connection:
            for chunk in chunks(digests):
                rows = connection.execute(query.where(tags.c.digest.in_(chunk)))
                found |= {row.name: row.digest for row in rows}
        return found

    def pulls_tracked_since(self, registry: str, now: datetime) -> datetime | None:
        """Return since when every pull is known, or None where not every one is.

        There is a gap when nobody listened, or when the registry told nothing of a whole run, in which
        reaper itself asked for manifests. Then images that seem unused may have been pulled.
        """
        with self._database.reading() as connection:
            since = self._time(connection, registry, _SINCE)
            heard = self._time(connection, registry, _HEARD)
            listened = self._time(connection, registry, _LISTENED)
            if since is None or (listened is not None and now - listened > MAX_SILENCE):
                return None
            if heard is not None and self._ran_unheard(connection, registry, heard, now):
                return None
            return since

    def _record(
        self,
        connection: Connection,
        registry: str,
        repository: str,
        events: Sequence[ManifestEvent],
        now: datetime,
    ) -> None:
        known = enter(self._database, connection, registry, repository, now)
        tagged = TAGS.load(connection, known.id, {event.tag for event in events if event.tag is not None})
        manifests = MANIFESTS.load(connection, known.id, {event.digest for event in events})
        after_tags, after_manifests = dict(tagged), dict(manifests)
        for event in events:
            record = after_manifests.get(event.digest)
            after_manifests[event.digest] = _manifest(record, event, known.last_inventory, now)
            if event.tag is not None:
                tag = _tag(after_tags.get(event.tag), event, known.last_inventory, now)
                if tag is not None:
                    after_tags[event.tag] = tag
        write = Writer(self._database, connection, known.id, now)
        write.changes(TAGS, tagged, after_tags, ())
        write.changes(MANIFESTS, manifests, after_manifests, ())

    def _is_no_news(self, registry: str, heard: datetime) -> bool:
        with self._database.reading() as connection:
            last = self._time(connection, registry, _HEARD)
            return last is not None and not self._is_news(connection, registry, heard, last)

    def _is_news(self, connection: Connection, registry: str, heard: datetime, last: datetime) -> bool:
        """Tell whether it matters that a pull was heard of, after the one at ``last``."""
        if heard - last > _PRECISION:
            return True
        begun = select(func.max(runs.c.started_at)).where(runs.c.registry == registry)
        latest: datetime | None = connection.execute(begun).scalar()
        return latest is not None and last < latest <= heard

    def _hear(self, connection: Connection, registry: str, heard: datetime, now: datetime) -> None:
        last = self._time(connection, registry, _HEARD)
        tracked = self._time(connection, registry, _SINCE) is not None
        if not tracked or (last is not None and self._ran_unheard(connection, registry, last, heard)):
            self._set_time(connection, registry, _SINCE, now)
        if last is None or self._is_news(connection, registry, heard, last):
            self._set_time(connection, registry, _HEARD, heard)

    def _ran_unheard(self, connection: Connection, registry: str, after: datetime, before: datetime) -> bool:
        """Tell whether a run began and ended between the two times, and looked at a tag."""
        query = (
            select(runs.c.summary)
            .where(runs.c.registry == registry, runs.c.outcome.in_(_LOOKED))
            .where(runs.c.started_at > after, runs.c.finished_at < before)
            .order_by(runs.c.started_at.desc())
            .limit(_RUNS_SEARCHED)
        )
        return any(summary.get("tags") for summary in connection.execute(query).scalars())

    def _time(self, connection: Connection, registry: str, key: str) -> datetime | None:
        value = read_fact(connection, registry, key)
        return None if value is None else datetime.fromisoformat(value)

    def _set_time(self, connection: Connection, registry: str, key: str, at: datetime) -> None:
        write_fact(self._database, connection, registry, key, at.astimezone(UTC).isoformat())


def _believable(at: datetime, now: datetime) -> datetime:
    return min(max(at, now - MAX_DELAY), now)


def _manifest(
    old: ManifestRecord | None, event: ManifestEvent, last_inventory: datetime | None, now: datetime
) -> ManifestRecord:
    at = event.at
    if old is None:
        at = _since_inventory(at, last_inventory, now)
        # Not seen yet, but told of: `last_seen` never is the time of an inventory.
        old = ManifestRecord(at, at)
    if event.kind is EventKind.PULL:
        return replace(old, pulled=_latest(old.pulled, at))
    # Whoever pushes a manifest without a tag is perhaps about to push what it belongs to.
    return replace(old, pushed_event=_latest(old.pushed_event, at), untagged_since=None)


def _tag(
    old: TagRecord | None, event: ManifestEvent, last_inventory: datetime | None, now: datetime
) -> TagRecord | None:
    """Return what is to be remembered of the tag now, or None where that is nothing."""
    if old is not None and old.digest == event.digest:
        if event.kind is EventKind.PULL:
            return replace(old, pulled=_latest(old.pulled, event.at))
        return replace(old, pushed_event=_latest(old.pushed_event, event.at))
    # A pull does not move a tag: a registry may answer with a child of the index that the tag is on.
    if event.kind is EventKind.PULL:
        return None
    if old is None:
        at = _since_inventory(event.at, last_inventory, now)
        return TagRecord(event.digest, at, at, pushed_event=at)
    if event.at <= _latest(old.last_seen, old.pushed_event):
        return None
    return TagRecord(event.digest, event.at, event.at, pushed_event=event.at)


def _since_inventory(at: datetime, last_inventory: datetime | None, now: datetime) -> datetime:
    """Return the time of something that the last inventory did not see: not before that, then."""
    return now if last_inventory is not None and at <= last_inventory else at


def _latest(first: datetime | None, second: datetime | None) -> datetime:
    return max(time for time in (first, second) if time is not None)
