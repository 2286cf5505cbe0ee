"""The images that a Kubernetes cluster uses, or goes back to at a rollback."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from reaper.concurrency import collect
from reaper.core.errors import InvalidInputError
from reaper.core.fieldpath import FieldPath
from reaper.kubernetes.client import ClusterClient
from reaper.kubernetes.errors import UnknownResourceError
from reaper.kubernetes.resources import (
    CONTROLLER_REVISIONS,
    CRON_JOBS,
    DAEMON_SETS,
    DEPLOYMENTS,
    JOBS,
    POD_TEMPLATES,
    PODS,
    REPLICA_SETS,
    REPLICATION_CONTROLLERS,
    STATEFUL_SETS,
    Resource,
)
from reaper.protect import pods
from reaper.protect.images import Gathering
from reaper.protect.source import SourceError, SourceKind

#: How long a cluster may take as a whole, in seconds.
READ_LIMIT: Final = 300.0
_AT_ONCE: Final = 4


@dataclass(frozen=True, slots=True)
class Kind:
    """Objects that name images: what one is called in reasons, and where in it images stand.

    ``more`` finds images that no path leads to. A cluster that lacks an ``optional`` kind counts as read all
    the same.
    """

    title: str
    resource: Resource
    paths: tuple[FieldPath, ...] = ()
    more: Callable[[dict[str, Any]], Iterator[str]] | None = None
    optional: bool = False


#: Kubernetes' own. What runs comes first: of several users, reasons name the first. ReplicaSets without pods
#: and ControllerRevisions are what a rollback goes back to.
KINDS: Final = (
    Kind("Pod", PODS, pods.POD, pods.images_in_status),
    Kind("Deployment", DEPLOYMENTS, pods.WORKLOAD),
    Kind("StatefulSet", STATEFUL_SETS, pods.WORKLOAD),
    Kind("DaemonSet", DAEMON_SETS, pods.WORKLOAD),
    Kind("CronJob", CRON_JOBS, pods.CRON_JOB),
    Kind("Job", JOBS, pods.WORKLOAD),
    Kind("ReplicaSet", REPLICA_SETS, pods.WORKLOAD),
    Kind("ControllerRevision", CONTROLLER_REVISIONS, more=pods.images_in_revision),
    Kind("ReplicationController", REPLICATION_CONTROLLERS, pods.WORKLOAD),
    Kind("PodTemplate", POD_TEMPLATES, pods.POD_TEMPLATE),
)


@dataclass(frozen=True, slots=True)
class _Found:
    """One object: who it is, and the images that it names."""

    user: str
    references: tuple[str, ...]


class ClusterSource:
    """Reads one cluster anew each time.

    Arguments:
        name: what the settings call the cluster.
        connect: makes a client; what is wrong with its configuration is an error of each reading.
        namespaces: the only ones to look into; all if None.
        kinds: the kinds to read besides Kubernetes' own.
        limit: how long a reading may take, in seconds.
    """

    kind = SourceKind.CLUSTER

    def __init__(
        self,
        name: str,
        connect: Callable[[], ClusterClient],
        *,
        namespaces: Sequence[str] | None = None,
        kinds: Sequence[Kind] = (),
        limit: float = READ_LIMIT,
    ) -> None:
        self.name = name
        self._connect = connect
        self._namespaces: Sequence[str | None] = (
            [None] if namespaces is None else list(dict.fromkeys(namespaces))
        )
        self._kinds = (*KINDS, *kinds)
        self._limit = limit

    async def gather(self) -> Gathering:
        """Return the images of all kinds.

        Raises:
            SourceError: the client's configuration is not usable, it took too long, or an object is not as
                the API promises or the settings say.
            ClusterError: a list could not be read, or a role does not allow it.
        """
        jobs = [(kind, namespace) for kind in self._kinds for namespace in self._namespaces]
        try:
            connection = self._connect()
        except InvalidInputError as error:
            raise SourceError(f"cluster {self.name}: {error.message}", hint=error.hint) from error
        try:
            async with asyncio.timeout(self._limit), connection as client:

                async def read(job: tuple[Kind, str | None]) -> list[_Found]:
                    return await self._read(client, *job)

                found = await collect(jobs, read, limit=_AT_ONCE)
        except TimeoutError as error:
            raise SourceError(f"cluster {self.name}: not read within {self._limit:g} seconds") from error
        gathering = Gathering()
        for part in found:
            for one in part:
                gathering.add(one.user, one.references)
        return gathering

    async def _read(self, client: ClusterClient, kind: Kind, namespace: str | None) -> list[_Found]:
        try:
            return await client.list_all(
                kind.resource, lambda item: self._project(kind, item), namespace=namespace
            )
        except UnknownResourceError:
            if kind.optional:
                return []
            raise

    def _project(self, kind: Kind, item: dict[str, Any]) -> _Found:
        user = self._user(kind, item)
        try:
            return _Found(user, tuple(dict.fromkeys(_images(kind, item))))
        except InvalidInputError as error:
            raise SourceError(f"{user}: {error.message}", hint=error.hint) from error

    def _user(self, kind: Kind, item: dict[str, Any]) -> str:
        metadata = item.get("metadata")
        if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str):
            raise SourceError(f"cluster {self.name}: a {kind.title} without a name")
        namespace = metadata.get("namespace")
        place = f"{namespace}/{metadata['name']}" if namespace else metadata["name"]
        return f"{kind.title} {place} in cluster {self.name}"


def _images(kind: Kind, item: dict[str, Any]) -> Iterator[str]:
    yield from pods.images_at(kind.paths, item)
    if kind.more is not None:
        yield from kind.more(item)
