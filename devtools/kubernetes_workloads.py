"""What a cluster does with workloads, as far as a registry and its collection need it: for tests.

The test cluster has an API server alone (`devtools.kubernetes`). Here one thread does, in one namespace, what
the controllers, the scheduler, the kubelets and the service proxy would: Deployments, StatefulSets,
DaemonSets and Jobs get pods, pods run as processes of this machine (a registry, its collector), their logs
and commands in them go through `devtools.kubernetes_node`, and one address leads to the pods that are ready.

Simplified: pods belong to their Deployment directly, without a ReplicaSet; images name a binary; claims are
folders, and a pod that mounts none sees an empty storage.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import httpx

from devtools import die_with_parent
from devtools.kubernetes import ADMIN, KubernetesServer
from devtools.kubernetes_node import Node, Place
from devtools.ports import free_port
from devtools.service import Service

Json = dict[str, Any]

_POLL: Final = 0.06
_TERMINATION: Final = 5.0
_KINDS: Final = ("deployments", "statefulsets", "daemonsets")
_HASH: Final = "pod-template-hash"
_COLLECTS: Final = "garbage-collect"


@dataclass(slots=True)
class _Running:
    """A pod's process. ``port`` is where it listens, if it does; ``asked`` when it was asked to end."""

    process: subprocess.Popen[bytes]
    place: Place
    port: int
    environment: Mapping[str, str]
    asked: float | None = None
    output: threading.Thread | None = None


