"""Real servers and programs that are built once with Go, into the tool cache."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from devtools.cache import provided
from devtools.errors import SetupError

_DISTRIBUTION = "github.com/distribution/distribution/v3/cmd/registry@v3.1.1"
_CRANE = "github.com/google/go-containerregistry/cmd/crane@v0.22.1"
_APISERVER = "k8s.io/kubernetes/cmd/kube-apiserver"
_GITEA = "code.gitea.io/gitea"
_HERE = Path(__file__).parent


def distribution_3(*, fetch: bool = True) -> Path:
    """Distribution 3. Raises SetupError without Go or when the build fails."""
    return _installed("distribution", _DISTRIBUTION, "registry", fetch=fetch)


def crane(*, fetch: bool = True) -> Path:
    """Crane, a client: on PATH, else built. Raises SetupError without Go, or when the build fails."""
    return _on_path("crane") or _installed("crane", _CRANE, "crane", fetch=fetch)


def ociregistry(*, fetch: bool = True) -> Path:
    """CUE Labs' registry, as ``ociregistry/`` serves it.

    Raises SetupError without Go or when the build fails.
    """
    folder = _HERE / "ociregistry"
    content = b"\0".join((folder / name).read_bytes() for name in ("main.go", "go.mod"))
    version = hashlib.sha256(content).hexdigest()[:16]
    return _built("ociregistry", version, folder, ".", fetch=fetch)


def gitea(*, fetch: bool = True) -> Path:
    """Gitea: built from the module in ``gitea/``, which takes minutes. It stands in the folder of its files.

    Raises SetupError without Go or when the build fails.
    """
    folder = _HERE / "gitea"
    version = _required(folder, _GITEA)
    flags = f"-X main.Version={version.removeprefix('v')}"
    return _built("gitea", version, folder, _GITEA, flags=flags, files=("templates", "options"), fetch=fetch)


def kube_apiserver(*, fetch: bool = True) -> Path:
    """The Kubernetes API server: on PATH, else built from the module in ``kube-apiserver/``.

    The build takes minutes. Raises SetupError without Go or when it fails.
    """
    if found := _on_path("kube-apiserver"):
        return found
    folder = _HERE / "kube-apiserver"
    version = _required(folder, "k8s.io/kubernetes")
    # The version is what the server reports, and what it takes its own features from.
    flags = f"-X k8s.io/component-base/version.gitVersion={version}"
    return _built("kube-apiserver", version, folder, _APISERVER, flags=flags, fetch=fetch)


def _on_path(name: str) -> Path | None:
    found = shutil.which(name)
    return Path(found) if found else None


def _required(folder: Path, module: str) -> str:
    """The version of ``module`` that the one in ``folder`` requires."""
    found = re.search(rf"\s{re.escape(module)} (v\S+)", (folder / "go.mod").read_text())
    return found[1] if found else "unknown"


def _installed(name: str, package: str, program: str, *, fetch: bool) -> Path:
    """A program of a module that can be built as it is published; ``package`` ends with its version."""

    def fill(into: Path) -> None:
        _go(name, ["install", "-trimpath", "-ldflags", "-s -w", package], {"GOBIN": str(into)})

    return provided(f"{name}-{package.rpartition('@')[2]}", fill, fetch=fetch) / program


def _built(
    name: str,
    version: str,
    folder: Path,
    package: str,
    *,
    flags: str = "",
    files: tuple[str, ...] = (),
    fetch: bool,
) -> Path:
    """A program that the module in ``folder`` says how to build; ``files`` of ``package`` go beside it."""

    def fill(into: Path) -> None:
        command = ["build", "-trimpath", "-ldflags", f"-s -w {flags}", "-o", str(into / name), package]
        _go(name, command, {"CGO_ENABLED": "0"}, folder=folder)
        if files:
            listed = _go(name, ["list", "-m", "-f", "{{.Dir}}", package], folder=folder)
            for each in files:
                _copy(Path(listed.strip()) / each, into / each)

    return provided(f"{name}-{version}", fill, fetch=fetch) / name


def _go(
    name: str,
    arguments: Sequence[str],
    environment: Mapping[str, str] | None = None,
    *,
    folder: Path | None = None,
) -> str:
    """Run Go and return its standard output. Raises SetupError without it, or when it fails."""
    go = shutil.which("go")
    if go is None:
        raise SetupError(f"Go is needed to build {name}: install golang-go, 1.26 or newer")
    if arguments[0] != "list":
        print(f"{name}: building it, once; this can take minutes", file=sys.stderr, flush=True)
    answer = subprocess.run(
        [go, *arguments],
        cwd=folder,
        env={**os.environ, "GOWORK": "off", **(environment or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if answer.returncode != 0:
        place = f" in {folder}" if folder else ""
        raise SetupError(f"go {' '.join(arguments)}{place} failed: {answer.stderr.strip()}")
    return answer.stdout


def _copy(source: Path, target: Path) -> None:
    """Copy the files only: the folders of Go's cache cannot be written to, and so not removed either."""
    for file in source.rglob("*"):
        if file.is_file():
            place = target / file.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, place)
