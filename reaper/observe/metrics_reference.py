"""docs/metrics.md, from the catalogue: ``python -m reaper.observe.metrics_reference``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Final

from reaper.observe.metrics_catalogue import CATALOGUE, OTHER, Kind, Spec

_HEAD: Final = """\
# Metrics

<!-- Written by `python -m devtools.docs` from reaper/observe/metrics_catalogue.py. -->

`reaper serve` shows these at `/metrics`, in Prometheus' text format, besides the `process_*` metrics of every
Prometheus client. [alerts.md](alerts.md) says what to make of them; a Grafana dashboard is
[reaper.json](../helm/reaper/files/dashboards/reaper.json).

- Sizes are bytes, durations seconds, times Unix timestamps: an age is `time() - …_timestamp_seconds`.
- `registry` is a registry's name in the settings, `receiver` that of a notification's receiver, `source` what
  names images in use (not `cluster`, by which many a Prometheus says where it stands itself). No label ever
  holds a repository, a tag or a digest. Where a label's values are listed, any other one is counted as
  `{other}`.
- A series that is not known yet is absent, never 0; counters whose labels are known beforehand begin at 0.
- *Leading* metrics tell what only the daemon that writes knows: one that waits for the lead does not show
  them. Take the `max` over the daemons of an installation, and the `sum` of counters.
"""

_GROUPS: Final = (
    ("The daemon", ("reaper_build_", "reaper_dry_", "reaper_config_", "reaper_leader", "reaper_lease_")),
    (
        "Runs",
        (
            "reaper_run",
            "reaper_schedule_",
            "reaper_guard_",
            "reaper_deletes_",
            "reaper_manifests_deleted",
            "reaper_tags_untagged_",
            "reaper_tags_put_",
        ),
    ),
    (
        "What the last run saw and planned",
        (
            "reaper_repositories",
            "reaper_partial_",
            "reaper_tags",
            "reaper_protected_",
            "reaper_manifests",
            "reaper_reclaimable_",
        ),
    ),
    (
        "Collections and what can be undone",
        (
            "reaper_collection",
            "reaper_freed_",
            "reaper_registry_read_",
            "reaper_verify_",
            "reaper_journal_",
            "reaper_undo_",
        ),
    ),
    ("The registry", ("reaper_registry_",)),
    ("Images in use", ("reaper_in_use_",)),
    ("Events and notifications", ("reaper_events_", "reaper_notifications_")),
)


def reference() -> str:
    """Return docs/metrics.md."""
    return _HEAD.format(other=OTHER) + "".join(_sections())


def _sections() -> Iterator[str]:
    left = list(CATALOGUE)
    for title, prefixes in _GROUPS:
        mine = [spec for spec in left if spec.name.startswith(prefixes)]
        left = [spec for spec in left if spec not in mine]
        yield f"\n## {title}\n\n| metric | type | labels | meaning |\n| --- | --- | --- | --- |\n"
        for spec in mine:
            yield f"| `{spec.name}` | {spec.kind} | {_labels(spec)} | {_meaning(spec)} |\n"
    if left:
        raise AssertionError(f"in no section: {', '.join(spec.name for spec in left)}")
    yield "\n## Buckets\n\n"
    for spec in CATALOGUE:
        if spec.kind is Kind.HISTOGRAM:
            yield f"- `{spec.name}`: {', '.join(f'{bound:g}' for bound in spec.buckets)} seconds\n"


def _labels(spec: Spec) -> str:
    return "<br>".join(
        f"`{label}`" + (f": {', '.join(f'`{value}`' for value in known)}" if known else "")
        for label in spec.labels
        for known in [spec.values.get(label, ())]
    )


def _meaning(spec: Spec) -> str:
    text = spec.help
    if spec.leading:
        text += " *Leading.*"
    if spec.absent:
        text += f" Absent {spec.absent}."
    return text


if __name__ == "__main__":
    sys.stdout.write(reference())
