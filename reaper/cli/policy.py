"""``reaper check``, ``reaper schema`` and ``reaper version``: what needs no registry."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reaper.cli.options import Common, command


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""

    @command(app, "check")
    def check(
        common: Common,
        paths: Annotated[
            list[Path] | None, typer.Argument(metavar="[PATH]...", help="Policy files or folders.")
        ] = None,
    ) -> None:
        """Validate settings and policies; with --registry, the registry and the login as well."""
        from reaper.cli.session import all_policies, settings_of
        from reaper.config.policies import load_policies

        settings = settings_of(common)
        policies = load_policies(paths) if paths else all_policies(settings)
        for policy in policies:
            rules = f"{len(policy.rules)} rule{'s' if len(policy.rules) != 1 else ''}"
            typer.echo(f"policy {policy.name}: {rules}, repositories {policy.repositories}")
        if common.registry:
            _check_registry(common)
        typer.echo("valid")

    @command(app, "schema")
    def schema(
        common: Common,
        report: Annotated[bool, typer.Option("--report", help="The report's schema instead.")] = False,
    ) -> None:
        """Print the JSON Schema of policy files."""
        import json

        from reaper.cli.session import report_output
        from reaper.config.schema import policy_schema
        from reaper.report.schema import report_schema

        with report_output(common) as out:
            json.dump(report_schema() if report else policy_schema(), out, indent=2)
            out.write("\n")

    @command(app, "version")
    def version(common: Common) -> None:
        """Print the version."""
        from reaper import __version__

        del common
        typer.echo(f"reaper {__version__}")


def _check_registry(common: Common) -> None:
    from reaper.cli.session import run_async, session, settings_of

    async def work() -> str:
        async with session(common, settings_of(common), read_only=True) as opened:
            await opened.client.ping()
            names = [name async for name in opened.client.repositories()]
            return f"registry {opened.key}: {len(names)} repositories, login {opened.client.login}"

    typer.echo(run_async(work()))
