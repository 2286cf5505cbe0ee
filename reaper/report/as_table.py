"""The report for a terminal: what matters first, and no more of the rest than a person can read."""

from __future__ import annotations

from typing import Final, TextIO

from rich.cells import cell_len
from rich.text import Text

from reaper.report import words
from reaper.report.console import Printer, make_console
from reaper.report.model import Outcome, RunReport
from reaper.report.text import age, human_bytes, safe
from reaper.report.view import EVERYTHING, Errors, Limits, Row, Section, Selection

LIMITS: Final = Limits(repositories=50, rows=10, errors=20)

_OUTCOME_STYLES: Final = {Outcome.DONE: "bold green", Outcome.PARTIAL: "bold yellow"}
_FATE_STYLES: Final = {"delete": "red", "untag": "yellow", "skip": "bold yellow"}

# Widths of the columns right of the name: fate, age, size.
_FATE, _AGE, _SIZE, _GAP = 6, 6, 8, 2
_COLUMNS: Final = _FATE + _AGE + _SIZE + 3 * _GAP


def write_table(
    report: RunReport,
    out: TextIO,
    *,
    verbose: bool = False,
    colour: bool | None = None,
    width: int | None = None,
) -> None:
    """Write ``report`` to ``out``, everything in it if ``verbose``."""
    printer = Printer(make_console(out, colour=colour, width=width))
    _Table(printer, report, EVERYTHING if verbose else LIMITS, verbose=verbose).write()


class _Table:
    def __init__(self, printer: Printer, report: RunReport, limits: Limits, *, verbose: bool) -> None:
        self._print = printer
        self._report = report
        self._limits = limits
        self._verbose = verbose

    def write(self) -> None:
        self._head()
        self._guards()
        self._errors()
        self._repositories()
        self._next()

    def _head(self) -> None:
        report = self._report
        style = _OUTCOME_STYLES.get(report.outcome, "bold red")
        self._print.line(words.headline(report), style)
        self._print.line(words.when(report), "dim")
        self._print.line(words.result(report), "bold")
        if report.error is not None:
            self._print.line(f"Error: {report.error}", "bold red", hang=2)
        cells = [f"{label:<14}{figure:>12}" for label, figure in words.figures(report)]
        if cells:
            self._print.line()
        for left, right in zip(cells[::2], cells[1::2], strict=True):
            self._print.line(f"{left}    {right}", indent=2)
        remarks = [*words.before(report), *(f"Note: {note}" for note in report.notes)]
        if remarks:
            self._print.line()
        for remark in remarks:
            self._print.line(remark, hang=2)

    def _guards(self) -> None:
        if not self._report.guards:
            return
        self._print.line()
        self._print.line(words.guards_title(self._report), "bold red")
        for guard in self._report.guards:
            where = f"{guard.repository}: " if guard.repository else ""
            self._print.line(f"{guard.guard}: {where}{guard.message}", "red", indent=2, hang=2)
        for advice in words.guard_advice(self._report):
            self._print.line(advice, indent=2)

    def _errors(self) -> None:
        # Looking for errors reads every repository once more.
        if not self._report.summary.errors:
            return
        self._print.line()
        self._print.line("Errors", "bold yellow")
        errors = Errors(self._report, self._limits)
        for name, error in errors:
            self._print.line(f"{name}: {error}", indent=2, hang=2)
        if errors.hidden:
            self._print.line(words.more_errors(errors.hidden), indent=2)

    def _repositories(self) -> None:
        selection = Selection(self._report, self._limits, verbose=self._verbose)
        for number, section in enumerate(selection):
            if not number:
                self._columns()
            self._section(section)
        for line in words.more_repositories(selection):
            self._print.line()
            self._print.line(line)

    def _columns(self) -> None:
        name = "TAG OR MANIFEST".ljust(self._print.width - _COLUMNS - 2)
        heading = f"  {name}  {'ACTION':<{_FATE}}  {'AGE':>{_AGE}}  {'SIZE':>{_SIZE}}"
        self._print.line()
        self._print.line(heading, "dim")

    def _section(self, section: Section) -> None:
        self._print.line()
        self._print.line(section.repository.name, "bold")
        self._print.line(words.repository_line(self._report, section.repository), "dim", indent=2)
        for row in section.rows:
            self._row(row)
        if section.hidden:
            self._print.line(words.more_rows(section.hidden), indent=2)

    def _row(self, row: Row) -> None:
        width = self._print.width - _COLUMNS - 2
        first, *rest = self._print.fold(Text(safe(row.name)), width)
        line = Text("  ") + first + Text(" " * (width - cell_len(first.plain) + _GAP))
        line.append(f"{safe(row.fate):<{_FATE}}", _FATE_STYLES.get(row.fate, "green"))
        since = age(row.pushed_at, self._report.started_at) if row.tagged else "-"
        line.append(f"  {since:>{_AGE}}  {human_bytes(row.size):>{_SIZE}}")
        self._print.write(line, *(Text("  ") + part for part in rest))
        self._print.line(words.why(row), "dim", indent=4)

    def _next(self) -> None:
        for number, hint in enumerate(words.hints(self._report)):
            if not number:
                self._print.line()
            self._print.line(hint.text)
            if hint.command:
                self._print.line(hint.command, "bold", indent=2)
