"""Collections by commands on this machine: the collector itself, and hooks around it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from reaper.collect.base import Capabilities, Collected, CollectError, Progress
from reaper.collect.distribution import (
    deletes_untagged,
    dry_run_command,
    is_dry_run,
    version_command,
    version_in,
)
from reaper.collect.hooks import Command, as_collect_errors, run_hooks
from reaper.collect.output import OutputParser, collected
from reaper.collect.sizes import BlobSize, RememberedSizes, unknown_size
from reaper.core.errors import InvalidInputError
from reaper.process import run_quietly, run_read

_UNTAGGED_HINT: Final = (
    "leave the flag out: reaper deletes untagged manifests itself, through the API, and knows the indexes"
)


class CommandCollector:
    """Runs configured commands. The environment is reaper's own; each command's end is the step's end.

    So a command that only passes the work on (``docker exec``, ``ssh``) must end no sooner than the work.

    Arguments:
        command: the collector, such as ``registry garbage-collect /etc/distribution/config.yml``.
        read_only_on, read_only_off: commands that make the registry refuse, and accept, writes.
        restart: commands that restart the registry, still read-only, or flush its descriptor cache.
        timeout: how long the collector may take, in seconds.
        hook_timeout: how long each other command may take, in seconds.
        blob_size: where the sizes of removed blobs come from.

    Raises:
        InvalidInputError: the commands do not make a procedure.
    """

    via = "command"

    def __init__(
        self,
        command: Command,
        *,
        read_only_on: Sequence[Command] = (),
        read_only_off: Sequence[Command] = (),
        restart: Sequence[Command] = (),
        timeout: float = 6 * 3600.0,
        hook_timeout: float = 300.0,
        blob_size: BlobSize = unknown_size,
    ) -> None:
        hooks = [*read_only_on, *read_only_off, *restart]
        if not all(each and each[0] for each in [command, *hooks]):
            raise InvalidInputError("a collection's command is empty")
        if bool(read_only_on) != bool(read_only_off):
            raise InvalidInputError("read_only needs both: the commands for on and those for off")
        if is_dry_run(command):
            raise InvalidInputError(
                "the collection's command is always a dry run, which frees nothing",
                hint="leave --dry-run out of the command; `reaper gc --dry-run` adds it",
            )
        self._command = tuple(command)
        self._on, self._off, self._restart = read_only_on, read_only_off, restart
        self._timeout = timeout
        self._hook_timeout = hook_timeout
        self._sizes = RememberedSizes(blob_size)
        self.capabilities = Capabilities(
            read_only=bool(read_only_on),
            restart=bool(restart),
            dry_run=dry_run_command(command) is not None,
        )

    async def check(self) -> None:
        """Refuse ``--delete-untagged`` unless the collector is a version that spares tagged indexes.

        Raises:
            CollectError: it is refused; the message says why.
        """
        if not deletes_untagged(self._command):
            return
        asking = version_command(self._command)
        if asking is None:
            raise CollectError(
                "the collection's command has --delete-untagged, and the registry's version cannot be asked "
                "for because garbage-collect is not an argument of its own",
                hint=_UNTAGGED_HINT,
            )
        with as_collect_errors():
            code, output = await run_quietly(asking, limit=self._hook_timeout)
        version = version_in(output)
        if code != 0 or version is None:
            raise CollectError(
                "the collection's command has --delete-untagged, and the registry's version could not be "
                f"determined: {asking[0]} … --version ended with exit code {code} and no known version",
                hint=_UNTAGGED_HINT,
            )
        if version.breaks_indexes:
            raise CollectError(
                f"the collection's command has --delete-untagged, which in distribution {version} removes "
                "the children of tagged indexes (multi-platform images) together with their layers",
                hint=_UNTAGGED_HINT,
            )

    async def collect(self, *, dry_run: bool, on_progress: Progress) -> Collected:
        """Run the collector to its end.

        Raises:
            CollectError: it could not be started, failed, or took too long; for a dry run also that the
                command hides the collector from reaper.
        """
        command: Sequence[str] | None = self._command
        if dry_run:
            command = dry_run_command(self._command)
        if command is None:
            raise CollectError(
                "a dry run is not possible: garbage-collect is not an argument of its own in the command",
                hint="configure the command as a list: [registry, garbage-collect, CONFIG]",
            )
        parser = OutputParser(self._sizes.begin(dry_run=dry_run))

        def on_output(data: bytes) -> None:
            parser.feed(data)
            on_progress(parser.tally)

        with as_collect_errors():
            code = await run_read(command, on_output, limit=self._timeout)
        parser.finish()
        on_progress(parser.tally)
        return collected(parser, code)

    async def read_only_on(self) -> None:
        """Run the commands that make the registry refuse writes. Raises CollectError when one fails."""
        await run_hooks("read_only.on", self._on, limit=self._hook_timeout)

    async def read_only_off(self) -> None:
        """Run the commands that make it accept writes again. Raises CollectError when one fails."""
        await run_hooks("read_only.off", self._off, limit=self._hook_timeout)

    async def restart(self) -> None:
        """Run the commands that restart it. Raises CollectError when one fails."""
        await run_hooks("restart", self._restart, limit=self._hook_timeout)
