"""Settings of a registry's collection: how its own garbage-collect is run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import ConfigDict, Field

from reaper.config.fields import Crontab, Duration, SomeDuration, TextField
from reaper.config.model import Checked, Fault, Shorthand
from reaper.core.errors import InvalidInputError

_LATER: Final = ("docker", "kubernetes-job", "kubernetes-exec", "webhook")


def _argument(text: str) -> str:
    if "\0" in text:
        raise InvalidInputError("an argument cannot hold a NUL character")
    return text


#: An argument of a command.
Argument = Annotated[str, TextField(_argument, "an argument: text", str)]
#: A command as a list of its arguments; no shell reads it.
_Command = Annotated[list[Argument], Field(min_length=1)]


def _as_commands(value: Any) -> Any:
    single = isinstance(value, list) and value and not any(isinstance(item, list) for item in value)
    return [value] if single else value


#: Commands to run in order; a single one may stand for the list of it.
Commands = Annotated[
    list[_Command],
    Field(min_length=1),
    Shorthand(
        _as_commands, (), "a command as a list of its arguments, or a list of such lists", list, "items"
    ),
]


class ReadOnlySettings(Checked):
    """How the registry is made read-only for a collection."""

    model_config = ConfigDict(title="Read-only")
    hints: ClassVar[Mapping[str, str]] = {
        "on": "the commands that make the registry refuse writes",
        "off": "the commands that make it accept writes again",
    }

    on: Commands = Field(description="Commands that make the registry refuse writes.")
    off: Commands = Field(description="Commands that make it accept writes again.")


class CollectSettings(Checked):
    """How and when to run the registry's garbage collection.

    All commands are argument lists for this machine, with reaper's environment. ``schedule`` None:
    before each run that finds deletes past ``undo_window``.
    """

    model_config = ConfigDict(title="Collection")
    hints: ClassVar[Mapping[str, str]] = {"cron": "did you mean 'schedule'?"}

    via: Literal["none", "command", "docker", "kubernetes-job", "kubernetes-exec", "webhook"] = Field(
        default="none", description="The procedure; none for registries that collect by themselves."
    )
    command: _Command | None = Field(
        default=None, description="The registry's collector, such as [registry, garbage-collect, CONFIG]."
    )
    schedule: Crontab | None = Field(default=None, description="When to collect, as a crontab line.")
    read_only: ReadOnlySettings | None = Field(
        default=None, description="How the registry is made read-only meanwhile."
    )
    restart: Commands | None = Field(
        default=None, description="Commands that restart the registry, still read-only, or flush its cache."
    )
    undo_window: Duration = Field(
        default=timedelta(hours=24), description="How long a delete can be undone before it is collected."
    )
    timeout: SomeDuration = Field(default=timedelta(hours=6), description="How long the collector may take.")
    delete_untagged: bool = Field(
        default=False,
        description="Let the collector delete untagged manifests too. Reaper does it itself, safely.",
    )

    @classmethod
    def faults(cls, data: Mapping[str, Any]) -> Iterator[Fault]:
        """Yield a procedure that is not there yet, or that lacks its command."""
        via = data.get("via", "none")
        if isinstance(via, str) and via in _LATER:
            hint = "use command, or none for a registry that collects by itself"
            yield Fault(f"{via} is not available in this version", hint, ("via",))
        elif via == "command" and "command" not in data:
            hint = "add command: [registry, garbage-collect, /etc/distribution/config.yml]"
            yield Fault("command is missing", hint, ("command",))
        elif via == "none" and "command" in data:
            yield Fault("a command that is never run", "add via: command", ("command",), of_key=True)
