"""Which time an image has, and where that time comes from (DESIGN section 5, "Sources of time")."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from reaper.core.manifest import Kind
from reaper.core.snapshot import Snapshot, TagEntry

#: Docker's first release; an image that claims to be older is a reproducible build with a fixed date.
EARLIEST_CREATED = datetime(2013, 1, 1, tzinfo=UTC)


class Source(StrEnum):
    """Where a time comes from, best first."""

    EVENT = "push event"
    PRODUCT = "registry API"
    SEEN_NEW = "first seen by reaper"
    CONFIG = "created in config"
    ANNOTATION = "created annotation"
    CHILD = "created of newest child"
    FIRST_INVENTORY = "first inventory"
    PULL_EVENT = "pull event"


@dataclass(frozen=True, slots=True)
class Moment:
    """A time in UTC and its source; ``product`` names the registry's product whose API told it."""

    time: datetime
    source: Source
    product: str | None = None

    @property
    def origin(self) -> str:
        """The source, in words."""
        return f"{self.product}'s API" if self.product else self.source.value

    def __str__(self) -> str:
        return f"{self.time:%Y-%m-%d %H:%M:%SZ} ({self.origin})"


def created(snapshot: Snapshot, digest: str) -> Moment | None:
    """Return when ``digest`` was built, or None where that is unknown.

    A date before 2013, or after the snapshot, is a reproducible build's or a wrong clock's: unknown.
    An index without a date of its own has that of its newest child whose date is known.
    """
    return _created(snapshot, digest, set())


def _created(snapshot: Snapshot, digest: str, seen: set[str]) -> Moment | None:
    entry = snapshot.manifests.get(digest)
    if entry is None or digest in seen:
        return None
    seen.add(digest)
    for time, source in (
        (entry.config_created, Source.CONFIG),
        (entry.manifest.created_annotation, Source.ANNOTATION),
    ):
        if time is not None and EARLIEST_CREATED <= time <= snapshot.taken_at:
            return Moment(time.astimezone(UTC), source)
    if entry.manifest.kind is not Kind.INDEX:
        return None
    times = [_created(snapshot, child.digest, seen) for child in entry.manifest.children]
    known = [moment for moment in times if moment is not None]
    return Moment(max(moment.time for moment in known), Source.CHILD) if known else None


def pushed(snapshot: Snapshot, tag: TagEntry) -> Moment | None:
    """Return when ``tag`` was put on its digest, as well as can be known, or None.

    Some products know only when the manifest came. Its tags are no older, but may be younger.
    """
    entry = snapshot.manifests.get(tag.digest)
    came = entry.product_pushed if entry is not None else None
    return _pushed(snapshot, tag.digest, tag.pushed_event, tag.product_pushed, tag.first_seen, came)


def pushed_digest(snapshot: Snapshot, digest: str) -> Moment | None:
    """Return when the manifest ``digest`` came into the repository, as well as can be known, or None."""
    entry = snapshot.manifests.get(digest)
    if entry is None:
        return None
    return _pushed(snapshot, digest, entry.pushed_event, entry.product_pushed, entry.first_seen, None)


def pulled(snapshot: Snapshot, tag: TagEntry) -> Moment | None:
    """Return when what ``tag`` is on was last pulled, by whatever name, or None where no pull is known."""
    told = Moment(tag.pulled, Source.PULL_EVENT) if tag.pulled is not None else None
    return _latest(told, pulled_digest(snapshot, tag.digest))


def pulled_digest(snapshot: Snapshot, digest: str) -> Moment | None:
    """Return when ``digest``, or a child of it, was last pulled, or None where no pull is known.

    Who needs one platform of an index pulls that child, by its digest.
    """
    latest: Moment | None = None
    pending, seen = [digest], {digest}
    while pending:
        current = pending.pop()
        entry = snapshot.manifests.get(current)
        if entry is not None and entry.pulled is not None:
            latest = _latest(latest, Moment(entry.pulled, Source.PULL_EVENT))
        if entry is not None and entry.product_pulled is not None:
            latest = _latest(latest, _of_product(snapshot, entry.product_pulled))
        below = [child for child in snapshot.children(current) if child not in seen]
        seen.update(below)
        pending.extend(below)
    return latest


def _latest(first: Moment | None, second: Moment | None) -> Moment | None:
    if first is None or second is None:
        return first or second
    return second if second.time > first.time else first


def _of_product(snapshot: Snapshot, time: datetime) -> Moment:
    return Moment(time, Source.PRODUCT, snapshot.product.name if snapshot.product else None)


def _pushed(
    snapshot: Snapshot,
    digest: str,
    event: datetime | None,
    product: datetime | None,
    first_seen: datetime | None,
    came: datetime | None,
) -> Moment | None:
    if event is not None:
        return Moment(event, Source.EVENT)
    if product is not None:
        return _of_product(snapshot, product)
    since = snapshot.inventoried_since
    if first_seen is not None and since is not None and first_seen > since:
        return Moment(first_seen, Source.SEEN_NEW)
    if came is not None:
        return _of_product(snapshot, came)
    # What a product should know and does not say must not make an image older than it is.
    told = snapshot.product is not None and snapshot.product.tells_pushes and first_seen is not None
    built = None if told else created(snapshot, digest)
    if built is not None:
        return built
    return None if first_seen is None else Moment(first_seen, Source.FIRST_INVENTORY)
