"""What is kept of a report when the run is over: what changed and why, bounded however large the run was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from reaper.report.model import CollectionReport, GuardReport, RunReport
from reaper.report.view import Row, changes

#: How much is kept: enough for a person to see what a run did, and little beside the journal.
MAX_REPOSITORIES: Final = 200
MAX_ROWS_EACH: Final = 50
MAX_ROWS: Final = 2000
MAX_LINES: Final = 100
MAX_TEXT: Final = 1000

_SCHEMA: Final = "reaper.extract/v1"


@dataclass(frozen=True, slots=True)
class ExtractedRepository:
    """A repository's changes; ``left_out`` are the rows beyond the limit."""

    name: str
    rows: list[Row]
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class Extract:
    """A run's end. What is left out is counted: guard rails, errors, repositories and the rows in them."""

    schema: str = _SCHEMA
    error: str | None = None
    guards: list[GuardReport] = field(default_factory=list)
    guards_left_out: int = 0
    notes: list[str] = field(default_factory=list)
    settled: int = 0
    collection: CollectionReport | None = None
    errors: list[tuple[str, str]] = field(default_factory=list)
    errors_left_out: int = 0
    repositories: list[ExtractedRepository] = field(default_factory=list)
    repositories_left_out: int = 0
    rows_left_out: int = 0


_ADAPTER: Final = TypeAdapter(Extract)


def write_extract(report: RunReport) -> bytes:
    """Return the extract of ``report`` as JSON, after reading all its repositories once."""
    return _ADAPTER.dump_json(_extract(report))


def read_extract(content: bytes) -> Extract | None:
    """Return the extract that was kept, or None where it is another version's."""
    try:
        found = _ADAPTER.validate_json(content)
    except ValidationError:
        return None
    return found if found.schema == _SCHEMA else None


def figures(report: RunReport) -> Mapping[str, Any]:
    """Return the run in numbers: its summary, and what its collection freed."""
    numbers = asdict(report.summary)
    if report.collection is not None:
        numbers["collection"] = {
            name: getattr(report.collection, name) for name in ("via", "outcome", "blobs", "bytes")
        }
    return numbers


def _extract(report: RunReport) -> Extract:
    kept: list[ExtractedRepository] = []
    errors: list[tuple[str, str]] = []
    errors_found = rows_kept = repositories_left_out = rows_left_out = 0
    for repository in report:
        errors_found += len(repository.errors)
        name = _clip(repository.name)
        errors += [(name, _clip(error)) for error in repository.errors[: MAX_LINES - len(errors)]]
        rows = changes(repository)
        if not rows:
            continue
        shown = rows[: min(MAX_ROWS_EACH, MAX_ROWS - rows_kept)]
        if len(kept) == MAX_REPOSITORIES or not shown:
            repositories_left_out += 1
            rows_left_out += len(rows)
            continue
        rows_kept += len(shown)
        clipped = [replace(row, name=_clip(row.name), reason=_clip(row.reason)) for row in shown]
        kept.append(ExtractedRepository(name, clipped, len(rows) - len(shown)))
    collection = report.collection
    if collection is not None:
        warnings = [_clip(warning) for warning in collection.warnings[:MAX_LINES]]
        collection = replace(collection, detail=_clip(collection.detail), warnings=warnings)
    return Extract(
        error=None if report.error is None else _clip(report.error),
        guards=[replace(guard, message=_clip(guard.message)) for guard in report.guards[:MAX_LINES]],
        guards_left_out=max(0, len(report.guards) - MAX_LINES),
        notes=[_clip(note) for note in report.notes[:MAX_LINES]],
        settled=report.settled,
        collection=collection,
        errors=errors,
        errors_left_out=errors_found - len(errors),
        repositories=kept,
        repositories_left_out=repositories_left_out,
        rows_left_out=rows_left_out,
    )


def _clip(text: str) -> str:
    # What a collector prints, or a registry answers, need not be text that UTF-8 can carry.
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 1]}…"
