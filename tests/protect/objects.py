"""Objects of Kubernetes that name images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Json = dict[str, Any]


def spec(*images: str, **more: Any) -> Json:
    """Return a pod's spec with a container for each image."""
    return {"containers": containers(*images), **more}


def containers(*images: str) -> list[Json]:
    """Return containers of the images."""
    return [{"name": f"c{number}", "image": image} for number, image in enumerate(images)]


def statuses(*pairs: tuple[str, str]) -> list[Json]:
    """Return statuses of containers, each with its image and imageID."""
    return [
        {"name": f"c{n}", "image": image, "imageID": image_id, "ready": True, "restartCount": 0, "state": {}}
        for n, (image, image_id) in enumerate(pairs)
    ]


def pod(name: str, namespace: str, body: Json, status: Json | None = None) -> Json:
    """Return a pod."""
    return thing("v1", "Pod", name, namespace, spec=body, **({"status": status} if status else {}))


def template(*images: str) -> Json:
    """Return a pod's template."""
    return {"metadata": {"labels": {"app": "x"}}, "spec": spec(*images)}


def workload(version: str, kind: str, name: str, namespace: str, *images: str, **more: Any) -> Json:
    """Return a workload with a template of the images."""
    selector: Any = {"matchLabels": {"app": "x"}}
    if kind == "ReplicationController":
        selector = {"app": "x"}
    body = {"selector": selector, "template": template(*images), **more}
    return thing(version, kind, name, namespace, spec=body)


def job_template(*images: str) -> Json:
    """Return a job's spec."""
    return {"template": {"spec": spec(*images, restartPolicy="Never")}}


def thing(version: str, kind: str, name: str, namespace: str | None, **body: Any) -> Json:
    """Return an object."""
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **body}


def custom_resource(group: str, version: str, plural: str, kind: str, *, scope: str = "Namespaced") -> Json:
    """Return the definition of a resource that may have any fields."""
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    body = {
        "group": group,
        "scope": scope,
        "names": {"plural": plural, "singular": kind.lower(), "kind": kind},
        "versions": [
            {"name": version, "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
        ],
    }
    return thing("apiextensions.k8s.io/v1", "CustomResourceDefinition", f"{plural}.{group}", None, spec=body)


def roles(namespace: str, account: str, rules: Sequence[Mapping[str, Any]]) -> list[Json]:
    """Return a service account with the rules in the whole cluster."""
    name = f"{namespace}-{account}"
    api = "rbac.authorization.k8s.io"
    role = thing(f"{api}/v1", "ClusterRole", name, None, rules=list(rules))
    subject = {"kind": "ServiceAccount", "name": account, "namespace": namespace}
    reference = {"apiGroup": api, "kind": "ClusterRole", "name": name}
    binding = thing(f"{api}/v1", "ClusterRoleBinding", name, None, subjects=[subject], roleRef=reference)
    return [thing("v1", "ServiceAccount", account, namespace), role, binding]
