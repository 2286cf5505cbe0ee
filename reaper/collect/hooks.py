"""Commands on this machine that switch the registry around a collection."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from reaper.collect.base import CollectError
from reaper.collect.output import ending
from reaper.process import ProcessError, run_quietly

#: A command is the list of its arguments. No shell reads it.
Command = Sequence[str]


async def run_hooks(name: str, commands: Sequence[Command], *, limit: float) -> None:
    """Run ``commands`` in order, each at most ``limit`` seconds; ``name`` is what the settings call them.

    Raises:
        CollectError: one could not be run, or failed; those after it are not run.
    """
    for number, command in enumerate(commands, start=1):
        with as_collect_errors():
            code, output = await run_quietly(command, limit=limit)
        if code != 0:
            said = f": {output}" if output else ""
            which = f"command {number} of {name} ({command[0]})"
            raise CollectError(f"{which} ended with {ending(code)}{said}")


@contextmanager
def as_collect_errors() -> Iterator[None]:
    """Turn the error of a command that could not run into one of the collection."""
    try:
        yield
    except ProcessError as error:
        raise CollectError(error.message, hint=error.hint) from error
