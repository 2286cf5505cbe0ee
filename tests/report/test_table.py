from __future__ import annotations

import io
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest
from rich.cells import cell_len

from reaper.report.model import GuardReport, Outcome, RepositoryReport, RunReport, Summary
from reaper.report.render import Format, render
from tests.report.reports import HOSTILE, api, blocked, digest, done, hostile, manifest, report, tag

GOLDEN = Path(__file__).parent / "golden"


def table(
    run: RunReport, *, verbose: bool = False, width: int | None = 80, colour: bool | None = None
) -> str:
    out = io.StringIO()
    render(run, Format.TABLE, out, verbose=verbose, width=width, colour=colour)
    return out.getvalue()


@pytest.mark.parametrize(
    ("name", "run", "verbose"),
    [
        ("audit", report(), False),
        ("blocked", blocked(), False),
        ("done", done(), False),
        ("verbose", done(), True),
    ],
)
def test_the_table_at_80_columns_is_as_reviewed(name: str, run: RunReport, verbose: bool) -> None:
    """To accept a change: REAPER_GOLDEN=write pytest tests/report, and review the difference."""
    shown = table(run, verbose=verbose)
    golden = GOLDEN / f"{name}.txt"
    if os.environ.get("REAPER_GOLDEN") == "write":
        golden.write_text(shown)
    assert shown == golden.read_text()


@pytest.mark.parametrize("width", [40, 80, 132])
@pytest.mark.parametrize("verbose", [False, True])
def test_no_line_is_wider_than_the_terminal(width: int, verbose: bool) -> None:
    long = RepositoryReport(
        name="deep/" * 50,
        policies=["p" * 100],
        tags=[tag("t" * 128, 1), tag("標" * 128, 2, "keep", reason="r" * 300)],
        manifests=[manifest(1, "delete", ["t" * 128]), manifest(3, "skip", [], reason="x y " * 80)],
        errors=["e" * 200],
    )
    guards = [GuardReport("max_share", "m" * 200, "deep/" * 50)]
    run = report(repositories=[long, hostile()], guards=guards, notes=["n" * 200], error="o" * 200)
    lines = table(run, verbose=verbose, width=width).splitlines()
    assert max(map(cell_len, lines)) <= width


def test_a_long_name_is_folded_not_cut() -> None:
    name = "Q" * 128
    shown = table(report(repositories=[replace(api(), tags=[tag(name, 1)])]))
    assert shown.count("Q") == 128


@pytest.mark.parametrize("verbose", [False, True])
def test_hostile_names_are_shown_escaped_and_never_as_markup(verbose: bool) -> None:
    shown = table(report(repositories=[hostile()], notes=list(HOSTILE), error=HOSTILE[0]), verbose=verbose)
    assert all(char.isprintable() or char == "\n" for char in shown)
    for expected in ("\\x1b[31mred\\x1b[0m", "[red]markup[/red]", "gpj.\\u202eexe", ":skull:", "\\ud800"):
        assert expected in shown


def test_hostile_names_do_not_reach_a_colour_terminal_either() -> None:
    shown = table(report(repositories=[hostile()]), colour=True)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown)
    assert plain == table(report(repositories=[hostile()]))
    assert "\x1b[31mred" not in shown


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("environment", "terminal", "colour", "coloured"),
    [
        ({}, True, None, True),
        ({}, False, None, False),
        ({"NO_COLOR": "1"}, True, None, False),
        ({"NO_COLOR": ""}, True, None, True),
        ({"TERM": "dumb"}, True, None, False),
        ({"FORCE_COLOR": "1"}, False, None, False),
        ({"NO_COLOR": "1"}, False, True, True),
        ({}, True, False, False),
    ],
)
def test_colours(
    environment: dict[str, str],
    terminal: bool,
    colour: bool | None,
    coloured: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    out = Terminal() if terminal else io.StringIO()
    render(report(), Format.TABLE, out, colour=colour)
    assert ("\x1b" in out.getvalue()) is coloured


def test_a_terminal_is_used_in_its_width_and_a_pipe_in_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "132")
    wide, narrow = Terminal(), io.StringIO()
    render(report(), Format.TABLE, wide, colour=False)
    render(report(), Format.TABLE, narrow)
    assert 80 < max(map(len, wide.getvalue().splitlines())) <= 132
    assert max(map(len, narrow.getvalue().splitlines())) <= 80


def test_thousands_of_repositories_do_not_flood_the_terminal() -> None:
    run = report(repositories=[replace(api(), name=f"services/{number}") for number in range(1000)])
    shown = table(run)
    assert len(shown.splitlines()) < 50 * 40
    assert "services/49" in shown
    assert "services/50" not in shown
    assert "... and 950 repositories more, with 12,350 changes" in shown
    assert "services/999" in table(run, verbose=True)


def test_many_errors_are_limited_and_counted() -> None:
    broken = RepositoryReport("broken", [], errors=[f"error {number}" for number in range(30)])
    shown = table(report(repositories=[broken]))
    assert "error 19" in shown
    assert "error 20" not in shown
    assert "... and 10 errors more" in shown


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        (report(summary=Summary(), repositories=[]), "Nothing was changed; nothing would be."),
        (report(outcome=Outcome.FAILED), "Nothing was changed. The audit did not get to its end."),
        (replace(done(), summary=Summary()), "Nothing expires; nothing was deleted."),
        (replace(blocked(), summary=Summary()), "Nothing was deleted."),
        (
            replace(done(), outcome=Outcome.FAILED, error="the registry went away"),
            "Deleted 12 of 13 manifests, untagged 1 tag, skipped 1 manifest, then stopped.",
        ),
    ],
)
def test_the_result_is_said_plainly(run: RunReport, expected: str) -> None:
    assert expected in table(run)


def test_what_to_do_next() -> None:
    assert "  reaper run\n" in table(report())
    assert "  reaper restore --run 3f2a9c1b7d04\n" in table(done())
    assert "reaper restore" not in table(blocked())
    assert "reaper restore" not in table(report())
    assert "  reaper run\n" not in table(report(guards=[GuardReport("clock", "behind")]))
    failed = table(replace(done(), outcome=Outcome.FAILED, error="gone"))
    assert "reaper run" in failed
    assert "reaper restore" in failed


def test_what_was_skipped_comes_first_with_its_own_reason() -> None:
    changed = replace(
        api(),
        manifests=[
            manifest(1, "delete", ["login-0000001"]),
            manifest(2, "skip", ["login-0000002"], reason="moved"),
        ],
    )
    shown = table(replace(done(), repositories=[changed]))
    assert shown.index("login-0000002") < shown.index("login-0000001")
    assert "moved" in shown


def test_a_kept_tag_says_until_when() -> None:
    kept = replace(tag("v1", 1, "keep"), expires_at=report().finished_at)
    shown = table(report(repositories=[RepositoryReport("a", [], [kept])]), verbose=True)
    assert "releases: keeps all; until 2026-07-01 02:01:35Z" in shown


def test_a_manifest_without_a_tag_is_shown_by_its_whole_digest() -> None:
    only = RepositoryReport("a", [], [], [manifest(60, "delete", [])])
    shown = table(report(repositories=[only]), width=132)
    assert digest(60) in shown
