"""How a cluster is found, and what is said when it is not."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from devtools.kubernetes import ADMIN, NOBODY, KubernetesServer
from reaper.core.errors import InvalidInputError
from reaper.kubernetes import (
    ClusterClient,
    ClusterDeniedError,
    ClusterLoginError,
    ClusterUnreachableError,
    connect,
)
from reaper.kubernetes.resources import NAMESPACES, PODS

pytestmark = pytest.mark.integration


def use(client: ClusterClient) -> list[str]:
    """The cluster's namespaces, as a sign that it answers."""

    async def work() -> list[str]:
        async with client:
            return await client.list_all(NAMESPACES, lambda item: str(item["metadata"]["name"]))

    return asyncio.run(work())


def merged(server: KubernetesServer, path: Path) -> Path:
    """A kubeconfig with two contexts and no current one."""
    admin, nobody = (json.loads(server.kubeconfig(user).read_text()) for user in (ADMIN, NOBODY))
    del admin["current-context"]
    for section in ("contexts", "users"):
        admin[section] += nobody[section]
    path.write_text(json.dumps(admin))
    return path


def test_a_context_is_chosen(kubernetes: KubernetesServer, tmp_path: Path) -> None:
    path = merged(kubernetes, tmp_path / "config")
    assert "default" in use(connect(path, ADMIN))
    with pytest.raises(ClusterDeniedError, match="cluster nobody: list namespaces"):
        use(connect(path, NOBODY))
    with pytest.raises(ClusterDeniedError, match="cluster production: list namespaces"):
        use(connect(path, NOBODY, name="production"))
    with pytest.raises(InvalidInputError, match="No current context set"):
        connect(path)
    with pytest.raises(InvalidInputError, match="Context 'absent' not found"):
        connect(path, "absent")


def test_where_a_kubeconfig_is_looked_for(
    kubernetes: KubernetesServer, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InvalidInputError, match=rf"{home}/\.kube/config") as failure:
        connect()
    assert failure.value.hint
    (home / ".kube").mkdir()
    kubernetes.kubeconfig(NOBODY).rename(home / ".kube" / "config")
    assert connect().name == NOBODY
    monkeypatch.setenv("KUBECONFIG", str(kubernetes.kubeconfig(namespace="apps")))
    client = connect()
    assert (client.name, client.namespace) == (ADMIN, "apps")
    assert connect(home / ".kube" / "config").name == NOBODY


def test_a_pod_uses_its_service_account_and_its_renewed_token(
    kubernetes: KubernetesServer, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kubernetes.apply(
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "reaper", "namespace": namespace}}
    )
    address = urlsplit(kubernetes.url)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", str(address.hostname))
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(address.port))
    with pytest.raises(InvalidInputError, match="token"):
        connect(service_account=tmp_path)
    (tmp_path / "token").write_text("outdated")
    (tmp_path / "namespace").write_text(namespace)
    (tmp_path / "ca.crt").write_bytes(kubernetes.authority.read_bytes())

    async def work() -> None:
        async with connect(service_account=tmp_path) as client:
            assert (client.name, client.namespace) == ("in-cluster", namespace)
            with pytest.raises(ClusterLoginError):
                await client.list_all(PODS, str)
            (tmp_path / "token").write_text(kubernetes.service_account_token(namespace, "reaper"))
            user = f"system:serviceaccount:{namespace}:reaper"
            with pytest.raises(ClusterDeniedError, match=f'User "{user}" cannot list'):
                await client.list_all(PODS, str)
            (tmp_path / "token").unlink()
            with pytest.raises(ClusterDeniedError):  # it is known, and still good
                await client.list_all(PODS, str)

    asyncio.run(work())


def with_plugin(server: KubernetesServer, script: str, folder: Path, version: str = "v1") -> Path:
    """A kubeconfig whose login comes from a program."""
    plugin = folder / "plugin"
    plugin.write_text(f"#!/bin/sh\n{script}\n")
    plugin.chmod(0o755)
    settings = json.loads(server.kubeconfig().read_text())
    call = {
        "apiVersion": f"client.authentication.k8s.io/{version}",
        "command": str(plugin),
        "args": ["token"],
        "env": [{"name": "FLAVOUR", "value": "test"}],
        "interactiveMode": "Never",
    }
    settings["users"] = [{"name": "admin", "user": {"exec": call}}]
    path = folder / "config"
    path.write_text(json.dumps(settings))
    return path


