"""``reaper runs``: what was done, and when."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from reaper.cli.options import Common, Format, command

if TYPE_CHECKING:
    from reaper.store import RunRecord


def register(app: typer.Typer) -> None:
    """Add the command."""

    @command(app, "runs")
    def runs_command(
        common: Common,
        action: Annotated[str | None, typer.Argument(metavar="show")] = None,
        run: Annotated[str | None, typer.Argument(metavar="ID")] = None,
        *,
        limit: Annotated[int, typer.Option("--limit", min=1, help="How many, newest first.")] = 20,
    ) -> None:
        """List past runs, or show one: runs show ID."""
        from reaper.cli.exits import UsageError

        if action is None:
            _list_runs(common, limit)
        elif action == "show" and run is not None:
            _show_run(common, run)
        else:
            raise UsageError("write: reaper runs, or: reaper runs show ID")


def _list_runs(common: Common, limit: int) -> None:
    from reaper.cli.session import format_of, report_output, settings_of
    from reaper.registry import parse_address
    from reaper.report.listing import Column, render_rows
    from reaper.report.render import Format as ReportFormat
    from reaper.store import State, open_store

    settings = settings_of(common)
    with open_store(settings.store.url) as store:
        registry = parse_address(settings.registry(common.registry).url).url if common.registry else None
        rows = [
            {
                "run": run.id,
                "registry": run.registry,
                "command": _command(run),
                "started_at": run.started_at,
                "outcome": run.outcome,
                "deleted": run.summary.get("deleted_manifests", 0),
                "undoable": store.journal.count_by_state(run.registry, run.id)[State.DELETED],
            }
            for run in store.runs.recent(limit, registry)
        ]
    chosen = format_of(common)
    registries = {row["registry"] for row in rows}
    title = "runs"
    columns = [
        Column("run", "run", unit="id"),
        Column("registry", "registry"),
        Column("command", "command"),
        Column("started_at", "started", unit="second"),
        Column("outcome", "outcome"),
        Column("deleted", "deleted", "right"),
        Column("undoable", "undoable", "right"),
    ]
    if chosen is Format.TABLE and len(registries) == 1:
        title = f"runs of {registries.pop()}"
        del columns[1]
    with report_output(common) as out:
        render_rows(title, columns, rows, ReportFormat(chosen.value), out)


def _show_run(common: Common, run: str) -> None:
    from reaper.cli.session import format_of, report_output, settings_of
    from reaper.report.listing import Column, render_rows
    from reaper.report.render import Format as ReportFormat
    from reaper.report.text import count, timestamp
    from reaper.store import open_store

    settings = settings_of(common)
    with open_store(settings.store.url) as store:
        found = store.runs.get(run)
        entries = store.journal.of_run(found.registry, found.id)
    rows = [
        {
            "repository": entry.repository,
            "digest": entry.digest,
            "tags": list(entry.tags),
            "state": entry.state,
            "rule": entry.rule or "",
            "reason": entry.reason,
        }
        for entry in entries
    ]
    # People read in the reason which rule it was.
    brief = format_of(common) is Format.TABLE
    keys = ["repository", "digest", "tags", "state", *([] if brief else ["rule"]), "reason"]
    columns = [
        Column(key, key, unit="digest" if key == "digest" and not common.verbose else "") for key in keys
    ]
    deleted = count(found.summary.get("deleted_manifests", 0), "manifest")
    title = (
        f"run {found.id}: {_command(found)} of {found.registry}, {timestamp(found.started_at)}: "
        f"{found.outcome}, {deleted} deleted"
    )
    with report_output(common) as out:
        render_rows(title, columns, rows, ReportFormat(format_of(common).value), out)


def _command(run: RunRecord) -> str:
    return f"{run.command} --dry-run" if run.dry_run else run.command
