"""The options of every command."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.main import get_command

from reaper.cli.exits import Exit, UsageError, exit_for_error, exit_for_outcome
from reaper.cli.main import app
from reaper.cli.options import Common, Format, report_error
from reaper.core.errors import ReaperError
from reaper.report.model import Outcome

EVERYWHERE = {
    "--config",
    "--policies",
    "--registry",
    "--docker-config",
    "--format",
    "--output",
    "--log-format",
    "--verbose",
    "-v",
}


def test_every_command_takes_them() -> None:
    root = get_command(app)
    commands = {"": root, **root.commands}  # type: ignore[attr-defined]  # a group, which has commands
    assert {"run", "ls", "explain", "check", "test", "diff", "serve"} <= commands.keys()
    for name, command in commands.items():
        names = {option for parameter in command.params for option in parameter.opts}
        assert names >= EVERYWHERE, name
        assert command.get_short_help_str(), name


def test_what_stands_after_the_name_goes_before() -> None:
    outer = Common(config=Path("a"), format=Format.JSON, verbose=1)
    inner = Common(format=Format.CSV, registry="main")
    assert inner.under(outer) == Common(config=Path("a"), format=Format.CSV, registry="main", verbose=1)
    assert inner.under(None) == inner


def test_errors_and_outcomes_have_their_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert {outcome: exit_for_outcome(outcome.value) for outcome in Outcome} == {
        Outcome.DONE: Exit.DONE,
        Outcome.PARTIAL: Exit.PARTIAL,
        Outcome.BLOCKED: Exit.BLOCKED,
        Outcome.FAILED: Exit.FAILED,
        Outcome.INTERRUPTED: Exit.FAILED,
    }
    assert exit_for_error(UsageError("x")) == 2
    assert report_error(ReaperError("it failed", hint="try this")) == 1
    assert capsys.readouterr().err == "reaper: it failed\n  try this\n"
