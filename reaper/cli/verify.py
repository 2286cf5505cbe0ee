"""``reaper verify``: prove that everything tagged can be pulled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from reaper.cli.options import Common, command

if TYPE_CHECKING:
    from reaper.verify import VerifyReport


def register(app: typer.Typer) -> None:
    """Add the command."""

    @command(app, "verify")
    def verify_command(
        common: Common,
        repositories: Annotated[
            list[str] | None, typer.Argument(metavar="REPOSITORY", help="Only these.")
        ] = None,
        *,
        deep: Annotated[bool, typer.Option("--deep", help="Read every blob, and check its digest.")] = False,
    ) -> None:
        """Prove that everything tagged can be pulled."""
        from reaper.cli.exits import Exit, UsageError
        from reaper.cli.session import repositories_of, run_async, session, settings_of
        from reaper.core.reference import is_repository
        from reaper.observe.progress import progress_bars
        from reaper.verify import verify

        for name in repositories or ():
            if not is_repository(name):
                raise UsageError(f"{name!r} does not name a repository", hint="write it without host and tag")
        settings = settings_of(common)

        async def work() -> VerifyReport:
            async with session(common, settings, read_only=True) as opened:
                await opened.client.ping()
                with progress_bars() as progress:
                    return await verify(
                        opened.client,
                        repositories or None,
                        listed=repositories_of(opened),
                        deep=deep,
                        concurrency=opened.registry.concurrency,
                        progress=progress,
                    )

        found = run_async(work())
        _show(common, found)
        if found.damages:
            raise typer.Exit(int(Exit.FAILED))
        raise typer.Exit(int(Exit.PARTIAL if found.errors else Exit.DONE))


def _show(common: Common, found: VerifyReport) -> None:
    from dataclasses import asdict

    from reaper.cli.session import format_of, report_output
    from reaper.report.listing import Column, render_rows
    from reaper.report.render import Format
    from reaper.report.text import count

    columns = [Column(key, key) for key in ("repository", "tag", "digest", "what", "detail")]
    with report_output(common) as out:
        rows = map(asdict, found.damages)
        render_rows("damage", columns, rows, Format(format_of(common).value), out)
    looked_at = (
        f"{count(found.tags, 'tag')}, {count(found.manifests, 'manifest')} and {count(found.blobs, 'blob')} "
        f"in {count(found.repositories, 'repository', 'repositories')}"
    )
    typer.echo(f"verified {looked_at}: {len(found.damages):,} damaged", err=True)
    for error in found.errors:
        typer.echo(f"reaper: {error}", err=True)
