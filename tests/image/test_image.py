"""The image: built for real, by root on Debian; linted everywhere."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest
import trustme

from devtools import container, kubelet
from devtools.container import Running
from devtools.environment import ROOT
from devtools.helm import MAJORS, Helm, helm_binary
from devtools.helm_docs import CHART
from devtools.images import build_image
from devtools.kubernetes import KubernetesServer
from devtools.ports import free_port
from devtools.pusher import Pusher
from devtools.registry_config import RegistryOptions
from reaper import __version__
from tests.conftest import MakeRegistry

needs_root = pytest.mark.skipif(
    not container.can_build(),
    reason="buildah needs root on Debian, and namespaces: here the Dockerfile is only linted",
)
_IMAGE = "localhost/reaper:test"
_BASE = "localhost/python:test"
_USER = 65532
_READY_TIMEOUT = 60.0
_POLL = 0.05


@dataclass(frozen=True)
class Tools:
    """What a build takes."""

    buildah: Path
    base: Path
    wheels: Path


@pytest.fixture(scope="session")
def tools() -> Tools:
    """The tools, which `make tools` fetched."""
    return Tools(
        container.buildah(fetch=False), container.python_base(fetch=False), container.wheelhouse(fetch=False)
    )


@pytest.fixture(scope="session")
def hadolint() -> Path:
    """The linter."""
    return container.hadolint(fetch=False)


@pytest.fixture(scope="session")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    """Helm on the chart."""
    return Helm(helm_binary(max(MAJORS), fetch=False), CHART, tmp_path_factory.mktemp("helm"))


def test_the_linter_finds_nothing(hadolint: Path) -> None:
    answer = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (answer.returncode, answer.stdout + answer.stderr) == (0, "")


@dataclass(frozen=True)
class Built:
    """The image, unpacked, and what it says about its containers."""

    files: Path
    configuration: Mapping[str, Any]
    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """The variables that each container has."""
        return dict(variable.split("=", 1) for variable in self.configuration["Env"])

    def run(self, *command: str, entrypoint: Sequence[str] = ("reaper",)) -> tuple[int, str]:
        """Run a command as the image's user on read-only files; returns its code and output."""
        with container.running(
            self.files, [*entrypoint, *command], self.environment, {}, self.folder / "log"
        ) as process:
            return process.wait(), process.log

    def python(self, program: str) -> str:
        """Run a program with the image's Python, which has to end well; returns its output."""
        code, said = self.run("-c", program, entrypoint=["python"])
        assert code == 0, said
        return said


@contextmanager
def built(tools: Tools, folder: Path) -> Iterator[Built]:
    """Build the image, and remove it in the end."""
    storage = folder / "buildah"
    storage.mkdir()
    try:
        builder = container.Builder(tools.buildah, storage)
        builder.base(tools.base, _BASE)
        arguments = {"PYTHON_IMAGE": _BASE, "VERSION": __version__, "REVISION": "0123abc"}
        builder.build(ROOT, _IMAGE, arguments=arguments, wheels=tools.wheels)
        yield Built(builder.files(_IMAGE), builder.configuration(_IMAGE), folder)
    finally:
        shutil.rmtree(storage)


@needs_root
def test_the_image(
    tools: Tools,
    helm: Helm,
    tmp_path: Path,
    make_registry: MakeRegistry,
    kubernetes: KubernetesServer,
    namespace: str,
    subtests: pytest.Subtests,
) -> None:
    """One test, so that the image is built once."""
    with built(tools, tmp_path) as image:
        for check in (says_what_it_is, can_be_written_to_nowhere, has_what_it_needs, can_install_nothing):
            with subtests.test(check.__name__):
                check(image)
        with subtests.test("runs_as_the_chart_has_it"):
            site = Site(image, helm, kubernetes, namespace, tmp_path)
            runs_as_the_chart_has_it(site, make_registry)


def says_what_it_is(image: Built) -> None:
    found = image.configuration
    assert found["User"] == f"{_USER}:{_USER}"
    assert (found["Entrypoint"], found["Cmd"]) == (["reaper"], ["--help"])
    assert found["ExposedPorts"].keys() == {"8080/tcp"}
    assert found["Volumes"].keys() == {"/var/lib/reaper"}
    labels = {name.rpartition("image.")[2]: value for name, value in found["Labels"].items()}
    assert labels | {
        "title": "reaper",
        "licenses": "Apache-2.0",
        "version": __version__,
        "revision": "0123abc",
        "base.name": _BASE,
    } == labels  # fmt: skip
    assert image.run("version") == (0, f"reaper {__version__}\n")
    code, said = image.run(*found["Cmd"])
    assert (code, "Usage: reaper" in said) == (0, True)


