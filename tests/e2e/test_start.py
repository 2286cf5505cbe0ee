"""The command starts fast: nothing heavy is imported before it is needed."""

from __future__ import annotations

import subprocess
import sys

from reaper import __version__
from tests.e2e.conftest import run_reaper


def test_version() -> None:
    for arguments in (["--version"], ["version"]):
        ended = run_reaper(*arguments)
        assert (ended.code, ended.out) == (0, f"reaper {__version__}\n")


def test_the_version_imports_nothing_heavy() -> None:
    heavy = {
        "sqlalchemy",
        "httpx",
        "aiohttp",
        "pydantic_settings",
        "rich",
        "jinja2",
        "ruamel",
        "re2",
        "alembic",
    }
    code = "import sys, reaper.cli.main; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not heavy & set(ended.stdout.split())


def test_help_names_every_command() -> None:
    ended = run_reaper("--help")
    assert ended.code == 0
    for command in ("run", "ls", "explain", "restore", "gc", "verify", "runs", "check", "schema", "version"):
        assert command in ended.out
