"""``reaper plan`` and ``reaper apply``: an audit that is saved, looked at, and then done exactly so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from reaper.cli.options import Common, command


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""

    @command(app, "plan")
    def plan(
        common: Common,
        *,
        policy: Annotated[
            str | None, typer.Option("--policy", metavar="NAME", help="Only the repositories of this policy.")
        ] = None,
        repository: Annotated[
            str | None, typer.Option("--repository", metavar="GLOB", help="Only these repositories.")
        ] = None,
    ) -> None:
        """Audit, and save the plan to the file of --output, for `reaper apply`. Changes nothing."""
        from reaper.cli.audit import run
        from reaper.cli.exits import UsageError

        if common.output is None:
            raise UsageError("where to save the plan?", hint="reaper plan -o FILE")
        run(
            replace(common, output=None),
            dry_run=True,
            policy=policy,
            repository=repository,
            save=common.output,
        )

    @command(app, "apply")
    def apply(
        common: Common,
        file: Annotated[Path, typer.Argument(metavar="FILE", help="A plan that `reaper plan` saved.")],
        *,
        max_age: Annotated[
            str, typer.Option("--max-age", metavar="DURATION", help="How old the plan may be.")
        ] = "24h",
        accept: Annotated[
            str | None,
            typer.Option("--accept", metavar="PLAN", help="Let this blocked plan pass its guard rails."),
        ] = None,
    ) -> None:
        """Do exactly what a saved plan says. Each precondition is looked up again before each delete."""
        from reaper.apply import Application, ApplyOptions
        from reaper.cli.exits import Exit
        from reaper.cli.session import (
            policies_of,
            run_async,
            session,
            settings_of,
            show_report,
            stop_on_signals,
        )
        from reaper.compose import protector_for
        from reaper.core.duration import parse_duration
        from reaper.observe.progress import progress_bars
        from reaper.report.plan_file import read_plan
        from reaper.run import utc_now

        settings = settings_of(common)
        plan = read_plan(file)
        chosen = common if common.registry else replace(common, registry=plan.registry)
        options = ApplyOptions(policies_of(chosen, settings), parse_duration(max_age), accept)

        async def work() -> Exit:
            async with session(chosen, settings, read_only=False) as opened:
                with progress_bars() as progress:
                    application = Application(
                        opened.client,
                        opened.store,
                        plan,
                        replace(options, concurrency=opened.registry.concurrency),
                        clock=utc_now,
                        protector=protector_for(settings, opened.registry, opened.store),
                        progress=progress,
                    )
                    stop_on_signals(application.stop)
                    try:
                        return show_report(common, await application.execute())
                    finally:
                        application.close()

        raise typer.Exit(int(run_async(work())))
