"""The report as a web page: one file, without scripts, that can be mailed or archived."""

from __future__ import annotations

from typing import Final, TextIO

from reaper.report.document import context
from reaper.report.model import RunReport
from reaper.report.templating import write_template
from reaper.report.view import Limits

#: A browser still opens so much.
LIMITS: Final = Limits(repositories=500, rows=100, errors=200)


def write_html(report: RunReport, out: TextIO, *, verbose: bool = False) -> None:
    """Write ``report`` to ``out``, everything in it if ``verbose``."""
    write_template("report.html.j2", context(report, LIMITS, verbose=verbose), out)
