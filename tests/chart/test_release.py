"""What an installation says, what it brings along, and what a published chart holds."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from devtools.helm import Helm
from devtools.helm_docs import CHART
from tests.chart.conftest import VALUES, Objects, only

_EXEC = "kubectl exec --namespace images deployment/release-reaper --container reaper -- reaper"


def test_a_fresh_install_says_how_to_audit_and_to_go_live(helm: Helm) -> None:
    notes = helm.notes([VALUES["sqlite"]])
    assert "AUDIT MODE: nothing is deleted" in notes
    assert f"{_EXEC} --dry-run\n" in notes
    assert (
        "helm upgrade release CHART --namespace images --reuse-values --set config.dry_run=false\n" in notes
    )
    assert "WARNING" not in notes


def test_a_live_install_says_how_to_undo(helm: Helm) -> None:
    notes = helm.notes([VALUES["sqlite"]], settings=["config.dry_run=false"])
    assert "LIVE: runs delete" in notes
    assert f"{_EXEC} restore --run ID\n" in notes
    assert "AUDIT MODE" not in notes


@pytest.mark.parametrize(
    ("setting", "warning"),
    [
        ("config.in_use.clusters=[]", "Images that run somewhere are not protected."),
        ('config.in_use.clusters=[{"name":"x","namespaces":["a","b"]}]', "in these namespaces only: a, b."),
        ("store.sqlite.persistence.enabled=false", "What reaper remembers is lost with the pod."),
        (
            "rbac.create=false",
            "The service account release-reaper needs the roles that docs/kubernetes.md lists",
        ),
        ("metrics.prometheusRule.enabled=true", "this cluster has no monitoring.coreos.com/v1"),
    ],
)
def test_what_is_risky_is_said(helm: Helm, setting: str, warning: str) -> None:
    assert warning in helm.notes([VALUES["sqlite"]], settings=[setting])


def test_alerts_and_dashboard_are_the_files(rendered: Mapping[str, Objects]) -> None:
    objects = rendered["everything"]
    alerts = YAML(typ="safe", pure=True).load(CHART / "files/alerts.yaml")
    assert only(objects, "PrometheusRule")["spec"] == alerts
    assert any("{{ $labels" in str(rule) for group in alerts["groups"] for rule in group["rules"])
    dashboards = only(objects, "ConfigMap", "release-cleaner-dashboards")
    files = {path.name: path.read_text() for path in CHART.glob("files/dashboards/*.json")}
    assert files
    assert dashboards["data"] == files
    assert dashboards["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert all(json.loads(text)["panels"] for text in files.values())


def test_the_package_holds_all_that_is_rendered(
    helm: Helm, rendered: Mapping[str, Objects], tmp_path: Path
) -> None:
    archive = helm.package(tmp_path)
    with tarfile.open(archive) as opened:
        names = {name.removeprefix("reaper/") for name in opened.getnames()}
    assert {"Chart.yaml", "values.schema.json", "README.md", "CHANGELOG.md", "files/alerts.yaml"} <= names
    assert not any(name.startswith("ci/") for name in names)
    packed = Helm(helm.binary, archive, tmp_path)
    assert packed.template([VALUES["everything"]]) == rendered["everything"]
