"""What the chart's files say twice, they say alike."""

from __future__ import annotations

import re

from devtools.helm_docs import CHART, documented, leaves, read_values, readme, schema
from reaper import __version__

_AGAIN = "run .venv/bin/python -m devtools.helm_docs"


def test_every_value_is_documented() -> None:
    said = documented((CHART / "values.yaml").read_text())
    silent = [
        path for path in leaves(read_values()) if not any(path[:end] in said for end in range(len(path) + 1))
    ]
    assert silent == []


def test_the_readme_has_the_values() -> None:
    assert (CHART / "README.md").read_text() == readme(), _AGAIN


def test_the_schema_has_the_settings_and_policies() -> None:
    assert (CHART / "values.schema.json").read_text() == schema(), _AGAIN


def test_versions() -> None:
    chart = (CHART / "Chart.yaml").read_text()
    assert re.findall(r"^appVersion: (.+)$", chart, re.MULTILINE) == [__version__]
    (version,) = re.findall(r"^version: (.+)$", chart, re.MULTILINE)
    assert f"\n## {version}\n" in (CHART / "CHANGELOG.md").read_text()


def test_the_notes_of_yaml_comments() -> None:
    text = "# -- One,\n# and more.\na: 1\nb:\n  # no doc\n  c: 2\n  # -- Two.\n  d:\n    - e: 3\nf: 4\n"
    assert documented(text) == {("a",): "One, and more.", ("b", "d"): "Two."}
