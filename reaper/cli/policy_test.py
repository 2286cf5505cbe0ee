"""``reaper test``: what policies would do to tags with given ages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reaper.cli.options import Common, Format, command

if TYPE_CHECKING:
    from reaper.config.policy_tests import PolicyTests


def register(app: typer.Typer) -> None:
    """Add the command."""

    @command(app, "test")
    def test(
        common: Common,
        paths: Annotated[
            list[Path] | None,
            typer.Argument(metavar="PATH", help="Test files, policies with tests beside them, or folders."),
        ] = None,
    ) -> None:
        """Run policy tests: given tags with ages, expect keep or expire. No registry is needed."""
        from reaper.cli.exits import Exit, UsageError
        from reaper.cli.session import format_of, report_output, settings_of
        from reaper.config.policy_tests import load_policy_tests
        from reaper.report.listing import render_rows
        from reaper.report.policy_tests import COLUMNS, lines
        from reaper.report.render import Format as ReportFormat
        from reaper.report.text import safe

        wanted = paths or settings_of(common).policies
        if not wanted:
            raise UsageError("no policy tests", hint="name a test file (*.test.yaml) or a folder of them")
        rows = [row for tests in load_policy_tests(wanted, common.policies) for row in _rows(tests)]
        chosen = format_of(common)
        with report_output(common) as out:
            if chosen is Format.TABLE:
                out.writelines(f"{safe(line)}\n" for line in lines(rows))
            else:
                render_rows("policy tests", COLUMNS, rows, ReportFormat(chosen.value), out)
        if not all(row["passed"] for row in rows):
            raise typer.Exit(Exit.FAILED)


def _rows(tests: PolicyTests) -> Iterator[dict[str, Any]]:
    from reaper.core.policy_test import run_case

    for number, case in enumerate(tests.cases):
        for outcome in run_case(tests.policies, case):
            yield {
                "file": str(tests.file),
                "line": tests.place(number, outcome).line,
                "test": case.name,
                "repository": case.repository,
                "tag": outcome.tag,
                "expected": outcome.expected.value,
                "found": outcome.found.value,
                "passed": outcome.passed,
                "reason": outcome.reason,
            }
