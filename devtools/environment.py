"""``python3 -m devtools.environment``: make ``.venv/`` with everything in it, unless it is up to date.

Begins on whatever Python is there (hence no new syntax and few imports) and goes on with 3.11 or newer.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

MINIMUM = (3, 11)
NEWER = ("python3", "python3.14", "python3.13", "python3.12", "python3.11")
ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
STAMP = VENV / ".reaper-setup"
LOCK = ROOT / "requirements-dev.lock"


def main() -> int:
    """Make the environment; say what is missing where it cannot be made."""
    if sys.version_info[:2] < MINIMUM:
        return continue_with_newer_python()
    from devtools.errors import SetupError

    try:
        with_lock()
    except SetupError as error:
        print(f"setup: {error}", file=sys.stderr)
        return 1
    return 0


def continue_with_newer_python() -> int:
    """Start again under a Python that is new enough; returns only when there is none."""
    for name in NEWER:
        found = shutil.which(name)
        if found and (version_of(Path(found)) or (0, 0)) >= MINIMUM:
            os.execv(found, [found, "-m", "devtools.environment"])
    wanted = ".".join(map(str, MINIMUM))
    present = ".".join(map(str, sys.version_info[:3]))
    print(
        f"setup: Python {wanted} or newer is needed; {sys.executable} is {present} and PATH has no newer one "
        f"(looked for {', '.join(NEWER)}). Install python3.11 or newer, or: make PYTHON=/path/to/python3",
        file=sys.stderr,
    )
    return 1


def with_lock() -> None:
    """Bring ``.venv/`` up to date while no other process does."""
    descriptor = os.open(ROOT, os.O_RDONLY)  # the clone's own folder is the lock: no file to leave behind
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if not up_to_date():
            make()
    finally:
        os.close(descriptor)


def fingerprint() -> str:
    """What the environment depends on: the lock, the packaging, the interpreter, the clone's place."""
    parts = (
        LOCK.read_bytes(),
        (ROOT / "pyproject.toml").read_bytes(),
        str(ROOT).encode(),
        sys.version.encode(),
    )
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def up_to_date() -> bool:
    """Whether ``.venv/`` was finished from just these inputs and its interpreter is still there."""
    present = STAMP.is_file() and (VENV / "bin" / "reaper").is_file() and (VENV / "bin" / "python").exists()
    return present and STAMP.read_text() == fingerprint()


def make() -> None:
    """Install the locked packages and this project into ``.venv/``."""
    print(f"setup: installing into {VENV}", flush=True)
    STAMP.unlink(missing_ok=True)
    python = VENV / "bin" / "python"
    if version_of(python) != sys.version_info[:2]:
        create()
    pip = [str(python), "-m", "pip"]
    if subprocess.run([*pip, "--version"], capture_output=True, check=False).returncode != 0:
        install_pip(python)
    install = [*pip, "install", "--quiet", "--disable-pip-version-check", "--no-input"]
    run([*install, "--require-hashes", "--requirement", str(LOCK)])
    run([*install, "--no-deps", "--no-build-isolation", "--editable", str(ROOT)])
    STAMP.write_text(fingerprint())


def create() -> None:
    """Make an empty environment with this interpreter, with pip in it where Python brings pip along."""
    base = Path(sys.base_prefix) / "bin" / f"python{sys.version_info[0]}.{sys.version_info[1]}"
    # Inside another environment (an activated .venv, say) the interpreter below it must be used.
    interpreter = str(base) if sys.prefix != sys.base_prefix and base.exists() else sys.executable
    pip = [] if importlib.util.find_spec("ensurepip") else ["--without-pip"]
    run([interpreter, "-m", "venv", "--clear", *pip, str(VENV)])


def install_pip(python: Path) -> None:
    """Put pip into the environment from Debian's own wheel: Debian's Python comes without ensurepip.

    Raises SetupError where neither is to be had.
    """
    from devtools import apt
    from devtools.cache import cache_root, machine, provide
    from devtools.errors import SetupError

    if not apt.available():
        raise SetupError(f"{sys.executable} has no ensurepip and there is no apt-get: install python3-venv")
    folder = provide(
        cache_root() / machine() / "python3-pip-whl", lambda into: apt.unpack("python3-pip-whl", into)
    )
    wheels = sorted(folder.glob("usr/share/python-wheels/pip-*.whl"))
    if not wheels:
        raise SetupError(f"Debian's package python3-pip-whl in {folder} has no pip: install python3-venv")
    wheel = str(wheels[-1])
    run([str(python), f"{wheel}/pip", "install", "--quiet", "--no-index", "--no-deps", wheel])


def version_of(python: Path) -> tuple[int, int] | None:
    """The version of an interpreter, None where it is absent or does not run."""
    command = [str(python), "-c", "import sys; print(*sys.version_info[:2])"]
    try:
        answer = subprocess.run(command, capture_output=True, check=False, timeout=60)
    except OSError:
        return None
    words = answer.stdout.split()
    return (int(words[0]), int(words[1])) if answer.returncode == 0 and len(words) == 2 else None


def run(command: list[str]) -> None:
    """Run a command with its output shown; raises SetupError when it fails."""
    from devtools.errors import SetupError

    answer = subprocess.run(command, check=False, stdin=subprocess.DEVNULL)
    if answer.returncode != 0:
        raise SetupError(f"failed with status {answer.returncode}: {' '.join(command)}")


if __name__ == "__main__":
    sys.exit(main())
