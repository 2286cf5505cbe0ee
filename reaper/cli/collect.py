"""``reaper gc``: the collection procedure, now."""

from __future__ import annotations

from typing import Annotated

import typer

from reaper.cli.options import Common, command


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""

    @command(app, "gc")
    def gc(
        common: Common,
        *,
        dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what it would free.")] = False,
        ignore_undo_window: Annotated[
            bool, typer.Option("--ignore-undo-window", help="Collect what could still be undone, too.")
        ] = False,
    ) -> None:
        """Run the registry's garbage collection: read-only, collect, restart, verify, writable again."""
        from reaper.cli.exits import Exit
        from reaper.cli.session import collection_of, run_async, session, settings_of
        from reaper.gc import collect
        from reaper.report.model import CollectionReport
        from reaper.run import utc_now

        settings = settings_of(common)

        async def work() -> CollectionReport:
            async with session(common, settings, read_only=dry_run) as opened:
                collection = collection_of(opened)
                if dry_run:
                    return await collection.now(dry_run=True)
                return await collect(
                    opened.client,
                    opened.store,
                    collection,
                    clock=utc_now,
                    ignore_undo_window=ignore_undo_window,
                )

        report = run_async(work())
        if report.outcome == "postponed":
            typer.echo(f"reaper: {report.detail}", err=True)
            typer.echo("  --ignore-undo-window collects all the same", err=True)
        _show(common, report, dry_run=dry_run)
        codes = {"failed": Exit.FAILED, "postponed": Exit.BLOCKED}
        raise typer.Exit(int(codes.get(report.outcome, Exit.DONE)))


def _show(common: Common, report: object, *, dry_run: bool) -> None:
    from dataclasses import asdict

    from reaper.cli.session import format_of, report_output
    from reaper.report.listing import Column, render_rows
    from reaper.report.model import CollectionReport
    from reaper.report.render import Format

    assert isinstance(report, CollectionReport)
    row = asdict(report)
    columns = [
        Column("via", "via"),
        Column("outcome", "outcome"),
        Column("blobs", "blobs", "right"),
        Column("bytes", "freed" if not dry_run else "would free", "right", unit="bytes"),
        Column("detail", "detail"),
        Column("warnings", "warnings"),
    ]
    with report_output(common) as out:
        render_rows("collection", columns, [row], Format(format_of(common).value), out)
