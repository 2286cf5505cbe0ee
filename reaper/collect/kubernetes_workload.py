"""The workload that runs the registry: what reaper reads of it, and when a rollout of it is complete."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from reaper.collect.base import CollectError
from reaper.kubernetes import (
    ClusterClient,
    ClusterError,
    ClusterUnreachableError,
    JsonObject,
    Resource,
)
from reaper.kubernetes.resources import DAEMON_SETS, DEPLOYMENTS, PODS, STATEFUL_SETS

#: Opens a client of the registry's cluster.
Connect = Callable[[], ClusterClient]

KINDS: Final[Mapping[str, Resource]] = {
    "deployment": DEPLOYMENTS,
    "statefulset": STATEFUL_SETS,
    "daemonset": DAEMON_SETS,
}
#: Set in a pod's template, by which the pods of a restart differ from those before it.
RESTARTED: Final = "reaper.io/restarted-at"
#: Makes distribution read-only. Only this form, the whole mapping, works whatever the configuration says.
READ_ONLY_VARIABLE: Final = "REGISTRY_STORAGE_MAINTENANCE_READONLY"

#: Where distribution has its files, unless the variable, or the configuration, says otherwise.
_ROOT: Final = "/var/lib/registry"
_ROOT_VARIABLE: Final = "REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY"
_ENDED: Final = frozenset({"Succeeded", "Failed"})


@dataclass(frozen=True, slots=True)
class Pace:
    """How long to wait for the cluster, in seconds.

    ``poll``: between two looks. ``rollout``: for a rollout to be complete, and for a job's pod to start.
    ``end``: for something to be gone that was asked to end.
    """

    poll: float = 0.5
    rollout: float = 600.0
    end: float = 180.0


@dataclass(frozen=True, slots=True)
class Reference:
    """Which workload is meant. ``kind`` is one of KINDS; ``container``: None for the only one."""

    kind: str
    namespace: str
    name: str
    container: str | None = None

    @property
    def resource(self) -> Resource:
        """What the API calls its kind."""
        return KINDS[self.kind]

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


@asynccontextmanager
async def connected(connect: Connect) -> AsyncIterator[ClusterClient]:
    """Give the block a client; what goes wrong between reaper and the cluster is a CollectError."""
    try:
        async with connect() as client:
            yield client
    except ClusterError as error:
        raise CollectError(error.message, hint=error.hint) from error


async def wait_until(
    unmet: Callable[[], Awaitable[str | None]],
    *,
    limit: float,
    poll: float,
    doing: str,
    hint: str | None = None,
) -> None:
    """Wait until ``unmet`` returns None; it says what is still missing. A silent API server is waited for.

    Raises:
        CollectError: the time (in seconds) was not enough; it says what was missing last.
    """
    last = "the cluster was not asked"
    try:
        async with asyncio.timeout(limit) as bound:
            while True:
                try:
                    missing = await unmet()
                except ClusterUnreachableError as error:
                    missing = error.message
                if missing is None:
                    return
                last = missing
                await asyncio.sleep(poll)
    except TimeoutError:
        if not bound.expired():
            raise
    raise CollectError(f"waited {limit:g} seconds for {doing}, but {last}", hint=hint)


class Workload:
    """A workload, as it was read."""

    def __init__(self, reference: Reference, body: JsonObject) -> None:
        self.reference = reference
        self.body = body

    @classmethod
    async def read(cls, client: ClusterClient, reference: Reference) -> Workload:
        """Return it, as it is now. Raises ClusterError."""
        body = await client.get(reference.resource, reference.name, namespace=reference.namespace)
        return cls(reference, body)

    @property
    def version(self) -> str:
        """Its resourceVersion."""
        found: str = self.body["metadata"]["resourceVersion"]
        return found

    @property
    def annotations(self) -> Mapping[str, str]:
        """Its annotations."""
        found: Mapping[str, str] = self.body["metadata"].get("annotations") or {}
        return found

    @property
    def spec(self) -> JsonObject:
        """What it is to be."""
        found: JsonObject = self.body["spec"]
        return found

    @property
    def template(self) -> JsonObject:
        """The template of its pods."""
        found: JsonObject = self.spec["template"]
        return found

    @property
    def replicas(self) -> int:
        """How many pods it is to have."""
        found = self.spec.get("replicas")
        return 1 if found is None else int(found)

    @property
    def selector(self) -> str:
        """The selector of its pods, as a request has it."""
        chosen = self.spec["selector"]
        parts = [f"{key}={value}" for key, value in (chosen.get("matchLabels") or {}).items()]
        for each in chosen.get("matchExpressions") or ():
            parts += [_expression(each["key"], each["operator"], each.get("values") or ())]
        return ",".join(parts)

    @property
    def container(self) -> JsonObject:
        """The registry's container in the template.

        Raises:
            CollectError: it is not there, or not told from the others.
        """
        containers: list[JsonObject] = self.template["spec"]["containers"]
        wanted = self.reference.container
        if wanted is None and len(containers) == 1:
            return containers[0]
        names = [each["name"] for each in containers]
        if wanted is None:
            raise CollectError(
                f"{self.reference} has the containers {', '.join(names)}",
                hint="name the registry's in collect.kubernetes.container",
            )
        if wanted not in names:
            raise CollectError(f"{self.reference} has no container {wanted}, but {', '.join(names)}")
        return containers[names.index(wanted)]

    def refuse_what_cannot_roll(self, *, scale: bool) -> None:
        """Refuse a workload of which a change would not reach the pods, or would lose their storage.

        Raises:
            CollectError: it is one; the message says why.
        """
        strategy = self.spec.get("updateStrategy") or {}
        if self.spec.get("paused"):
            raise CollectError(f"{self.reference} is paused: a change would not reach its pods")
        if strategy.get("type") == "OnDelete" and not scale:
            raise CollectError(
                f"{self.reference} has the update strategy OnDelete: its pods would not change"
            )
        if (strategy.get("rollingUpdate") or {}).get("partition") and not scale:
            raise CollectError(f"{self.reference} has an update partition: not all of its pods would change")
        retention = self.spec.get("persistentVolumeClaimRetentionPolicy") or {}
        if scale and retention.get("whenScaled") == "Delete":
            raise CollectError(
                f"{self.reference} deletes its volumes when it is scaled down: the registry would be lost",
                hint="set persistentVolumeClaimRetentionPolicy.whenScaled: Retain",
            )
        if self.spec.get("volumeClaimTemplates") and self.replicas > 1:
            raise CollectError(
                f"{self.reference} has {self.replicas} replicas with a volume each: separate registries"
            )
        if lost := self._storage_of_one_pod():
            raise CollectError(f"{self.reference} has its storage in {lost}, which is lost with its pod")
        if self.reference.kind != "daemonset" and self.replicas == 0:
            raise CollectError(f"{self.reference} is scaled to 0: there is no registry that runs")

    def _storage_of_one_pod(self) -> str | None:
        """Return the volume of the registry's files, if each new pod would begin with an empty one."""
        entries = self.container.get("env") or ()
        root = next((each.get("value") for each in entries if each["name"] == _ROOT_VARIABLE), None) or _ROOT
        mounts = self.container.get("volumeMounts") or ()
        above = [each for each in mounts if f"{root}/".startswith(f"{each['mountPath'].rstrip('/')}/")]
        if not above:
            return None  # It may well be elsewhere: what the configuration file says is not known.
        nearest = max(above, key=lambda each: len(each["mountPath"]))["name"]
        volumes = self.template["spec"].get("volumes") or ()
        found: JsonObject = next((each for each in volumes if each["name"] == nearest), {})
        return f"the volume {nearest}" if {"emptyDir", "ephemeral"} & found.keys() else None

    async def pods(self, client: ClusterClient) -> list[JsonObject]:
        """Return its pods that may still write, also those that are terminating. Raises ClusterError."""
        found = await client.list_all(
            PODS, lambda pod: pod, namespace=self.reference.namespace, labels=self.selector
        )
        return [pod for pod in found if not has_ended(pod)]


