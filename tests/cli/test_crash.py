"""A crash of reaper itself: its trace shows lines of code, and no values, which may be secrets."""

from __future__ import annotations

import subprocess
import sys

import pytest

CRASH = """
import sys
from reaper.cli import main
from reaper.cli.main import app

def fail():
    password = "hunter" + str(2)
    raise ZeroDivisionError("a fault")

for command in app.registered_commands:
    if "version" in (command.name, command.callback.__name__):
        command.callback = fail
sys.argv = ["reaper", "version"]
main.main()
"""


@pytest.mark.parametrize("terminal", [True, False])
def test_no_value_is_shown(terminal: bool) -> None:
    program = ("import sys; sys.stderr.isatty = lambda: True\n" if terminal else "") + CRASH
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode != 0
    assert "ZeroDivisionError" in ended.stderr, ended.stderr
    assert "hunter2" not in ended.stdout + ended.stderr
