"""What the report's templates are given."""

from __future__ import annotations

from collections.abc import Mapping

from reaper.report import words
from reaper.report.model import RunReport
from reaper.report.text import age
from reaper.report.view import EVERYTHING, Errors, Limits, Row, Selection


def context(report: RunReport, limits: Limits, *, verbose: bool) -> Mapping[str, object]:
    """Return the variables of a report's template; repositories are read only as the template gets there."""
    limits = EVERYTHING if verbose else limits

    def row_age(row: Row) -> str:
        return age(row.pushed_at, report.started_at) if row.tagged else "-"

    return {
        "report": report,
        "words": words,
        "age": row_age,
        "advice": words.guard_advice(report),
        # Looking for errors reads every repository once more.
        "errors": Errors(report, limits) if report.summary.errors else None,
        "selection": Selection(report, limits, verbose=verbose),
    }
