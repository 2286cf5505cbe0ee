"""The chart on a real API server: installed, upgraded, removed; its pods' security, its account's rights."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from ruamel.yaml import YAML

from devtools.helm import Helm
from devtools.kubernetes import AnswerError, KubernetesServer
from reaper.collect.kubernetes_access import Right, rights_of_exec, rights_of_job, rights_of_workload
from reaper.collect.kubernetes_job_spec import job_name
from reaper.collect.kubernetes_workload import Reference
from reaper.config.settings import load_settings
from reaper.daemon.leadership import Elected
from reaper.kubernetes import connect
from reaper.kubernetes.resources import PERSISTENT_VOLUME_CLAIMS
from reaper.protect.cluster import KINDS, ClusterSource
from tests.chart.conftest import VALUES, Objects, only, pods

#: Objects that only a cluster with the Prometheus Operator knows.
_WITHOUT_OPERATOR = [
    f"metrics.{name}.enabled=false" for name in ("serviceMonitor", "podMonitor", "prometheusRule")
]
_OTHER_NAMESPACES = ("leases", "monitoring", "registry", "registry-old", "shop", "staging")


@pytest.fixture
def restricted(kubernetes: KubernetesServer, namespace: str) -> str:
    """A new namespace that takes only pods of the restricted standard, and the others that values name."""
    standard = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
    for name in (namespace, *_OTHER_NAMESPACES):
        labels = standard if name == namespace else {}
        kubernetes.apply(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
        )
    return namespace


@pytest.fixture(params=VALUES)
def values(request: pytest.FixtureRequest) -> str:
    """The name of a set of values, each in its turn."""
    name: str = request.param
    return name


@pytest.fixture
def installed(helm: Helm, kubernetes: KubernetesServer, restricted: str, values: str) -> Iterator[Objects]:
    """What is rendered for the restricted namespace, installed there."""
    options: dict[str, Any] = {"release": f"r-{restricted[-6:]}", "settings": _WITHOUT_OPERATOR}
    said = helm.install(kubernetes.kubeconfig(), restricted, [VALUES[values]], **options)
    assert "would violate PodSecurity" not in said
    yield helm.template([VALUES[values]], namespace=restricted, **options)
    helm.uninstall(kubernetes.kubeconfig(), restricted, release=options["release"])


def test_the_restricted_standard_takes_the_pods(
    kubernetes: KubernetesServer, restricted: str, installed: Objects
) -> None:
    path = f"/api/v1/namespaces/{restricted}/pods?dryRun=All"
    for number, spec in enumerate(pods(installed)):
        # Classes that this cluster does not have say nothing about security.
        spec = {
            key: value for key, value in spec.items() if key not in ("priorityClassName", "runtimeClassName")
        }
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"pod-{number}"}, "spec": spec}
        kubernetes.request("POST", path, pod)
        context = {**spec["securityContext"], "seccompProfile": {"type": "Unconfined"}}
        with pytest.raises(AnswerError, match="violates PodSecurity"):
            kubernetes.request("POST", path, {**pod, "spec": {**spec, "securityContext": context}})


def test_the_account_may_do_just_what_is_needed(
    kubernetes: KubernetesServer, restricted: str, installed: Objects, values: str
) -> None:
    account = Account(kubernetes, restricted, only(installed, "ServiceAccount")["metadata"]["name"])
    for namespace, allowed in _expected(values, installed, restricted).items():
        assert account.rights(namespace) == allowed, namespace


def _expected(values: str, installed: Objects, namespace: str) -> dict[str, set[str]]:
    """Return what the account may do in which namespace, from what reaper's own code asks for."""
    in_use = {f"list {kind.resource}" for kind in KINDS}
    if values == "sqlite":
        return {namespace: in_use, "default": in_use}
    if values == "ha":
        lease = load(only(installed, "ConfigMap"))["leader_election"]["name"]
        return {namespace: in_use | _leases(lease), "default": in_use}
    job = Reference("deployment", "registry", "registry")
    execution = Reference("statefulset", "registry-old", "registry.old")
    claims = Right("get", PERSISTENT_VOLUME_CLAIMS)
    elsewhere = in_use | {"list rollouts.argoproj.io", "list things"}
    return {
        namespace: set(),
        "default": set(),
        "shop": elsewhere,
        "staging": elsewhere,
        "leases": _leases("the-reaper"),
        "registry": _texts(*rights_of_workload(job), *rights_of_job(job_name(job)), claims),
        "registry-old": _texts(*rights_of_workload(execution), *rights_of_exec()),
    }


