"""What reaper asks of a cluster. Objects are plain JSON.

Typed models would drop the fields that they do not know: a workload of a newer Kubernetes, read, changed and
written back, would lose them.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from enum import StrEnum
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from reaper.kubernetes.resources import Resource

#: An object as the API has it.
JsonObject = dict[str, Any]
Projected = TypeVar("Projected")


class PatchType(StrEnum):
    """How a patch is merged into the object."""

    #: RFC 7386: mappings are merged, lists replaced, null removes.
    MERGE = "application/merge-patch+json"
    #: As ``kubectl patch`` does it: lists are merged by their keys, such as the containers' names.
    STRATEGIC = "application/strategic-merge-patch+json"


class Propagation(StrEnum):
    """What becomes of the objects that a deleted one owns."""

    BACKGROUND = "Background"
    FOREGROUND = "Foreground"
    ORPHAN = "Orphan"


class ClusterClient(Protocol):
    """One cluster. Safe for concurrent use within one event loop.

    ``within`` is in seconds and bounds the whole call, with the tries it makes again where that does no harm
    (``list_all``: each page; ``exec`` and ``pod_logs``: until the end of the output); None stands for the
    client's own. Every call raises ClusterError: ClusterUnreachableError, ClusterLoginError,
    ClusterDeniedError, InvalidAnswerError, and what its description names.
    """

    @property
    def name(self) -> str:
        """What messages call the cluster."""
        ...

    @property
    def namespace(self) -> str:
        """The namespace of the kubeconfig's context, or of the pod that this runs in."""
        ...

    async def list_all(
        self,
        resource: Resource,
        project: Callable[[JsonObject], Projected],
        *,
        namespace: str | None = None,
        labels: str | None = None,
        fields: str | None = None,
        within: float | None = None,
    ) -> list[Projected]:
        """Return what ``project`` makes of each object: all of one moment, read page by page.

        Only what ``project`` returns is kept in memory. A list that expires between two pages (410) is begun
        anew. Without ``namespace``: those of all namespaces. ``labels`` and ``fields`` are selectors. The
        items of a list bear no apiVersion and no kind.

        Raises:
            UnknownResourceError: the cluster has no such resource.
        """
        ...

    async def get(
        self, resource: Resource, name: str, *, namespace: str | None = None, within: float | None = None
    ) -> JsonObject:
        """Return an object, as it is now.

        Raises:
            ObjectNotFoundError: it is not there.
        """
        ...

    async def create(
        self,
        resource: Resource,
        body: Mapping[str, Any],
        *,
        namespace: str | None = None,
        within: float | None = None,
    ) -> JsonObject:
        """Create an object, which bears its apiVersion and kind; returns it as stored.

        Raises:
            AlreadyExistsError: there is one of this name.
        """
        ...

    async def replace(
        self,
        resource: Resource,
        body: Mapping[str, Any],
        *,
        subresource: str | None = None,
        within: float | None = None,
    ) -> JsonObject:
        """Write back an object that was read, with its ``metadata.resourceVersion``; returns it as stored.

        Raises:
            ConflictError: it was changed since.
            ObjectNotFoundError: it is gone.
        """
        ...

    async def patch(
        self,
        resource: Resource,
        name: str,
        body: Mapping[str, Any],
        *,
        namespace: str | None = None,
        patch: PatchType = PatchType.MERGE,
        subresource: str | None = None,
        within: float | None = None,
    ) -> JsonObject:
        """Change a part of an object; returns it as stored. ``subresource``: such as ``scale`` or ``status``.

        With ``metadata.resourceVersion`` in the body it is changed only if it is still that version.

        Raises:
            ConflictError: it is another version.
            ObjectNotFoundError: it is not there.
        """
        ...

    async def delete(
        self,
        resource: Resource,
        name: str,
        *,
        namespace: str | None = None,
        propagation: Propagation = Propagation.BACKGROUND,
        uid: str | None = None,
        within: float | None = None,
    ) -> bool:
        """Ask for an object's end, which may take its time; False when it is not there.

        Raises:
            ConflictError: its uid is not ``uid``: another object has taken the name.
        """
        ...

    async def may(
        self,
        verb: str,
        resource: Resource,
        *,
        namespace: str | None = None,
        name: str | None = None,
        subresource: str | None = None,
        within: float | None = None,
    ) -> bool:
        """Return whether the roles allow this (a SelfSubjectAccessReview; it changes nothing)."""
        ...

    def pod_logs(
        self,
        namespace: str,
        pod: str,
        *,
        container: str | None = None,
        follow: bool = False,
        within: float | None = None,
    ) -> AsyncGenerator[str]:
        """Yield the lines of a container's log, with ``follow`` until it ends.

        Whoever may leave it early closes it (``contextlib.aclosing``), and with it the connection.

        Raises:
            ObjectNotFoundError: there is no such pod.
        """
        ...

    async def exec(
        self,
        namespace: str,
        pod: str,
        command: Sequence[str],
        *,
        container: str | None = None,
        on_stdout: Callable[[bytes], None] | None = None,
        on_stderr: Callable[[bytes], None] | None = None,
        within: float | None = None,
    ) -> int:
        """Run a command in a container and return its exit code. Output is handed on as it comes.

        Raises:
            ObjectNotFoundError: there is no such pod.
            ExecInterruptedError: the connection or the time ended first; the command may still run.
        """
        ...

    async def close(self) -> None:
        """Close the connections."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
