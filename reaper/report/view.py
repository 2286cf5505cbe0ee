"""What the formats for people show of a repository, and how much of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from reaper.core.plan import Action
from reaper.core.retention import Decision
from reaper.report.model import ManifestReport, RepositoryReport, RunReport, TagReport

# What did not go as planned comes first.
_ORDER: Final[Mapping[str, int]] = {
    action.value: place
    for place, action in enumerate((Action.SKIP, Action.DELETE, Action.UNTAG, Action.KEEP))
}


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is shown: at most so many repositories, rows in each, and errors. None: everything."""

    repositories: int | None
    rows: int | None
    errors: int | None


EVERYTHING: Final = Limits(None, None, None)


@dataclass(frozen=True, slots=True)
class Row:
    """A tag, or with ``tagged`` false a manifest without one. ``fate`` is its action, or keep or ignore."""

    name: str
    tagged: bool
    fate: str
    pushed_at: datetime | None
    size: int | None
    reason: str
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Section:
    """A repository as it is shown; ``hidden`` are the rows beyond the limit."""

    repository: RepositoryReport
    rows: list[Row]
    hidden: list[Row]


class Selection:
    """The repositories with changes, or all, as sections. It counts what it leaves out as it goes."""

    def __init__(self, report: RunReport, limits: Limits, *, verbose: bool) -> None:
        self._report = report
        self._limits = limits
        self._verbose = verbose
        self.left_out = 0
        self.left_out_rows = 0
        self.quiet = 0

    def __iter__(self) -> Iterator[Section]:
        shown = self.left_out = self.left_out_rows = self.quiet = 0
        for repository in self._report:
            rows = changes(repository)
            if self._verbose:
                rows += _stays(repository)
            elif not rows:
                self.quiet += 1
                continue
            if not _within(self._limits.repositories, shown):
                self.left_out += 1
                self.left_out_rows += len(rows)
                continue
            shown += 1
            limit = self._limits.rows
            yield Section(repository, rows[:limit], rows[limit:] if limit is not None else [])


class Errors:
    """Pairs of repository and error, up to the limit. It counts the rest as it goes."""

    def __init__(self, report: RunReport, limits: Limits) -> None:
        self._report = report
        self._limit = limits.errors
        self.hidden = 0

    def __iter__(self) -> Iterator[tuple[str, str]]:
        shown = self.hidden = 0
        for repository in self._report:
            for error in repository.errors:
                if _within(self._limit, shown):
                    shown += 1
                    yield repository.name, error
                else:
                    self.hidden += 1


def changes(repository: RepositoryReport) -> list[Row]:
    """Return what the plan is about: the expired tags, and the untagged manifests that do not stay."""
    return sorted(_changes(repository), key=lambda row: _ORDER.get(row.fate, len(_ORDER)))


def _changes(repository: RepositoryReport) -> Iterator[Row]:
    manifests = {manifest.digest: manifest for manifest in repository.manifests}
    for tag in repository.tags:
        if tag.decision == Decision.EXPIRE:
            yield _tag(tag, manifests.get(tag.digest))
    for manifest in repository.manifests:
        if not manifest.tags and manifest.action != Action.KEEP:
            yield _manifest(manifest)


def _stays(repository: RepositoryReport) -> Iterator[Row]:
    """Yield the rest: the tags that do not expire, and the untagged manifests that stay."""
    for tag in repository.tags:
        if tag.decision != Decision.EXPIRE:
            moment = tag.pushed_at or tag.created_at
            yield Row(tag.tag, True, tag.decision, moment, tag.size, tag.reason, tag.expires_at)
    for manifest in repository.manifests:
        if not manifest.tags and manifest.action == Action.KEEP:
            yield _manifest(manifest)


def _within(limit: int | None, shown: int) -> bool:
    return limit is None or shown < limit


def _tag(tag: TagReport, manifest: ManifestReport | None) -> Row:
    fate = manifest.action if manifest is not None else tag.decision
    # Why a delete did not happen is said of the manifest.
    reason = manifest.reason if manifest is not None and fate == Action.SKIP else tag.reason
    return Row(tag.tag, True, fate, tag.pushed_at or tag.created_at, tag.size, reason)


def _manifest(manifest: ManifestReport) -> Row:
    return Row(manifest.digest, False, manifest.action, None, manifest.size, manifest.reason)
