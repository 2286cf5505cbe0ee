"""The values in the guides are ones that the chart takes."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import Any

import pytest

from devtools.environment import ROOT
from devtools.helm import Helm
from devtools.helm_docs import CHART
from tests.chart.conftest import VALUES, only

_BLOCK = re.compile(r"^( *)```yaml\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
_BLOCKS = [
    pytest.param(textwrap.dedent(text), id=f"{page.stem}-{number}")
    for page in (ROOT / "docs/kubernetes.md", CHART / "README.md")
    for number, (_indent, text) in enumerate(_BLOCK.findall(page.read_text()))
]


@pytest.mark.parametrize("text", _BLOCKS)
def test_an_example_renders(helm: Helm, text: str, tmp_path: Path) -> None:
    values = tmp_path / "values.yaml"
    values.write_text(text)
    # What says where the image is, is whole; the others are parts.
    files = [values] if "image:" in text else [VALUES["sqlite"], values]
    objects = helm.template(files)
    assert only(objects, "Deployment")


def test_the_guide_has_them_all() -> None:
    assert len(_BLOCKS) == 8


def test_links_lead_somewhere() -> None:
    for page in (ROOT / "docs/kubernetes.md", CHART / "README.md"):
        for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / link).exists(), link


def test_the_rights_are_those_of_the_roles(helm: Helm) -> None:
    """Each resource that a role names is in the guide's table."""
    table = (ROOT / "docs/kubernetes.md").read_text().partition("## Rights")[2]
    objects: Any = helm.template([VALUES["everything"]]) + helm.template([VALUES["ha"]])
    for role in objects:
        if role["kind"] in ("Role", "ClusterRole"):
            for rule in role["rules"]:
                for resource in set(rule["resources"]) - {"rollouts", "things"}:
                    shown = re.search(resource, table, re.IGNORECASE)
                    # Which workload a registry is, is up to its settings.
                    assert shown or "resourceNames" in rule, resource
