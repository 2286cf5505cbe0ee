"""The real API server behind the tests does what tests rely on."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from lightkube import ApiError, Client, KubeConfig
from lightkube.resources.core_v1 import ConfigMap, Pod

import devtools.kubernetes
from devtools import cache, golang, tools
from devtools.errors import SetupError
from devtools.kubernetes import NOBODY, AnswerError, KubernetesServer
from devtools.server import ServerError

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def own(kubernetes_binaries: tuple[Path, Path]) -> Iterator[KubernetesServer]:
    """A cluster that these tests may stop; they start it again."""
    users = {"system:serviceaccount:app:reader": ["system:serviceaccounts", "system:authenticated"]}
    with KubernetesServer(*kubernetes_binaries, users=users) as server:
        yield server


def pod(name: str, namespace: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"containers": [{"name": "main", "image": "registry.example.com/app:1"}]},
    }


@contextmanager
def independent_client(kubeconfig: Path) -> Iterator[Client]:
    client = Client(config=KubeConfig.from_file(kubeconfig))
    try:
        yield client
    finally:
        client._client.close()  # type: ignore[no-untyped-call]  # it offers no other way


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "the condition was not met in time"
        time.sleep(0.02)


def test_an_independent_client_reads_what_was_applied(kubernetes: KubernetesServer, namespace: str) -> None:
    kubernetes.apply(pod("one", namespace) | {"status": {"phase": "Running"}})
    kubernetes.apply(pod("one", namespace))  # again, which changes nothing
    with independent_client(kubernetes.kubeconfig(namespace=namespace)) as client:
        found = client.get(Pod, "one")
    assert found.spec is not None
    assert found.spec.containers[0].image == "registry.example.com/app:1"
    assert found.status is not None
    assert found.status.phase == "Running"
    path = f"/api/v1/namespaces/{namespace}/pods/one"
    assert kubernetes.path(pod("one", namespace)) == path
    assert kubernetes.request("GET", path)["metadata"]["name"] == "one"


def test_nobody_may_do_nothing(kubernetes: KubernetesServer, namespace: str) -> None:
    with pytest.raises(AnswerError) as refused:
        kubernetes.request("GET", f"/api/v1/namespaces/{namespace}/pods", user=NOBODY)
    assert refused.value.status == 403
    with (
        independent_client(kubernetes.kubeconfig(NOBODY)) as client,
        pytest.raises(ApiError, match="forbidden"),
    ):
        list(client.list(Pod, namespace=namespace))


def test_pod_security_is_enforced(kubernetes: KubernetesServer, namespace: str) -> None:
    enforce = {"pod-security.kubernetes.io/enforce": "restricted"}
    metadata = {"name": namespace, "labels": enforce}
    kubernetes.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    with pytest.raises(AnswerError, match="violates PodSecurity") as refused:
        kubernetes.apply(pod("one", namespace))
    assert refused.value.status == 403


def test_roles_and_service_accounts(own: KubernetesServer) -> None:
    def named(kind: str, **more: Any) -> dict[str, Any]:
        return {"kind": kind, "metadata": {"name": "reader", "namespace": "app"}, **more}

    rbac = {"apiVersion": "rbac.authorization.k8s.io/v1"}
    subject = {"kind": "ServiceAccount", "name": "reader", "namespace": "app"}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"}
    own.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "app"}},
        {"apiVersion": "v1"} | named("ServiceAccount"),
        rbac | named("Role", rules=[{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"]}]),
        rbac | named("RoleBinding", subjects=[subject], roleRef=reference),
    )
    account = "system:serviceaccount:app:reader"
    by_token = own.kubeconfig("by-token", token=own.service_account_token("app", "reader"))
    for kubeconfig in (own.kubeconfig(account), by_token):
        with independent_client(kubeconfig) as client:
            assert list(client.list(ConfigMap, namespace="app")) == []
            with pytest.raises(ApiError, match="forbidden"):
                list(client.list(Pod, namespace="app"))


def test_restart_keeps_address_and_content(own: KubernetesServer) -> None:
    own.apply(pod("one", "default"))
    address, pid = own.url, own.pid
    with pytest.raises(ServerError, match="running already"):
        own.start()
    own.stop()
    assert own.pid is None
    own.start()
    assert own.url == address
    assert own.pid != pid
    assert own.request("GET", "/api/v1/namespaces/default/pods/one")["metadata"]["name"] == "one"
    assert "version" in own.log().lower()


def test_frozen_answers_nothing_until_it_thaws(
    own: KubernetesServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devtools.kubernetes, "_REQUEST_TIMEOUT", 0.3)
    with own.frozen(), pytest.raises(TimeoutError):
        own.request("GET", "/readyz")
    monkeypatch.undo()
    assert own.request("GET", "/readyz") == "ok"


def test_a_refused_start_is_told_and_leaves_nothing(
    kubernetes_binaries: tuple[Path, Path], tmp_path: Path
) -> None:
    broken = tmp_path / "kube-apiserver"
    broken.write_text("#!/bin/sh\necho no such flag\nexit 1\n")
    broken.chmod(0o755)
    server = KubernetesServer(broken, kubernetes_binaries[1], tmp_path / "root")
    server.root.mkdir()
    with pytest.raises(ServerError, match=r"exited at its start[^$]*no such flag"):
        server.start()
    assert server.pid is None
    assert not _running(str(server.root))


def test_own_folder_is_removed(tmp_path: Path) -> None:
    server = KubernetesServer(tmp_path, tmp_path)
    assert server.root.is_dir()
    server.__exit__(None, None, None)
    assert not server.root.exists()


def test_dies_with_a_killed_owner(kubernetes_binaries: tuple[Path, Path], tmp_path: Path) -> None:
    program = (
        "import sys, pathlib; from devtools.kubernetes import KubernetesServer\n"
        "server = KubernetesServer(*map(pathlib.Path, sys.argv[1:])); server.start()\n"
        "print(server.pid, flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", program, *map(str, kubernetes_binaries), str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        assert int(owner.stdout.readline()) in _running(str(tmp_path))
        assert len(_running(str(tmp_path))) == 3  # the owner and its two servers
        owner.send_signal(signal.SIGKILL)
    wait_for(lambda: not _running(str(tmp_path)))


def _running(word: str) -> list[int]:
    """The processes whose command line has this word in it."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            try:
                command = (entry / "cmdline").read_bytes()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if word.encode() in command:
                found.append(int(entry.name))
    return found


