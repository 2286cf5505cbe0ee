"""Every metric that reaper has: name, type, labels and meaning. docs/metrics.md is generated from it.

Labels never hold a repository or a tag: a registry has ten thousands of those. ``registry`` is the name
in the settings, and every other label has few values, most of them listed here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import product
from typing import Final

#: Stands for whatever a label's list of values does not know.
OTHER: Final = "other"
#: The ``status`` of a request that got no answer.
NO_ANSWER: Final = "none"


class Kind(StrEnum):
    """Prometheus' type of a metric."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Spec:
    """One metric.

    ``values`` lists the values of those labels that have a fixed set; any other becomes `OTHER`.
    ``leading``: it tells what only the writer knows, so a daemon that waits for leadership does not show
    it. ``absent``: when the series is missing, in words; empty where it is always there.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    buckets: tuple[float, ...] = ()
    leading: bool = False
    absent: str = ""

    def known_series(self) -> Iterator[tuple[str, ...]]:
        """Yield the values of all labels but the first, for every series that is known beforehand."""
        rest = self.labels[1:]
        if all(label in self.values for label in rest):
            yield from product(*(self.values[label] for label in rest))

    def bounded(self, label: str, value: str) -> str:
        """Return ``value``, or `OTHER` where the label has a fixed set of values without it."""
        known = self.values.get(label)
        return value if known is None or value in known else OTHER


_SECONDS_OF_RUN: Final = (1, 5, 15, 60, 300, 900, 1800, 3600, 7200, 14400, 28800)
_SECONDS_OF_REQUEST: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_SECONDS_OF_RENEWAL: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

OUTCOMES: Final = ("done", "partial", "blocked", "failed", "interrupted")
KINDS_OF_SCHEDULE: Final = ("run", "collection", "verify")
_METHODS: Final = ("GET", "HEAD", "PUT", "DELETE")
_GUARDS: Final = ("max_deletions", "max_share", "min_tags", "empty_match", "clock", "in_use_unknown")

_PROTECTIONS: Final = (
    "latest",
    "in-use",
    "immutable",
    "unknown-media-type",
    "unknown-time",
    "minimum-age",
    "referrer",
)

_all: list[Spec] = []


def _counter(
    name: str,
    text: str,
    *labels: str,
    values: Mapping[str, tuple[str, ...]] | None = None,
    absent: str = "",
) -> Spec:
    return _add(Spec(name, Kind.COUNTER, text, labels, values or {}, absent=absent))


def _gauge(
    name: str,
    text: str,
    *labels: str,
    values: Mapping[str, tuple[str, ...]] | None = None,
    leading: bool = False,
    absent: str = "",
) -> Spec:
    return _add(Spec(name, Kind.GAUGE, text, labels, values or {}, leading=leading, absent=absent))


def _histogram(
    name: str,
    text: str,
    *labels: str,
    buckets: tuple[float, ...],
    values: Mapping[str, tuple[str, ...]] | None = None,
    absent: str = "",
) -> Spec:
    return _add(Spec(name, Kind.HISTOGRAM, text, labels, values or {}, buckets, absent=absent))


def _add(spec: Spec) -> Spec:
    _all.append(spec)
    return spec


BUILD_INFO = _gauge("reaper_build_info", "The version that runs; always 1.", "version", "python")
DRY_RUN = _gauge("reaper_dry_run", "1 while the daemon only audits and deletes nothing.")
CONFIG_OK = _gauge(
    "reaper_config_last_reload_successful",
    "1 when the settings and policies were valid at the last look; 0 while an earlier set stays in force.",
)
CONFIG_AT = _gauge(
    "reaper_config_last_reload_success_timestamp_seconds",
    "When the settings and policies that are in force were loaded.",
)
LEADER = _gauge(
    "reaper_leader",
    "1 on the daemon that writes, 0 on those that wait.",
    absent="without leader election",
)
LEADER_TRANSITIONS = _counter(
    "reaper_leader_transitions_total",
    "How often this daemon took or lost the lead.",
    absent="without leader election",
)
LEASE_RENEWALS = _histogram(
    "reaper_lease_renew_duration_seconds",
    "How long renewing the Lease took.",
    buckets=_SECONDS_OF_RENEWAL,
    absent="without leader election",
)
NOTIFICATIONS = _counter(
    "reaper_notifications_total",
    "Notifications, by receiver as the settings name it.",
    "receiver",
    "outcome",
    values={"outcome": ("sent", "failed")},
    absent="without receivers",
)

RUNS = _counter(
    "reaper_runs_total",
    "Runs that ended, audits among them.",
    "registry",
    "outcome",
    values={"outcome": OUTCOMES},
)
RUN_DURATION = _histogram(
    "reaper_run_duration_seconds",
    "How long runs took, whatever their outcome.",
    "registry",
    buckets=_SECONDS_OF_RUN,
)
RUN_IN_PROGRESS = _gauge("reaper_run_in_progress", "1 while a run is under way.", "registry", leading=True)
RUN_LAST_ATTEMPT = _gauge(
    "reaper_run_last_attempt_timestamp_seconds",
    "When the last run began.",
    "registry",
    leading=True,
    absent="before the first run",
)
RUN_LAST_SUCCESS = _gauge(
    "reaper_run_last_success_timestamp_seconds",
    "When the last run with outcome `done` ended.",
    "registry",
    leading=True,
    absent="until a run succeeded; never 0",
)
RUN_LAST_OUTCOME = _gauge(
    "reaper_run_last_outcome",
    "1 for the outcome of the last run, 0 for the others.",
    "registry",
    "outcome",
    values={"outcome": OUTCOMES},
    leading=True,
    absent="before the first run",
)
_AFTER_A_RUN: Final = "before the first run of this process"
REPOSITORIES = _gauge(
    "reaper_repositories",
    "Repositories that the last run was about.",
    "registry",
    leading=True,
    absent=_AFTER_A_RUN,
)
PARTIAL_REPOSITORIES = _gauge(
    "reaper_partial_repositories",
    "Repositories that the last run could not read completely, and left alone.",
    "registry",
    leading=True,
    absent=_AFTER_A_RUN,
)
TAGS = _gauge(
    "reaper_tags",
    "Tags at the last run, by what was decided.",
    "registry",
    "decision",
    values={"decision": ("keep", "expire", "ignore")},
    leading=True,
    absent=_AFTER_A_RUN,
)
PROTECTED_TAGS = _gauge(
    "reaper_protected_tags",
    "Tags at the last run whose being kept a built-in protection explains, by protection.",
    "registry",
    "protection",
    values={"protection": _PROTECTIONS},
    leading=True,
    absent=_AFTER_A_RUN,
)
MANIFESTS = _gauge(
    "reaper_manifests", "Manifests at the last run.", "registry", leading=True, absent=_AFTER_A_RUN
)
MANIFESTS_TO_DELETE = _gauge(
    "reaper_manifests_to_delete",
    "Manifests that the last run's plan deletes.",
    "registry",
    leading=True,
    absent=_AFTER_A_RUN,
)
RECLAIMABLE = _gauge(
    "reaper_reclaimable_bytes",
    "What a collection would free once the last run's plan is carried out.",
    "registry",
    leading=True,
    absent=_AFTER_A_RUN,
)
MANIFESTS_DELETED = _counter(
    "reaper_manifests_deleted_total", "Manifests that were deleted.", "registry", "policy"
)
TAGS_UNTAGGED = _counter(
    "reaper_tags_untagged_total",
    "Expired tags that were taken off manifests that stay, by a placeholder where it takes one.",
    "registry",
    "policy",
)
DELETES_SKIPPED = _counter(
    "reaper_deletes_skipped_total",
    "Planned deletes that were not made, by cause.",
    "registry",
    "cause",
    values={"cause": ("absent", "cancelled", "failed")},
)
TAGS_PUT_BACK = _counter(
    "reaper_tags_put_back_total",
    "Tags that were pushed onto a manifest while it was deleted, and that reaper put back.",
    "registry",
)
GUARD_TRIPPED = _counter(
    "reaper_guard_tripped_total",
    "Runs that a guard rail blocked, or would have blocked had they been no audit.",
    "registry",
    "guard",
    values={"guard": _GUARDS},
)
SCHEDULE_INTERVAL = _gauge(
    "reaper_schedule_interval_seconds",
    "The longest time between two runs, collections or verifications, as scheduled.",
    "registry",
    "kind",
    values={"kind": KINDS_OF_SCHEDULE},
    absent="where nothing is scheduled",
)
SCHEDULE_NEXT = _gauge(
    "reaper_schedule_next_timestamp_seconds",
    "When the next one is due.",
    "registry",
    "kind",
    values={"kind": KINDS_OF_SCHEDULE},
    absent="where nothing is scheduled",
)

REQUESTS = _counter(
    "reaper_registry_requests_total",
    f"Requests to the registry. `status` is HTTP's, or `{NO_ANSWER}` where no answer came.",
    "registry",
    "method",
    "status",
    values={"method": _METHODS},
    absent="before the first such request",
)
REQUEST_DURATION = _histogram(
    "reaper_registry_request_duration_seconds",
    "How long the registry took to answer (the headers, without the body).",
    "registry",
    "method",
    buckets=_SECONDS_OF_REQUEST,
    values={"method": _METHODS},
)
RETRIES = _counter(
    "reaper_registry_retries_total",
    "Requests that were sent again, by why.",
    "registry",
    "cause",
    values={"cause": ("throttled", "server_error", "unreachable", "truncated")},
)
THROTTLED = _counter(
    "reaper_registry_throttled_total", "Answers that asked for fewer requests (429, 503).", "registry"
)
THROTTLED_SECONDS = _counter(
    "reaper_registry_throttled_seconds_total",
    "Pauses that such answers asked for with Retry-After, in all.",
    "registry",
)
TOKEN_FETCHES = _counter(
    "reaper_registry_token_fetches_total",
    "Tokens asked for at the registry's token server.",
    "registry",
    "outcome",
    values={"outcome": ("done", "refused", "failed")},
)

COLLECTIONS = _counter(
    "reaper_collections_total",
    "Collections that ended, or were postponed because deletes could still be undone.",
    "registry",
    "outcome",
    values={"outcome": ("done", "nothing", "failed", "postponed")},
)
COLLECTION_DURATION = _histogram(
    "reaper_collection_duration_seconds",
    "How long collections took, from read-only to verified.",
    "registry",
    buckets=_SECONDS_OF_RUN,
)
COLLECTION_IN_PROGRESS = _gauge(
    "reaper_collection_in_progress", "1 while a collection is under way.", "registry", leading=True
)
FREED_BLOBS = _counter("reaper_freed_blobs_total", "Blobs that collections removed.", "registry")
FREED_BYTES = _counter(
    "reaper_freed_bytes_total", "What collections freed, as far as sizes were known.", "registry"
)
READ_ONLY = _gauge(
    "reaper_registry_read_only",
    "1 while reaper keeps the registry read-only, or found it so.",
    "registry",
    leading=True,
    absent="until it is known",
)
READ_ONLY_SINCE = _gauge(
    "reaper_registry_read_only_since_timestamp_seconds",
    "Since when the registry is read-only.",
    "registry",
    leading=True,
    absent="while it is writable",
)
READ_ONLY_SECONDS = _counter(
    "reaper_registry_read_only_seconds_total", "How long the registry was read-only, in all.", "registry"
)
VERIFY_FAILURES = _gauge(
    "reaper_verify_failures",
    "What the last verify found that is tagged and cannot be pulled.",
    "registry",
    leading=True,
    absent="until a verify ended",
)
JOURNAL_UNDOABLE = _gauge(
    "reaper_journal_undoable_entries",
    "Deletes that can still be undone.",
    "registry",
    leading=True,
    absent="until they were counted",
)
JOURNAL_OLDEST = _gauge(
    "reaper_journal_oldest_undoable_timestamp_seconds",
    "When the oldest delete was made that can still be undone.",
    "registry",
    leading=True,
    absent="while there is none",
)
UNDO_WINDOW = _gauge(
    "reaper_undo_window_seconds",
    "How long a delete stays undoable before a collection, as configured.",
    "registry",
    absent="where nothing is collected",
)

EVENTS = _counter(
    "reaper_events_total",
    "Events that registries sent.",
    "registry",
    "action",
    "outcome",
    values={
        "action": ("push", "pull", "delete"),
        "outcome": ("recorded", "ignored"),
    },
)

IN_USE_COMPLETE = _gauge(
    "reaper_in_use_complete",
    "1 when all images in use were read at the last look; while it is 0, nothing is deleted.",
    "source",
    leading=True,
    absent="before the first look",
)
IN_USE_LAST_COMPLETE = _gauge(
    "reaper_in_use_last_complete_timestamp_seconds",
    "When all images in use were read for the last time.",
    "source",
    leading=True,
    absent="until that succeeded",
)
IN_USE_IMAGES = _gauge(
    "reaper_in_use_images",
    "References to images that were in use at the last look.",
    "source",
    leading=True,
    absent="before the first look",
)
IN_USE_UNREADABLE = _gauge(
    "reaper_in_use_unreadable_references",
    "References among them that are no valid image.",
    "source",
    leading=True,
    absent="before the first look",
)

#: All of them, in the order in which they are documented.
CATALOGUE: Final[tuple[Spec, ...]] = tuple(_all)
