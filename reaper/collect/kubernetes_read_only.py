"""Makes the registry in a workload read-only for a collection, and puts it back.

What was there before is kept in annotations of the workload, written by the very request that changes it. So
whoever comes next, from another pod or with another store, finds what has to be put back.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

import structlog

from reaper.collect.base import CollectError
from reaper.collect.kubernetes_workload import (
    READ_ONLY_VARIABLE,
    RESTARTED,
    Pace,
    Reference,
    Workload,
    await_rollout,
    read_only_entry,
    wait_until,
)
from reaper.kubernetes import ClusterClient, ClusterUnreachableError, ConflictError, JsonObject, PatchType

_log = structlog.get_logger(__name__)

#: ``environment``: the registry's own read-only mode, by a rollout. ``scale``: no pod at all.
How = Literal["environment", "scale"]

STARTED: Final = "reaper.io/gc-started"
DEADLINE: Final = "reaper.io/gc-deadline"
ORIGINAL: Final = "reaper.io/gc-original"

_VALUE: Final = '{"enabled":true}'
_ATTEMPTS: Final = 10


@dataclass(frozen=True, slots=True)
class Original:
    """What a collection changed. ``entry`` is the container's entry for the variable, if it had one.

    ``run`` tells one collection from another.
    """

    how: How
    run: str = ""
    container: str = ""
    entry: JsonObject | None = None
    replicas: int = 0

    def written(self) -> str:
        """Return it as the annotation has it."""
        changed: JsonObject = {"replicas": self.replicas}
        if self.how == "environment":
            changed = {"container": self.container, "env": self.entry}
        return json.dumps({"how": self.how, "run": self.run, **changed})

    @classmethod
    def of(cls, workload: Workload) -> Original | None:
        """Return what a collection changed of the workload and has not put back, None if there is nothing.

        Raises:
            CollectError: the annotation says nothing that reaper wrote.
        """
        text = workload.annotations.get(ORIGINAL)
        if text is None:
            return None
        try:
            found = json.loads(text)
            if found["how"] == "scale":
                return cls("scale", found["run"], replicas=int(found["replicas"]))
            return cls("environment", found["run"], str(found["container"]), found["env"])
        except (ValueError, KeyError, TypeError) as error:
            raise CollectError(
                f"the annotation {ORIGINAL} of {workload.reference} is unreadable",
                hint="put the workload back by hand, and remove the annotation",
            ) from error


class ReadOnly:
    """The switch. ``lasting``: after how many seconds a collection has ended for certain, however it went."""

    def __init__(
        self,
        reference: Reference,
        how: How,
        *,
        pace: Pace,
        lasting: float,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._reference = reference
        self._how = how
        self._pace = pace
        self._lasting = lasting
        self._clock = clock
        # The collection that this one began. None: it is to put back what any other left.
        self._run: str | None = None
        # Another collection was found under way: nothing of it may be undone.
        self._anothers = False

    async def settle(self, client: ClusterClient) -> None:
        """Put back what another collection left, unless it may still be under way.

        Raises:
            CollectError: it may; or the registry cannot be put back.
        """
        self._run, self._anothers = None, False
        workload = await Workload.read(client, self._reference)
        original = Original.of(workload)
        if original is None:
            return
        if not self._is_over(workload):
            raise CollectError(
                self._under_way(workload),
                hint="wait for it; what it left behind is put back after its deadline, or by the reaper that "
                f"began it. By hand: put back what the annotation {ORIGINAL} says and remove reaper.io/gc-*",
            )
        _log.warning("collection_left_behind", workload=str(self._reference), original=original.written())
        await self.off(client)

    async def on(self, client: ClusterClient) -> None:
        """Make it read-only, and return when no pod that accepts writes is left.

        Raises:
            ClusterError: the cluster refused, or could not be asked.
            CollectError: another collection is under way, or the rollout is not complete in time.
        """
        await self._change(client, self._made_read_only)
        await self._arrive(client, stopped=self._how == "scale")

    async def off(self, client: ClusterClient) -> None:
        """Put back what was changed, if anything was, and return when the rollout is complete.

        Raises as `on` does.
        """
        await self._change(client, self._put_back, patience=self._pace.end)
        if not self._anothers:
            await self._arrive(client, stopped=False)

    async def restart(self, client: ClusterClient) -> None:
        """See that no pod from before this moment will ever be writable. Raises as `on` does.

        Putting back replaces all pods, which is the restart. Only where somebody else has already put back
        (or changed) what was ours, they are replaced here.
        """
        await self._change(client, self._restarted, patience=self._pace.end)
        if self._anothers:
            return
        workload = await Workload.read(client, self._reference)
        await self._arrive(client, stopped=workload.replicas == 0 and self._reference.kind != "daemonset")

    async def _change(
        self,
        client: ClusterClient,
        change: Callable[[Workload], JsonObject | None],
        *,
        patience: float = 0.0,
    ) -> None:
        """Send the change that follows from what the workload is now; None: there is nothing to change.

        A silent API server is asked again for ``patience`` seconds. What nobody knows to have been done is
        seen in the workload then.
        """
        until = time.monotonic() + patience
        while True:
            try:
                await self._try_to_change(client, change)
            except ClusterUnreachableError:
                if time.monotonic() >= until:
                    raise
                await asyncio.sleep(self._pace.poll)
            else:
                return

    async def _try_to_change(
        self, client: ClusterClient, change: Callable[[Workload], JsonObject | None]
    ) -> None:
        for _ in range(_ATTEMPTS):
            workload = await Workload.read(client, self._reference)
            patch = change(workload)
            if patch is None:
                return
            patch.setdefault("metadata", {})["resourceVersion"] = workload.version
            try:
                await client.patch(
                    self._reference.resource,
                    self._reference.name,
                    patch,
                    namespace=self._reference.namespace,
                    patch=PatchType.STRATEGIC,
                )
            except ConflictError:
                continue  # Its status changes often; what was read is compared anew.
            return
        raise CollectError(f"{self._reference} changed {_ATTEMPTS} times while it was to be changed")

    def _made_read_only(self, workload: Workload) -> JsonObject:
        if Original.of(workload) is not None:
            self._anothers = True
            raise CollectError(self._under_way(workload))
        container = workload.container
        self._run = secrets.token_hex(8)
        if self._how == "scale":
            original = Original("scale", self._run, replicas=workload.replicas)
            changed: JsonObject = {"replicas": 0}
        else:
            original = Original("environment", self._run, container["name"], read_only_entry(container))
            changed = _with_entry(container["name"], {"value": _VALUE, "valueFrom": None})
        now = self._clock()
        annotations = {
            STARTED: now.isoformat(timespec="seconds"),
            DEADLINE: (now + timedelta(seconds=self._lasting)).isoformat(timespec="seconds"),
            ORIGINAL: original.written(),
        }
        return {"metadata": {"annotations": annotations}, "spec": changed}

    def _put_back(self, workload: Workload) -> JsonObject | None:
        original = self._own(workload)
        if original is None:
            return None
        changed: JsonObject = {}
        if original.how == "scale":
            # Whoever scaled it up meanwhile wants what it has now; but its pods have seen the collection.
            changed = {"replicas": original.replicas} if workload.replicas == 0 else self._restart()
        elif _is_ours(workload, original.container):
            if original.entry is None:
                changed = _with_entry(original.container, {"$patch": "delete"})
            else:
                entry = {"value": None, "valueFrom": None, **original.entry}
                changed = _with_entry(original.container, entry)
        annotations = dict.fromkeys((STARTED, DEADLINE, ORIGINAL))
        return {"metadata": {"annotations": annotations}, "spec": changed}

    def _restarted(self, workload: Workload) -> JsonObject | None:
        original = self._own(workload)
        if self._anothers:
            return None
        if original is not None and (
            workload.replicas == 0 or original.how == "scale" or _is_ours(workload, original.container)
        ):
            return None  # Putting it back is the restart.
        return {"spec": self._restart()}

    def _own(self, workload: Workload) -> Original | None:
        """Return what there is to put back; a successor's collection is none of ours."""
        original = Original.of(workload)
        if original is not None and self._run not in (None, original.run):
            self._anothers = True
        return None if self._anothers else original

    def _restart(self) -> JsonObject:
        return {"template": {"metadata": {"annotations": {RESTARTED: self._clock().isoformat()}}}}

    async def _arrive(self, client: ClusterClient, *, stopped: bool) -> None:
        if not stopped:
            await await_rollout(client, self._reference, self._pace)
            return

        async def unmet() -> str | None:
            pods = await (await Workload.read(client, self._reference)).pods(client)
            names = ", ".join(pod["metadata"]["name"] for pod in pods)
            return f"there are pods left: {names}" if pods else None

        await wait_until(
            unmet, limit=self._pace.rollout, poll=self._pace.poll, doing=f"the end of {self._reference}"
        )

    def _is_over(self, workload: Workload) -> bool:
        try:
            return datetime.fromisoformat(workload.annotations[DEADLINE]) <= self._clock()
        except (KeyError, ValueError, TypeError):
            return False

    def _under_way(self, workload: Workload) -> str:
        started, deadline = (workload.annotations.get(each, "?") for each in (STARTED, DEADLINE))
        return f"another collection of {self._reference} began at {started} and may last until {deadline}"


def _is_ours(workload: Workload, container: str) -> bool:
    """Whether the variable in the template is still the one that a collection put there."""
    containers: list[Mapping[str, Any]] = workload.template["spec"]["containers"]
    found = next((each for each in containers if each["name"] == container), {})
    return read_only_entry(found) == {"name": READ_ONLY_VARIABLE, "value": _VALUE}


def _with_entry(container: str, entry: JsonObject) -> JsonObject:
    """Return the part of a spec that changes the variable in a container."""
    changed = {"name": READ_ONLY_VARIABLE, **entry}
    return {"template": {"spec": {"containers": [{"name": container, "env": [changed]}]}}}