def test_every_staging_module_has_the_version_of_kubernetes() -> None:
    text = (ROOT / "devtools" / "kube-apiserver" / "go.mod").read_text()
    (version,) = re.findall(r"\sk8s\.io/kubernetes v1(\.\d+\.\d+)", text)
    replaced = re.findall(r"(\S+) => (\S+) v0(\.\d+\.\d+)", text)
    assert len(replaced) > 20
    assert {(name, name, version) for name, _, _ in replaced} == set(replaced)


@pytest.fixture
def search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is all of PATH, and an empty cache."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("REAPER_CACHE", str(tmp_path / "cache"))
    return folder


@pytest.mark.parametrize(("name", "find"), [("etcd", tools.etcd), ("kube-apiserver", golang.kube_apiserver)])
def test_the_binaries_on_path_come_first(search: Path, name: str, find: Callable[..., Path]) -> None:
    with pytest.raises(SetupError, match="make tools"):
        find(fetch=False)
    (search / name).touch(mode=0o755)
    assert find() == search / name


def test_the_build_needs_go_and_tells_why_it_failed(search: Path, tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="Go is needed to build kube-apiserver: install"):
        golang.kube_apiserver()
    go = search / "go"
    go.write_text("#!/bin/sh\necho 'go.mod requires go >= 1.26.0' >&2\nexit 1\n")
    go.chmod(0o755)
    with pytest.raises(SetupError, match=r"go build .* failed: go\.mod requires go >= 1\.26\.0"):
        golang.kube_apiserver()
    assert not [*(tmp_path / "cache" / cache.machine()).glob("kube-apiserver-*")]