def _texts(*rights: Right) -> set[str]:
    return {str(right).replace(f" {right.name}", f"/{right.name}") for right in rights}


def load(config_map: Mapping[str, Any]) -> Any:
    """Return the settings in the chart's ConfigMap."""
    return YAML(typ="safe", pure=True).load(config_map["data"]["reaper.yaml"])


def _leases(name: str) -> set[str]:
    group = "leases.coordination.k8s.io"
    return {f"create {group}", f"get {group}/{name}", f"update {group}/{name}"}


class Account:
    """A service account of the chart, and what the API server lets it do."""

    def __init__(self, kubernetes: KubernetesServer, namespace: str, name: str) -> None:
        self._kubernetes = kubernetes
        self._namespace = namespace
        self._name = name
        self.kubeconfig = kubernetes.kubeconfig(
            f"{namespace}-{name}", namespace=namespace, token=self._token(name)
        )
        other = {"apiVersion": "v1", "kind": "ServiceAccount"}
        kubernetes.apply({**other, "metadata": {"name": "other", "namespace": namespace}})

    def rights(self, namespace: str) -> set[str]:
        """Return what it may do in the namespace and any other account may not: ``list pods``."""
        return self._rights(self._name, namespace) - self._rights("other", namespace)

    def _rights(self, account: str, namespace: str) -> set[str]:
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectRulesReview",
            "spec": {"namespace": namespace},
        }
        request = Request(
            f"{self._kubernetes.url}/apis/authorization.k8s.io/v1/selfsubjectrulesreviews",
            json.dumps(review).encode(),
            {"Authorization": f"Bearer {self._token(account)}", "Content-Type": "application/json"},
        )
        context = ssl.create_default_context(cafile=str(self._kubernetes.authority))
        with urlopen(request, context=context, timeout=30) as answer:
            status = json.load(answer)["status"]
        assert status["incomplete"] is False
        return {
            f"{verb} {resource}{group and f'.{group}'}{name and f'/{name}'}"
            for rule in status["resourceRules"]
            for verb in rule["verbs"]
            for group in rule["apiGroups"]
            for resource in rule["resources"]
            for name in rule.get("resourceNames", [""])
        }

    def _token(self, account: str) -> str:
        return self._kubernetes.service_account_token(self._namespace, account)


@pytest.mark.parametrize("name", ["registry", "a.b", "x" * 52, "x" * 53, f"{'x' * 60}.registry"])
@pytest.mark.parametrize("kind", ["deploy", "StatefulSet", "daemonsets"])
def test_the_job_has_the_name_that_reaper_gives_it(helm: Helm, kind: str, name: str) -> None:
    workload = {"namespace": "n", "workload": f"{kind}/{name}"}
    collect = {"via": "kubernetes-job", "kubernetes": workload}
    registries = json.dumps([{"name": "main", "url": "https://x", "collect": collect}])
    settings = [f"config.registries={registries}", "rbac.collection=true"]
    objects = helm.template([VALUES["sqlite"]], settings=settings)
    rules = only(objects, "Role")["rules"]
    kinds = {"deploy": "deployment", "StatefulSet": "statefulset", "daemonsets": "daemonset"}
    reference = Reference(kinds[kind], "n", name)
    assert rules[0]["resources"] == [reference.resource.plural]
    assert rules[-1]["resourceNames"] == [job_name(reference)]