def can_be_written_to_nowhere(image: Built) -> None:
    assert (
        image.python("import os; print(os.getuid(), os.getgid(), os.getgroups())") == f"{_USER} {_USER} []\n"
    )
    ours = []
    for path in image.files.rglob("*"):
        status = path.lstat()
        if not path.is_symlink() and (_USER in (status.st_uid, status.st_gid) or status.st_mode & 0o002):
            ours.append(f"/{path.relative_to(image.files)}")
    # What every system lets everybody write to is covered by mounts, or not there in a base image of today.
    assert set(ours) - {"/tmp", "/var/tmp", "/run/lock", "/var/lock", "/var/lib/reaper"} == set()
    assert "/var/lib/reaper" in ours
    code, said = image.run("-c", "open('/var/lib/reaper/file', 'w')", entrypoint=["python"])
    assert code == 1
    assert "Read-only file system" in said


def has_what_it_needs(image: Built) -> None:
    names = "import importlib.metadata as m; print(*(f'{d.name}=={d.version}' for d in m.distributions()))"
    found = {_normal(name) for name in image.python(names).split()}
    locked = re.findall(
        r"^([\w.-]+==\S+) (?:; (.*) )?\\$", (ROOT / "requirements.lock").read_text(), re.MULTILINE
    )
    elsewhere = {"colorama", "httpx2-jsfetch"}  # Windows, Emscripten
    wanted = {_normal(name) for name, _marker in locked if _normal(name).partition("==")[0] not in elsewhere}
    assert found == wanted | {f"reaper-registry=={__version__}"}
    assert image.python("import lightkube, psycopg; print(psycopg.pq.__impl__)") == "binary\n"
    # Never compared with the source, whose time a build does not keep.
    modules = list(image.files.glob("opt/reaper/lib/python3*/site-packages/reaper/__pycache__/*.pyc"))
    assert modules
    assert {path.read_bytes()[4:8] for path in modules} == {b"\x01\0\0\0"}
    where = "from reaper.config.settings import default_store_url; print(default_store_url())"
    assert image.python(where) == "sqlite:////var/lib/reaper/reaper.db\n"


def _normal(requirement: str) -> str:
    name, _, version = requirement.partition("==")
    return re.sub(r"[-_.]+", "-", name).lower() + f"=={version}"


def can_install_nothing(image: Built) -> None:
    tools = ["pip", "pip3", "uv", "gcc", "cc", "c++", "make", "ld", "curl", "wget"]
    assert image.python(f"import shutil; print([t for t in {tools} if shutil.which(t)])") == "[]\n"
    for module in ("pip", "ensurepip"):
        code, said = image.run("-m", module, entrypoint=["python"])
        assert (code, f"No module named {module}" in said) == (1, True)
        system = [f"/usr/bin/{path.name}" for path in image.files.glob("usr/bin/python3")]
        code, said = image.run("-m", module, entrypoint=system)
        assert (code, f"No module named {module}" in said) == (1, True)


def runs_as_the_chart_has_it(site: Site, make_registry: MakeRegistry) -> None:
    """As its pod has it, the daemon audits a registry with TLS and a login, and asks its cluster."""
    registry = make_registry(RegistryOptions(tls=site.certificate, htpasswd={"reaper": "registry-secret"}))
    pusher = Pusher(registry.url, "reaper", "registry-secret", certificate_authority=site.authority)
    for number in range(7):  # of which the policy keeps five
        created = datetime.now(UTC) - timedelta(days=30 + number)
        pusher.push("services/api", build_image(seed=number, created=created), f"build-{number}")
    pushed = len(registry.access_log())
    site.run_in_cluster(f"{registry.host}/services/api:build-6")
    site.install(registry.url)

    with site.container("reaper") as daemon:
        site.wait_for("readinessProbe", daemon)
        site.wait_for("livenessProbe", daemon)
        site.wait_for_metric("reaper_leader 1.0", daemon)
        health = site.image.configuration["Healthcheck"]["Test"]
        assert health[0] == "CMD"
        assert site.run("reaper", health[1:])[0] == 0
        assert site.run("check")[0] == 0
        ready = site.of("ready")["command"]
        assert site.run("ready", [word.replace(site.service, "127.0.0.1") for word in ready]) == (
            0,
            "ready\n\n",
        )
        code, audit = site.run("reaper", ["reaper", "--dry-run", "--format", "json"])
        assert code == 0, audit
        assert daemon.code is None, daemon.log
        assert daemon.stop() == 0, daemon.log
    assert site.run("reaper", health[1:])[0] != 0
    report = json.loads(audit[audit.index("{") :])
    decisions = {tag["tag"]: tag["decision"] for tag in report["repositories"][0]["tags"]}
    assert report["outcome"] == "done"
    assert decisions == {f"build-{n}": "expire" if n == 5 else "keep" for n in range(7)}
    assert (site.root / "var/lib/reaper/reaper.db").stat().st_uid == _USER
    assert {access.method for access in registry.access_log()[pushed:]} == {"GET", "HEAD"}


