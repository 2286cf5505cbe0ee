"""A daemon as the web side sees it, and a store with a month behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from reaper.report.extract import figures, write_extract
from reaper.report.model import CollectionReport, GuardReport, Outcome, RunReport
from reaper.store import Action, NewEntry, State, Store
from reaper.web.state import Configuration, Job, Status
from tests.report.reports import MIB, digest, done, hostile, report, unread

NOW = datetime(2026, 7, 1, 9, 30, tzinfo=UTC)
MAIN = "https://registry.example.com"
EDGE = "https://edge.example.com:5000"
DAY = timedelta(days=1)


@dataclass
class Daemon:
    """What the web side is told, to be changed at will."""

    current: Status
    reason: str | None = None
    reasons: Sequence[str] = field(default=())

    def status(self) -> Status:
        return self.current

    def dead(self) -> str | None:
        return self.reason

    def unready(self) -> Sequence[str]:
        return self.reasons


def daemon(**changes: object) -> Daemon:
    """Return a daemon with two registries, with other facts where given."""
    jobs = (
        Job(
            "main",
            "run",
            ("services", "everything"),
            "0 2 * * * (UTC)",
            NOW + timedelta(hours=16),
            NOW - DAY / 3,
        ),
        Job("main", "collect", (), "0 4 * * 0 (UTC)", NOW + 4 * DAY, NOW - 3 * DAY),
        Job(
            "edge",
            "run",
            ("everything",),
            "30 * * * * (UTC)",
            NOW + DAY / 24,
            None,
            NOW - timedelta(minutes=3),
        ),
    )
    status = Status(
        version="0.1.0",
        started_at=NOW - 3 * DAY,
        dry_run=False,
        leader=None,
        configuration=Configuration(NOW - 3 * DAY, files=("/etc/reaper/reaper.yaml", "/etc/reaper/policies")),
        registries={"main": MAIN, "edge": EDGE},
        jobs=jobs,
    )
    return Daemon(replace(status, **changes))  # type: ignore[arg-type]  # passed through


def keep(store: Store, told: RunReport, *, command: str = "serve") -> None:
    """Write a run into the store as it would be when it has ended."""
    store.runs.begin(told.run_id, told.registry, command, told.dry_run, told.started_at)
    store.runs.finish(told.run_id, told.finished_at, told.outcome.value, figures(told), write_extract(told))


def collect(store: Store, run_id: str, at: datetime, freed: int) -> None:
    """Write a collection into the store."""
    store.runs.begin(run_id, MAIN, "gc", False, at)
    summary = {"via": "command", "outcome": "done", "blobs": 12, "bytes": freed, "detail": "", "warnings": []}
    store.runs.finish(run_id, at + timedelta(minutes=2), "done", summary)


def delete(store: Store, number: int, run_id: str, at: datetime, *, tags: tuple[str, ...] = ()) -> int:
    """Write a delete into the journal, done."""
    entry = store.journal.begin(
        NewEntry(
            registry=MAIN,
            repository="services/api",
            digest=digest(number),
            action=Action.DELETE,
            media_type="application/vnd.oci.image.manifest.v1+json",
            content=b"{}",
            tags=tags,
            policy="services",
            rule="last five builds of each branch",
            reason="no rule keeps it: last five builds of each branch: rank 7 of 9 in branch=login by pushed"
            " 2026-05-22 02:00:00Z (push event), keeps 5",
            run_id=run_id,
            created_at=at,
            reclaimable_bytes=120 * MIB,
        )
    )
    store.journal.mark(entry, State.DELETED, at)
    return entry


def fill(store: Store) -> None:
    """A month of daily runs and weekly collections on main, and an audit of edge that would be blocked."""
    for ago in range(29, -1, -1):
        at = NOW - ago * DAY - DAY / 3
        run_id = f"run{29 - ago:04d}aaaaa"
        summary = replace(done().summary, reclaimable_bytes=(400 + 97 * (ago % 7) * ago % 1100) * MIB)
        told = replace(
            done(),
            run_id=run_id,
            registry=MAIN,
            started_at=at,
            finished_at=at + timedelta(seconds=95),
            summary=summary,
            collection=None,
        )
        if ago == 0:
            told = replace(
                told, outcome=Outcome.PARTIAL, repositories=[*told.repositories, hostile(), unread()]
            )
        keep(store, told)
        if ago % 7 == 3:
            collect(store, f"gc{29 - ago:04d}aaaaaa", at + DAY / 6, (2400 + 100 * ago) * MIB)
        if ago < 3:
            for number in range(12):
                name = (f"login-{number:07x}",) if number % 3 else ()
                delete(store, 100 * ago + number, run_id, at, tags=name)
    blocked = report(
        run_id="edge0000aaaa",
        registry=EDGE,
        dry_run=False,
        outcome=Outcome.BLOCKED,
        started_at=NOW - DAY / 4,
        finished_at=NOW - DAY / 4 + timedelta(seconds=9),
        collection=CollectionReport("command", "postponed", detail="36 deletes can be undone until tomorrow"),
        guards=[
            GuardReport(
                "max_share", "13 of 17 tags (76%) would go; policy services allows 50%", "services/api"
            ),
            GuardReport("empty_match", "policy old matches 0 of 4 repositories, and its guard demands 1"),
        ],
    )
    keep(store, blocked)
    store.runs.begin("edge0001aaaa", EDGE, "serve", True, NOW - timedelta(minutes=3))
