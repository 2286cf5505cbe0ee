"""Collections in the registry's own pod, for storage that no second pod can have: the last resort.

A connection that drops does not end what runs at its other end. So nothing is made writable before the
pods themselves have said that no collector runs in them.
"""

from __future__ import annotations

from typing import Final

from reaper.collect.base import Collected, CollectError, Progress
from reaper.collect.distribution import SUBCOMMAND
from reaper.collect.kubernetes_access import Right, rights_of_exec
from reaper.collect.kubernetes_base import ClusterCollector
from reaper.collect.kubernetes_workload import Workload, connected, is_ready, wait_until
from reaper.collect.output import OutputParser, collected
from reaper.kubernetes import (
    ClusterClient,
    ClusterError,
    ExecInterruptedError,
    JsonObject,
    ObjectNotFoundError,
)
from reaper.process import uninterrupted

#: How long a question to a container may take, in seconds.
_ASKING: Final = 30.0
# Sends a signal to each process whose command line ends with the collector's subcommand and arguments, and
# prints how many there are. Its own ends with another word. Signal 0 only asks.
_FIND: Final = """
found=0
for each in /proc/[0-9]*; do
  line=$(tr '\\000' ' ' < $each/cmdline 2>/dev/null) || continue
  case "$line" in
    *" $1 ") state=$(cut -d' ' -f3 < $each/stat 2>/dev/null) || continue
      [ "$state" = Z ] && continue
      kill -$2 ${each#/proc/} 2>/dev/null
      found=$((found + 1)) ;;
  esac
done
echo $found
"""
_TERM_TRIES: Final = 5


class KubernetesExecCollector(ClusterCollector):
    """Runs the collector in one of the registry's pods. See ClusterCollector; ``how`` cannot be scale."""

    via = "kubernetes-exec"

    def rights(self) -> list[Right]:
        """Return what the account has to be allowed."""
        return [*super().rights(), *rights_of_exec()]

    async def check_further(self, client: ClusterClient, workload: Workload) -> None:
        """Refuse an image in which processes cannot be looked for. Raises ClusterError, CollectError."""
        pod = await self._ready_pod(client, workload)
        await self._signal(client, workload, pod, 0)

    async def collect(self, *, dry_run: bool, on_progress: Progress) -> Collected:
        """Run the collector to its end; when that cannot be seen, end it.

        Raises:
            CollectError: it failed, took too long, or its connection ended before it.
        """
        async with connected(self._connect) as client:
            workload = await Workload.read(client, self._reference)
            command = self.command_for(workload, dry_run=dry_run)
            pod = await self._ready_pod(client, workload)
            parser = OutputParser(self._sizes.begin(dry_run=dry_run))

            def on_output(data: bytes) -> None:
                parser.feed(data)
                on_progress(parser.tally)

            try:
                code = await client.exec(
                    self._reference.namespace,
                    pod["metadata"]["name"],
                    command,
                    container=workload.container["name"],
                    on_stdout=on_output,
                    on_stderr=on_output,
                    within=self._timeout,
                )
            except ExecInterruptedError as error:
                await uninterrupted(self.end_collector(client))
                raise CollectError(
                    f"{error.message}; it was looked for and ended, so that it can be done anew"
                ) from error
            except BaseException:
                await uninterrupted(self.end_collector(client))
                raise
        parser.finish()
        on_progress(parser.tally)
        return collected(parser, code)

    async def end_collector(self, client: ClusterClient) -> None:
        """End the collector in all of the registry's pods: kindly, then for certain. Raises as its base."""
        tries = 0

        async def unmet() -> str | None:
            nonlocal tries
            tries += 1
            workload = await Workload.read(client, self._reference)
            for pod in await workload.pods(client):
                name = pod["metadata"]["name"]
                if not _runs(pod, workload.container["name"]):
                    continue  # Nothing can run in a container that does not.
                try:
                    found = await self._signal(client, workload, pod, 15 if tries <= _TERM_TRIES else 9)
                except ObjectNotFoundError:
                    continue
                except ExecInterruptedError as error:
                    return error.message
                if found:
                    return f"{found} processes of it are left in pod {name}"
            return None

        await wait_until(
            unmet,
            limit=self._pace.end,
            poll=self._pace.poll,
            doing=f"the end of the collector in {self._reference}",
            hint="until it has ended for certain, the registry must not be writable: delete the pod",
        )

    async def _signal(self, client: ClusterClient, workload: Workload, pod: JsonObject, signal: int) -> int:
        """Send a signal to each collector in the pod; return how many there are.

        Raises:
            ClusterError: the pod cannot be asked.
            CollectError: it does not know.
        """
        command = self.command_for(workload)
        ending = " ".join(command[command.index(SUBCOMMAND) :])
        told = bytearray()
        where = f"pod {pod['metadata']['name']}"
        try:
            code = await client.exec(
                self._reference.namespace,
                pod["metadata"]["name"],
                ["sh", "-c", _FIND, "reaper", ending, str(signal), "end"],
                container=workload.container["name"],
                on_stdout=told.extend,
                within=_ASKING,
            )
        except (ExecInterruptedError, ObjectNotFoundError):
            raise
        except ClusterError as error:
            if error.status is not None or error.__class__ is not ClusterError:
                raise
            # What the runtime says of a command that it cannot start.
            raise self._unknowing(where, error.message) from error
        text = told.decode(errors="replace").strip()
        if code != 0 or not text.isdecimal():
            raise self._unknowing(where, f"exit code {code}")
        return int(text)

    async def _ready_pod(self, client: ClusterClient, workload: Workload) -> JsonObject:
        pods = [pod for pod in await workload.pods(client) if is_ready(pod)]
        if not pods:
            raise CollectError(f"{self._reference} has no ready pod to collect in")
        return min(pods, key=lambda pod: str(pod["metadata"]["name"]))

    def _unknowing(self, where: str, why: str) -> CollectError:
        return CollectError(
            f"{where} cannot tell whether a collector runs in it ({why})",
            hint="its image needs sh, tr and cut, as distribution's own have them; else use kubernetes-job",
        )


def _runs(pod: JsonObject, container: str) -> bool:
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    return any(each["name"] == container and "running" in (each.get("state") or {}) for each in statuses)
