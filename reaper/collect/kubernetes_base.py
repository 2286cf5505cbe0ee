"""What collections in a cluster have in common, whether by a job or in the registry's own pod."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from reaper.collect.base import Capabilities, Collected, CollectError, Progress
from reaper.collect.container import collector_command, refuse_lasting_cache, refuse_unfit_command
from reaper.collect.distribution import dry_run_command
from reaper.collect.kubernetes_access import Right, refuse_without, rights_of_workload
from reaper.collect.kubernetes_read_only import How, ReadOnly
from reaper.collect.kubernetes_workload import Connect, Pace, Reference, Workload, connected
from reaper.collect.sizes import BlobSize, RememberedSizes, unknown_size
from reaper.kubernetes import ClusterClient

#: A collection, with all that is around it, is over so many seconds after its collector's own limit.
_AROUND: Final = 3600.0


class ClusterCollector(ABC):
    """A collector in the cluster that the registry runs in. See Collector.

    Arguments:
        connect: opens a client of that cluster; each step has its own.
        reference: the registry's workload.
        how: how it is made read-only.
        command: the collector; None takes it from the registry's container.
        timeout: how long the collector may take, in seconds.
        blob_size: where the sizes of removed blobs come from.

    Raises:
        InvalidInputError: the command is not one that reaper can read.
    """

    via: str

    def __init__(
        self,
        connect: Connect,
        reference: Reference,
        *,
        how: How = "environment",
        command: Sequence[str] | None = None,
        timeout: float = 6 * 3600.0,
        blob_size: BlobSize = unknown_size,
        pace: Pace | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        refuse_unfit_command(command)
        self._connect = connect
        self._reference = reference
        self._command = command
        self._timeout = timeout
        self._sizes = RememberedSizes(blob_size)
        self._pace = pace or Pace()
        self._how = how
        self._read_only = ReadOnly(
            reference, how, pace=self._pace, lasting=timeout + 4 * self._pace.rollout + _AROUND, clock=clock
        )
        stops = how == "scale"
        self.capabilities = Capabilities(read_only=True, stops=stops, restart=not stops)

    async def check(self) -> None:
        """Refuse what would do harm, or could not be put back, before anything is touched.

        Raises:
            CollectError: it is refused; the message says why.
        """
        async with connected(self._connect) as client:
            await refuse_without(client, self._reference.namespace, self.rights())
            await self._read_only.settle(client)
            workload = await Workload.read(client, self._reference)
            workload.refuse_what_cannot_roll(scale=self._how == "scale")
            refuse_lasting_cache(_environment(workload.container), str(self._reference))
            self.command_for(workload)
            await self.check_further(client, workload)

    @abstractmethod
    async def collect(self, *, dry_run: bool, on_progress: Progress) -> Collected:
        """Run the collector to its end. Raises CollectError."""

    async def read_only_on(self) -> None:
        """Make the registry read-only; returns when all of its pods are. Raises CollectError."""
        async with connected(self._connect) as client:
            await self._read_only.on(client)

    async def read_only_off(self) -> None:
        """Put the registry back, once no collector runs. Raises CollectError."""
        async with connected(self._connect) as client:
            await self.end_collector(client)
            await self._read_only.off(client)

    async def restart(self) -> None:
        """See that no pod from before remains once the registry is writable. Raises CollectError."""
        async with connected(self._connect) as client:
            await self.end_collector(client)
            await self._read_only.restart(client)

    def rights(self) -> list[Right]:
        """Return what the account has to be allowed."""
        return rights_of_workload(self._reference)

    @abstractmethod
    async def check_further(self, client: ClusterClient, workload: Workload) -> None:
        """Refuse what this way cannot do. Raises ClusterError, CollectError."""

    @abstractmethod
    async def end_collector(self, client: ClusterClient) -> None:
        """Return once no collector runs, not even one that a predecessor started.

        Raises:
            ClusterError: the cluster cannot be asked.
            CollectError: one may still run.
        """

    def command_for(self, workload: Workload, *, dry_run: bool = False) -> list[str]:
        """Return the collector's command for the registry's container, as a dry run if asked.

        Raises:
            CollectError: it is not configured, and the container does not tell it.
        """
        command = self._command or self._told_by(workload.container)
        if dry_run and command:
            command = dry_run_command(command)
        if command is None:
            raise CollectError(
                f"{self._reference} does not say where the registry's configuration is",
                hint="set collect.command: [registry, garbage-collect, /etc/distribution/config.yml]",
            )
        return list(command)

    @staticmethod
    def _told_by(container: dict[str, Any]) -> list[str] | None:
        return collector_command(
            [*(container.get("command") or ()), *(container.get("args") or ())],
            environment=_environment(container).get("REGISTRY_CONFIGURATION_PATH"),
            mounts=[each["mountPath"] for each in container.get("volumeMounts") or ()],
            image=container.get("image", ""),
        )


def _environment(container: dict[str, Any]) -> dict[str, str]:
    """Return the variables of which the template has the value."""
    return {each["name"]: each.get("value", "") for each in container.get("env") or ()}
