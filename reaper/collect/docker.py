"""Collections in the registry's container, through the engine's socket.

A container's variables cannot be changed while it exists. So what makes the registry read-only is up to
commands on this machine, which change the configuration that the container mounts; the engine then restarts
it. The engine has no way to end a command in a container, but for the end of the container: that is why each
restart here is a real one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from reaper.collect.base import Capabilities, Collected, CollectError, Progress
from reaper.collect.container import collector_command, refuse_lasting_cache, refuse_unfit_command
from reaper.collect.distribution import SUBCOMMAND, dry_run_command
from reaper.collect.docker_engine import Engine, InterruptedExecError
from reaper.collect.hooks import Command, run_hooks
from reaper.collect.output import OutputParser, collected
from reaper.collect.sizes import BlobSize, RememberedSizes, unknown_size
from reaper.core.errors import InvalidInputError
from reaper.process import uninterrupted

#: How long the registry may take to end before the engine kills it, in seconds.
_GRACE: Final = 30.0
_POLL: Final = 0.5


class DockerCollector:
    """Runs the collector in the registry's container. See Collector.

    Arguments:
        container: the container's name or id.
        socket: the engine's.
        command: the collector; None takes it from the container.
        read_only_on, read_only_off: commands on this machine that change the registry's configuration; the
            engine restarts the container after either.
        timeout: how long the collector may take, in seconds.
        hook_timeout: how long each command, and each restart, may take, in seconds.
        orphan_timeout: how long a collector whose output was lost may go on, in seconds.
        blob_size: where the sizes of removed blobs come from.

    Raises:
        InvalidInputError: the commands do not make a procedure.
    """

    via = "docker"

    def __init__(
        self,
        container: str,
        *,
        socket: Path = Path("/var/run/docker.sock"),
        command: Command | None = None,
        read_only_on: Sequence[Command] = (),
        read_only_off: Sequence[Command] = (),
        timeout: float = 6 * 3600.0,
        hook_timeout: float = 300.0,
        orphan_timeout: float = 60.0,
        blob_size: BlobSize = unknown_size,
    ) -> None:
        refuse_unfit_command(command)
        if bool(read_only_on) != bool(read_only_off):
            raise InvalidInputError("read_only needs both: the commands for on and those for off")
        self._container = container
        self._socket = socket
        self._command = command
        self._on, self._off = read_only_on, read_only_off
        self._timeout = timeout
        self._hook_timeout = hook_timeout
        self._orphan_timeout = orphan_timeout
        self._sizes = RememberedSizes(blob_size)
        self.capabilities = Capabilities(read_only=bool(read_only_on), restart=True)

    async def check(self) -> None:
        """Refuse a container in which a collection cannot run, or already does. Raises CollectError."""
        async with Engine(self._socket) as engine:
            found = await engine.inspect(self._container)
            state = found.get("State") or {}
            if not state.get("Running") or state.get("Paused"):
                raise CollectError(f"the container {self._container} does not run")
            if (found.get("HostConfig") or {}).get("AutoRemove"):
                raise CollectError(f"the container {self._container} does not outlive a restart (--rm)")
            refuse_lasting_cache(_environment(found), f"the container {self._container}")
            self._command_for(found)
            for exec_id in found.get("ExecIDs") or ():
                other = await engine.exec_state(exec_id)
                arguments = (other.get("ProcessConfig") or {}).get("arguments") or ()
                if other.get("Running") and SUBCOMMAND in arguments and "--dry-run" not in arguments:
                    raise CollectError(f"a collector runs already in the container {self._container}")

    async def collect(self, *, dry_run: bool, on_progress: Progress) -> Collected:
        """Run the collector to its end. One that was lost sight of is given a moment, then ended for certain.

        Raises:
            CollectError: it could not be started, failed, took too long, or its connection was lost.
        """
        async with Engine(self._socket) as engine:
            command = self._command_for(await engine.inspect(self._container), dry_run=dry_run)
            parser = OutputParser(self._sizes.begin(dry_run=dry_run))

            def on_output(data: bytes) -> None:
                parser.feed(data)
                on_progress(parser.tally)

            try:
                code = await engine.exec(self._container, command, on_output, within=self._timeout)
            except InterruptedExecError as error:
                await self._await_end(engine, error.exec_id)
                if not dry_run:
                    await uninterrupted(self._restart(engine))
                raise CollectError(f"the collector was lost sight of: {error.message}") from error
            except asyncio.CancelledError:
                if not dry_run:  # A dry run that goes on does no harm; a restart would.
                    await uninterrupted(self._restart(engine))
                raise
        parser.finish()
        on_progress(parser.tally)
        return collected(parser, code)

    async def read_only_on(self) -> None:
        """Run the commands that change the configuration, then restart. Raises CollectError."""
        await run_hooks("read_only.on", self._on, limit=self._hook_timeout)
        await self.restart()

    async def read_only_off(self) -> None:
        """Run the commands that change it back, then restart. Raises CollectError."""
        await run_hooks("read_only.off", self._off, limit=self._hook_timeout)
        await self.restart()

    async def restart(self) -> None:
        """Restart the container, and with it end whatever runs in it. Raises CollectError."""
        async with Engine(self._socket) as engine:
            await self._restart(engine)

    async def _restart(self, engine: Engine) -> None:
        await engine.restart(self._container, grace=_GRACE, within=self._hook_timeout + _GRACE)

    async def _await_end(self, engine: Engine, exec_id: str) -> None:
        try:
            async with asyncio.timeout(self._orphan_timeout):
                while True:
                    if not (await engine.exec_state(exec_id))["Running"]:
                        return
                    await asyncio.sleep(_POLL)
        except (TimeoutError, CollectError):
            return  # The restart that follows ends it.

    def _command_for(self, found: dict[str, Any], *, dry_run: bool = False) -> list[str]:
        command = self._command or collector_command(
            [found.get("Path") or "", *(found.get("Args") or ())],
            environment=_environment(found).get("REGISTRY_CONFIGURATION_PATH"),
            mounts=[each.get("Destination", "") for each in found.get("Mounts") or ()],
            image=(found.get("Config") or {}).get("Image") or "",
        )
        if dry_run and command:
            command = dry_run_command(command)
        if command is None:
            raise CollectError(
                f"the container {self._container} does not say where the registry's configuration is",
                hint="set collect.command: [registry, garbage-collect, /etc/distribution/config.yml]",
            )
        return list(command)


def _environment(found: dict[str, Any]) -> dict[str, str]:
    pairs = (each.partition("=") for each in (found.get("Config") or {}).get("Env") or ())
    return {name: value for name, _, value in pairs}
