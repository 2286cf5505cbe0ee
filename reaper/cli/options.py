"""The options that every command takes, before or after its name."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from enum import StrEnum
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from reaper.core.errors import InvalidInputError, ReaperError


class Format(StrEnum):
    """How a report is written."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    MARKDOWN = "markdown"
    HTML = "html"


class LogFormat(StrEnum):
    """How log lines on standard error are written."""

    AUTO = "auto"
    CONSOLE = "console"
    JSON = "json"


_PANEL = "Options of every command"
#: Where the names of the switches are kept that stand before the command's name.
_BEFORE = "reaper.before"


def _option(*names: str, help: str, **more: Any) -> Any:  # noqa: A002 - typer's own word
    return typer.Option(*names, help=help, rich_help_panel=_PANEL, show_default=False, **more)


@dataclass(frozen=True, slots=True)
class Common:
    """The common options; None where one was not given."""

    config: Annotated[Path | None, _option("--config", "-c", metavar="FILE", help="Settings file.")] = None
    policies: Annotated[
        list[Path] | None,
        _option("--policies", "-p", metavar="PATH", help="Policy file or folder; repeatable."),
    ] = None
    registry: Annotated[
        str | None,
        _option("--registry", "-r", metavar="URL", help="A configured registry's name, or any URL."),
    ] = None
    docker_config: Annotated[
        Path | None,
        _option("--docker-config", metavar="DIR", help="Folder of Docker's config.json, for the login."),
    ] = None
    format: Annotated[Format | None, _option("--format", "-f", help="How the report is written.")] = None
    output: Annotated[
        Path | None,
        _option("--output", "-o", metavar="FILE", help="Where the report goes, instead of standard output."),
    ] = None
    log_format: Annotated[LogFormat | None, _option("--log-format", help="How log lines are written.")] = None
    verbose: Annotated[
        int | None, _option("--verbose", "-v", count=True, help="Say more; twice: every request.")
    ] = None

    def under(self, outer: Common | None) -> Common:
        """Return these options, with those of ``outer`` where none was given here."""
        if outer is None:
            return self
        return Common(**{f.name: getattr(self, f.name) or getattr(outer, f.name) for f in fields(self)})


def command(app: typer.Typer, *names: str, **settings: Any) -> Callable[[Callable[..., None]], None]:
    """Register a function as the command ``names``; its first parameter receives the `Common` options."""

    def register(function: Callable[..., None]) -> None:
        app.command(*names, **settings)(with_common(function))

    return register


def with_common(function: Callable[..., None]) -> Callable[..., None]:
    """Return ``function`` with the common options added, and its errors turned into exit codes."""
    own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
    hints = inspect.get_annotations(Common, eval_str=True)
    common = [
        inspect.Parameter(f.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=hints[f.name])
        for f in fields(Common)
    ]
    context = inspect.Parameter("ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)

    @wraps(function)
    def wrapper(ctx: typer.Context, **values: Any) -> None:
        given = Common(**{f.name: values.pop(f.name) for f in fields(Common)})
        ctx.obj = given.under(ctx.obj)
        if ctx.invoked_subcommand is not None:
            ctx.meta[_BEFORE] = [name for name, value in values.items() if value]
            return
        try:
            _take_over(ctx, values)
            _check_output(ctx.obj.output)
            function(ctx.obj, **values)
        except ReaperError as error:
            raise typer.Exit(report_error(error)) from error

    keyword = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own]
    signature = inspect.Signature([context, *keyword, *common])
    wrapper.__signature__ = signature  # type: ignore[attr-defined]  # what inspect.signature looks for
    wrapper.__annotations__ = {p.name: p.annotation for p in signature.parameters.values()}
    return wrapper


def _take_over(ctx: typer.Context, values: dict[str, Any]) -> None:
    """Apply the switches that stand before the command's name, such as --dry-run.

    Raises:
        InvalidInputError: the command has no such switch; to ignore --dry-run would be to write.
    """
    for name in ctx.meta.get(_BEFORE, ()):
        if name not in values:
            switch = f"--{name.replace('_', '-')}"
            raise InvalidInputError(f"{switch} says nothing to `{ctx.info_name}`", hint="leave it out")
        values[name] = True


def _check_output(path: Path | None) -> None:
    """Refuse a file that the report cannot go to, before anything is done that it would be about.

    Raises:
        InvalidInputError: it is a folder, or may not be written.
    """
    if path is None:
        return
    if path.is_dir():
        raise InvalidInputError(f"cannot write {path}: it is a folder")
    if not path.exists() and not path.absolute().parent.is_dir():
        raise InvalidInputError(f"cannot write {path}: there is no folder {path.absolute().parent}")
    if not os.access(path if path.exists() else path.absolute().parent, os.W_OK):
        raise InvalidInputError(f"cannot write {path}: permission denied")


def report_error(error: ReaperError) -> int:
    """Write ``error`` to standard error, in one line and a hint, and return the exit code."""
    from reaper.cli.exits import exit_for_error

    typer.echo(f"reaper: {error.message}", err=True)
    if error.hint:
        typer.echo(f"  {error.hint}", err=True)
    return int(exit_for_error(error))
