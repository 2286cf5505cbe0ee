"""Settings of which repositories there are, where the registry does not list them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Annotated, Any, ClassVar

from pydantic import ConfigDict, Field

from reaper.config.collection import Command
from reaper.config.fields import SomeDuration, TextField
from reaper.config.model import Checked, Fault, Shorthand
from reaper.config.paths import FilePath
from reaper.core.errors import InvalidInputError
from reaper.core.reference import is_repository


def _repository(text: str) -> str:
    name = text.strip()
    if not is_repository(name):
        hint = "write it as in REPOSITORY:TAG, without the registry's host; patterns are for policies"
        raise InvalidInputError(f"{text[:80]!r} does not name a repository", hint=hint)
    return name


class RepositoriesSettings(Checked):
    """Which repositories there are: all that is named here, instead of the registry's catalog."""

    model_config = ConfigDict(title="Repositories")
    hints: ClassVar[Mapping[str, str]] = {
        "include": "did you mean 'names'? Policies choose among them by patterns",
        "path": "did you mean 'file'?",
        "timeout": "did you mean 'command_timeout'?",
    }

    names: Annotated[
        list[Annotated[str, TextField(_repository, "a repository's name", str)]], Field(min_length=1)
    ] = Field(default=[], description="Their names.")
    file: FilePath | None = Field(
        default=None, description="A file that names repositories, one a line; # begins a comment."
    )
    command: Command | None = Field(
        default=None,
        description="A command that prints repositories, and ends with 0; a list of its arguments.",
    )
    command_timeout: SomeDuration = Field(
        default=timedelta(minutes=1), description="How long the command may take."
    )

    @classmethod
    def faults(cls, data: Mapping[str, Any]) -> Iterator[Fault]:
        """Yield what names nothing, and a time limit of no command."""
        if not {"names", "file", "command"} & data.keys():
            yield Fault("this names no repository", "add names, file or command")
        if "command_timeout" in data and "command" not in data:
            yield Fault("command_timeout has no command", "add command", ("command_timeout",), of_key=True)


def _as_mapping(value: Any) -> Any:
    return {"names": value} if isinstance(value, list) else value


#: Where repositories are named; a list of names may stand for it.
Repositories = Annotated[
    RepositoriesSettings,
    Shorthand(_as_mapping, (), "a list of names, or a mapping of names, file and command", dict, "names"),
]
