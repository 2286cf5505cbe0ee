"""From what happens to one registry to its metrics."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from reaper.books import Counts
from reaper.collect import Phase
from reaper.collection import Watch, cut_short, known_damage
from reaper.core.retention import Decision
from reaper.gc import COMMAND
from reaper.observe.metrics import RegistryMetrics
from reaper.report.model import CollectionReport, Outcome, RunReport, Summary
from reaper.store import State, Store

#: The steps of a collection with which its registry becomes read-only, and is writable again.
_READ_ONLY: Final = frozenset({Phase.MAKING_READ_ONLY, Phase.MAKING_WRITABLE})
_WRITABLE: Final = frozenset({Phase.VERIFYING, Phase.FINISHED})
#: The steps of a collection itself; the others also put a registry back that somebody else's left.
_COLLECTING: Final = frozenset({Phase.MAKING_READ_ONLY, Phase.COLLECTING})


class Recorder(Watch):
    """Tells the metrics of one registry, which the store knows by its ``url``. Safe from any thread."""

    def __init__(
        self, metrics: RegistryMetrics, store: Store, url: str, *, clock: Callable[[], datetime]
    ) -> None:
        self.wire = metrics
        self._metrics = metrics
        self._store = store
        self._url = url
        self._clock = clock
        self._read_only_since: datetime | None = None
        self._collecting_since: datetime | None = None

    def configured(self, *, undo_window: timedelta | None) -> None:
        """Tell how long deletes stay undoable; None: there are no collections."""
        self._metrics.undo_window(None if undo_window is None else undo_window.total_seconds())

    def seed(self, *, audits: bool) -> None:
        """Tell what the store remembers, of other processes too: the last runs, what can be undone, damage.

        Unless the daemon itself only ``audits``, an audit is no run: nothing was cleaned up by it.
        """
        runs = [run for run in self._store.runs.recent(100, self._url) if run.command != COMMAND]
        ended = [run for run in runs if run.finished_at is not None and (audits or not run.dry_run)]
        if ended:
            self._metrics.last_run(outcome=ended[0].outcome, started_at=ended[0].started_at)
        success = next((run.finished_at for run in ended if run.outcome == "done"), None)
        if success is not None:
            self._metrics.last_success(success)
        damage = known_damage(self._store, self._url)
        if damage is not None:
            self._metrics.verify_failures(damage)
        if cut_short(self._store, self._url) is None:
            self._read_only_since = None
            self._metrics.read_only_since(None)
        self.undoable()

    def run_started(self, at: datetime) -> None:
        """A run begins."""
        self._metrics.run_started(at)

    def run_skipped(self) -> None:
        """A run could not begin: another process was at work."""
        self._metrics.run_skipped()

    def cut_short(self) -> None:
        """A collection was found that somebody began and nobody ended: the registry may be read-only."""
        self._read_only_since = self._read_only_since or self._clock()
        self._metrics.read_only_since(self._read_only_since)

    def run_without_report(self, began: datetime, ended: datetime) -> None:
        """A run failed before it could read anything."""
        self._run_finished(RunReport("", self._url, True, began, ended, Outcome.FAILED, Summary()), Counts())

    def run_finished(self, report: RunReport, counts: Counts) -> None:
        """A run ended."""
        if report.collection is not None and report.collection.outcome == "postponed":
            self.collected(report.collection, 0.0)
        self._run_finished(report, counts)
        self.undoable()

    def _run_finished(self, report: RunReport, counts: Counts) -> None:
        summary = report.summary
        self._metrics.run_finished(
            outcome=report.outcome.value,
            dry_run=report.dry_run,
            started_at=report.started_at,
            finished_at=report.finished_at,
            tags={
                Decision.KEEP.value: summary.kept_tags,
                Decision.EXPIRE.value: summary.expired_tags,
                Decision.IGNORE.value: summary.ignored_tags,
            },
            deleted=counts.deleted,
            skipped=counts.skipped,
            reclaimable_bytes=summary.reclaimable_bytes,
            manifests_to_delete=summary.manifests_to_delete,
            partial_repositories=counts.partial,
            guards=[guard.guard for guard in report.guards],
            repositories=summary.repositories,
            manifests=summary.manifests,
            protected=counts.protected,
            untagged=counts.untagged,
        )
        for _ in range(counts.put_back):
            self._metrics.tag_put_back()

    def phase(self, phase: Phase) -> None:
        """A collection takes its next step."""
        if phase in _COLLECTING and self._collecting_since is None:
            self._collecting_since = self._clock()
            self._metrics.collection_started()
        if phase in _WRITABLE:
            self._read_only_since = None
        elif phase in _READ_ONLY and self._read_only_since is None:
            self._read_only_since = self._clock()
        self._metrics.read_only_since(self._read_only_since)

    def verified(self, problems: int) -> None:
        """What is tagged was looked at after a collection."""
        self._metrics.verify_failures(problems)

    def collected(self, report: CollectionReport, seconds: float) -> None:
        """A collection ended, or was put off."""
        self._collecting_since = None
        self._metrics.collection_finished(report.outcome, seconds, report.blobs, report.bytes)

    def nothing_under_way(self) -> None:
        """Whatever was begun is over. A collection that has not said how it ended has failed."""
        if self._collecting_since is not None:
            began, self._collecting_since = self._collecting_since, None
            seconds = (self._clock() - began).total_seconds()
            self._metrics.collection_finished("failed", max(0.0, seconds), 0, 0)

    def undoable(self) -> None:
        """Look up what can be undone."""
        count = self._store.journal.count_by_state(self._url)[State.DELETED]
        oldest = self._store.journal.deleted_before(self._url, self._clock()).oldest
        age = None if oldest is None else (self._clock() - oldest).total_seconds()
        self._metrics.undoable(count, age)
