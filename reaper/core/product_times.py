"""What a registry product's own API tells of times, and how much of it is believed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

#: No registry had Docker's API before this: an earlier time is a product's way to say that it has none
#: (0001-01-01, 1970-01-01), or a wrong clock's.
EARLIEST: Final = datetime(2013, 1, 1, tzinfo=UTC)
#: A registry's clock may be ahead of reaper's by so much, and is still believed.
MAX_SKEW: Final = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class TagTime:
    """When a tag was put on its ``digest``; None where the product does not know."""

    digest: str
    pushed: datetime | None = None


@dataclass(frozen=True, slots=True)
class DigestTime:
    """When a manifest came into its repository, and when it was last pulled.

    None where the product does not know. Of a pull it also means that there was none: products do not tell
    these apart.
    """

    pushed: datetime | None = None
    pulled: datetime | None = None


@dataclass(frozen=True, slots=True)
class RepositoryTimes:
    """All that a product knows of one repository's times, by tag and by digest."""

    tags: Mapping[str, TagTime] = field(default_factory=dict)
    digests: Mapping[str, DigestTime] = field(default_factory=dict)

    def believable(self, now: datetime, elapsed: timedelta = timedelta()) -> RepositoryTimes:
        """Return what of this is believed by a look that began at ``now``; the rest is unknown.

        The times were read when so much had ``elapsed``: what happened meanwhile happened ``now``.
        A pull from the future is taken for one just now, which keeps the image; a push from the future is
        not, since it would make the image the newest of all. A pull before the push is of something else.
        """
        until = now + elapsed + MAX_SKEW
        tags = {name: TagTime(tag.digest, _push(tag.pushed, now, until)) for name, tag in self.tags.items()}
        digests = {}
        for digest, time in self.digests.items():
            pushed, pulled = _push(time.pushed, now, until), _pull(time.pulled, now)
            if pulled is not None and pushed is not None and pulled < pushed - MAX_SKEW:
                pulled = None
            digests[digest] = DigestTime(pushed, pulled)
        return RepositoryTimes(tags, digests)

    @property
    def latest_pull(self) -> datetime | None:
        """The latest pull of anything here."""
        return max((time.pulled for time in self.digests.values() if time.pulled is not None), default=None)


def _push(time: datetime | None, now: datetime, until: datetime) -> datetime | None:
    if time is None or not EARLIEST <= time <= until:
        return None
    return min(time.astimezone(UTC), now)


def _pull(time: datetime | None, now: datetime) -> datetime | None:
    return None if time is None or time < EARLIEST else min(time, now).astimezone(UTC)
