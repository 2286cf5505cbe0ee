"""The alert rules: right in promtool's eyes, about metrics there are, each tested, each with a runbook."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from devtools.prometheus import PrometheusError, check_rules, run_rule_tests
from tests.prometheus.expressions import ALERTS, ROOT, Use, alerts, uses

CASES = sorted(Path(__file__).parent.glob("alerts_*.yaml"))
RUNBOOKS = ROOT / "docs/runbooks"
NAMES = [rule["alert"] for rule in alerts()]


def test_promtool_finds_no_fault(promtool: Path) -> None:
    assert f"{len(NAMES)} rules found" in check_rules(promtool, ALERTS)


@pytest.mark.parametrize("cases", CASES, ids=lambda path: path.stem)
def test_alerts_fire_when_they_should_and_only_then(promtool: Path, cases: Path) -> None:
    assert "SUCCESS" in run_rule_tests(promtool, cases)


def test_a_rule_that_does_something_else_fails_its_test(promtool: Path, tmp_path: Path) -> None:
    """Guards the guard: promtool must take these files for tests of these rules."""
    changed = ALERTS.read_text().replace('outcome="blocked"}) == 1', 'outcome="failed"}) == 1')
    assert changed != ALERTS.read_text()
    (tmp_path / "alerts.yaml").write_text(changed)
    [minutes] = [file for file in CASES if file.stem == "alerts_minutes"]
    document = YAML(typ="safe").load(minutes.read_text())
    document["rule_files"] = ["alerts.yaml"]
    document["tests"] = [test for test in document["tests"] if "ReaperPlanBlocked" in str(test)]
    (tmp_path / "cases.yaml").write_text(json.dumps(document))  # JSON is YAML
    with pytest.raises(PrometheusError, match="ReaperPlanBlocked"):
        run_rule_tests(promtool, tmp_path / "cases.yaml")


@pytest.mark.parametrize("fires", [True, False], ids=["fires", "does not fire"])
def test_every_alert_has_a_case_in_which_it(fires: bool) -> None:
    cases = [
        case
        for file in CASES
        for test in YAML(typ="safe").load(file.read_text())["tests"]
        for case in test["alert_rule_test"]
    ]
    tested = {case["alertname"] for case in cases if bool(case["exp_alerts"]) is fires}
    assert tested == set(NAMES)


@pytest.mark.parametrize("rule", alerts(), ids=NAMES)
class TestEachAlert:
    def test_is_about_metrics_that_reaper_has(self, rule: dict[str, Any]) -> None:
        found = uses(rule["expr"])
        assert found
        assert not [fault for use in found for fault in use.faults()]

    def test_is_about_an_installation_and_not_about_a_pod(self, rule: dict[str, Any]) -> None:
        assert "instance" not in rule["expr"]
        assert "pod" not in rule["expr"]

    def test_says_what_how_bad_and_what_to_do(self, rule: dict[str, Any]) -> None:
        assert rule["labels"] == {"severity": rule["labels"]["severity"]}
        assert rule["labels"]["severity"] in ("critical", "warning", "info")
        assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
        assert len(rule["annotations"]["summary"]) < 100
        assert rule["annotations"]["summary"].endswith(".")

    def test_has_a_runbook(self, rule: dict[str, Any]) -> None:
        name = rule["alert"]
        assert rule["annotations"]["runbook_url"] == f"docs/runbooks/{name}.md"
        page = (RUNBOOKS / f"{name}.md").read_text()
        assert page.startswith(f"# {name}\n")
        for heading in ("What it means", "How bad", "What to look at", "What to do"):
            assert f"\n## {heading}\n" in page
        # With commands to type, not only words.
        assert re.search(r"^    \S", page, re.MULTILINE)


def test_there_is_no_runbook_without_an_alert() -> None:
    assert sorted(page.stem for page in RUNBOOKS.glob("*.md")) == sorted(NAMES)


def test_docs_alerts_md_has_every_alert_as_it_is() -> None:
    rows = re.findall(
        r"^\| \[(\w+)\]\(runbooks/(\w+)\.md\) \| (\w+) \|",
        (ROOT / "docs/alerts.md").read_text(),
        re.MULTILINE,
    )
    assert rows == [(rule["alert"], rule["alert"], rule["labels"]["severity"]) for rule in alerts()]


@pytest.mark.parametrize("page", sorted(RUNBOOKS.glob("*.md")), ids=lambda path: path.stem)
def test_queries_in_runbooks_are_about_metrics_that_reaper_has(page: Path) -> None:
    # An indented line that begins with a metric or a function of one is a query; others are commands.
    lines = re.findall(r"^    ((?:\w+ ?\([^$]*)?reaper_\w+.*|time\(\) - .*)$", page.read_text(), re.MULTILINE)
    assert not [fault for line in lines for use in uses(line) for fault in use.faults()]


@pytest.mark.parametrize(
    ("expression", "fault"),
    [
        ("reaper_run_total", "reaper_run_total is no metric"),
        ('reaper_tags{repository="a"}', "reaper_tags has no label repository"),
        ('reaper_runs_total{outcome="success"}', "reaper_runs_total: outcome is never success"),
        ("rate(reaper_run_duration_seconds[5m])", "reaper_run_duration_seconds is no series of a histogram"),
        ("reaper_dry_run", None),
        ("rate(reaper_run_duration_seconds_bucket[5m])", None),
    ],
)
def test_a_mistake_in_an_expression_would_be_found(expression: str, fault: str | None) -> None:
    found: list[Use] = uses(expression)
    assert [each for use in found for each in use.faults()] == ([fault] if fault else [])
