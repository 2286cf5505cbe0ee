from __future__ import annotations

import io
import json
from dataclasses import replace
from datetime import timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, ValidationError  # type: ignore[import-untyped]

from reaper.report.model import RunReport, Summary
from reaper.report.render import Format, render
from reaper.report.schema import report_schema, schema_text
from tests.report.reports import HOSTILE, api, blocked, digest, done, hostile, report, tag

ROOT = Path(__file__).parents[2]


def rendered(run: RunReport) -> str:
    out = io.StringIO()
    render(run, Format.JSON, out)
    return out.getvalue()


def test_the_contract() -> None:
    parsed: dict[str, Any] = json.loads(rendered(report()))
    assert list(parsed) == [
        "schema",
        "run_id",
        "registry",
        "dry_run",
        "started_at",
        "finished_at",
        "outcome",
        "summary",
        "guards",
        "collection",
        "settled",
        "error",
        "notes",
        "plan_id",
        "repositories",
    ]
    assert parsed["schema"] == "reaper.report/v1"
    assert parsed["started_at"] == "2026-07-01T02:00:00Z"
    assert parsed["outcome"] == "partial"
    assert parsed["summary"]["reclaimable_bytes"] == 1536 * 1024**2
    first = parsed["repositories"][0]
    assert list(first) == ["name", "policies", "tags", "manifests", "errors"]
    assert first["tags"][0] == {
        "tag": "login-0000001",
        "digest": digest(1),
        "decision": "expire",
        "rule": "last five builds of each branch",
        "reason": api().tags[0].reason,
        "created_at": "2026-05-22T01:00:00Z",
        "pushed_at": "2026-05-22T02:00:00Z",
        "pulled_at": None,
        "size": 120 * 1024**2 + 1,
        "expires_at": None,
        "policy": "services",
    }
    assert list(first["manifests"][0]) == ["digest", "kind", "action", "reason", "tags", "size"]


def test_the_form() -> None:
    text = rendered(report())
    assert text.startswith('{\n"schema": "reaper.report/v1",\n')
    assert text.endswith("\n]\n}\n")
    assert sum(line.startswith('{"name": ') for line in text.splitlines()) == 4
    assert json.loads(rendered(report(repositories=[])))["repositories"] == []


def test_times_of_any_zone_are_written_in_utc() -> None:
    started = report().started_at.astimezone(timezone(timedelta(hours=-7)))
    assert json.loads(rendered(report(started_at=started)))["started_at"] == "2026-07-01T02:00:00Z"


def test_hostile_names_are_exact_and_do_nothing_on_a_terminal() -> None:
    text = rendered(report(repositories=[hostile()]))
    assert text.isascii()
    assert all(char.isprintable() or char == "\n" for char in text)
    assert [entry["tag"] for entry in json.loads(text)["repositories"][0]["tags"]] == list(HOSTILE)


@pytest.mark.parametrize("run", [report(), blocked(), done(), report(repositories=[], summary=Summary())])
def test_reports_follow_the_schema(run: RunReport) -> None:
    schema = report_schema()
    Draft202012Validator.check_schema(schema)
    Draft202012Validator(schema).validate(json.loads(rendered(run)))


@pytest.mark.parametrize(
    "broken",
    [
        {"run_id": None},
        {"repositories": [replace(api(), tags=[replace(tag("v1", 1), decision="delete")])]},
        {"summary": Summary(tags=-1)},
    ],
)
def test_the_schema_tells_what_is_wrong(broken: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Draft202012Validator(report_schema()).validate(json.loads(rendered(report(**broken))))


def test_the_schema_demands_utc_and_every_member() -> None:
    validator = Draft202012Validator(report_schema())
    parsed = json.loads(rendered(report()))
    with pytest.raises(ValidationError):
        validator.validate(parsed | {"started_at": "2026-07-01T02:00:00+02:00"})
    del parsed["repositories"][0]["tags"][0]["expires_at"]
    with pytest.raises(ValidationError, match="expires_at"):
        validator.validate(parsed)


def test_the_schema_in_docs_is_current() -> None:
    """To renew it: python -c 'from reaper.report.schema import *; print(schema_text(), end="")' > FILE."""
    assert (ROOT / "docs/schema/report.schema.json").read_text() == schema_text()


def test_the_documentation_names_every_member() -> None:
    page = (ROOT / "docs/report.md").read_text()
    schema = report_schema()
    members = {name for entry in (schema, *schema["$defs"].values()) for name in entry.get("properties", ())}
    assert [name for name in sorted(members) if f"`{name}`" not in page and f"`{name}[]`" not in page] == []
