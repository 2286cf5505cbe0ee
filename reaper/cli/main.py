"""The ``reaper`` command and the list of what it can do."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from reaper import __version__
from reaper.cli import audit, collect, diff, explain, ls, plan, policy, policy_test, runs, serve, undo, verify
from reaper.cli.options import Common, report_error, with_common
from reaper.cli.streams import prepare_streams
from reaper.core.errors import ReaperError

app = typer.Typer(
    name="reaper",
    help="Keeps a container registry from filling up, and never deletes an image that somebody still needs.",
    no_args_is_help=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"reaper {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
@with_common
def root(
    common: Common,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Audit: show what a run would do.")] = False,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="With --dry-run: exit 10 when something would be deleted.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Without a command, --dry-run audits all policies; nothing else is done without a command."""
    if not dry_run:
        typer.echo("reaper: say what to do, for example: reaper --dry-run, or: reaper --help", err=True)
        raise typer.Exit(2)
    audit.run(common, dry_run=True, exit_code=exit_code)


for module in (audit, plan, serve, ls, explain, verify, undo, runs, collect, policy, policy_test, diff):
    module.register(app)


def main() -> None:
    """Run the command line."""
    prepare_streams()
    try:
        code = app(standalone_mode=False)
        sys.stdout.flush()
    except typer.TyperException as error:
        code = _usage(error)
    except ReaperError as error:
        # Of what runs outside of a command: --help and --version.
        code = report_error(error)
    except (typer.Abort, BrokenPipeError):
        # Whoever reads the output has seen enough.
        code = 1
    sys.exit(code)


def _usage(error: typer.TyperException) -> int:
    """Write what is wrong with the options, in one line and a hint, and return the exit code."""
    message = " ".join(error.format_message().split()).removesuffix(".")
    typer.echo(f"reaper: {message[:1].lower()}{message[1:]}", err=True)
    context = getattr(error, "ctx", None)
    if context is not None:
        typer.echo(f"  `{context.command_path} --help` lists the options", err=True)
    return error.exit_code
