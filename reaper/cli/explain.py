"""``reaper explain``: why something is kept or expires."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from reaper.cli.options import Common, Format, command


def register(app: typer.Typer) -> None:
    """Add the command."""

    @command(app, "explain")
    def explain(
        common: Common,
        reference: Annotated[
            str, typer.Argument(metavar="REPOSITORY[:TAG|@DIGEST]", help="What to explain.")
        ],
    ) -> None:
        """Say why a tag or a manifest is kept or expires: every rule, what it saw, what it said."""
        from reaper.cli.reading import digest_of, in_use_of, inventory_of, read, referrers_of
        from reaper.cli.session import capabilities_of, policies_of, run_async, session, settings_of
        from reaper.core.plan import Untag, explain_shared
        from reaper.core.reference import parse_reference
        from reaper.core.retention import Decisions
        from reaper.core.snapshot import Snapshot
        from reaper.judging import judge
        from reaper.report.explain import explanation

        named = parse_reference(reference)
        settings = settings_of(common)
        policies = policies_of(common, settings)

        async def work() -> dict[str, Any]:
            async with session(common, settings, read_only=True) as opened:
                await opened.client.ping()
                snapshot = await read(opened, named.repository)
                digest = digest_of(snapshot, named)
                if digest is not None:
                    snapshot = await referrers_of(opened, snapshot, [digest])
                untag = await capabilities_of(opened).untag(named.repository, probe=False)
                in_use = await in_use_of(opened)

                async def untagging(_snapshot: Snapshot, _decisions: Decisions) -> Untag:
                    return untag

                snapshot, decisions, plan = await judge(
                    opened.client,
                    inventory_of(opened),
                    snapshot,
                    policies,
                    snapshot.taken_at,
                    in_use=in_use(named.repository),
                    untag=untagging,
                )
                tags = explain_shared(decisions.tags, plan, can_untag=untag is not Untag.NO)
                return explanation(snapshot, decisions, plan, tags, named)

        _write(common, run_async(work()))


def _write(common: Common, explained: Mapping[str, Any]) -> None:
    from reaper.cli.session import format_of, report_output
    from reaper.report.explain import COLUMNS, render_json, render_text, verdict_rows
    from reaper.report.listing import render_rows
    from reaper.report.render import Format as ReportFormat
    from reaper.report.text import safe

    chosen = format_of(common)
    with report_output(common) as out:
        if chosen is Format.JSON:
            render_json(explained, out)
        elif chosen is Format.TABLE:
            out.writelines(f"{safe(line)}\n" for line in render_text(explained))
        else:
            title = f"why: {explained['repository']}"
            render_rows(title, COLUMNS, verdict_rows(explained), ReportFormat(chosen.value), out)
