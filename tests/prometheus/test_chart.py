"""The chart hands out the same rules and the same dashboard."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from devtools.helm import MAJORS, Helm, helm_binary
from devtools.helm_docs import CHART
from devtools.prometheus import check_rules
from tests.prometheus.expressions import alerts, dashboard


@pytest.fixture(scope="session")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    """The newest helm."""
    return Helm(helm_binary(max(MAJORS), fetch=False), CHART, tmp_path_factory.mktemp("helm"))


def rendered(helm: Helm, tmp_path: Path, **rule: str) -> Sequence[Mapping[str, Any]]:
    """Render the chart with its rules and its dashboard."""
    values = {"metrics": {"prometheusRule": {"enabled": True, **rule}, "dashboards": {"enabled": True}}}
    file = tmp_path / "more.yaml"
    file.write_text(json.dumps(values))  # JSON is YAML
    return helm.template([CHART / "ci/everything-values.yaml", file])


def rules(objects: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return the spec of the PrometheusRule."""
    [found] = (each for each in objects if each["kind"] == "PrometheusRule")
    spec: Mapping[str, Any] = found["spec"]
    return spec


def test_the_rules_are_the_same_and_promtool_finds_no_fault(
    helm: Helm, promtool: Path, tmp_path: Path
) -> None:
    objects = rendered(helm, tmp_path)
    assert [rule for group in rules(objects)["groups"] for rule in group["rules"]] == alerts()
    file = tmp_path / "rules.yaml"
    file.write_text(json.dumps(rules(objects)))
    assert "SUCCESS" in check_rules(promtool, file)


def test_runbooks_are_where_the_values_say(helm: Helm, tmp_path: Path) -> None:
    base = "https://git.example.com/reaper/blob/main/"
    objects = rendered(helm, tmp_path, runbookUrl=base)
    found = [rule for group in rules(objects)["groups"] for rule in group["rules"]]
    for rule in found:
        assert rule["annotations"]["runbook_url"] == f"{base}docs/runbooks/{rule['alert']}.md"
    # Nothing else is changed by it.
    for rule in found:
        rule["annotations"]["runbook_url"] = rule["annotations"]["runbook_url"].removeprefix(base)
    assert found == alerts()


def test_the_dashboard_is_the_same(helm: Helm, tmp_path: Path) -> None:
    files = [each.get("data", {}).get("reaper.json") for each in rendered(helm, tmp_path)]
    assert [json.loads(text) for text in files if text] == [dashboard()]
