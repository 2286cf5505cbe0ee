"""Prometheus metrics: what `metrics_catalogue` lists, filled by the daemon. Times are UTC, sizes bytes.

All methods may be called from any thread. A series that is not known yet is absent, never 0.
"""

from __future__ import annotations

import platform
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, cast

from reaper.observe import metrics_catalogue as catalogue
from reaper.observe.metrics_catalogue import CATALOGUE, Kind, Spec

if TYPE_CHECKING:
    from prometheus_client import Counter, Gauge, Histogram
    from prometheus_client.metrics_core import Metric
    from prometheus_client.registry import Collector

_LEADING: Final = frozenset(spec.name for spec in CATALOGUE if spec.leading)
_LOWEST_STATUS: Final = 100
_HIGHEST_STATUS: Final = 599


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Metrics:
    """The metrics of one daemon, apart from those of any other in the same process.

    What only the writer knows (`Spec.leading`) is hidden while ``leader(False)`` holds, and forgotten
    when the lead is lost: a new leader seeds it from the store, and old news must not raise alarms.
    """

    def __init__(self, *, version: str, clock: Callable[[], datetime] = _utc_now) -> None:
        from prometheus_client import CollectorRegistry, ProcessCollector

        self._clock = clock
        self._prometheus = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=self._prometheus)
        self._lock = threading.RLock()
        self._made: dict[str, Any] = {}
        self._begun: dict[str, set[tuple[str, ...]]] = {}
        self._registries: dict[str, RegistryMetrics] = {}
        self._clusters: dict[str, ClusterMetrics] = {}
        self._leads: bool | None = None
        self.gauge(catalogue.BUILD_INFO, version, platform.python_version()).set(1)

    def exposition(self) -> tuple[bytes, str]:
        """Return all metrics in Prometheus' text format, and its content type."""
        from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

        for registry in list(self._registries.values()):
            registry.tick()
        return generate_latest(cast("Collector", _Shown(self._shown))), CONTENT_TYPE_PLAIN_0_0_4

    def registry(self, name: str, *, policies: Iterable[str] = ()) -> RegistryMetrics:
        """Return the metrics of a registry, by its name in the settings; the same each time.

        Series that are known beforehand, those of ``policies`` among them, begin with 0.
        """
        with self._lock:
            if name not in self._registries:
                self._registries[name] = RegistryMetrics(self, name, self._clock)
            found = self._registries[name]
        for policy in policies:
            self.begin(catalogue.MANIFESTS_DELETED, name, policy)
            self.begin(catalogue.TAGS_UNTAGGED, name, policy)
        return found

    def cluster(self, name: str) -> ClusterMetrics:
        """Return the metrics of a source of images in use: a cluster, by its name in the settings."""
        with self._lock:
            if name not in self._clusters:
                self._clusters[name] = ClusterMetrics(self, name)
            return self._clusters[name]

    def retire_registry(self, name: str) -> None:
        """Make everything about a registry absent that is no longer in the settings."""
        with self._lock:
            self._registries.pop(name, None)
            self._retire("registry", name)

    def retire_cluster(self, name: str) -> None:
        """Make everything about a source of images in use absent that is no longer in the settings."""
        with self._lock:
            self._clusters.pop(name, None)
            self._retire("source", name)

    def dry_run(self, on: bool) -> None:
        """Say whether the daemon only audits."""
        self.gauge(catalogue.DRY_RUN).set(int(on))

    def leader(self, leads: bool | None) -> None:
        """Say whether this daemon writes; None: there is no election, and it does."""
        if self._leads and leads is False:
            self._forget()
        self._leads = leads
        if leads is None:
            self._unregister(catalogue.LEADER)
            return
        self.counter(catalogue.LEADER_TRANSITIONS)
        self.gauge(catalogue.LEADER).set(int(leads))

    def leader_transition(self) -> None:
        """Count that this daemon took or lost the lead."""
        self.counter(catalogue.LEADER_TRANSITIONS).inc()

    def lease_renewed(self, seconds: float) -> None:
        """Note how long renewing the Lease took."""
        self.histogram(catalogue.LEASE_RENEWALS).observe(seconds)

    def configuration_reloaded(self, ok: bool, at: datetime) -> None:
        """Note that settings and policies were read ``at`` a time, and whether they are in force now."""
        self.gauge(catalogue.CONFIG_OK).set(int(ok))
        if ok:
            self.gauge(catalogue.CONFIG_AT).set(at.timestamp())

    def receivers(self, names: Iterable[str]) -> None:
        """Begin the series of those receivers of notifications."""
        for name in names:
            for series in catalogue.NOTIFICATIONS.known_series():
                self.begin(catalogue.NOTIFICATIONS, name, *series)

    def notification(self, receiver: str, outcome: str) -> None:
        """Count a notification: ``sent`` or ``failed``."""
        self.counter(catalogue.NOTIFICATIONS, receiver, outcome).inc()

    def counter(self, spec: Spec, *labels: str) -> Counter:
        """Return a counter's series."""
        found: Counter = self._series(spec, labels)
        return found

    def gauge(self, spec: Spec, *labels: str) -> Gauge:
        """Return a gauge's series; it is there with the value 0 until it is set."""
        found: Gauge = self._series(spec, labels)
        return found

    def histogram(self, spec: Spec, *labels: str) -> Histogram:
        """Return a histogram's series."""
        found: Histogram = self._series(spec, labels)
        return found

    def begin(self, spec: Spec, *labels: str) -> None:
        """Show a series, with 0 in it."""
        self._series(spec, labels)

    def drop(self, spec: Spec, *labels: str) -> None:
        """Make a series absent."""
        values = _bounded(spec, labels)
        with self._lock:
            self._begun.get(spec.name, set()).discard(values)
            self._metric(spec).remove(*values)

    def _series(self, spec: Spec, labels: Sequence[str]) -> Any:
        metric = self._metric(spec)
        if not spec.labels:
            return metric
        values = _bounded(spec, labels)
        with self._lock:
            self._begun.setdefault(spec.name, set()).add(values)
            return metric.labels(*values)

    def _metric(self, spec: Spec) -> Any:
        # Made when first used: a metric without labels shows 0 from then on.
        with self._lock:
            if spec.name not in self._made:
                self._made[spec.name] = self._make(spec)
            return self._made[spec.name]

    def _make(self, spec: Spec) -> Any:
        from prometheus_client import Counter, Gauge, Histogram

        if spec.kind is Kind.HISTOGRAM:
            return Histogram(
                spec.name, spec.help, spec.labels, registry=self._prometheus, buckets=spec.buckets
            )
        kind = Counter if spec.kind is Kind.COUNTER else Gauge
        return kind(spec.name, spec.help, spec.labels, registry=self._prometheus)

    def _unregister(self, spec: Spec) -> None:
        with self._lock:
            metric = self._made.pop(spec.name, None)
        if metric is not None:
            self._prometheus.unregister(metric)

    def _forget(self) -> None:
        with self._lock:
            for name in _LEADING & self._made.keys():
                self._made[name].clear()
                self._begun.pop(name, None)
        for registry in list(self._registries.values()):
            registry.forget()

    def _retire(self, label: str, value: str) -> None:
        for spec in CATALOGUE:
            if label in spec.labels:
                at = spec.labels.index(label)
                for labels in [known for known in self._begun.get(spec.name, ()) if known[at] == value]:
                    self.drop(spec, *labels)

    def _shown(self) -> Iterator[Metric]:
        """Yield what is to be seen, by name.

        The client library adds ``_created`` series, which Prometheus' text format takes for gauges; it
        can only be told not to for the whole process, which is not ours alone.
        """
        for metric in sorted(self._prometheus.collect(), key=lambda metric: metric.name):
            if self._leads is False and metric.name in _LEADING:
                continue
            if metric.type in ("counter", "histogram"):
                created = f"{metric.name}_created"
                metric.samples = [sample for sample in metric.samples if sample.name != created]
            if metric.samples:
                yield metric


