"""`reaper test`: the installed command on policy tests."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema  # type: ignore[import-untyped]  # it ships no types
import pytest
from ruamel.yaml import YAML

from tests.e2e.conftest import run_reaper

ROOT = Path(__file__).parents[2]


def test_the_examples_tests_pass_and_follow_their_schema() -> None:
    ended = run_reaper("test", str(ROOT / "policies"))
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.endswith("all as expected\n")
    schema = json.loads((ROOT / "docs" / "schema" / "tests.schema.json").read_text())
    for file in (ROOT / "policies").glob("*.test.yaml"):
        jsonschema.validate(YAML(typ="safe", pure=True).load(file), schema)


@pytest.fixture
def failing(tmp_path: Path) -> Path:
    (tmp_path / "p.yaml").write_text(
        "version: 1\npolicies: [{name: p, repositories: '**', rules: [{name: one, keep: {newest: 1}}]}]\n"
    )
    file = tmp_path / "p.test.yaml"
    file.write_text(
        "version: 1\ntests:\n  - name: two stay\n    repository: app\n    keep: {a: 3d,\n      b: 4d}\n"
    )
    return file


def test_a_failure_says_where_it_stands_and_why(failing: Path) -> None:
    ended = run_reaper("test", str(failing.parent))
    assert (ended.code, ended.err) == (1, "")
    where, what, why, total = ended.out.splitlines()
    assert where == f"{failing}:6: two stay"
    assert what == "  app:b expires, and should be kept"
    assert why.startswith("  no rule keeps it: one: rank 2 of 2 by pushed 2026-06-27 12:00:00Z")
    assert total == "1 test, 2 expectations: 1 test failed, with 1 expectation"
    rows = run_reaper("test", str(failing), "--format", "json").rows
    assert [(row["tag"], row["line"], row["passed"]) for row in rows] == [("a", 5, True), ("b", 6, False)]


def test_mistakes_are_usage(failing: Path) -> None:
    failing.write_text("version: 2\n")
    ended = run_reaper("test", str(failing))
    assert ended.code == 2
    assert f"{failing}:1:10: " in ended.err
    assert run_reaper("test").code == 2
