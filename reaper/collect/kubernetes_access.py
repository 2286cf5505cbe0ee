"""Whether the account may do all that a collection needs: asked before anything is touched."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from reaper.collect.base import CollectError
from reaper.collect.kubernetes_workload import Reference
from reaper.kubernetes import ClusterClient, Resource
from reaper.kubernetes.resources import JOBS, PERSISTENT_VOLUME_CLAIMS, PODS


@dataclass(frozen=True, slots=True)
class Right:
    """One thing that a role has to allow. Without a ``name``: for all of the namespace."""

    verb: str
    resource: Resource
    name: str | None = None
    subresource: str | None = None

    def __str__(self) -> str:
        kind = f"{self.resource.plural}/{self.subresource}" if self.subresource else str(self.resource)
        return f"{self.verb} {kind}" + (f" {self.name}" if self.name else "")


def rights_of_workload(reference: Reference) -> list[Right]:
    """Return what making it read-only, and back, needs."""
    return [
        Right("get", reference.resource, reference.name),
        Right("patch", reference.resource, reference.name),
        Right("list", PODS),
    ]


def rights_of_job(name: str) -> list[Right]:
    """Return what running the job of this name needs."""
    return [
        Right("create", JOBS),
        Right("get", JOBS, name),
        Right("delete", JOBS, name),
        Right("get", PODS, subresource="log"),
    ]


def rights_of_claims(claims: Iterable[str]) -> list[Right]:
    """Return what learning the access modes of these claims needs."""
    return [Right("get", PERSISTENT_VOLUME_CLAIMS, claim) for claim in claims]


def rights_of_exec() -> list[Right]:
    """Return what running a command in a pod needs: which of the two, depends on the cluster's version."""
    return [Right("get", PODS, subresource="exec"), Right("create", PODS, subresource="exec")]


async def refuse_without(client: ClusterClient, namespace: str, rights: Iterable[Right]) -> None:
    """Refuse when a right is missing; the message names all of them.

    Raises:
        ClusterError: the cluster cannot be asked.
        CollectError: one is missing.
    """
    missing = [
        right
        for right in rights
        if not await client.may(
            right.verb, right.resource, namespace=namespace, name=right.name, subresource=right.subresource
        )
    ]
    if missing:
        raise CollectError(
            f"reaper's account may not, in namespace {namespace}: {'; '.join(map(str, missing))}",
            hint="allow it in a Role; docs/collection.md has the whole one",
        )
