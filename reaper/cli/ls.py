"""``reaper ls``: repositories, a repository's tags, or the parts of one image."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from reaper.cli.options import Common, command

if TYPE_CHECKING:
    from reaper.cli.session import Session
    from reaper.core.snapshot import Snapshot
    from reaper.report.listing import Column


class _Listing(NamedTuple):
    """What is listed: ``brief`` are the columns that fit into a terminal, ``more`` all.

    ``errors`` say what could not be listed.
    """

    title: str
    rows: Iterable[Mapping[str, Any]]
    brief: list[Column]
    more: list[Column]
    errors: Iterable[str] = ()


def register(app: typer.Typer) -> None:
    """Add the command."""

    @command(app, "ls")
    def ls(
        common: Common,
        reference: Annotated[
            str | None, typer.Argument(metavar="REPOSITORY[:TAG|@DIGEST]", help="What to look at.")
        ] = None,
    ) -> None:
        """List repositories, a repository's tags, or the parts of one image."""
        from reaper.cli.exits import Exit
        from reaper.cli.reading import digest_of, read, referrers_of
        from reaper.cli.session import format_of, report_output, run_async, session, settings_of
        from reaper.core.reference import parse_reference
        from reaper.report.listing import render_rows
        from reaper.report.render import Format

        named = parse_reference(reference) if reference else None
        settings = settings_of(common)

        async def work() -> _Listing:
            async with session(common, settings, read_only=True) as opened:
                await opened.client.ping()
                if named is None:
                    return await _repositories(opened)
                snapshot = await read(opened, named.repository)
                digest = digest_of(snapshot, named)
                if digest is None:
                    return _tags(snapshot)
                return _parts(await referrers_of(opened, snapshot, [digest]), str(named), digest)

        listing = run_async(work())
        format_ = Format(format_of(common).value)
        brief = format_ is Format.TABLE and not common.verbose
        rows = listing.rows if format_ in (Format.JSON, Format.CSV) else map(_indented, listing.rows)
        with report_output(common) as out:
            render_rows(listing.title, listing.brief if brief else listing.more, rows, format_, out)
        for error in listing.errors:
            typer.echo(f"reaper: {error}", err=True)
        if listing.errors:
            raise typer.Exit(int(Exit.PARTIAL))


async def _repositories(opened: Session) -> _Listing:
    from reaper.cli.session import repositories_of
    from reaper.report.listing import Column

    seen = {entry.name: entry for entry in opened.store.observations.repositories(opened.key)}
    rows = []
    listing = await repositories_of(opened).list()
    for name in listing.names:
        known = seen.get(name)
        rows.append(
            {
                "repository": name,
                "tags": known.tag_count if known else None,
                "last_inventory": known.last_inventory if known else None,
            }
        )
    columns = [
        Column("repository", "repository"),
        Column("tags", "tags", "right"),
        Column("last_inventory", "last inventory"),
    ]
    title = f"repositories of {opened.key}"
    return _Listing(title, rows, columns, columns, listing.errors.values())


def _tags(snapshot: Snapshot) -> _Listing:
    from reaper.report.contents import tag_rows
    from reaper.report.listing import Column

    tag, size = Column("tag", "tag"), Column("size", "size", "right", unit="bytes")
    platforms, referrers = Column("platforms", "platforms"), Column("referrers", "referrers", "right")
    digest, created = Column("digest", "digest"), Column("created", "created")
    return _Listing(
        f"tags of {snapshot.repository}",
        tag_rows(snapshot),
        [
            tag,
            Column("digest", "digest", unit="digest"),
            Column("created", "created", unit="day"),
            size,
            platforms,
            referrers,
        ],
        [tag, digest, created, Column("pushed", "pushed"), size, platforms, referrers],
    )


def _parts(snapshot: Snapshot, title: str, digest: str) -> _Listing:
    from reaper.report.contents import part_rows
    from reaper.report.listing import Column

    part, kind, platform = Column("part", "part"), Column("type", "type"), Column("platform", "platform")
    size = Column("size", "size", "right", unit="bytes")
    return _Listing(
        title,
        part_rows(snapshot, digest),
        [part, Column("digest", "digest", unit="digest"), kind, platform, size],
        [part, Column("depth", "depth", "right"), Column("digest", "digest"), kind, platform, size],
    )


def _indented(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a part's row as people see it, below what it is a part of."""
    return {**row, "part": "  " * row["depth"] + row["part"]} if "depth" in row else row
