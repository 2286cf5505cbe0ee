"""One run of a collector's job: its log while it runs, its end, and its removal."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

from reaper.collect.base import Collected, CollectError, Progress
from reaper.collect.kubernetes_job_spec import DRY_RUN, JOB_LABEL, MANAGED_BY, RUN
from reaper.collect.kubernetes_workload import Pace, has_ended, wait_until
from reaper.collect.output import OutputParser, collected
from reaper.collect.sizes import BlobSize
from reaper.kubernetes import (
    ClusterClient,
    ClusterError,
    ClusterUnreachableError,
    ConflictError,
    JsonObject,
    ObjectNotFoundError,
    Propagation,
)
from reaper.kubernetes.resources import JOBS, PODS

#: How long the rest of the log may take once the job has ended, in seconds.
_DRAIN: Final = 10.0


@dataclass(frozen=True, slots=True)
class _State:
    """What has become of a job. ``code``: the collector's exit code, where its pod tells it.

    ``waiting`` says why it has not ``started``; ``pod`` is None while there is none.
    """

    waiting: str
    ended: bool = False
    succeeded: bool = False
    reason: str = ""
    code: int | None = None
    pod: str | None = None
    started: bool = False


class JobRun:
    """A job that was made from ``body`` and bears ``run``, until its end."""

    def __init__(
        self, client: ClusterClient, body: JsonObject, run: str, *, pace: Pace, blob_size: BlobSize
    ) -> None:
        self._client = client
        self._run = run
        self._namespace: str = body["metadata"]["namespace"]
        self._name: str = body["metadata"]["name"]
        self._container: str = body["spec"]["template"]["spec"]["containers"][0]["name"]
        self._timeout: float = body["spec"]["activeDeadlineSeconds"]
        self._pace = pace
        self._blob_size = blob_size

    async def follow(self, on_progress: Progress) -> Collected:
        """Hand on what the collector says while it runs, and return what it did.

        Raises:
            ClusterError: the cluster refuses to tell.
            CollectError: it failed, did not start, or was not done in time.
        """
        loop = asyncio.get_running_loop()
        start_by = loop.time() + self._pace.rollout
        give_up = loop.time() + self._timeout + self._pace.end
        state = _State("it was not looked at")
        reading: asyncio.Task[OutputParser] | None = None
        try:
            while not state.ended:
                state = await self._look(state)
                if state.started and state.pod and reading is None:
                    reading = asyncio.create_task(self._read_live(state.pod, on_progress))
                if state.ended:
                    break
                if not state.started and loop.time() > start_by:
                    limit = self._pace.rollout
                    raise CollectError(
                        f"the job's pod did not start within {limit:g} seconds: {state.waiting}"
                    )
                if loop.time() > give_up:
                    raise CollectError(f"the job did not end within {self._timeout:g} seconds")
                await asyncio.sleep(self._pace.poll)
            parser = await self._all_said(reading, state.pod)
        finally:
            if reading is not None:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)
        on_progress(parser.tally)
        return self._judge(state, parser)

    async def _look(self, before: _State) -> _State:
        """Return what has become of the job. It has ended once its pod has, too."""
        try:
            job = await get_job(self._client, self._namespace, self._name)
            pods = await _pods(self._client, self._namespace, self._name)
        except ClusterUnreachableError as error:
            return _State(error.message, pod=before.pod, started=before.started)
        if job is None or (job["metadata"].get("annotations") or {}).get(RUN) != self._run:
            raise CollectError(f"the job {self._namespace}/{self._name} was deleted by somebody else")
        finished = _condition(job)
        kind, reason = finished or ("", "")
        ended = finished is not None and all(has_ended(pod) for pod in pods)
        if not pods:
            return _State("it has no pod", ended=ended, succeeded=kind == "Complete", reason=reason)
        pod = pods[-1]
        status = _status_of(pod, self._container)
        state: JsonObject = status.get("state") or {}
        return _State(
            _why_waiting(pod, state),
            ended=ended,
            succeeded=kind == "Complete",
            reason=reason,
            code=(state.get("terminated") or {}).get("exitCode"),
            pod=pod["metadata"]["name"],
            started="running" in state or "terminated" in state,
        )

    async def _read_live(self, pod: str, on_progress: Progress) -> OutputParser:
        """Read the log as it grows, from its beginning again when the connection ended early."""
        most = 0
        while True:
            parser = OutputParser(self._blob_size)
            try:
                async with aclosing(self._lines(pod, follow=True)) as lines:
                    async for line in lines:
                        parser.feed(line.encode() + b"\n")
                        if parser.tally.blobs >= most:  # What is read again is known already.
                            most = parser.tally.blobs
                            on_progress(parser.tally)
            except ClusterUnreachableError:
                await asyncio.sleep(self._pace.poll)
                continue
            return parser

    async def _all_said(self, reading: asyncio.Task[OutputParser] | None, pod: str | None) -> OutputParser:
        """Return the parser that has read most: a stream may break off, and an old log may be rotated."""
        found = [OutputParser(self._blob_size)]
        if reading is not None:
            await asyncio.wait({reading}, timeout=_DRAIN)
            if reading.done() and not isinstance(reading.exception(), ClusterError):
                found.append(reading.result())
        if pod is not None:
            again = OutputParser(self._blob_size)
            try:
                async with aclosing(self._lines(pod, follow=False)) as lines:
                    async for line in lines:
                        again.feed(line.encode() + b"\n")
            except (ClusterUnreachableError, ObjectNotFoundError):
                pass  # Then what was read while it ran has to do.
            found.append(again)
        return max(found, key=lambda each: (each.tally.blobs, each.tally.marked, each.message))

    def _lines(self, pod: str, *, follow: bool) -> AsyncGenerator[str]:
        within = self._timeout + self._pace.end
        return self._client.pod_logs(
            self._namespace, pod, container=self._container, follow=follow, within=within
        )

    def _judge(self, state: _State, parser: OutputParser) -> Collected:
        if state.succeeded:
            return Collected(parser.tally)
        if state.reason == "DeadlineExceeded":
            raise CollectError(f"the collector took longer than {self._timeout:g} seconds and was ended")
        if state.code:
            return collected(parser, state.code)
        raise CollectError(f"the job failed: {state.reason or 'no reason given'}")


async def get_job(client: ClusterClient, namespace: str, name: str) -> JsonObject | None:
    """Return the job, None where there is none. Raises ClusterError."""
    try:
        return await client.get(JOBS, name, namespace=namespace)
    except ObjectNotFoundError:
        return None


async def end_job(
    client: ClusterClient, namespace: str, name: str, pace: Pace, *, run: str | None = None
) -> None:
    """Delete the job, and return once no pod of it is left. ``run``: only if the job bears it.

    Raises:
        ClusterError: the cluster refuses.
        CollectError: it is not gone in time, so that its collector may still run.
    """

    async def unmet() -> str | None:
        job = await get_job(client, namespace, name)
        if job is not None and is_reapers(job) and run in (None, job["metadata"]["annotations"].get(RUN)):
            if "deletionTimestamp" not in job["metadata"]:
                uid: str = job["metadata"]["uid"]
                try:
                    await client.delete(
                        JOBS, name, namespace=namespace, propagation=Propagation.FOREGROUND, uid=uid
                    )
                except ConflictError:
                    return "another job has taken its name"
            return "it is still there"
        if job is not None:
            return None  # It is another's, with pods of its own.
        pods = await _pods(client, namespace, name)
        left = ", ".join(pod["metadata"]["name"] for pod in pods if not has_ended(pod))
        return f"there are pods left: {left}" if left else None

    await wait_until(
        unmet,
        limit=pace.end,
        poll=pace.poll,
        doing=f"the end of the job {namespace}/{name}",
        hint="until its pod is gone for certain, the registry must not be writable: look at the pod's node",
    )


def is_reapers(job: Mapping[str, Any]) -> bool:
    """Whether reaper has made the job."""
    return (job["metadata"].get("labels") or {}).get(MANAGED_BY) == "reaper"


def is_of_dry_run(job: Mapping[str, Any]) -> bool:
    """Whether reaper's job removes nothing."""
    return (job["metadata"].get("annotations") or {}).get(DRY_RUN) == "true"


