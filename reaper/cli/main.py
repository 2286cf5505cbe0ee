"""The ``reaper`` command and the list of what it can do."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from reaper import __version__
from reaper.cli import audit, collect, look, policy, undo
from reaper.cli.options import Common, with_common

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


for module in (audit, look, undo, collect, policy):
    module.register(app)


def main() -> None:
    """Run the command line."""
    try:
        app()
    except BrokenPipeError:
        # Whoever read the report has seen enough. Python would complain when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