def _bounded(spec: Spec, labels: Sequence[str]) -> tuple[str, ...]:
    return tuple(spec.bounded(label, value) for label, value in zip(spec.labels, labels, strict=True))


class _Shown:
    """What the client library's functions take for a registry."""

    def __init__(self, collect: Callable[[], Iterator[Metric]]) -> None:
        self.collect = collect


class RegistryMetrics:
    """The metrics of one registry. Made by `Metrics.registry`."""

    def __init__(self, metrics: Metrics, name: str, clock: Callable[[], datetime]) -> None:
        self._metrics = metrics
        self._name = name
        self._clock = clock
        self._lock = threading.Lock()
        self._requests: dict[tuple[str, int], tuple[Counter, Histogram]] = {}
        #: Up to when the time that the registry is read-only has been counted; None while it is writable.
        self._counted: datetime | None = None
        for spec in CATALOGUE:
            if spec.labels[:1] == ("registry",) and spec.kind is not Kind.GAUGE:
                for series in spec.known_series():
                    metrics.begin(spec, name, *series)
        self._idle()

    def _idle(self) -> None:
        self._gauge(catalogue.RUN_IN_PROGRESS).set(0)
        self._gauge(catalogue.COLLECTION_IN_PROGRESS).set(0)

    def response(self, method: str, status: int, seconds: float) -> None:
        """Note an answer of the registry; ``status`` 0: none came."""
        known = self._requests.get((method, status))
        if known is None:
            code = str(status) if _LOWEST_STATUS <= status <= _HIGHEST_STATUS else catalogue.OTHER
            code = catalogue.NO_ANSWER if status == 0 else code
            known = (
                self._counter(catalogue.REQUESTS, method, code),
                self._metrics.histogram(catalogue.REQUEST_DURATION, self._name, method),
            )
            self._requests[method, status] = known
        known[0].inc()
        if status != 0:
            known[1].observe(seconds)

    def retried(self, cause: str) -> None:
        """Count a request that is sent again.

        ``cause`` is ``throttled``, ``server_error``, ``unreachable`` or ``truncated``.
        """
        self._counter(catalogue.RETRIES, cause).inc()

    def throttled(self, seconds: float) -> None:
        """Count an answer that asks for fewer requests, and the pause that it asks for; 0 for none."""
        self._counter(catalogue.THROTTLED).inc()
        self._counter(catalogue.THROTTLED_SECONDS).inc(max(0.0, seconds))

    def token_fetched(self, outcome: str) -> None:
        """Count a token that was asked for: ``done``, ``refused`` or ``failed``."""
        self._counter(catalogue.TOKEN_FETCHES, outcome).inc()

    def run_started(self, at: datetime) -> None:
        """Note that a run began."""
        self._gauge(catalogue.RUN_IN_PROGRESS).set(1)
        self._gauge(catalogue.RUN_LAST_ATTEMPT).set(at.timestamp())

    def run_skipped(self) -> None:
        """Note that the run could not begin after all: another process is at work on the registry."""
        self._gauge(catalogue.RUN_IN_PROGRESS).set(0)

    def run_finished(
        self,
        *,
        outcome: str,
        dry_run: bool,
        started_at: datetime,
        finished_at: datetime,
        tags: Mapping[str, int],
        deleted: Mapping[str, int],
        skipped: Mapping[str, int],
        reclaimable_bytes: int,
        manifests_to_delete: int,
        partial_repositories: int,
        guards: Sequence[str],
        repositories: int,
        manifests: int,
        protected: Mapping[str, int] | None = None,
        untagged: Mapping[str, int] | None = None,
    ) -> None:
        """Note how a run ended, and what it saw, planned and did.

        ``tags`` counts by decision, ``deleted`` manifests and ``untagged`` tags by policy, ``skipped``
        deletes by cause (``absent``, ``cancelled``, ``failed``), ``protected`` tags by built-in protection. A
        run that failed or was interrupted saw only a part: then the figures of the last look stay.
        """
        self._gauge(catalogue.RUN_IN_PROGRESS).set(0)
        self._counter(catalogue.RUNS, outcome).inc()
        seconds = (finished_at - started_at).total_seconds()
        self._metrics.histogram(catalogue.RUN_DURATION, self._name).observe(max(0.0, seconds))
        self.last_run(outcome=outcome, started_at=started_at)
        if outcome == "done":
            self.last_success(finished_at)
        if not dry_run:
            for policy, count in deleted.items():
                self._counter(catalogue.MANIFESTS_DELETED, policy).inc(count)
            for policy, count in (untagged or {}).items():
                self._counter(catalogue.TAGS_UNTAGGED, policy).inc(count)
            for cause, count in skipped.items():
                self._counter(catalogue.DELETES_SKIPPED, cause).inc(count)
        for guard in {catalogue.GUARD_TRIPPED.bounded("guard", guard) for guard in guards}:
            self._counter(catalogue.GUARD_TRIPPED, guard).inc()
        if outcome in ("failed", "interrupted"):
            return
        for decision in catalogue.TAGS.values["decision"]:
            self._gauge(catalogue.TAGS, decision).set(tags.get(decision, 0))
        self._gauge(catalogue.REPOSITORIES).set(repositories)
        self._gauge(catalogue.PARTIAL_REPOSITORIES).set(partial_repositories)
        self._gauge(catalogue.MANIFESTS).set(manifests)
        self._gauge(catalogue.MANIFESTS_TO_DELETE).set(manifests_to_delete)
        self._gauge(catalogue.RECLAIMABLE).set(reclaimable_bytes)
        if protected is not None:
            for protection in catalogue.PROTECTED_TAGS.values["protection"]:
                self._gauge(catalogue.PROTECTED_TAGS, protection).set(protected.get(protection, 0))

    def last_success(self, at: datetime) -> None:
        """Say when the last run with outcome ``done`` ended: at a start, as the store knows it."""
        self._gauge(catalogue.RUN_LAST_SUCCESS).set(at.timestamp())

    def last_run(self, *, outcome: str, started_at: datetime) -> None:
        """Say how the last run ended and when it began: at a start, as the store knows it."""
        self._gauge(catalogue.RUN_LAST_ATTEMPT).set(started_at.timestamp())
        last = catalogue.RUN_LAST_OUTCOME.bounded("outcome", outcome)
        for known in catalogue.RUN_LAST_OUTCOME.values["outcome"]:
            self._gauge(catalogue.RUN_LAST_OUTCOME, known).set(int(known == last))

    def collection_started(self) -> None:
        """Note that a collection began."""
        self._gauge(catalogue.COLLECTION_IN_PROGRESS).set(1)

    def collection_finished(self, outcome: str, seconds: float, blobs: int, freed_bytes: int) -> None:
        """Note how a collection ended, and what it freed.

        ``outcome`` is ``done``, ``nothing``, ``failed`` or ``postponed``.
        """
        self._gauge(catalogue.COLLECTION_IN_PROGRESS).set(0)
        self._counter(catalogue.COLLECTIONS, outcome).inc()
        if outcome != "postponed":
            self._metrics.histogram(catalogue.COLLECTION_DURATION, self._name).observe(seconds)
        self._counter(catalogue.FREED_BLOBS).inc(blobs)
        self._counter(catalogue.FREED_BYTES).inc(freed_bytes)

    def read_only_since(self, at: datetime | None) -> None:
        """Say since when the registry is read-only; None: it is writable."""
        with self._lock:
            self._count_read_only()
            if at is None:
                self._counted = None
            elif self._counted is None:
                self._counted = at
        self._gauge(catalogue.READ_ONLY).set(int(at is not None))
        if at is None:
            self._drop(catalogue.READ_ONLY_SINCE)
        else:
            self._gauge(catalogue.READ_ONLY_SINCE).set(at.timestamp())

    def verify_failures(self, n: int) -> None:
        """Say how much the last verify found that is tagged and cannot be pulled."""
        self._gauge(catalogue.VERIFY_FAILURES).set(n)

    def undoable(self, n: int, oldest_seconds: float | None) -> None:
        """Say how many deletes can still be undone, and how old the oldest is; None where there is none."""
        self._gauge(catalogue.JOURNAL_UNDOABLE).set(n)
        if oldest_seconds is None:
            self._drop(catalogue.JOURNAL_OLDEST)
        else:
            made = self._clock() - timedelta(seconds=oldest_seconds)
            self._gauge(catalogue.JOURNAL_OLDEST).set(made.timestamp())

    def undo_window(self, seconds: float | None) -> None:
        """Say how long a delete stays undoable before a collection; None: there are no collections."""
        if seconds is None:
            self._drop(catalogue.UNDO_WINDOW)
        else:
            self._gauge(catalogue.UNDO_WINDOW).set(seconds)

    def event(self, action: str, outcome: str, count: int = 1) -> None:
        """Count events of the registry.

        ``action`` is ``push``, ``pull`` or ``delete``; ``outcome`` is ``recorded``, or ``ignored``
        (reaper's own request, or of no interest).
        """
        self._counter(catalogue.EVENTS, action, outcome).inc(count)

    def scheduled(self, kind: str, next_at: datetime | None, interval_seconds: float | None) -> None:
        """Say when the next ``run``, ``collection`` or ``verify`` is due, and the longest time between two.

        Where a registry is collected in the course of its runs, they are the collection's schedule too.
        """
        for spec, value in (
            (catalogue.SCHEDULE_NEXT, None if next_at is None else next_at.timestamp()),
            (catalogue.SCHEDULE_INTERVAL, interval_seconds),
        ):
            if value is None:
                self._drop(spec, kind)
            else:
                self._gauge(spec, kind).set(value)

    def tag_put_back(self) -> None:
        """Count a tag that was pushed while its manifest was deleted, and put back."""
        self._counter(catalogue.TAGS_PUT_BACK).inc()

    def tick(self) -> None:
        """Count the time that the registry has been read-only up to now."""
        with self._lock:
            self._count_read_only()

    def forget(self) -> None:
        """Forget what only the writer knows."""
        with self._lock:
            self._count_read_only()
            self._counted = None
        self._idle()

    def _count_read_only(self) -> None:
        if self._counted is not None:
            now = self._clock()
            elapsed = (now - self._counted).total_seconds()
            if elapsed > 0:
                self._counter(catalogue.READ_ONLY_SECONDS).inc(elapsed)
                self._counted = now

    def _counter(self, spec: Spec, *labels: str) -> Counter:
        return self._metrics.counter(spec, self._name, *labels)

    def _gauge(self, spec: Spec, *labels: str) -> Gauge:
        return self._metrics.gauge(spec, self._name, *labels)

    def _drop(self, spec: Spec, *labels: str) -> None:
        self._metrics.drop(spec, self._name, *labels)


class ClusterMetrics:
    """The metrics of one source of images in use. Made by `Metrics.cluster`."""

    def __init__(self, metrics: Metrics, name: str) -> None:
        self._metrics = metrics
        self._name = name

    def read(self, complete: bool, at: datetime, images: int, unreadable: int) -> None:
        """Note a look at the images in use: whether it saw all, and how many references are no image."""
        self._gauge(catalogue.IN_USE_COMPLETE).set(int(complete))
        if complete:
            self.last_complete(at)
        self._gauge(catalogue.IN_USE_IMAGES).set(images)
        self._gauge(catalogue.IN_USE_UNREADABLE).set(unreadable)

    def last_complete(self, at: datetime) -> None:
        """Say when all images in use were last read: at a start, as the store knows it."""
        self._gauge(catalogue.IN_USE_LAST_COMPLETE).set(at.timestamp())

    def _gauge(self, spec: Spec) -> Gauge:
        return self._metrics.gauge(spec, self._name)
