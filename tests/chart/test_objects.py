"""Every object that the chart makes is one that Kubernetes and the Prometheus Operator accept."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped] # it has no types
import pytest
from cloudcoil.models.prometheus_operator.v1 import PodMonitor, PrometheusRule, ServiceMonitor
from pydantic import BaseModel

from devtools.helm import Helm
from devtools.helm_docs import CHART
from tests.chart.conftest import VALUES, Objects, containers, only, pods

_OPERATOR: Mapping[str, type[BaseModel]] = {
    "ServiceMonitor": ServiceMonitor,
    "PodMonitor": PodMonitor,
    "PrometheusRule": PrometheusRule,
}


@pytest.mark.parametrize("values", VALUES)
def test_lint_finds_nothing(helms: Mapping[int, Helm], values: str) -> None:
    for helm in helms.values():
        assert "1 chart(s) linted, 0 chart(s) failed" in helm.lint([VALUES[values]])


@pytest.mark.parametrize("values", VALUES)
def test_each_helm_renders_the_same(
    helms: Mapping[int, Helm], rendered: Mapping[str, Objects], values: str
) -> None:
    """Else a site that moves to the next helm would see its pods restart."""
    for helm in helms.values():
        again = helm.template([VALUES[values]])
        assert sorted(again, key=_identity) == sorted(rendered[values], key=_identity)


def _identity(found: Mapping[str, Any]) -> tuple[str, str, str]:
    return found["kind"], found["metadata"].get("namespace", ""), found["metadata"]["name"]


@pytest.mark.parametrize("version", ["1.28", "1.37"])
def test_kubernetes_knows_every_field(objects: Objects, version: str) -> None:
    for each in objects:
        if each["kind"] not in _OPERATOR:
            kubernetes_validate.validate(each, version, strict=True)


def test_the_operator_knows_every_field(objects: Objects) -> None:
    for each in objects:
        if model := _OPERATOR.get(each["kind"]):
            # The models ignore what they do not know: it has to come back.
            back = model.model_validate(each).model_dump(mode="json", by_alias=True, exclude_unset=True)
            assert back == each


def test_every_template_is_rendered(rendered: Mapping[str, Objects]) -> None:
    kinds = {each["kind"] for objects in rendered.values() for each in objects}
    sources = [path.read_text() for path in CHART.glob("templates/**/*.yaml")]
    named = {kind for source in sources for kind in re.findall(r"^kind: (\w+)$", source, re.MULTILINE)}
    assert kinds == named | {"Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"}


def test_names_are_unique(objects: Objects) -> None:
    names = [_identity(each) for each in objects]
    assert len(set(names)) == len(names)


def test_pods_satisfy_the_restricted_standard(objects: Objects) -> None:
    for pod in pods(objects):
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == 65532
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for volume in pod["volumes"]:
            assert volume.keys() - {"name"} <= {"configMap", "projected", "emptyDir", "persistentVolumeClaim"}
        for container in containers(pod):
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert not {"privileged", "procMount", "runAsUser"} & context.keys()
            assert not any("hostPort" in port for port in container.get("ports", ()))


def test_our_containers_cannot_write_and_are_limited(objects: Objects) -> None:
    for pod in pods(objects):
        assert pod["enableServiceLinks"] is False
        ours = [each for each in containers(pod) if "/reaper" in each["image"]]
        assert ours
        for container in ours:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
            assert "memory" in container["resources"]["limits"]


def test_selectors_meet_what_they_are_for(objects: Objects) -> None:
    deployment = only(objects, "Deployment")
    daemon = deployment["spec"]["template"]["metadata"]["labels"]
    test = only(objects, "Pod")["metadata"]["labels"]
    service = only(objects, "Service")
    # A selector cannot be changed: nothing in it may change with a version.
    assert deployment["spec"]["selector"]["matchLabels"].keys() == {
        "app.kubernetes.io/name", "app.kubernetes.io/instance", "app.kubernetes.io/component",
    }  # fmt: skip
    selectors = [deployment["spec"]["selector"]["matchLabels"], service["spec"]["selector"]]
    for each in objects:
        if each["kind"] in ("PodDisruptionBudget", "PodMonitor"):
            selectors.append(each["spec"]["selector"]["matchLabels"])
        elif each["kind"] == "NetworkPolicy":
            selectors.append(each["spec"]["podSelector"]["matchLabels"])
            (first, *_) = each["spec"]["ingress"][0]["from"]
            assert first["podSelector"]["matchLabels"].items() <= test.items()
        elif each["kind"] == "ServiceMonitor":
            assert each["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
            assert each["spec"]["namespaceSelector"]["matchNames"] == [service["metadata"]["namespace"]]
            assert each["spec"]["endpoints"][0]["port"] == service["spec"]["ports"][0]["name"]
    for selector in selectors:
        assert selector.items() <= daemon.items()
        assert not selector.items() <= test.items()


def test_roles_are_bound_to_the_pods_account(objects: Objects) -> None:
    account = only(objects, "ServiceAccount")["metadata"]
    for pod in pods(objects):
        assert pod["serviceAccountName"] == account["name"]
    for each in objects:
        if each["kind"].endswith("Binding"):
            (subject,) = each["subjects"]
            assert (subject["name"], subject["namespace"]) == (account["name"], account["namespace"])
            role = {
                **each,
                "kind": each["roleRef"]["kind"],
                "metadata": {**each["metadata"], **each["roleRef"]},
            }
            assert _identity(role) in map(_identity, objects)
