"""A registry in a namespace of the shared cluster, collected with the roles that the docs name."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import Any, TypeVar

from ruamel.yaml import YAML

from devtools.images import build_image
from devtools.kubernetes import KubernetesServer
from devtools.kubernetes_workloads import Workloads
from devtools.pusher import Pusher
from reaper.collect import CollectionResult, Collector, Mode, Phase, Waits, recover, run_procedure
from reaper.collect.kubernetes_base import ClusterCollector
from reaper.collect.kubernetes_read_only import ORIGINAL
from reaper.collect.kubernetes_workload import READ_ONLY_VARIABLE, Pace, Reference
from reaper.collect.procedure import ignore_progress
from reaper.collect.sizes import stored_sizes
from reaper.core.errors import ReaperError
from reaper.kubernetes import connect

Json = dict[str, Any]
Made = TypeVar("Made", bound=ClusterCollector)

PACE = Pace(poll=0.05, rollout=20.0, end=20.0)
WAITS = Waits(settle=20.0, poll=0.02, watch=0.1)
DOCS = Path(__file__).parents[2] / "docs" / "collection.md"
_NOBODY = f"/v2/reaper-probe/manifests/sha256:{'0' * 64}"
_LABELS = {"app": "registry"}


class ClusterSite:
    """A registry in a namespace, with an account for reaper that may do what `allow` says."""

    def __init__(self, server: KubernetesServer, namespace: str, workloads: Workloads) -> None:
        self.server = server
        self.namespace = namespace
        self.workloads = workloads
        self.pusher = Pusher(workloads.service.url)
        self.phases: list[Phase] = []
        self.kind = "Deployment"
        self.account = {"kind": "ServiceAccount", "name": "collector", "namespace": namespace}
        server.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": self._named("collector")})
        settings = {
            "version": "0.1",
            "storage": {
                "filesystem": {"rootdirectory": "/var/lib/registry"},
                "delete": {"enabled": True},
                "cache": {"blobdescriptor": "inmemory"},
            },
            "http": {"addr": ":5000", "secret": "the same in all replicas"},
        }
        config = {"config.yml": json.dumps(settings)}
        server.apply(
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": self._named("config"), "data": config}
        )

    def deploy(
        self,
        kind: str = "Deployment",
        *,
        access: str = "ReadWriteOnce",
        container: Json | None = None,
        pod: Json | None = None,
        spec: Json | None = None,
        wait: bool = True,
    ) -> None:
        """Make the workload, and wait until it serves; what is given is merged into it."""
        self.kind = kind
        claim = {"accessModes": [access], "resources": {"requests": {"storage": "1Gi"}}}
        runs = {
            "name": "registry",
            "image": "registry:2",
            "volumeMounts": [
                {"name": "data", "mountPath": "/var/lib/registry"},
                {"name": "config", "mountPath": "/etc/docker/registry"},
            ],
            **(container or {}),
        }
        volumes = [{"name": "config", "configMap": {"name": "config"}}]
        own: Json = {"selector": {"matchLabels": _LABELS}}
        if kind == "StatefulSet":
            claim_name = "data-registry-0"
            own |= {"serviceName": "registry"}
            own["volumeClaimTemplates"] = [{"metadata": {"name": "data"}, "spec": claim}]
        else:
            claim_name = "data"
            volumes.append({"name": "data", "persistentVolumeClaim": {"claimName": "data"}})
        template = {
            "metadata": {"labels": _LABELS},
            "spec": {"containers": [runs], "volumes": volumes, **(pod or {})},
        }
        self.server.apply(
            {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "metadata": self._named(claim_name),
                "spec": claim,
            },
            {
                "apiVersion": "apps/v1",
                "kind": kind,
                "metadata": self._named("registry"),
                "spec": {**own, "template": template, **(spec or {})},
            },
        )
        self.storage = self.workloads.claim(claim_name)
        if wait:
            self.wait(lambda: self.mode() is Mode.WRITABLE)

    def allow(self, number: int, *, without: tuple[str, str] | None = None) -> None:
        """Give the account the role that the docs show (0 for a job, 1 for exec), without a verb of it."""
        found = re.findall(
            r"^```yaml\n(apiVersion: rbac.*?)^```$", DOCS.read_text(), re.DOTALL | re.MULTILINE
        )
        role: Json = YAML(typ="safe", pure=True).load(found[number])
        for rule in role["rules"]:
            if without is not None and without[1] in rule["resources"]:
                rule["verbs"] = [verb for verb in rule["verbs"] if verb != without[0]] or ["watch"]
            # The example names a workload and what follows from its name.
            if rule["resources"] in (["deployments"], ["statefulsets"]):
                rule["resources"] = [f"{self.kind.lower()}s"]
            named = {
                "reaper-gc-deployment-registry": f"reaper-gc-{self.kind.lower()}-registry",
                "data": "data-registry-0" if self.kind == "StatefulSet" else "data",
            }
            if "resourceNames" in rule:
                rule["resourceNames"] = [named.get(each, each) for each in rule["resourceNames"]]
        role["metadata"]["namespace"] = self.namespace
        reference = {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "Role",
            "name": role["metadata"]["name"],
        }
        binding = {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": self._named("collector"),
            "roleRef": reference,
            "subjects": [self.account],
        }
        self.server.apply(role, binding)

    def kubeconfig(self) -> Path:
        """A kubeconfig with the account's own token."""
        token = self.server.service_account_token(self.namespace, "collector")
        return self.server.kubeconfig(f"{self.namespace}-collector", token=token)

    def collector(self, kind: type[Made], **options: Any) -> Made:
        """Return a collector as the account."""
        chosen = {"pace": PACE, "timeout": 60.0, "blob_size": stored_sizes(self.storage), **options}
        reference = Reference(self.kind.lower(), self.namespace, "registry")
        return kind(partial(connect, self.kubeconfig()), reference, **chosen)

    async def probe(self) -> Mode:
        try:
            answer = await asyncio.to_thread(self.pusher.request, "DELETE", _NOBODY, {404, 405})
        except (OSError, HTTPException) as error:
            raise ReaperError(f"no answer: {error}") from error
        if answer.status == 404:
            return Mode.WRITABLE
        return Mode.READ_ONLY if "allow" in answer.headers else Mode.DELETES_DISABLED

    def mode(self) -> Mode | None:
        """What the registry accepts now; None when it does not answer."""
        try:
            return asyncio.run(self.probe())
        except ReaperError:
            return None

    async def procedure(
        self, collector: Collector, *, on_phase: Callable[[Phase], None] = lambda _phase: None
    ) -> CollectionResult:
        async def record(phase: Phase) -> None:
            self.phases.append(phase)
            on_phase(phase)

        return await run_procedure(
            collector,
            probe_mode=self.probe,
            record_phase=record,
            has_repositories=self.has_repositories,
            on_progress=ignore_progress,
            waits=WAITS,
        )

    async def recover(self, collector: Collector, phase: Phase) -> list[str]:
        async def record(found: Phase) -> None:
            self.phases.append(found)

        return await recover(phase, collector, probe_mode=self.probe, record_phase=record, waits=WAITS)

    async def has_repositories(self) -> bool:
        return bool(await asyncio.to_thread(self.pusher.repositories))

    def push_kept_and_deleted(self) -> None:
        """Push an image that stays and one that is deleted; 30,000 bytes of layers become garbage."""
        self.pusher.push("team/app", build_image(seed="kept"), "kept")
        old = self.pusher.push("team/app", build_image(layers=[10_000, 20_000]), "old")
        self.pusher.delete("team/app", old)

    def disk_usage(self) -> int:
        """The bytes in the storage's files."""
        return sum(path.stat().st_size for path in self.storage.rglob("*") if path.is_file())

    def workload(self) -> Json:
        """The workload, as it is now."""
        found: Json = self.server.request("GET", self._path("apps/v1", self.kind, "registry"))
        return found

    def change(self, body: Json) -> None:
        """Change the workload as somebody else would."""
        path = self._path("apps/v1", self.kind, "registry")
        self.server.request("PATCH", path, body, content_type="application/strategic-merge-patch+json")

    def job(self) -> Json | None:
        """The job, if there is one."""
        jobs = self.server.request("GET", f"/apis/batch/v1/namespaces/{self.namespace}/jobs")["items"]
        return jobs[0] if jobs else None

    def pods(self) -> list[Json]:
        """All pods of the namespace."""
        found: list[Json] = self.server.request("GET", f"/api/v1/namespaces/{self.namespace}/pods")["items"]
        return found

    def is_as_before(self) -> bool:
        """Whether nothing of a collection is left in the workload, and the registry is writable."""
        body = self.workload()
        variables = body["spec"]["template"]["spec"]["containers"][0].get("env", ())
        names = {each["name"] for each in variables}
        annotations = body["metadata"].get("annotations", {})
        left = ORIGINAL in annotations or READ_ONLY_VARIABLE in names
        return not left and self.mode() is Mode.WRITABLE

    def wait(self, condition: Callable[[], bool], limit: float = 30.0) -> None:
        """Wait until the condition holds."""
        deadline = time.monotonic() + limit
        while not condition():
            assert time.monotonic() < deadline, f"waited in vain; {self.workloads.errors[-3:]}"
            time.sleep(0.02)

    def _named(self, name: str) -> Json:
        return {"name": name, "namespace": self.namespace}

    def _path(self, version: str, kind: str, name: str) -> str:
        return self.server.path({"apiVersion": version, "kind": kind, "metadata": self._named(name)})