class Site:
    """The chart on a real API server, for one registry, and containers of its pods that run here."""

    def __init__(
        self, image: Built, helm: Helm, kubernetes: KubernetesServer, namespace: str, folder: Path
    ) -> None:
        self.image = image
        self.root = folder / "volumes"
        self.authority = folder / "ca.pem"
        self.certificate = folder / "server.pem", folder / "server.key"
        self._helm = helm
        self._kubernetes = kubernetes
        self._namespace = namespace
        self._folder = folder
        self._port = free_port()
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(self.authority))
        issued = authority.issue_cert("127.0.0.1")
        issued.private_key_pem.write_to_path(str(self.certificate[1]))
        self.certificate[0].write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))

    def run_in_cluster(self, image: str) -> None:
        """Let a pod of somebody else's run an image."""
        metadata = {"name": "in-use", "namespace": "default"}
        spec = {"containers": [{"name": "one", "image": image}]}
        self._kubernetes.apply({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})

    def install(self, url: str) -> None:
        """Install the chart for a registry, and make the volumes of the daemon's pod."""
        values = {
            "config.registries": [{"name": "main", "url": url, "username": "reaper"}],
            "config.leader_election.enabled": True,
            "config.web.listen": f"0.0.0.0:{self._port}",
            "service.port": self._port,
            # This machine's network is the container's: not to be seen from elsewhere.
            "extraEnv": [{"name": "REAPER_WEB__LISTEN", "value": f"127.0.0.1:{self._port}"}],
            "secrets.registries.main": {"passwordSecret": {"name": "login"}, "caConfigMap": {"name": "ca"}},
        }
        files = [CHART / "ci/sqlite-values.yaml"]
        settings = [f"{key}={json.dumps(value)}" for key, value in values.items()]
        self._helm.install(self._kubernetes.kubeconfig(), self._namespace, files, settings=settings)
        objects = self._helm.template(files, namespace=self._namespace, settings=settings)
        (deployment,) = (each for each in objects if each["kind"] == "Deployment")
        (test,) = (each for each in objects if each["kind"] == "Pod")
        (service,) = (each for each in objects if each["kind"] == "Service")
        self.service = f"{service['metadata']['name']}.{self._namespace}.svc"
        self._pods = [deployment["spec"]["template"]["spec"], test["spec"]]
        self._contents = {
            ("Secret", "login"): {"password": "registry-secret"},
            ("ConfigMap", "ca"): {"ca.crt": self.authority.read_text()},
            **kubelet.contents_of(objects),
        }
        pod = self._pods[0]
        kubelet.mount(pod, self.of("reaper"), self._contents, self.root)
        assert pod["automountServiceAccountToken"] is True
        token = self._kubernetes.service_account_token(self._namespace, pod["serviceAccountName"])
        kubelet.mount_token(token, self._kubernetes.authority.read_text(), self._namespace, self.root)
        for path in (self.root, *self.root.rglob("*")):  # as a kubelet gives volumes to the pod's group
            os.chown(path, 0, pod["securityContext"]["fsGroup"], follow_symlinks=False)
        (self.root / "var/lib/reaper").chmod(0o2770)

    def of(self, name: str) -> Mapping[str, Any]:
        """The container of that name, of the daemon's pod or the test's."""
        found: Mapping[str, Any]
        (found,) = (each for pod in self._pods for each in pod["containers"] if each["name"] == name)
        return found

    def container(self, name: str, command: Sequence[str] | None = None) -> AbstractContextManager[Running]:
        """Start the container, or another command in it."""
        described = self.of(name)
        own = [*described.get("command", self.image.configuration["Entrypoint"]), *described.get("args", ())]
        places = {mount["mountPath"] for mount in described.get("volumeMounts", ())} - {"/tmp"}
        server = urlsplit(self._kubernetes.url)
        cluster = {
            "KUBERNETES_SERVICE_HOST": str(server.hostname),
            "KUBERNETES_SERVICE_PORT": str(server.port),
        }
        return container.running(
            self.image.files,
            command or own,
            self.image.environment | cluster | kubelet.environment(described, self._contents),
            {place: self.root / place.lstrip("/") for place in (*places, kubelet.TOKEN)},
            self._folder / f"{name}-{secrets.token_hex(4)}.log",
        )

    def run(self, name: str, command: Sequence[str] | None = None) -> tuple[int, str]:
        """Run the container, or another command in it, to its end; returns its code and output."""
        with self.container(name, command) as process:
            return process.wait(), process.log

    def wait_for(self, probe: str, process: Running) -> None:
        """Return once the probe of the daemon's container succeeds."""
        described = self.of("reaper")
        ports = {port["name"]: port["containerPort"] for port in described["ports"]}
        request = described[probe]["httpGet"]
        self._wait_for(f"http://127.0.0.1:{ports[request['port']]}{request['path']}", "", process)

    def wait_for_metric(self, sample: str, process: Running) -> None:
        """Return once the daemon exposes the sample."""
        self._wait_for(f"http://127.0.0.1:{self._port}/metrics", f"\n{sample}\n", process)

    def _wait_for(self, url: str, part: str, process: Running) -> None:
        deadline = time.monotonic() + _READY_TIMEOUT
        while (answer := _get(url)) is None or part not in answer:
            assert process.code is None, process.log
            assert time.monotonic() < deadline, process.log
            time.sleep(_POLL)


def _get(url: str) -> str | None:
    """Return what a successful answer says, None without one."""
    try:
        with urlopen(url, timeout=_READY_TIMEOUT) as answer:
            return str(answer.read().decode())
    except (OSError, HTTPException):
        return None
