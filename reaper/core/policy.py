"""Policies as the engine uses them: checked, typed, and free of YAML.

`reaper.config.policies` reads policy files into these.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from reaper.core.selectors import EVERYTHING, Selector

DEFAULT_MINIMUM_AGE = timedelta(hours=24)
UTC = ZoneInfo("UTC")


class Clock(StrEnum):
    """Which of an image's times a rule looks at."""

    PUSHED = "pushed"
    CREATED = "created"


class Order(StrEnum):
    """What ``newest`` ranks by."""

    PUSHED = "pushed"
    CREATED = "created"
    SEMVER = "semver"
    NAME = "name"


class Origin(StrEnum):
    """What ``within`` measures from."""

    NOW = "now"
    NEWEST = "newest"


class Period(StrEnum):
    """The calendar's periods; weeks are ISO 8601 weeks."""

    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"
    YEARLY = "yearly"


@dataclass(frozen=True, slots=True)
class KeepAll:
    """Keeps everything that the rule selects."""


@dataclass(frozen=True, slots=True)
class KeepNewest:
    """Keeps the ``count`` newest digests of each group."""

    count: int
    by: Order = Order.PUSHED


@dataclass(frozen=True, slots=True)
class KeepWithin:
    """Keeps what is younger than ``duration``, counted from now or from the group's newest."""

    duration: timedelta
    since: Clock = Clock.PUSHED
    origin: Origin = Origin.NOW


@dataclass(frozen=True, slots=True)
class KeepPulledWithin:
    """Keeps what was pulled less than ``duration`` ago, or may have been."""

    duration: timedelta


@dataclass(frozen=True, slots=True)
class KeepPeriods:
    """Keeps the newest digest of each of the ``count`` latest periods that have one."""

    period: Period
    count: int
    by: Clock = Clock.PUSHED


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Keeps what any condition keeps."""

    conditions: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class AllOf:
    """Keeps what every condition keeps."""

    conditions: tuple[Condition, ...]


Condition = KeepAll | KeepNewest | KeepWithin | KeepPulledWithin | KeepPeriods | AnyOf | AllOf


@dataclass(frozen=True, slots=True)
class Rule:
    """One reason to keep tags. ``group_by`` is a named group of the tag selector's regex."""

    name: str
    keep: Condition
    tags: Selector = EVERYTHING
    group_by: str | None = None


@dataclass(frozen=True, slots=True)
class Protections:
    """The built-in protections, each on unless switched off by name."""

    latest: bool = True
    in_use: bool = True
    unknown_media_type: bool = True
    immutable: Selector | None = None


#: A change of the policies that expires fewer tags of a repository than this surprises nobody.
NEWLY_EXPIRED_FROM = 10
#: So few tags of a repository, or repositories of a registry, may always be gone since the last inventory.
VANISHED_FROM = 10


@dataclass(frozen=True, slots=True)
class Guard:
    """The limits beyond which a plan is surprising. None: not limited.

    A share counts only from ``share_from`` deletions on: half of four tags surprises nobody.
    ``min_tags`` is the least number of tags a repository may be left with, ``min_repositories`` the least
    number of repositories a policy has to match. ``max_newly_expired`` is the largest share of the tags kept
    by the last run that a change of the policies may expire, from ``NEWLY_EXPIRED_FROM`` tags on.
    ``max_vanished`` is the largest share of what the last inventory saw that may be gone without reaper's
    doing, from ``VANISHED_FROM`` on.
    """

    max_deletions: int | None = 1000
    max_share: float | None = 0.5
    share_from: int = 50
    min_tags: int = 1
    min_repositories: int = 1
    max_newly_expired: float | None = 0.25
    max_vanished: float | None = 0.5


@dataclass(frozen=True, slots=True)
class Policy:
    """What to keep in the repositories it matches; everything else there expires.

    ``untagged_keep_within`` None leaves untagged manifests alone. ``schedule`` is a crontab line.
    """

    name: str
    repositories: Selector
    rules: tuple[Rule, ...]
    untagged_keep_within: timedelta | None = None
    minimum_age: timedelta = DEFAULT_MINIMUM_AGE
    guard: Guard = Guard()
    protections: Protections = Protections()
    timezone: ZoneInfo = UTC
    schedule: str | None = None

    def matches(self, repository: str) -> bool:
        """Tell whether this policy is about ``repository``."""
        return self.repositories.select(repository) is not None
