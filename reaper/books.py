"""What a run counts and notes while it goes on: the figures of its report, and those that metrics need."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import structlog

from reaper.core.errors import ReaperError
from reaper.core.guard import Tally, Trip
from reaper.core.plan import Action
from reaper.core.reclaim import Ledger
from reaper.core.retention import BUILT_IN, Decision
from reaper.report.model import ManifestReport, RepositoryReport, Summary
from reaper.report.model import Outcome as RunOutcome
from reaper.report.spool import SpooledRepository
from reaper.sweep import Outcome, StepResult

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Counts:
    """What a run did, in figures that its report does not have.

    ``deleted`` are manifests by policy, ``untagged`` tags of others, which stay; ``skipped`` are planned
    steps that were not carried out, by what became of them; ``protected`` are tags by the built-in protection
    that explains why they are kept; ``put_back`` are tags that came while their manifest was deleted;
    ``partial`` are repositories that could not be read completely.
    """

    deleted: Counter[str] = field(default_factory=Counter)
    untagged: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    protected: Counter[str] = field(default_factory=Counter)
    put_back: int = 0
    partial: int = 0


class Books:
    """One run's books. ``ledger`` has the blobs, ``total`` what the plans of all repositories do together."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.total = Tally()
        self.counts = Counts()
        self.trips: list[Trip] = []
        self.notes: list[str] = []
        self._summary = Summary()

    @property
    def summary(self) -> Summary:
        """The report's figures so far."""
        return replace(self._summary, reclaimable_bytes=self.ledger.reclaimable)

    @property
    def changed_something(self) -> bool:
        """Whether anything was deleted or untagged."""
        return bool(self._summary.deleted_manifests or self._summary.untagged_tags)

    def outcome(self, failure: ReaperError | None, *, stopped: bool) -> RunOutcome:
        """Return how the run ended, ``failure`` being what ended it early."""
        if failure is not None:
            return RunOutcome.FAILED
        if stopped:
            return RunOutcome.INTERRUPTED
        if self.trips and not self.changed_something:
            return RunOutcome.BLOCKED
        return RunOutcome.PARTIAL if self.trips or self._summary.errors else RunOutcome.DONE

    def note(self, text: str) -> None:
        """Note what a reader of the report should know about its figures, once."""
        if text not in self.notes:
            self.notes.append(text)

    def trip(self, *trips: Trip) -> None:
        """Note guard rails that the run ran into."""
        for trip in trips:
            if trip not in self.trips:
                self.trips.append(trip)
                _log.warning(
                    "guard_tripped", guard=trip.guard, repository=trip.repository, figures=trip.message
                )

    def accept(self, plan_id: str) -> None:
        """Note that a person has looked at the plan with all its guard rails, and lets it pass."""
        for trip in self.trips:
            self.note(f"passed by --accept {plan_id}: {trip.guard}: {trip}")
        _log.warning("plan_accepted", plan=plan_id, guards=[trip.guard for trip in self.trips])
        self.trips.clear()

    def read(self, entry: SpooledRepository) -> None:
        """Count a repository that was read, or could not be, and its plan."""
        tags = entry.report.tags
        decisions = [tag.decision for tag in tags]
        self.counts.protected.update(
            tag.rule for tag in tags if tag.policy == BUILT_IN and tag.rule is not None
        )
        self._add(
            repositories=1,
            tags=len(decisions),
            manifests=len(entry.report.manifests),
            kept_tags=decisions.count(Decision.KEEP.value),
            expired_tags=decisions.count(Decision.EXPIRE.value),
            ignored_tags=decisions.count(Decision.IGNORE.value),
            manifests_to_delete=entry.plan.deletions if entry.plan else 0,
            errors=len(entry.report.errors),
        )

    def swept(self, report: RepositoryReport, results: Sequence[StepResult]) -> RepositoryReport:
        """Count what became of a repository's plan, and return its report with that in it."""
        errors = list(report.errors)
        by_digest: dict[str, list[StepResult]] = {}
        for result in results:
            by_digest.setdefault(result.step.digest, []).append(result)
            if result.outcome in (Outcome.CANCELLED, Outcome.FAILED):
                self.counts.skipped[result.outcome.value] += 1
                self.counts.put_back += len(result.put_back)
            elif result.outcome is Outcome.DONE:
                deleted = result.step.action is Action.DELETE
                counted = self.counts.deleted if deleted else self.counts.untagged
                counted[result.step.policy] += 1
            if result.outcome is Outcome.FAILED:
                errors.append(f"{result.step.digest}: {result.detail}")
        manifests = [_with_outcome(m, by_digest.get(m.digest, ())) for m in report.manifests]
        done = [result for result in results if result.outcome is Outcome.DONE]
        deletes = sum(result.step.action is Action.DELETE for result in done)
        self._add(
            deleted_manifests=deletes,
            untagged_tags=len(done) - deletes,
            skipped_manifests=len(skipped_in(manifests)),
            errors=len(errors) - len(report.errors),
        )
        return replace(report, manifests=manifests, errors=errors)

    def _add(self, **figures: int) -> None:
        so_far = self._summary
        self._summary = replace(so_far, **{name: getattr(so_far, name) + n for name, n in figures.items()})


def skipped_in(manifests: Iterable[ManifestReport]) -> list[str]:
    """Return the digests whose planned step was not carried out."""
    return [manifest.digest for manifest in manifests if manifest.action == Action.SKIP.value]


def _with_outcome(manifest: ManifestReport, results: Sequence[StepResult]) -> ManifestReport:
    """Return the manifest with what became of its steps; the plan's own words where all went well."""
    undone = [r for r in results if r.outcome in (Outcome.CANCELLED, Outcome.FAILED)]
    if not undone:
        return manifest
    first = undone[0]
    reason = f"{first.outcome.value}: {first.detail}; planned because {manifest.reason}"
    return replace(manifest, action=Action.SKIP.value, reason=reason)
