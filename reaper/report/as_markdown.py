"""The report for a pull request or an issue."""

from __future__ import annotations

from typing import Final, TextIO

from reaper.report.document import context
from reaper.report.model import RunReport
from reaper.report.templating import write_template
from reaper.report.view import Limits

#: GitHub takes no comment above 65,536 characters.
LIMITS: Final = Limits(repositories=15, rows=10, errors=20)


def write_markdown(report: RunReport, out: TextIO, *, verbose: bool = False) -> None:
    """Write ``report`` to ``out``, everything in it if ``verbose``."""
    write_template("report.md.j2", context(report, LIMITS, verbose=verbose), out)
