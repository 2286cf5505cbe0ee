"""Collections by a job in the cluster, with what the registry's own pod has."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence

from reaper.collect.base import Collected, CollectError, Progress
from reaper.collect.kubernetes_access import Right, refuse_without, rights_of_claims, rights_of_job
from reaper.collect.kubernetes_base import ClusterCollector
from reaper.collect.kubernetes_job_run import JobRun, end_job, get_job, is_finished, is_of_dry_run, is_reapers
from reaper.collect.kubernetes_job_spec import claims_of, job_for, job_name, needs_same_node
from reaper.collect.kubernetes_workload import Workload, connected, is_ready
from reaper.kubernetes import AlreadyExistsError, ClusterClient, JsonObject
from reaper.kubernetes.resources import JOBS, PERSISTENT_VOLUME_CLAIMS
from reaper.process import uninterrupted


class KubernetesJobCollector(ClusterCollector):
    """Runs the collector in a job that is a copy of the registry's pod. See ClusterCollector."""

    via = "kubernetes-job"

    #: The collection that this one began last; None: a predecessor's may be there.
    _run: str | None = None

    @property
    def _job(self) -> str:
        return job_name(self._reference)

    def rights(self) -> list[Right]:
        """Return what the account has to be allowed."""
        return [*super().rights(), *rights_of_job(self._job)]

    async def check_further(self, client: ClusterClient, workload: Workload) -> None:
        """Refuse volumes that a second pod cannot have. Raises ClusterError, CollectError."""
        self._run = None
        await refuse_without(client, self._reference.namespace, rights_of_claims(claims_of(workload)))
        needs_same_node(workload, await self._modes(client, workload))

    async def collect(self, *, dry_run: bool, on_progress: Progress) -> Collected:
        """Run the job to its end; one that fails, hangs, or is given up on is deleted with its pod.

        Raises:
            CollectError: it failed, was not done in time, or another one is under way.
        """
        namespace = self._reference.namespace
        async with connected(self._connect) as client:
            await self._clear(client)
            self._run = run = secrets.token_hex(8)
            body = await self._body(client, run, dry_run=dry_run)
            try:
                await client.create(JOBS, body, namespace=namespace)
                sizes = self._sizes.begin(dry_run=dry_run)
                watch = JobRun(client, body, run, pace=self._pace, blob_size=sizes)
                return await watch.follow(on_progress)
            except AlreadyExistsError as error:
                raise CollectError(f"another collection has just made the job {self._job}") from error
            except BaseException:
                # Also when nobody knows whether it was made.
                await uninterrupted(end_job(client, namespace, self._job, self._pace, run=run))
                raise

    async def end_collector(self, client: ClusterClient) -> None:
        """Delete the job, and return once its pod is gone. Raises as its base.

        A predecessor's as well; but not a successor's, which may have begun while this one puts back.
        """
        await end_job(client, self._reference.namespace, self._job, self._pace, run=self._run)

    async def _clear(self, client: ClusterClient) -> None:
        """Remove what an earlier run left; refuse to disturb one that is collecting."""
        job = await get_job(client, self._reference.namespace, self._job)
        if job is None:
            return
        if not is_reapers(job):
            raise CollectError(f"there is a job {self._reference.namespace}/{self._job} that is not reaper's")
        if not (is_of_dry_run(job) or is_finished(job) or "deletionTimestamp" in job["metadata"]):
            raise CollectError(
                f"the job {self._reference.namespace}/{self._job} of another run is still collecting",
                hint="wait until it has ended, or delete it",
            )
        await end_job(client, self._reference.namespace, self._job, self._pace)

    async def _body(self, client: ClusterClient, run: str, *, dry_run: bool) -> JsonObject:
        workload = await Workload.read(client, self._reference)
        command = self.command_for(workload, dry_run=dry_run)
        node = None
        if needs_same_node(workload, await self._modes(client, workload)):
            pods = await workload.pods(client)
            nodes = {pod["spec"].get("nodeName") for pod in pods if is_ready(pod)} - {None}
            if pods and not nodes:
                raise CollectError(f"{self._reference} has no ready pod, whose node the job would need")
            node = min(nodes, default=None)  # Where there is no pod at all, any node can have the volume.
        return job_for(workload, command, run=run, node=node, timeout=self._timeout, dry_run=dry_run)

    async def _modes(self, client: ClusterClient, workload: Workload) -> Mapping[str, Sequence[str]]:
        """Return the access modes of each claim."""
        found = {}
        for claim in claims_of(workload):
            body = await client.get(PERSISTENT_VOLUME_CLAIMS, claim, namespace=self._reference.namespace)
            given = (body.get("status") or {}).get("accessModes")
            found[claim] = given or body["spec"].get("accessModes") or ()
        return found
