"""When the environment is made again, and what is said where it cannot be made; nothing is installed here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from devtools import apt, environment
from devtools.errors import SetupError


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone whose environment is up to date, as far as can be seen."""
    venv = tmp_path / ".venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "python").symlink_to(sys.executable)
    for file in ("pyproject.toml", "requirements-dev.lock", ".venv/bin/reaper"):
        (tmp_path / file).touch()
    for name, place in {
        "ROOT": tmp_path,
        "VENV": venv,
        "STAMP": venv / ".reaper-setup",
        "LOCK": tmp_path / "requirements-dev.lock",
    }.items():
        monkeypatch.setattr(environment, name, place)
    environment.STAMP.write_text(environment.fingerprint())
    return tmp_path


def test_nothing_to_do(
    clone: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(environment, "make", lambda: pytest.fail(f"made again in {clone}"))
    assert environment.main() == 0
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("changed", ["requirements-dev.lock", "pyproject.toml", ".venv/.reaper-setup"])
def test_a_changed_input_makes_it_again(clone: Path, changed: str) -> None:
    assert environment.up_to_date()
    (clone / changed).write_text("changed")
    assert not environment.up_to_date()


@pytest.mark.parametrize("gone", [".venv/.reaper-setup", ".venv/bin/python", ".venv/bin/reaper"])
def test_a_lost_part_makes_it_again(clone: Path, gone: str) -> None:
    (clone / gone).unlink()
    assert not environment.up_to_date()


def test_a_failed_installation_is_not_taken_for_done(
    clone: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (clone / "requirements-dev.lock").write_text("not a requirement")
    monkeypatch.setattr(environment, "run", fail)
    assert environment.main() == 1
    assert capfd.readouterr().err == "setup: no network\n"
    assert not environment.up_to_date()


def fail(_command: list[str]) -> None:
    """In place of a command that cannot work."""
    raise SetupError("no network")


def test_no_python_that_is_new_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(environment, "MINIMUM", (99, 0))
    assert environment.main() == 1
    message = capfd.readouterr().err
    assert "Python 99.0 or newer is needed" in message
    assert "python3.14" in message


def test_a_newer_python_on_path_goes_on(tmp_path: Path) -> None:
    """As under a Python that is too old: the next one on PATH is run with the same module."""
    newer = tmp_path / "python3.14"
    newer.write_text('#!/bin/sh\ncase "$1" in -c) echo 99 1;; *) echo "goes on: $*";; esac\n')
    newer.chmod(0o755)
    program = "from devtools import environment as e; e.MINIMUM = (99, 0); e.main()"
    answer = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[2],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout == "goes on: -m devtools.environment\n"


def test_version_of(tmp_path: Path) -> None:
    assert environment.version_of(Path(sys.executable)) == sys.version_info[:2]
    assert environment.version_of(tmp_path / "absent") is None
    assert environment.version_of(Path("/bin/false")) is None


def test_neither_ensurepip_nor_apt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apt, "available", lambda: False)
    with pytest.raises(SetupError, match="install python3-venv"):
        environment.install_pip(Path(sys.executable))
