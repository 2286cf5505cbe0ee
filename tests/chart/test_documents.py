"""What the chart's files say twice, they say alike."""

from __future__ import annotations

import re

from devtools.docs import schema_text
from devtools.helm_docs import CHART, documented, leaves, pages, read_values
from reaper import __version__


def test_every_value_is_documented() -> None:
    said = documented((CHART / "values.yaml").read_text())
    silent = [
        path for path in leaves(read_values()) if not any(path[:end] in said for end in range(len(path) + 1))
    ]
    assert silent == []


def test_what_is_said_twice_is_said_alike() -> None:
    for file, text in pages(schema_text("settings"), schema_text("policy")).items():
        assert file.read_text() == text, "run .venv/bin/python -m devtools.docs"


def test_versions() -> None:
    chart = (CHART / "Chart.yaml").read_text()
    assert re.findall(r"^appVersion: (.+)$", chart, re.MULTILINE) == [__version__]
    (version,) = re.findall(r"^version: (.+)$", chart, re.MULTILINE)
    assert f"\n## {version}\n" in (CHART / "CHANGELOG.md").read_text()


def test_the_notes_of_yaml_comments() -> None:
    text = "# -- One,\n# and more.\na: 1\nb:\n  # no doc\n  c: 2\n  # -- Two.\n  d:\n    - e: 3\nf: 4\n"
    assert documented(text) == {("a",): "One, and more.", ("b", "d"): "Two."}