def has_ended(pod: Mapping[str, Any]) -> bool:
    """Whether no container of the pod runs any more, or will again."""
    return (pod.get("status") or {}).get("phase") in _ENDED


def is_ready(pod: Mapping[str, Any]) -> bool:
    """Whether the pod is ready, and is to stay."""
    conditions = (pod.get("status") or {}).get("conditions") or ()
    ready = any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
    return ready and "deletionTimestamp" not in pod["metadata"]


def read_only_entry(container: Mapping[str, Any]) -> JsonObject | None:
    """Return the container's entry for the read-only variable, None where it has none."""
    entries: list[JsonObject] = container.get("env") or []
    return next((each for each in entries if each["name"] == READ_ONLY_VARIABLE), None)


async def await_rollout(client: ClusterClient, reference: Reference, pace: Pace) -> Workload:
    """Wait until each pod is as the template has it, and none of before is left, terminating ones included.

    What counts as complete for ``kubectl rollout status`` is not enough: it does not wait for pods that are
    terminating, which may still finish an upload.

    Raises:
        ClusterError: the workload cannot be read.
        CollectError: the time was not enough.
    """
    seen: list[Workload] = []

    async def unmet() -> str | None:
        workload = await Workload.read(client, reference)
        seen[:] = [workload]
        missing = _unmet_by_status(workload)
        if missing:
            return missing
        wanted = _mark(workload.template, workload.container)
        for pod in await workload.pods(client):
            name = pod["metadata"]["name"]
            if "deletionTimestamp" in pod["metadata"]:
                return f"pod {name} is still terminating"
            if _mark(pod, _container_of(pod, workload.container["name"])) != wanted:
                return f"pod {name} is still the one of before"
        return None

    await wait_until(
        unmet,
        limit=pace.rollout,
        poll=pace.poll,
        doing=f"the rollout of {reference}",
        hint="look at its pods with kubectl describe; with a volume that is ReadWriteOnce, a rollout across "
        "nodes needs the strategy Recreate",
    )
    return seen[0]


def _unmet_by_status(workload: Workload) -> str | None:
    """Return what is missing for each replica to be updated and ready, as its controller says."""
    status = workload.body.get("status") or {}
    if status.get("observedGeneration", 0) < workload.body["metadata"]["generation"]:
        return "its controller has not noticed the change yet"
    if workload.reference.kind == "daemonset":
        wanted = status.get("desiredNumberScheduled", 0)
        counted = ("currentNumberScheduled", "updatedNumberScheduled", "numberReady")
    else:
        wanted = workload.replicas
        counted = ("replicas", "updatedReplicas", "readyReplicas")
    for key in counted:
        if status.get(key, 0) != wanted:
            return f"{key} is {status.get(key, 0)} of {wanted}"
    return None


def _mark(described: Mapping[str, Any], container: Mapping[str, Any]) -> tuple[object, object]:
    """Return that by which pods from before and after one of our changes differ."""
    annotations = described["metadata"].get("annotations") or {}
    return annotations.get(RESTARTED), read_only_entry(container)


def _container_of(pod: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return next((each for each in pod["spec"]["containers"] if each["name"] == name), {})


def _expression(key: str, operator: str, values: tuple[str, ...] | list[str]) -> str:
    if operator in ("Exists", "DoesNotExist"):
        return key if operator == "Exists" else f"!{key}"
    return f"{key} {'in' if operator == 'In' else 'notin'} ({','.join(values)})"