class Workloads:
    """Runs the workloads of a namespace while the block runs. Its nodes are two."""

    def __init__(self, server: KubernetesServer, namespace: str, binary: Path) -> None:
        """`binary` is what the image's ``registry`` is."""
        self.namespace = namespace
        self.nodes = [f"{namespace}-{letter}" for letter in "ab"]
        self.folder = Path(tempfile.mkdtemp(prefix="reaper-workloads-"))
        self.service = Service()
        #: Pods that are terminating are left at it, and go on running.
        self.keep_terminating = False
        #: Rollouts do not begin.
        self.paused = False
        #: What runs in place of a collector that would remove something, if anything.
        self.instead: Sequence[str] | None = None
        #: What ``registry`` is in commands that are executed in pods.
        self.binary_inside = str(binary)
        #: Programs that no pod has.
        self.missing: set[str] = set()
        #: The commands that pods were started with, in order.
        self.started: list[list[str]] = []
        #: What a step of the loop failed with; a test that waits in vain looks here.
        self.errors: list[str] = []
        self._server = server
        self._binary = str(binary)
        self._api = _Api(server)
        self.machines = [Node(server, name, self._inside) for name in self.nodes]
        self._running: dict[str, _Running] = {}
        self._begun: dict[str, float] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop)

    def __enter__(self) -> Self:
        for machine in self.machines:
            machine.__enter__()
        self.service.__enter__()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self.service.__exit__(kind, error, trace)
        for machine in self.machines:
            machine.__exit__(kind, error, trace)
        self._api.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def claim(self, name: str) -> Path:
        """The folder of a claim's volume."""
        folder = self.folder / "claims" / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def executed(self) -> list[tuple[str, ...]]:
        """What was executed in pods, in order for each node."""
        return [command for machine in self.machines for _, command in machine.executed]

    @property
    def collecting(self) -> int:
        """How many commands run in pods, besides what they were started with."""
        return sum(machine.running for machine in self.machines)

    def _loop(self) -> None:
        try:
            while not self._stop.wait(_POLL):
                try:
                    self._turn()
                except (httpx.HTTPError, OSError, KeyError) as error:
                    self.errors.append(repr(error))
        finally:
            for running in self._running.values():
                _signal(running, signal.SIGKILL)
                running.process.wait()
                if running.output is not None:
                    running.output.join()

    def _turn(self) -> None:
        pods = self._api.list("v1", self.namespace, "pods")
        self._run_pods(pods)
        if not self.paused:
            for plural in _KINDS:
                for workload in self._api.list("apps/v1", self.namespace, plural):
                    self._control(plural, workload, pods)
        for job in self._api.list("batch/v1", self.namespace, "jobs"):
            self._control_job(job, pods)
        ready = [
            self._running[pod["metadata"]["uid"]].port
            for pod in pods
            if _ready(pod) and pod["metadata"]["uid"] in self._running
        ]
        self.service.lead_to(ready)

    # The controllers.

    def _control(self, plural: str, workload: Json, pods: Sequence[Json]) -> None:
        spec, metadata = workload["spec"], workload["metadata"]
        marked = hashlib.sha256(json.dumps(spec["template"], sort_keys=True).encode()).hexdigest()[:10]
        own = [pod for pod in pods if _owned_by(pod, metadata["uid"])]
        active = [pod for pod in own if "deletionTimestamp" not in pod["metadata"]]
        new = [pod for pod in active if pod["metadata"]["labels"][_HASH] == marked]
        old = [pod for pod in active if pod not in new]
        wanted = 1 if plural == "daemonsets" else spec.get("replicas", 1)
        rolling = plural == "deployments" and spec.get("strategy", {}).get("type") != "Recreate"
        for pod in [*old, *new][wanted:] if len(old) + len(new) > wanted and not old else []:
            self._api.delete(pod)
        if wanted == 0 or (old and (not rolling or sum(map(_ready, new)) >= wanted)):
            for pod in old if wanted else active:
                self._api.delete(pod)
        elif len(new) < wanted and (rolling or len(own) == len(new)):
            names = {pod["metadata"]["name"] for pod in own}
            self._make_pods(plural, workload, marked, wanted - len(new), names)
        self._api.set_status(workload, _status(plural, metadata["generation"], wanted, active, new))

    def _make_pods(self, plural: str, owner: Json, marked: str, number: int, names: set[str]) -> None:
        name = owner["metadata"]["name"]
        for index in range(number):
            suffix = str(index) if plural == "statefulsets" else f"{marked}-{free_port()}"
            if f"{name}-{suffix}" in names:
                continue
            template = owner["spec"]["template"]
            labels = {**template["metadata"]["labels"], _HASH: marked}
            spec = {**template["spec"], "nodeName": self.nodes[0]}
            for claim in owner["spec"].get("volumeClaimTemplates", ()):
                claimed = claim["metadata"]["name"]
                volume = {
                    "name": claimed,
                    "persistentVolumeClaim": {"claimName": f"{claimed}-{name}-{index}"},
                }
                spec["volumes"] = [*spec.get("volumes", ()), volume]
            self._api.create(_pod(f"{name}-{suffix}", self.namespace, owner, labels, template, spec))

    def _control_job(self, job: Json, pods: Sequence[Json]) -> None:
        metadata, spec, status = job["metadata"], job["spec"], job.get("status", {})
        own = [pod for pod in pods if _owned_by(pod, metadata["uid"])]
        if "deletionTimestamp" in metadata:
            for pod in own:
                if "deletionTimestamp" not in pod["metadata"]:
                    self._api.delete(pod)
            if not own:
                kept = [each for each in metadata.get("finalizers", ()) if each != "foregroundDeletion"]
                self._api.patch(job, {"metadata": {"finalizers": kept}})
            return
        if any(each["type"] in ("Complete", "Failed") for each in status.get("conditions", ())):
            return
        begun = self._begun.setdefault(metadata["uid"], time.monotonic())
        if not status.get("startTime"):
            self._api.set_status(job, {"startTime": _now()})
            self._make_job_pod(job)
        elif time.monotonic() > begun + spec.get("activeDeadlineSeconds", 1e9):
            for pod in own:
                if "deletionTimestamp" not in pod["metadata"]:
                    self._api.delete(pod)
            if not own:
                self._api.set_status(job, _failed(status, "DeadlineExceeded", "it was active for too long"))
        elif own and own[0].get("status", {}).get("phase") == "Succeeded":
            self._api.set_status(job, _complete(status))
        elif own and own[0].get("status", {}).get("phase") == "Failed":
            self._api.set_status(job, _failed(status, "BackoffLimitExceeded", "its pod failed"))

    def _make_job_pod(self, job: Json) -> None:
        template = job["spec"]["template"]
        affinity = template["spec"].get("affinity", {}).get("nodeAffinity", {})
        terms = affinity.get("requiredDuringSchedulingIgnoredDuringExecution", {}).get(
            "nodeSelectorTerms", ()
        )
        chosen = [
            value for term in terms for field in term.get("matchFields", ()) for value in field["values"]
        ]
        name = job["metadata"]["name"]
        spec = {**template["spec"], "nodeName": chosen[0] if chosen else self.nodes[1]}
        labels = template["metadata"]["labels"]
        self._api.create(_pod(f"{name}-{free_port()}", self.namespace, job, labels, template, spec))

    # The kubelets.

    def _run_pods(self, pods: Sequence[Json]) -> None:
        for pod in pods:
            metadata = pod["metadata"]
            running = self._running.get(metadata["uid"])
            if "deletionTimestamp" in metadata:
                if running is None or self._ended(running):
                    self._api.delete(pod, grace=0)
            elif running is None:
                if self._mountable(pod, pods):
                    self._running[metadata["uid"]] = self._start(pod)
            elif running.process.poll() is not None:
                if pod["status"]["phase"] == "Running" or pod["status"]["phase"] == "Pending":
                    self._note_end(pod, running)
            else:
                answers = _answers(running.port)
                if pod["status"]["phase"] == "Pending" or answers != _ready(pod):
                    self._api.set_status(pod, _pod_status(pod, "Running", {"running": {}}, ready=answers))

    def _mountable(self, pod: Json, pods: Sequence[Json]) -> bool:
        """Whether no claim of the pod is attached to another node."""
        claims = set(_claims(pod))
        if not claims:
            return True
        elsewhere = [
            each
            for each in pods
            if each["spec"]["nodeName"] != pod["spec"]["nodeName"]
            and each["metadata"]["uid"] in self._running
        ]
        for claim in claims & {each for other in elsewhere for each in _claims(other)}:
            found = self._api.get("v1", self.namespace, "persistentvolumeclaims", claim)
            if "ReadWriteMany" not in found["spec"]["accessModes"]:
                waiting = {"waiting": {"reason": "ContainerCreating", "message": "Multi-Attach error"}}
                self._api.set_status(pod, _pod_status(pod, "Pending", waiting, ready=False))
                return False
        return True

    def _start(self, pod: Json) -> _Running:
        container = pod["spec"]["containers"][0]
        place = Place(self.namespace, pod["metadata"]["name"], container["name"])
        port = free_port()
        environment = self._environment(pod, container, port)
        command = self._command(pod, container)
        asked = command
        if self.instead is not None and _COLLECTS in command and "--dry-run" not in command:
            command = list(self.instead)
        command[0] = shutil.which(command[0]) or command[0]
        process = subprocess.Popen(
            [sys.executable, "-ISB", die_with_parent.__file__, *command],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # all that it starts ends with it, as in a container
        )
        self.started.append(asked)
        running = _Running(process, place, port, environment)
        machine = self.machines[self.nodes.index(pod["spec"]["nodeName"])]
        running.output = threading.Thread(target=_forward, args=(process, machine, place))
        running.output.start()
        return running

    def _note_end(self, pod: Json, running: _Running) -> None:
        code = running.process.returncode
        told = code if code >= 0 else 128 - code
        if running.output is not None:
            running.output.join()  # all of the log is there before the end is told
        state = {"terminated": {"exitCode": told, "startedAt": _now(), "finishedAt": _now()}}
        phase = "Succeeded" if told == 0 else "Failed"
        self._api.set_status(pod, _pod_status(pod, phase, state, ready=False))

    def _ended(self, running: _Running) -> bool:
        if running.process.poll() is not None:
            return True
        if self.keep_terminating:
            return False
        if running.asked is None:
            running.asked = time.monotonic()
            _signal(running, signal.SIGTERM)
        elif time.monotonic() > running.asked + _TERMINATION:
            _signal(running, signal.SIGKILL)
        return False

    def _inside(self, place: Place, command: Sequence[str]) -> Sequence[str]:
        """What a command in a pod is on this machine."""
        pod = self._api.get("v1", self.namespace, "pods", place.pod)
        running = self._running[pod["metadata"]["uid"]]
        if command[0] in self.missing:
            return [f"/missing/{command[0]}"]
        local = self._localised(pod, pod["spec"]["containers"][0], command, self.binary_inside)
        if self.instead is not None and _COLLECTS in local and "--dry-run" not in local:
            local = list(self.instead)
        return ["env", "-i", *(f"{name}={value}" for name, value in running.environment.items()), *local]

    def _command(self, pod: Json, container: Json) -> list[str]:
        """What the image's entrypoint makes of the arguments, as that of distribution does."""
        words = [*container.get("command", ()), *container.get("args", ())]
        if not container.get("command") and (not words or words[0].endswith((".yml", ".yaml"))):
            words = ["registry", "serve", *(words or ["/etc/docker/registry/config.yml"])]
        return self._localised(pod, container, words, self._binary)

    def _localised(self, pod: Json, container: Json, words: Sequence[str], binary: str) -> list[str]:
        """Return the command with this machine's paths, also in words of several words."""
        places = "|".join(re.escape(mount["mountPath"]) for mount in container.get("volumeMounts", ()))
        root = self._mounted(pod, container)
        if places:
            words = [re.sub(rf"(^| )(?=(?:{places})/)", rf"\g<1>{root}", word) for word in words]
        return [binary if words[0] == "registry" else words[0], *words[1:]]

    def _environment(self, pod: Json, container: Json, port: int) -> dict[str, str]:
        own = {each["name"]: each["value"] for each in container.get("env", ()) if "value" in each}
        mounted = {mount["name"] for mount in container.get("volumeMounts", ())}
        claims = [
            volume["persistentVolumeClaim"]["claimName"]
            for volume in pod["spec"].get("volumes", ())
            if volume["name"] in mounted and "persistentVolumeClaim" in volume
        ]
        storage: Path = self.claim(claims[0]) if claims else self._mounted(pod, container)
        return {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "OTEL_TRACES_EXPORTER": "none",
            "REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY": str(storage),
            "REGISTRY_HTTP_ADDR": f"127.0.0.1:{port}",
            **own,
        }

    def _mounted(self, pod: Json, container: Json) -> Path:
        """The folder below which the pod's ConfigMaps are mounted."""
        root: Path = self.folder / "pods" / pod["metadata"]["name"]
        if root.exists():
            return root
        root.mkdir(parents=True)
        volumes = {volume["name"]: volume for volume in pod["spec"].get("volumes", ())}
        for mount in container.get("volumeMounts", ()):
            source = volumes[mount["name"]].get("configMap")
            if source:
                folder = root / mount["mountPath"].lstrip("/")
                folder.mkdir(parents=True)
                held = self._api.get("v1", self.namespace, "configmaps", source["name"])
                for name, text in held["data"].items():
                    (folder / name).write_text(text)
        return root


