"""``reaper diff``: what a change of policies would newly delete, or newly keep."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reaper.cli.options import Common, Format, command

if TYPE_CHECKING:
    from reaper.comparing import Totals
    from reaper.core.comparison import Change


@dataclass(slots=True)
class _Found:
    """All that differs."""

    registry: str
    totals: Totals
    changes: dict[str, list[Change]] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)


def register(app: typer.Typer) -> None:
    """Add the command."""

    @command(app, "diff")
    def diff(
        common: Common,
        old: Annotated[Path, typer.Argument(metavar="OLD", help="Policy file or folder, as it is.")],
        new: Annotated[Path, typer.Argument(metavar="NEW", help="Policy file or folder, as it would be.")],
        *,
        repository: Annotated[
            str | None, typer.Option("--repository", metavar="GLOB", help="Only these repositories.")
        ] = None,
        last_inventory: Annotated[
            bool,
            typer.Option("--last-inventory", help="On what the last run saw; the registry is not asked."),
        ] = False,
        exit_code: Annotated[
            bool, typer.Option("--exit-code", help="Exit 10 when something would newly be deleted.")
        ] = False,
    ) -> None:
        """Show what a change of policies would newly delete, or newly keep. It changes nothing."""
        from reaper.cli.exits import Exit
        from reaper.cli.reading import in_use_of
        from reaper.cli.session import capabilities_of, repositories_of, run_async, session, settings_of
        from reaper.comparing import Comparison, Policies, Totals
        from reaper.config.policies import load_policies
        from reaper.core.selectors import EVERYTHING, Glob, Selector
        from reaper.observe.progress import progress_bars
        from reaper.run import utc_now

        settings = settings_of(common)
        chosen = EVERYTHING if repository is None else Selector((Glob(repository),))
        policies = Policies(load_policies([old]), load_policies([new]), chosen)

        async def work() -> _Found:
            async with session(common, settings, read_only=True) as opened:
                if not last_inventory:
                    await opened.client.ping()
                found = _Found(opened.key, Totals())
                in_use = await in_use_of(opened)
                with progress_bars() as progress:
                    comparison = Comparison(
                        opened.client,
                        opened.store,
                        policies,
                        registry=opened.key,
                        now=utc_now(),
                        in_use=in_use,
                        untag=await capabilities_of(opened).remembered_untag(),
                        remembered=last_inventory,
                        repositories=repositories_of(opened),
                        concurrency=opened.registry.concurrency,
                        progress=progress,
                    )
                    async with aclosing(comparison.repositories()) as compared:
                        async for one in compared:
                            found.errors += [f"{one.repository}: {error}" for error in one.errors]
                            if one.changes:
                                found.changes[one.repository] = one.changes
                found.totals = comparison.totals
                return found

        found = run_async(work())
        _write(common, found)
        for error in found.errors:
            typer.echo(f"reaper: {error}", err=True)
        if found.errors:
            raise typer.Exit(Exit.PARTIAL)
        if exit_code and found.totals.newly_deleted_manifests:
            raise typer.Exit(Exit.WOULD_DELETE)


def _write(common: Common, found: _Found) -> None:
    import json
    from dataclasses import asdict

    from reaper.cli.session import format_of, report_output
    from reaper.report.comparison import COLUMNS, SCHEMA, repository_lines, rows, total_lines
    from reaper.report.listing import render_rows
    from reaper.report.render import Format as ReportFormat
    from reaper.report.text import safe

    chosen = format_of(common)
    totals = asdict(found.totals)
    everything = [change for changes in found.changes.values() for change in changes]
    with report_output(common) as out:
        if chosen is Format.TABLE:
            for repository, changes in found.changes.items():
                lines = repository_lines(repository, changes, verbose=bool(common.verbose))
                out.writelines(f"{safe(line)}\n" for line in lines)
            out.writelines(f"{line}\n" for line in total_lines(totals))
        elif chosen is Format.JSON:
            document = {
                "schema": SCHEMA,
                "registry": found.registry,
                "summary": totals,
                "changes": list(rows(everything)),
                "errors": found.errors,
            }
            json.dump(document, out, indent=2)
            out.write("\n")
        else:
            title = f"changes on {found.registry}"
            render_rows(title, COLUMNS, rows(everything), ReportFormat(chosen.value), out)
