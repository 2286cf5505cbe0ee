"""The command starts fast: nothing heavy is imported before it is needed."""

from __future__ import annotations

import resource
import subprocess
import sys

from reaper import __version__
from tests.e2e.conftest import run_installed

#: What the environment itself imports as Python starts.
SITE = {"__main__", "_distutils_hack", "sitecustomize", "usercustomize"}


def test_version() -> None:
    for arguments in (["--version"], ["version"]):
        ended = run_installed(*arguments)
        assert (ended.code, ended.out) == (0, f"reaper {__version__}\n")


def test_the_version_imports_nothing_heavy() -> None:
    """Python's own modules and the parser of the options, and of those nothing for the network."""
    code = "import sys\nfrom reaper.cli.main import app\napp(['--version'], standalone_mode=False)"
    ended = subprocess.run(
        [sys.executable, "-I", "-c", f"{code}\nprint(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    version, modules = ended.stdout.splitlines()
    assert version == f"reaper {__version__}"
    packages = {name.partition(".")[0] for name in modules.split()}
    ours = {"reaper", "typer", "annotated_doc", "shellingham"}
    assert packages - sys.stdlib_module_names - SITE <= ours
    assert not packages & {"asyncio", "ssl", "http", "sqlite3"}
    of_reaper = {name.split(".")[1] for name in modules.split() if name.startswith("reaper.")}
    assert of_reaper <= {"cli", "core"}


def test_the_version_takes_less_than_300_milliseconds() -> None:
    """Of the processor's time, the best of three: how busy the machine is says nothing about reaper."""
    took = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        run_installed("--version")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        took.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    assert min(took) < 0.3


def test_help_names_every_command() -> None:
    ended = run_installed("--help")
    assert ended.code == 0
    found = {line.split()[1] for line in ended.out.splitlines() if len(line.split()) > 2}
    wanted = "run serve ls explain restore gc verify runs check test diff schema version"
    assert set(wanted.split()) <= found
    assert max(map(len, ended.out.splitlines())) <= 80