def test_reaper_reads_the_cluster_with_that_account(
    kubernetes: KubernetesServer, restricted: str, installed: Objects, values: str
) -> None:
    account = Account(kubernetes, restricted, only(installed, "ServiceAccount")["metadata"]["name"])
    namespaces = ["shop", "staging"] if values == "everything" else None
    for namespace in namespaces or [restricted]:
        metadata = {"name": "running", "namespace": namespace}
        containers = [{"name": "one", "image": f"registry.example.com/of/{namespace}:1"}]
        template = {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": containers}}
        spec = {"selector": {"matchLabels": {"app": "x"}}, "template": template}
        kubernetes.apply({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec})
    source = ClusterSource("test", lambda: connect(account.kubeconfig), namespaces=namespaces)
    found = asyncio.run(source.gather())
    for namespace in namespaces or [restricted]:
        assert f"registry.example.com/of/{namespace}:1" in str(found)


def test_reaper_leads_with_that_account(
    helm: Helm, kubernetes: KubernetesServer, restricted: str, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"settings": _WITHOUT_OPERATOR, "release": f"l-{restricted[-6:]}"}
    helm.install(kubernetes.kubeconfig(), restricted, [VALUES["ha"]], **options)
    objects = helm.template([VALUES["ha"]], namespace=restricted, **options)
    account = Account(kubernetes, restricted, only(objects, "ServiceAccount")["metadata"]["name"])
    settings = load(only(objects, "ConfigMap"))["leader_election"]
    file = tmp_path / "reaper.yaml"
    file.write_text(json.dumps({"leader_election": {**settings, "kubeconfig": str(account.kubeconfig)}}))
    leadership = Elected(load_settings(file).leader_election)

    async def lead() -> None:
        gained = asyncio.Event()

        def change(leads: bool) -> None:
            if leads:
                gained.set()

        holding = asyncio.create_task(leadership.hold(change, lambda _took: None))
        async with asyncio.timeout(30):
            await gained.wait()
        leadership.check()
        holding.cancel()
        await asyncio.gather(holding, return_exceptions=True)

    asyncio.run(lead())
    path = f"/apis/coordination.k8s.io/v1/namespaces/{restricted}/leases/{settings['name']}"
    assert kubernetes.request("GET", path)["spec"]["leaseTransitions"] >= 0
    helm.uninstall(kubernetes.kubeconfig(), restricted, release=options["release"])


def test_a_release_goes_live_and_is_removed(
    helms: Mapping[int, Helm], kubernetes: KubernetesServer, restricted: str
) -> None:
    """With each helm: installed for an audit, upgraded as the notes say, removed without the database."""
    for major, helm in helms.items():
        release = f"release-{major}"
        options: dict[str, Any] = {"release": release}
        said = helm.install(kubernetes.kubeconfig(), restricted, [VALUES["sqlite"]], **options)
        assert "AUDIT MODE: nothing is deleted" in said
        assert f"kubectl exec --namespace {restricted} deployment/{release}-reaper" in said
        deployment = f"/apis/apps/v1/namespaces/{restricted}/deployments/{release}-reaper"
        before = kubernetes.request("GET", deployment)["spec"]
        said = helm.install(
            kubernetes.kubeconfig(),
            restricted,
            [VALUES["sqlite"]],
            settings=["config.dry_run=false"],
            **options,
        )
        assert "LIVE: runs delete" in said
        after = kubernetes.request("GET", deployment)["spec"]
        checksums = [
            spec["template"]["metadata"]["annotations"]["checksum/config"] for spec in (before, after)
        ]
        assert checksums[0] != checksums[1]
        helm.uninstall(kubernetes.kubeconfig(), restricted, release=release)
        claims = f"/api/v1/namespaces/{restricted}/persistentvolumeclaims/{release}-reaper"
        assert "deletionTimestamp" not in kubernetes.request("GET", claims)["metadata"]