class _Api:
    """The API server, over one connection that is kept."""

    def __init__(self, server: KubernetesServer) -> None:
        user = json.loads(server.kubeconfig(ADMIN).read_text())["users"][0]["user"]
        self._http = httpx.Client(
            base_url=server.url,
            verify=ssl.create_default_context(cafile=str(server.authority)),
            headers={"Authorization": f"Bearer {user['token']}"},
            timeout=30.0,
            trust_env=False,
        )

    def close(self) -> None:
        self._http.close()

    def list(self, version: str, namespace: str, plural: str) -> list[Json]:
        answer = self._http.get(_path(version, namespace, plural)).raise_for_status().json()
        kind = answer["kind"].removesuffix("List")
        return [{"apiVersion": version, "kind": kind, **item} for item in answer["items"]]

    def get(self, version: str, namespace: str, plural: str, name: str) -> Json:
        answer = self._http.get(f"{_path(version, namespace, plural)}/{name}").raise_for_status()
        found: Json = answer.json()
        return found

    def create(self, pod: Json) -> None:
        path = _path("v1", pod["metadata"]["namespace"], "pods")
        self._http.post(path, json=pod).raise_for_status()

    def delete(self, pod: Json, *, grace: int | None = None) -> None:
        body = {"preconditions": {"uid": pod["metadata"]["uid"]}}
        if grace is not None:
            body["gracePeriodSeconds"] = grace  # type: ignore[assignment]  # it is JSON
        answer = self._http.request("DELETE", _path_of(pod), json=body)
        if answer.status_code not in (404, 409):
            answer.raise_for_status()

    def patch(self, item: Json, body: Json, subresource: str = "") -> None:
        headers = {"Content-Type": "application/merge-patch+json"}
        answer = self._http.patch(_path_of(item) + subresource, content=json.dumps(body), headers=headers)
        if answer.is_error and answer.status_code != 404:  # then it is gone
            raise httpx.HTTPStatusError(answer.text, request=answer.request, response=answer)

    def set_status(self, item: Json, status: Json) -> None:
        if any(item.get("status", {}).get(key) != value for key, value in status.items()):
            self.patch(item, {"status": status}, "/status")


