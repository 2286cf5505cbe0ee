"""Debian and Ubuntu packages without root: downloaded with private state, unpacked wherever one likes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from devtools.cache import cache_root, locked, machine
from devtools.errors import SetupError

# "Inst name (version …)" is a new package; "Inst name [installed] (version …)" replaces one that is there.
_NEW_PACKAGE = re.compile(r"^Inst (\S+) \(", re.MULTILINE)
_TIMEOUT = 900.0


def available() -> bool:
    """Whether this system has the tools to download and unpack Debian packages."""
    return shutil.which("apt-get") is not None and shutil.which("dpkg-deb") is not None


def unpack(package: str, into: Path, *, with_dependencies: bool = False) -> None:
    """Unpack `package` into the folder, and the packages it needs that this system lacks if asked.

    Raises SetupError where apt is absent, does not know the package or cannot download it.
    """
    if not available():
        raise SetupError(f"apt-get and dpkg-deb are needed to fetch Debian's package {package}")
    with locked(_state()), tempfile.TemporaryDirectory(prefix="reaper-apt-") as folder:
        downloads = Path(folder)
        names = [package]
        if with_dependencies:
            names += [name for name in _new_packages(package) if name != package]
        _with_lists(["download", *names], cwd=downloads)
        for archive in sorted(downloads.glob("*.deb")):
            _check(
                subprocess.run(["dpkg-deb", "-x", archive, into], capture_output=True, text=True, check=False)
            )


def unpack_system(packages: Sequence[str], into: Path) -> None:
    """Unpack the packages with all that they need, as if this system had none: a root folder, unconfigured.

    Raises SetupError where apt is absent, does not know a package or cannot download it.
    """
    if not available():
        raise SetupError(f"apt-get and dpkg-deb are needed to make a system of {', '.join(packages)}")
    for name in ("bin", "lib", "lib64", "sbin"):  # packages name both places
        (into / "usr" / name).mkdir(parents=True)
        (into / name).symlink_to(f"usr/{name}")
    empty = "-oDir::State::status=/dev/null"
    with locked(_state()), tempfile.TemporaryDirectory(prefix="reaper-apt-") as folder:
        simulate = [empty, "--simulate", "--no-install-recommends", "install", *packages]
        _with_lists([empty, "download", *_NEW_PACKAGE.findall(_with_lists(simulate))], cwd=Path(folder))
        for archive in sorted(Path(folder).glob("*.deb")):
            content = Path(folder) / "content.tar"
            with content.open("wb") as file:
                _run(["dpkg-deb", "--fsys-tarfile", str(archive)], stdout=file)
            _run(["tar", "-x", "--keep-directory-symlink", "-f", str(content), "-C", str(into)])


def write_wrapper(
    path: Path, root: Path, program: str, *, options: str = "", exports: Sequence[str] = ()
) -> None:
    """Write the script that runs an unpacked ``program`` with the libraries that came with it."""
    lines = ["#!/bin/sh", 'here=$(dirname -- "$(readlink -f -- "$0")")', *exports]
    if folders := sorted({library.parent for library in root.rglob("*.so*")}):
        libraries = ":".join(f"$here/{folder.relative_to(path.parent)}" for folder in folders)
        lines.append(f'export LD_LIBRARY_PATH="{libraries}${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}"')
    lines.append(f'exec "$here/{root.name}/{program}"{options} "$@"')
    path.write_text("\n".join(lines) + "\n")
    path.chmod(0o755)


def _run(command: Sequence[str], stdout: IO[bytes] | int = subprocess.DEVNULL) -> None:
    answer = subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, check=False)
    if answer.returncode != 0:
        raise SetupError(f"{' '.join(command)} failed: {answer.stderr.decode(errors='replace').strip()}")


def _new_packages(package: str) -> list[str]:
    """What an installation of `package` would add to this system, as apt resolves it."""
    simulate = ["--simulate", "--reinstall", "--no-install-recommends", "install", package]
    return _NEW_PACKAGE.findall(_with_lists(simulate))


def _with_lists(arguments: Sequence[str], cwd: Path | None = None) -> str:
    """Run apt-get with package lists at hand; lists gone stale are fetched anew, once."""
    fresh = not any(_lists().glob("*_Packages*"))
    if fresh:
        _update()
    answer = _apt_get(arguments, cwd)
    if answer.returncode != 0 and not fresh:
        _update()
        answer = _apt_get(arguments, cwd)
    return _check(answer)


def _update() -> None:
    (_lists() / "partial").mkdir(parents=True, exist_ok=True)
    (_state() / "cache" / "archives" / "partial").mkdir(parents=True, exist_ok=True)
    answer = _apt_get(["update"])
    # One unreachable source of several need not concern us: the package's own download tells.
    if not any(_lists().glob("*_Packages*")):
        _check(answer)
        raise SetupError(f"apt-get update fetched no package lists: {answer.stderr.strip()}")


def _apt_get(arguments: Sequence[str], cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    options = {
        "Dir::State::lists": _lists(),
        "Dir::Cache": _state() / "cache",
        "APT::Sandbox::User": "",  # root's apt would hand the work to a user who cannot read our folders
        "Debug::NoLocking": "true",  # our own lock covers the private state; the system's is not touched
        "Acquire::Languages": "none",
        "Acquire::Retries": "3",
        "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled": "false",
    }
    command = [
        "apt-get",
        "--quiet",
        "--yes",
        *(f"-o{key}={value}" for key, value in options.items()),
        *arguments,
    ]
    return subprocess.run(
        command,
        cwd=cwd,
        env=os.environ | {"LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT,
        check=False,
    )


def _check(answer: subprocess.CompletedProcess[str]) -> str:
    if answer.returncode != 0:
        command = " ".join(str(word) for word in answer.args if not str(word).startswith("-o"))
        raise SetupError(f"{command} failed: {answer.stderr.strip() or answer.stdout.strip()}")
    return answer.stdout


def _state() -> Path:
    return cache_root() / machine() / "apt"


def _lists() -> Path:
    return _state() / "lists"