def is_finished(job: Mapping[str, Any]) -> bool:
    """Whether the job has succeeded or failed."""
    return _condition(job) is not None


def _condition(job: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return Complete or Failed, and why; None while the job is neither."""
    for each in (job.get("status") or {}).get("conditions") or ():
        if each["type"] in ("Complete", "Failed") and each["status"] == "True":
            return each["type"], each.get("reason") or each.get("message") or ""
    return None


async def _pods(client: ClusterClient, namespace: str, name: str) -> list[JsonObject]:
    return await client.list_all(PODS, lambda pod: pod, namespace=namespace, labels=f"{JOB_LABEL}={name}")


def _status_of(pod: Mapping[str, Any], container: str) -> JsonObject:
    statuses: list[JsonObject] = (pod.get("status") or {}).get("containerStatuses") or []
    return next((each for each in statuses if each["name"] == container), {})


def _why_waiting(pod: Mapping[str, Any], state: Mapping[str, Any]) -> str:
    """Return why the pod's container does not run yet."""
    waiting = state.get("waiting") or {}
    for each in (pod.get("status") or {}).get("conditions") or ():
        if each["type"] == "PodScheduled" and each["status"] != "True":
            return str(each.get("message") or each.get("reason") or "it is not scheduled")
    told = [waiting.get("reason"), waiting.get("message")]
    return ": ".join(filter(None, told)) or "its container was not started"
