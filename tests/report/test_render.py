from __future__ import annotations

import subprocess
import sys

import pytest

LOADED = """
import io, sys
from reaper.report.render import Format, render
sys.path.insert(0, {root!r})
from tests.report.reports import report
render(report(), Format({format!r}), io.StringIO())
print(*sorted({{"rich", "jinja2"}} & sys.modules.keys()))
"""


@pytest.mark.parametrize(
    ("format", "libraries"),
    [("table", "rich"), ("json", ""), ("csv", ""), ("markdown", "jinja2"), ("html", "jinja2")],
)
def test_a_format_loads_only_its_own_library(
    format: str,  # noqa: A002
    libraries: str,
    pytestconfig: pytest.Config,
) -> None:
    script = LOADED.format(root=str(pytestconfig.rootpath), format=format)
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == libraries
