"""``reaper restore``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reaper.cli.options import Common, command

if TYPE_CHECKING:
    from reaper.cli.session import Session
    from reaper.store import JournalEntry, Store
    from reaper.sweep import RestoreResult


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""

    @command(app, "restore")
    def restore_command(
        common: Common,
        reference: Annotated[
            str | None, typer.Argument(metavar="REPOSITORY[:TAG|@DIGEST]", help="What to put back.")
        ] = None,
        *,
        run: Annotated[
            str | None, typer.Option("--run", metavar="ID", help="Everything that this run deleted.")
        ] = None,
        force: Annotated[
            bool, typer.Option("--force", help="Move tags back even where they point elsewhere by now.")
        ] = False,
    ) -> None:
        """Put deleted manifests and tags back; possible until the next collection."""
        from reaper.cli.exits import Exit, UsageError
        from reaper.cli.session import run_async, session, settings_of

        if (reference is None) == (run is None):
            raise UsageError("say what to restore: --run ID, or REPOSITORY[:TAG|@DIGEST]")
        settings = settings_of(common)

        async def work() -> Exit:
            from reaper.core.errors import ReaperError
            from reaper.run import utc_now
            from reaper.sweep import restore, settle, with_parts
            from reaper.writer import writing

            async with session(common, settings, read_only=False) as opened:
                store, key = opened.store, opened.key
                async with writing(store, key, "restore", utc_now) as lock:
                    await opened.client.ping()
                    settled = await settle(
                        opened.client, store, registry=key, clock=utc_now, may_write=lock.check
                    )
                    results = list(_finished(store, settled, reference, run))
                    wanted = _wanted(store, key, reference, run)
                    if not wanted and not results:
                        raise ReaperError(
                            f"nothing to restore for {reference or run}",
                            hint="`reaper runs` lists what was deleted; a collection ends the time to undo",
                        )
                    entries = with_parts(wanted, store.journal.undoable(key))
                    results += await restore(opened.client, store, entries, clock=utc_now, force=force)
                    results = [await _proven(opened, result) for result in results]
            _show(common, results)
            if any(result.restored for result in results):
                typer.echo("The policies have not changed: as they are, a run deletes this again.", err=True)
            return Exit.DONE if all(result.restored for result in results) else Exit.PARTIAL

        raise typer.Exit(int(run_async(work())))


async def _proven(opened: Session, result: RestoreResult) -> RestoreResult:
    """Return the result as it is once the blobs are asked for.

    A registry takes a manifest back whose blobs somebody else's collection has swept, if it was not
    restarted since.
    """
    from dataclasses import replace

    from reaper.core.manifest import ManifestError, parse_manifest
    from reaper.verify import unreadable

    entry = result.entry
    try:
        manifest = parse_manifest(entry.content, entry.media_type, entry.digest)
    except ManifestError:
        return result
    problems = await unreadable(opened.client, entry.repository, manifest) if result.restored else []
    if not problems:
        return result
    detail = f"it is back, but cannot be pulled: {'; '.join(problems)}"
    return replace(result, restored=False, detail=detail)


def _finished(
    store: Store, settled: Iterable[JournalEntry], reference: str | None, run: str | None
) -> Iterator[RestoreResult]:
    """Yield what is meant and was put back just now, because an earlier restore of it was cut short."""
    from reaper.core.reference import parse_reference
    from reaper.store import State
    from reaper.sweep import RestoreResult

    for entry in settled:
        now = store.journal.get(entry.id)
        if now is None or now.state is not State.RESTORED:
            continue
        if reference is None:
            meant = entry.run_id == store.runs.get(run or "").id
        else:
            named = parse_reference(reference)
            meant = (
                entry.repository == named.repository
                and named.tag in (None, *entry.tags)
                and named.digest in (None, entry.digest)
            )
        if meant:
            yield RestoreResult(now, True, entry.tags, "an interrupted restore was finished")


def _wanted(store: Store, key: str, reference: str | None, run: str | None) -> list[JournalEntry]:
    from reaper.core.reference import parse_reference

    if reference is None:
        return store.journal.undoable(key, run_id=store.runs.get(run or "").id)
    named = parse_reference(reference)
    found = store.journal.undoable(key, repository=named.repository, tag=named.tag, digest=named.digest)
    # A tag may have been deleted more than once; its name stands for the latest.
    return found[:1] if named.tag else found


def _show(common: Common, results: list[Any]) -> None:
    from reaper.cli.session import format_of, report_output
    from reaper.report.listing import Column, render_rows
    from reaper.report.render import Format

    columns = [
        Column("repository", "repository"),
        Column("digest", "digest", unit="" if common.verbose else "digest"),
        Column("tags", "tags"),
        Column("restored", "restored"),
        Column("detail", "detail"),
    ]
    rows = [
        {
            "repository": result.entry.repository,
            "digest": result.entry.digest,
            "tags": list(result.tags),
            "restored": result.restored,
            "detail": result.detail,
        }
        for result in results
    ]
    with report_output(common) as out:
        render_rows("restored", columns, rows, Format(format_of(common).value), out)
