"""The job that collects: a copy of the registry's own pod with the collector in it. Nothing is sent here."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

from reaper.collect.base import CollectError
from reaper.collect.kubernetes_workload import Reference, Workload
from reaper.kubernetes import JsonObject

MANAGED_BY: Final = "app.kubernetes.io/managed-by"
#: Labels the job and its pod; the value is the job's name.
JOB_LABEL: Final = "reaper.io/collection"
#: On the job: which run of a collector it is.
RUN: Final = "reaper.io/run"
#: On the job: whether it removes nothing.
DRY_RUN: Final = "reaper.io/dry-run"

#: How long an ended job can still be looked at, in seconds.
_KEPT: Final = 24 * 3600
_NAME_LENGTH: Final = 63
# Where and as what the registry's own pods run among others; and what a pod that ends has no use for.
_NOT_OF_THE_POD: Final = (
    "activeDeadlineSeconds",
    "affinity",
    "hostname",
    "nodeName",
    "readinessGates",
    "schedulingGates",
    "subdomain",
    "topologySpreadConstraints",
)
_NOT_OF_THE_CONTAINER: Final = (
    "args",
    "lifecycle",
    "livenessProbe",
    "ports",
    "readinessProbe",
    "restartPolicy",
    "startupProbe",
    "stdin",
    "stdinOnce",
    "tty",
)
# A mesh's proxy in the pod would never end, and the job not either.
_NO_PROXY: Final = {"sidecar.istio.io/inject": "false", "linkerd.io/inject": "disabled"}


def job_name(reference: Reference) -> str:
    """Return the name of the job for a workload: always the same, so that there is never a second one."""
    name = f"reaper-gc-{reference.kind}-{reference.name}"
    if len(name) <= _NAME_LENGTH and "." not in name:
        return name
    mark = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{name[: _NAME_LENGTH - 9].replace('.', '-')}-{mark}"


def claims_of(workload: Workload) -> list[str]:
    """Return the claims that the job mounts."""
    return [
        volume["persistentVolumeClaim"]["claimName"]
        for volume in _volumes(workload)
        if "persistentVolumeClaim" in volume
    ]


def needs_same_node(workload: Workload, modes: Mapping[str, Sequence[str]]) -> bool:
    """Whether the job's pod has to run where the registry's does. ``modes``: the claims' access modes.

    Raises:
        CollectError: a volume cannot be had by a second pod at all.
    """
    same = any("hostPath" in volume for volume in _volumes(workload))
    for claim, found in modes.items():
        if "ReadWriteMany" in found:
            continue
        if "ReadWriteOncePod" in found:
            raise CollectError(
                f"the claim {claim} is ReadWriteOncePod: no other pod can mount it, so no job can collect it",
                hint="use via: kubernetes-exec, or a claim that is ReadWriteOnce",
            )
        same = True
    return same


def job_for(
    workload: Workload,
    command: Sequence[str],
    *,
    run: str,
    node: str | None,
    timeout: float,
    dry_run: bool,
) -> JsonObject:
    """Return the job that runs ``command`` as the registry's container would.

    ``node`` is the node that it has to run on; ``timeout`` is in seconds.
    """
    reference = workload.reference
    name = job_name(reference)
    labels = {MANAGED_BY: "reaper", JOB_LABEL: name}
    owner = {
        "apiVersion": workload.body["apiVersion"],
        "kind": workload.body["kind"],
        "name": reference.name,
        "uid": workload.body["metadata"]["uid"],
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name,
            "namespace": reference.namespace,
            "labels": labels,
            "annotations": {RUN: run, DRY_RUN: str(dry_run).lower()},
            "ownerReferences": [owner],
        },
        "spec": {
            "parallelism": 1,
            "completions": 1,
            "backoffLimit": 0,
            # A second pod beside one that is ending would be a second collector.
            "podReplacementPolicy": "Failed",
            "activeDeadlineSeconds": max(1, round(timeout)),
            "ttlSecondsAfterFinished": _KEPT,
            "template": {
                # None of the registry's own labels: its service must not find this pod.
                "metadata": {"labels": {**labels, **_NO_PROXY}, "annotations": dict(_NO_PROXY)},
                "spec": _pod_spec(workload, command, node),
            },
        },
    }


def _pod_spec(workload: Workload, command: Sequence[str], node: str | None) -> JsonObject:
    whole: JsonObject = workload.template["spec"]
    spec = {key: value for key, value in whole.items() if key not in _NOT_OF_THE_POD}
    container = {key: value for key, value in workload.container.items() if key not in _NOT_OF_THE_CONTAINER}
    container["command"] = list(command)
    environment = container.get("env") or []
    if not any(each["name"] == "OTEL_TRACES_EXPORTER" for each in environment):
        # Distribution 3 else complains of a collector of traces that is not there.
        container["env"] = [*environment, {"name": "OTEL_TRACES_EXPORTER", "value": "none"}]
    spec["containers"] = [container]
    spec["initContainers"] = [
        {key: value for key, value in each.items() if key not in ("ports", "lifecycle")}
        for each in _preparing(workload)
    ]
    spec["volumes"] = _volumes(workload)
    spec["restartPolicy"] = "Never"
    if node is not None:
        spec["affinity"] = {"nodeAffinity": _only_on(node)}
    elif (whole.get("affinity") or {}).get("nodeAffinity"):
        spec["affinity"] = {"nodeAffinity": whole["affinity"]["nodeAffinity"]}
    return spec


def _preparing(workload: Workload) -> list[JsonObject]:
    """Return the init containers; one that is restarted always is a sidecar, and none of them."""
    found: list[JsonObject] = workload.template["spec"].get("initContainers") or []
    return [each for each in found if each.get("restartPolicy") != "Always"]


def _volumes(workload: Workload) -> list[JsonObject]:
    """Return the volumes that the job mounts; of a StatefulSet also those that it claims for its pods."""
    volumes: list[JsonObject] = list(workload.template["spec"].get("volumes") or ())
    for claim in workload.spec.get("volumeClaimTemplates") or ():
        name = claim["metadata"]["name"]
        first = workload.spec.get("ordinals", {}).get("start", 0)
        claimed = f"{name}-{workload.reference.name}-{first}"
        volumes = [each for each in volumes if each["name"] != name]
        volumes.append({"name": name, "persistentVolumeClaim": {"claimName": claimed}})
    containers = [workload.container, *_preparing(workload)]
    mounted = {mount["name"] for each in containers for mount in each.get("volumeMounts") or ()}
    return [each for each in volumes if each["name"] in mounted]


def _only_on(node: str) -> dict[str, Any]:
    # Through the scheduler, unlike spec.nodeName: so it waits for room there rather than being turned away.
    field = {"key": "metadata.name", "operator": "In", "values": [node]}
    return {
        "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchFields": [field]}]}
    }
