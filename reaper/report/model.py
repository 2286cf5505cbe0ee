"""The report's model: DESIGN section 6, ``reaper.report/v1``. Fields are only ever added to it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final

SCHEMA: Final = "reaper.report/v1"


class Outcome(StrEnum):
    """How a run ended."""

    DONE = "done"
    PARTIAL = "partial"
    BLOCKED = "blocked"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True)
class TagReport:
    """One tag, its fate and why. ``size`` is what a pull transfers, in bytes.

    ``expires_at`` is when a kept tag would expire by time alone, and null when it never would.
    """

    tag: str
    digest: str
    decision: str
    rule: str | None
    reason: str
    created_at: datetime | None = None
    pushed_at: datetime | None = None
    pulled_at: datetime | None = None
    size: int | None = None
    expires_at: datetime | None = None
    policy: str | None = None


@dataclass(frozen=True, slots=True)
class ManifestReport:
    """One manifest, what is done to it and why. ``size`` is what a pull transfers, in bytes."""

    digest: str
    kind: str
    action: str
    reason: str
    tags: list[str]
    size: int


@dataclass(frozen=True, slots=True)
class RepositoryReport:
    """One repository. With ``errors`` from reading it, nothing in it was decided."""

    name: str
    policies: list[str]
    tags: list[TagReport] = field(default_factory=list)
    manifests: list[ManifestReport] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Summary:
    """The run in numbers. ``reclaimable_bytes`` is what a collection frees after the planned deletes."""

    repositories: int = 0
    tags: int = 0
    manifests: int = 0
    kept_tags: int = 0
    expired_tags: int = 0
    ignored_tags: int = 0
    manifests_to_delete: int = 0
    deleted_manifests: int = 0
    reclaimable_bytes: int = 0
    errors: int = 0
    untagged_tags: int = 0
    skipped_manifests: int = 0


@dataclass(frozen=True, slots=True)
class GuardReport:
    """A guard rail that blocked the run, with its figures."""

    guard: str
    message: str
    repository: str | None = None


@dataclass(frozen=True, slots=True)
class CollectionReport:
    """The collection that the run began with. ``bytes`` is what it freed, as far as sizes are known."""

    via: str
    outcome: str
    blobs: int = 0
    bytes: int = 0
    detail: str = ""
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class RunReport:
    """A whole run. ``plan_id`` names what it planned, None where it came to no plan.

    ``repositories`` may be an iterable that reads from disk: it can be iterated again.
    """

    run_id: str
    registry: str
    dry_run: bool
    started_at: datetime
    finished_at: datetime
    outcome: Outcome
    summary: Summary
    guards: list[GuardReport] = field(default_factory=list)
    collection: CollectionReport | None = None
    settled: int = 0
    error: str | None = None
    notes: list[str] = field(default_factory=list)
    plan_id: str | None = None
    repositories: Iterable[RepositoryReport] = ()

    def __iter__(self) -> Iterator[RepositoryReport]:
        return iter(self.repositories)
