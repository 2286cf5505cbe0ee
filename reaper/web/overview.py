"""What the pages show: gathered from the daemon and the store, with a limit on everything."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any, Final

from reaper.report import words
from reaper.report.extract import Extract, ExtractedRepository, read_extract
from reaper.report.model import CollectionReport, Outcome, RunReport, Summary
from reaper.report.text import count, human_bytes, safe
from reaper.store import RUNNING, JournalLine, RunRecord, State, Store
from reaper.web.plot import Day, Plot, draw
from reaper.web.state import Status

#: How much a page shows; what is left out is said, and where it is.
REGISTRIES: Final = 10
RUNS: Final = 15
RUNS_A_PAGE: Final = 50
ROWS: Final = 20
UNDO_RUNS: Final = 5
LINES: Final = 100
DAYS: Final = 30
#: So many runs, and journal entries, at most are read to make sums of them.
_RUNS_READ: Final = 1000
_LINES_READ: Final = 1000

_COLLECTION: Final = "gc"
_SWEPT: Final = (Outcome.DONE.value, Outcome.PARTIAL.value)


@dataclass(frozen=True, slots=True)
class RunLine:
    """A run in a list. ``registry`` is its configured name, or else its URL."""

    id: str
    registry: str
    what: str
    started_at: datetime
    took: timedelta | None
    outcome: str
    result: str


@dataclass(frozen=True, slots=True)
class UndoableRun:
    """What can be undone of a run: ``entries`` deletes, more if ``at_least``, and how."""

    run_id: str
    deleted_at: datetime
    entries: int
    at_least: bool
    command: str


@dataclass(frozen=True, slots=True)
class Undoable:
    """What can still be undone of a registry: how much, by run, and the latest of it."""

    total: int
    runs: list[UndoableRun]
    runs_left_out: bool
    lines: list[tuple[JournalLine, str]]


@dataclass(frozen=True, slots=True)
class Changes:
    """The first changes of a run; ``left_out`` are the rows beyond the limit."""

    repositories: list[ExtractedRepository]
    left_out: int


@dataclass(frozen=True, slots=True)
class RegistryView:
    """One registry: its last finished run with what it changed, its space, what can be undone.

    ``anchor`` is the id of its place on the page.
    """

    anchor: str
    name: str
    url: str
    last: RunRecord | None
    report: RunReport | None
    extract: Extract | None
    changes: Changes
    days: list[Day]
    plot: Plot | None
    undoable: Undoable


@dataclass(frozen=True, slots=True)
class StatusView:
    """The status page."""

    status: Status
    now: datetime
    registries: list[RegistryView]
    others: list[str]
    runs: list[RunLine]


@dataclass(frozen=True, slots=True)
class RunsView:
    """A page of runs; ``older`` is where the next one begins, None on the last."""

    status: Status
    now: datetime
    registry: str | None
    runs: list[RunLine]
    older: datetime | None


@dataclass(frozen=True, slots=True)
class RunView:
    """One run. ``older`` is the id that the next page of its journal begins before, None on the last."""

    status: Status
    now: datetime
    run: RunRecord
    line: RunLine
    report: RunReport | None
    extract: Extract | None
    states: list[tuple[str, int]]
    command: str | None
    lines: list[tuple[JournalLine, str]]
    older: int | None


def status_view(store: Store, status: Status, now: datetime, only: str | None = None) -> StatusView:
    """Return the status page, of all registries or of ``only`` one."""
    names = [only] if only is not None else list(status.registries)
    several = len(status.registries) > 1
    shown = names[:REGISTRIES]
    return StatusView(
        status,
        now,
        [
            _registry(store, f"registry-{number}", name, status.registries[name], now, several=several)
            for number, name in enumerate(shown, 1)
        ],
        names[REGISTRIES:],
        _run_lines(store, {name: status.registries[name] for name in shown}, RUNS, None),
    )


def runs_view(
    store: Store, status: Status, now: datetime, registry: str | None, before: datetime | None
) -> RunsView:
    """Return the runs of all configured registries, or of one, that began ``before`` a time."""
    of = status.registries if registry is None else {registry: status.registries[registry]}
    lines = _run_lines(store, of, RUNS_A_PAGE + 1, before)
    more = len(lines) > RUNS_A_PAGE
    lines = lines[:RUNS_A_PAGE]
    return RunsView(status, now, registry, lines, lines[-1].started_at if more else None)


def run_view(store: Store, status: Status, now: datetime, run_id: str, before: int | None) -> RunView:
    """Return one run, with its journal ``before`` an entry.

    Raises:
        InvalidInputError: there is no such run.
    """
    run = store.runs.get(run_id)
    names = {url: name for name, url in status.registries.items()}
    name, several = names.get(run.registry, run.registry), len(status.registries) > 1
    content = store.runs.report(run.id)
    extract = None if content is None else read_extract(content)
    states = store.journal.count_by_state(run.registry, run.id)
    lines = store.journal.lines(run.registry, limit=LINES + 1, run_id=run.id, before=before)
    more = len(lines) > LINES
    lines = lines[:LINES]
    command = _restore(f"--run {run.id}", name, several=several) if states[State.DELETED] else None
    return RunView(
        status,
        now,
        run,
        _run_line(run, name),
        _report_of(run, extract),
        extract,
        [(state.value, number) for state, number in states.items() if number],
        command,
        [(line, _restore_line(line, name, several=several)) for line in lines],
        lines[-1].id if more else None,
    )


def _registry(
    store: Store, anchor: str, name: str, url: str, now: datetime, *, several: bool
) -> RegistryView:
    recent = store.runs.recent(_RUNS_READ, url)
    last = next((run for run in recent if run.command != _COLLECTION and run.outcome != RUNNING), None)
    content = None if last is None else store.runs.report(last.id)
    extract = None if content is None else read_extract(content)
    days = _days(recent, now)
    return RegistryView(
        anchor,
        name,
        url,
        last,
        None if last is None else _report_of(last, extract),
        extract,
        _changes(extract or Extract()),
        days,
        draw(days),
        _undoable(store, name, url, several=several),
    )


def _changes(extract: Extract) -> Changes:
    shown: list[ExtractedRepository] = []
    room, left_out = ROWS, extract.rows_left_out
    for repository in extract.repositories:
        rows = repository.rows[:room]
        hidden = repository.left_out + len(repository.rows) - len(rows)
        room -= len(rows)
        if rows:
            shown.append(ExtractedRepository(repository.name, rows, hidden))
        else:
            left_out += hidden
    return Changes(shown, left_out)


def _days(runs: Sequence[RunRecord], now: datetime) -> list[Day]:
    deleted: Counter[object] = Counter()
    collected: Counter[object] = Counter()
    for run in runs:
        day = (run.finished_at or run.started_at).date()
        if run.command == _COLLECTION:
            collected[day] += _number(run.summary, "bytes")
            continue
        collected[day] += _number(run.summary.get("collection"), "bytes")
        if not run.dry_run and run.outcome in _SWEPT:
            deleted[day] += _number(run.summary, "reclaimable_bytes")
    dates = [now.date() - timedelta(days=ago) for ago in range(DAYS - 1, -1, -1)]
    return [Day(date, deleted[date], collected[date]) for date in dates]


def _number(figures: object, name: str) -> int:
    found = figures.get(name) if isinstance(figures, Mapping) else None
    return found if isinstance(found, int) else 0


def _undoable(store: Store, name: str, url: str, *, several: bool) -> Undoable:
    total = store.journal.count_by_state(url)[State.DELETED]
    lines = store.journal.lines(url, limit=_LINES_READ, state=State.DELETED) if total else []
    entries = Counter(line.run_id for line in lines)
    latest: dict[str, JournalLine] = {}
    for line in lines:
        latest.setdefault(line.run_id, line)
    last_read = lines[-1].run_id if len(lines) == _LINES_READ else None
    runs = [
        UndoableRun(
            run_id,
            line.deleted_at or line.created_at,
            entries[run_id],
            run_id == last_read,
            _restore(f"--run {run_id}", name, several=several),
        )
        for run_id, line in latest.items()
    ]
    return Undoable(
        total,
        runs[:UNDO_RUNS],
        len(runs) > UNDO_RUNS or last_read is not None,
        [(line, _restore_line(line, name, several=several)) for line in lines[:ROWS]],
    )


def _restore_line(line: JournalLine, registry: str, *, several: bool) -> str:
    named = f"{line.repository}:{line.tags[0]}" if line.tags else f"{line.repository}@{line.digest}"
    return _restore(shlex.quote(safe(named)), registry, several=several)


def _restore(what: str, registry: str, *, several: bool) -> str:
    """Return the command that puts something back."""
    which = f" --registry {shlex.quote(safe(registry))}" if several else ""
    return f"reaper restore {what}{which}"


def _run_lines(
    store: Store, registries: Mapping[str, str], limit: int, before: datetime | None
) -> list[RunLine]:
    found = [
        _run_line(run, name)
        for name, url in registries.items()
        for run in store.runs.recent(limit, url, before=before)
    ]
    return sorted(found, key=lambda line: line.started_at, reverse=True)[:limit]


def _run_line(run: RunRecord, registry: str) -> RunLine:
    report = _report_of(run, None)
    if run.outcome == RUNNING:
        result = ""
    elif run.command == _COLLECTION:
        result = _collection_result(run.summary)
    else:
        result = words.result(report) if report is not None else ""
    what = "collection" if run.command == _COLLECTION else "audit" if run.dry_run else "run"
    took = None if run.finished_at is None else run.finished_at - run.started_at
    return RunLine(run.id, registry, what, run.started_at, took, run.outcome, result)


def _collection_result(summary: Mapping[str, Any]) -> str:
    blobs, freed = _number(summary, "blobs"), _number(summary, "bytes")
    if blobs or freed:
        return f"Freed {count(blobs, 'blob')}, {human_bytes(freed)}."
    detail = summary.get("detail")
    return detail if isinstance(detail, str) else ""


def _report_of(run: RunRecord, extract: Extract | None) -> RunReport | None:
    """Return as much of the run's report as was kept, or None where the run is none or has not ended."""
    outcomes = {outcome.value: outcome for outcome in Outcome}
    if run.command == _COLLECTION or run.finished_at is None or run.outcome not in outcomes:
        return None
    known = {field.name: _number(run.summary, field.name) for field in fields(Summary)}
    kept = extract or Extract()
    collection = kept.collection
    if collection is None and isinstance(noted := run.summary.get("collection"), Mapping):
        collection = CollectionReport(
            str(noted.get("via", "")),
            str(noted.get("outcome", "")),
            _number(noted, "blobs"),
            _number(noted, "bytes"),
        )
    return RunReport(
        run_id=run.id,
        registry=run.registry,
        dry_run=run.dry_run,
        started_at=run.started_at,
        finished_at=run.finished_at,
        outcome=outcomes[run.outcome],
        summary=Summary(**known),
        guards=kept.guards,
        collection=collection,
        settled=kept.settled,
        error=kept.error,
        notes=kept.notes,
    )
