from __future__ import annotations

import csv
import io
from datetime import UTC, datetime
from pathlib import Path

import pytest

from reaper.report.as_csv import HEADER, cell
from reaper.report.model import RunReport
from reaper.report.render import Format, render
from reaper.report.text import safe
from tests.report.reports import HOSTILE, blocked, digest, hostile, report


def rows(run: RunReport) -> list[dict[str, str]]:
    out = io.StringIO(newline="")
    render(run, Format.CSV, out)
    return list(csv.DictReader(io.StringIO(out.getvalue(), newline="")))


def test_a_row_for_each_tag_and_each_manifest_that_changes() -> None:
    found = rows(report())
    tags = [row for row in found if row["record"] == "tag"]
    assert len(tags) == 17
    assert tags[0]["tag"] == "login-0000001"
    assert (tags[0]["decision"], tags[0]["action"], tags[0]["kind"]) == ("expire", "delete", "image")
    assert tags[0]["pushed_at"] == "2026-05-22T02:00:00Z"
    assert tags[0]["size"] == str(120 * 1024**2 + 1)
    manifests = {row["digest"]: row for row in found if row["record"] == "manifest"}
    assert manifests[digest(60)]["tag"] == ""
    assert manifests[digest(70)]["tag"] == "nightly v2.0.0"
    assert digest(50) not in manifests


def test_errors_and_guard_rails_have_rows() -> None:
    found = rows(report(error="it failed", guards=blocked().guards))
    assert [(row["record"], row["repository"]) for row in found[:3]] == [
        ("error", ""),
        ("guard", "services/api"),
        ("guard", ""),
    ]
    assert next(row["reason"] for row in found if row["repository"] == "services/broken").startswith("tag v2")


def test_the_form_is_rfc_4180() -> None:
    out = io.StringIO(newline="")
    render(report(notes=[]), Format.CSV, out)
    lines = out.getvalue().split("\r\n")
    assert lines[0] == ",".join(HEADER)
    assert lines[-1] == ""
    assert not any("\n" in line for line in lines)


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@SUM(A1)", "\uff1d1", " =1", '=HYPERLINK("https://evil.example")']
)
def test_what_a_spreadsheet_would_take_for_a_formula_is_guarded(text: str) -> None:
    assert cell(text) == f"'{text}"


def test_a_control_character_does_not_hide_a_formula() -> None:
    assert cell("\t=1") == "\\x09=1"
    assert cell("\r=1") == "\\x0d=1"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, ""),
        (-5, "-5"),
        (True, "true"),
        (datetime(2026, 7, 1, tzinfo=UTC), "2026-07-01T00:00:00Z"),
        (["a", "b"], "a b"),
        (["=a"], "'=a"),
        (Path("=x"), "'=x"),
    ],
)
def test_cells(value: object, expected: str) -> None:
    assert cell(value) == expected


def test_hostile_names() -> None:
    found = [row for row in rows(report(repositories=[hostile()])) if row["record"] == "tag"]
    assert [row["tag"].removeprefix("'") for row in found] == [safe(name) for name in HOSTILE]
    assert all(value.isprintable() for row in found for value in row.values())


def test_the_documentation_has_the_header() -> None:
    assert f"`{','.join(HEADER)}`" in (Path(__file__).parents[2] / "docs/report.md").read_text()