def _path(version: str, namespace: str, plural: str) -> str:
    prefix = f"/apis/{version}" if "/" in version else f"/api/{version}"
    return f"{prefix}/namespaces/{namespace}/{plural}"


def _path_of(item: Json) -> str:
    plural = f"{item['kind'].lower()}s"
    metadata = item["metadata"]
    return f"{_path(item['apiVersion'], metadata['namespace'], plural)}/{metadata['name']}"


def _pod(name: str, namespace: str, owner: Json, labels: Json, template: Json, spec: Json) -> Json:
    controller = {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }
    metadata = {
        "name": name,
        "namespace": namespace,
        "labels": labels,
        "annotations": template["metadata"].get("annotations", {}),
        "ownerReferences": [controller],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def _owned_by(pod: Json, uid: str) -> bool:
    return any(owner["uid"] == uid for owner in pod["metadata"].get("ownerReferences", ()))


def _claims(pod: Json) -> Iterator[str]:
    for volume in pod["spec"].get("volumes", ()):
        if "persistentVolumeClaim" in volume:
            yield volume["persistentVolumeClaim"]["claimName"]


def _ready(pod: Json) -> bool:
    if "deletionTimestamp" in pod["metadata"]:
        return False
    conditions = pod.get("status", {}).get("conditions", ())
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def _pod_status(pod: Json, phase: str, state: Json, *, ready: bool) -> Json:
    container = pod["spec"]["containers"][0]
    status = {
        "name": container["name"],
        "image": container["image"],
        "imageID": "",
        "ready": ready,
        "restartCount": 0,
        "state": state,
    }
    condition = {"type": "Ready", "status": str(ready), "lastTransitionTime": None}
    return {"phase": phase, "conditions": [condition], "containerStatuses": [status]}


def _status(plural: str, generation: int, wanted: int, active: Sequence[Json], new: Sequence[Json]) -> Json:
    ready = sum(map(_ready, active))
    if plural == "daemonsets":
        return {
            "observedGeneration": generation,
            "desiredNumberScheduled": wanted,
            "currentNumberScheduled": len(active),
            "updatedNumberScheduled": len(new),
            "numberReady": ready,
            "numberMisscheduled": 0,
        }
    return {
        "observedGeneration": generation,
        "replicas": len(active),
        "updatedReplicas": len(new),
        "readyReplicas": ready,
        "availableReplicas": ready,
    }


def _complete(status: Json) -> Json:
    conditions = [_condition("SuccessCriteriaMet", "CompletionsReached", ""), _condition("Complete", "", "")]
    return {**status, "succeeded": 1, "completionTime": _now(), "conditions": conditions}


def _failed(status: Json, reason: str, message: str) -> Json:
    conditions = [_condition(kind, reason, message) for kind in ("FailureTarget", "Failed")]
    return {**status, "failed": 1, "conditions": conditions}


def _condition(kind: str, reason: str, message: str) -> Json:
    return {
        "type": kind,
        "status": "True",
        "reason": reason,
        "message": message,
        "lastProbeTime": _now(),
        "lastTransitionTime": _now(),
    }


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _answers(port: int) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=1.0)
    try:
        connection.request("GET", "/v2/", headers={"User-Agent": "kube-probe/1"})
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def _signal(running: _Running, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(running.process.pid, number)


def _forward(process: subprocess.Popen[bytes], machine: Node, place: Place) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        machine.write_log(place, line.decode(errors="replace"))
    machine.write_log(place, "", end=True)
    process.stdout.close()
