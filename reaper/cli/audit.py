"""``reaper run`` and ``reaper --dry-run``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reaper.cli.options import Common, command

if TYPE_CHECKING:
    from reaper.run import Run


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""

    @command(app, "run")
    def run_command(
        common: Common,
        *,
        dry_run: Annotated[
            bool, typer.Option("--dry-run", help="Change nothing; show what would be done.")
        ] = False,
        policy: Annotated[
            str | None, typer.Option("--policy", metavar="NAME", help="Only the repositories of this policy.")
        ] = None,
        repository: Annotated[
            str | None, typer.Option("--repository", metavar="GLOB", help="Only these repositories.")
        ] = None,
        exit_code: Annotated[
            bool, typer.Option("--exit-code", help="With --dry-run: exit 10 when something would be deleted.")
        ] = False,
        accept: Annotated[
            str | None,
            typer.Option("--accept", metavar="PLAN", help="Let this blocked plan pass, once."),
        ] = None,
    ) -> None:
        """Apply the policies to a registry, once, now."""
        run(
            common,
            dry_run=dry_run,
            policy=policy,
            repository=repository,
            exit_code=exit_code,
            accept=accept,
        )


def run(
    common: Common,
    *,
    dry_run: bool,
    policy: str | None = None,
    repository: str | None = None,
    exit_code: bool = False,
    accept: str | None = None,
    save: Path | None = None,
) -> None:
    """Run once, write the report, save the plan if asked to, and exit with the outcome's code."""
    from reaper.cli.exits import Exit, UsageError, exit_for_error
    from reaper.cli.session import (
        capabilities_of,
        collection_of,
        policies_of,
        repositories_of,
        run_async,
        session,
        settings_of,
        show_report,
        stop_on_signals,
    )
    from reaper.compose import protector_for, retention_for
    from reaper.core.selectors import EVERYTHING, Glob, Selector
    from reaper.housekeeping import tidy
    from reaper.observe.progress import progress_bars
    from reaper.planning import Scope
    from reaper.run import Run, RunOptions, utc_now

    settings = settings_of(common)
    policies = policies_of(common, settings)
    if policy is not None and policy not in {known.name for known in policies}:
        names = ", ".join(sorted(known.name for known in policies))
        raise UsageError(f"there is no policy {policy!r}", hint=f"the policies are: {names}")
    repositories = EVERYTHING if repository is None else Selector((Glob(repository),))

    async def work() -> Exit:
        async with session(common, settings, read_only=dry_run) as opened:
            collection = collection_of(opened)
            with progress_bars() as progress:
                run = Run(
                    opened.client,
                    opened.store,
                    RunOptions(
                        registry=opened.key,
                        scope=Scope(policies, repositories, None if policy is None else frozenset({policy})),
                        dry_run=dry_run,
                        guard=settings.guard.to_guard(),
                        concurrency=opened.registry.concurrency,
                        accept=accept,
                    ),
                    collect=collection.before_run,
                    protector=protector_for(settings, opened.registry, opened.store),
                    repositories=repositories_of(opened),
                    capabilities=capabilities_of(opened),
                    recover=collection.recover,
                    progress=progress,
                )
                stop_on_signals(run.stop)
                report = await run.execute()
            try:
                if not dry_run:
                    await tidy(opened.store, opened.key, utc_now(), retention_for(settings, opened.registry))
                if save is not None:
                    save_plan(run, save)
                ended = show_report(common, report)
                if run.failure is not None:
                    ended = exit_for_error(run.failure)
            finally:
                run.close()
            if ended is Exit.DONE and dry_run and exit_code and report.summary.manifests_to_delete:
                return Exit.WOULD_DELETE
            return ended

    raise typer.Exit(int(run_async(work())))


def save_plan(run: Run, path: Path) -> None:
    """Write what ``run`` planned to a file.

    Raises:
        ReaperError: there is no plan, or the file cannot be written.
    """
    from reaper.core.errors import ReaperError
    from reaper.report.plan_file import write_plan

    plan = run.plan_file()
    try:
        with path.open("w", encoding="utf-8") as out:
            write_plan(plan, out)
    except OSError as error:
        raise ReaperError(f"cannot write {path}: {error.strerror}") from error
