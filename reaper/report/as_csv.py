"""CSV (RFC 4180), for spreadsheets: a row for each guard rail, error, tag and manifest."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Final, TextIO

from reaper.core.plan import Action
from reaper.report.model import ManifestReport, RepositoryReport, RunReport
from reaper.report.text import rfc3339, safe

#: Columns are only ever added, at the end.
HEADER: Final = (
    "record",
    "repository",
    "tag",
    "digest",
    "kind",
    "decision",
    "action",
    "policy",
    "rule",
    "reason",
    "created_at",
    "pushed_at",
    "pulled_at",
    "expires_at",
    "size",
)

# A spreadsheet takes a cell that begins with one of these, full-width ones too, for a formula.
_FORMULA: Final = tuple("=+-@\uff1d\uff0b\uff0d\uff20")


def write_csv(report: RunReport, out: TextIO) -> None:
    """Write ``report`` to ``out``."""
    write_csv_rows(HEADER, _report_rows(report), out)


def write_csv_rows(header: Sequence[str], rows: Iterable[Sequence[object]], out: TextIO) -> None:
    """Write ``header`` and ``rows``, each cell made safe for terminals and spreadsheets."""
    writer = csv.writer(out)
    writer.writerow([cell(name) for name in header])
    for row in rows:
        writer.writerow([cell(value) for value in row])


def cell(value: object) -> str:
    """Return ``value`` as a cell: numbers and times exact, text so that it stays text."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case int() | float():
            return str(value)
        case datetime():
            return rfc3339(value)
        case str():
            text = safe(value)
        case Iterable():
            text = safe(" ".join(str(item) for item in value))
        case _:
            text = safe(str(value))
    return f"'{text}" if text.lstrip().startswith(_FORMULA) else text


def _report_rows(report: RunReport) -> Iterator[Sequence[object]]:
    if report.error is not None:
        yield _row("error", reason=report.error)
    for guard in report.guards:
        yield _row("guard", guard.repository, rule=guard.guard, reason=guard.message)
    for repository in report:
        yield from _repository_rows(repository)


def _repository_rows(repository: RepositoryReport) -> Iterator[Sequence[object]]:
    manifests = {manifest.digest: manifest for manifest in repository.manifests}
    for error in repository.errors:
        yield _row("error", repository.name, reason=error)
    for tag in repository.tags:
        manifest = manifests.get(tag.digest)
        yield (
            "tag",
            repository.name,
            tag.tag,
            tag.digest,
            manifest.kind if manifest else None,
            tag.decision,
            manifest.action if manifest else None,
            tag.policy,
            tag.rule,
            tag.reason,
            tag.created_at,
            tag.pushed_at,
            tag.pulled_at,
            tag.expires_at,
            tag.size,
        )
    for manifest in repository.manifests:
        if not manifest.tags or manifest.action != Action.KEEP:
            yield _row("manifest", repository.name, manifest=manifest, reason=manifest.reason)


def _row(
    record: str,
    repository: str | None = None,
    *,
    reason: str,
    rule: str | None = None,
    manifest: ManifestReport | None = None,
) -> Sequence[object]:
    given: dict[str, object] = {"record": record, "repository": repository, "rule": rule, "reason": reason}
    if manifest is not None:
        given |= {
            "tag": manifest.tags,
            "digest": manifest.digest,
            "kind": manifest.kind,
            "action": manifest.action,
            "size": manifest.size,
        }
    return [given.get(name) for name in HEADER]