@pytest.mark.parametrize("version", ["v1", "v1beta1"])
def test_a_login_plugin_is_run(kubernetes: KubernetesServer, tmp_path: Path, version: str) -> None:
    token = json.loads(kubernetes.kubeconfig().read_text())["users"][0]["user"]["token"]
    answer = json.dumps({"kind": "ExecCredential", "status": {"token": token}})
    script = f"echo \"$1 $FLAVOUR $KUBERNETES_EXEC_INFO\" > {tmp_path}/called; echo '{answer}'"
    assert "default" in use(connect(with_plugin(kubernetes, script, tmp_path, version)))
    argument, flavour, told = (tmp_path / "called").read_text().split(" ", 2)
    assert (argument, flavour) == ("token", "test")
    assert json.loads(told)["apiVersion"] == f"client.authentication.k8s.io/{version}"


@pytest.mark.parametrize("script", ["exit 3", "echo garbage", "echo '{}'"])
def test_a_failing_login_plugin_is_told(kubernetes: KubernetesServer, tmp_path: Path, script: str) -> None:
    with pytest.raises(ClusterLoginError, match="cluster admin: list namespaces: no login to be had"):
        use(connect(with_plugin(kubernetes, script, tmp_path)))


def test_an_absent_login_plugin_is_told(kubernetes: KubernetesServer, tmp_path: Path) -> None:
    path = with_plugin(kubernetes, "", tmp_path)
    (tmp_path / "plugin").unlink()
    with pytest.raises(ClusterLoginError, match=r"no login to be had.*plugin"):
        use(connect(path))


BROKEN: dict[str, Any] = {
    "clusters: [": "not YAML",
    "[]": "not a kubeconfig",
    "clusters: {a: b}": "clusters is not a list",
    "clusters: []\ncontexts: [x]": "contexts is not a list of mappings",
    "{}": "'clusters' is missing",
    "current-context: a\nclusters: []\ncontexts: [{name: a, context: {cluster: b}}]": "'b' is missing",
    "current-context: a\nclusters: [{name: b, cluster: {server: 'https://x'}}]\n"
    "contexts: [{name: a, context: {cluster: b, user: c}}]": "'c' is missing",
    "current-context: a\nclusters: [{name: b, cluster: {server: 1}}]\n"
    "contexts: [{name: a, context: {cluster: b}}]": "Expected `str`",
    "current-context: a\nclusters: [{name: b, cluster: {certificate-authority: absent.pem}}]\n"
    "contexts: [{name: a, context: {cluster: b}}]": "No such file",
    "current-context: a\nclusters: [{name: b, cluster: {server: 'https://x:port'}}]\n"
    "contexts: [{name: a, context: {cluster: b}}]": "Invalid port",
    "current-context: a\nclusters: [{name: b, cluster: {}}]\ncontexts: [{name: a, context: {cluster: b}}]\n"
    "users: [x]": "users is not a list of mappings",
}


@pytest.mark.parametrize("content", BROKEN, ids=BROKEN.values())
def test_a_broken_kubeconfig_is_told(content: str, tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text(content)
    with pytest.raises(InvalidInputError, match=BROKEN[content]) as failure:
        connect(path)
    assert str(path) in failure.value.message


def test_a_server_that_is_not_ours_is_not_trusted(kubernetes: KubernetesServer, tmp_path: Path) -> None:
    settings = json.loads(kubernetes.kubeconfig().read_text())
    del settings["clusters"][0]["cluster"]["certificate-authority"]
    path = tmp_path / "config"
    path.write_text(json.dumps(settings))
    with pytest.raises(ClusterUnreachableError, match=r"(?i)certificate"):
        use(connect(path))


def test_without_the_extra_it_can_be_imported_and_says_what_is_missing() -> None:
    program = (
        "import sys\n"
        "sys.modules['lightkube'] = sys.modules['httpx2'] = None\n"
        "from reaper.core.errors import InvalidInputError\n"
        "from reaper.kubernetes import connect\n"
        "try:\n    connect()\n"
        "except InvalidInputError as error:\n    print(error, '-', error.hint)"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "a package that is not installed" in answer.stdout
    assert "install reaper-registry[kubernetes]" in answer.stdout
