"""``reaper ls``, ``reaper explain`` and ``reaper verify``: look, and change nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reaper.cli.options import Common, Format, command

if TYPE_CHECKING:
    from reaper.cli.session import Session
    from reaper.core.reference import Reference
    from reaper.core.snapshot import Snapshot


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""

    @command(app, "ls")
    def ls(
        common: Common,
        reference: Annotated[
            str | None, typer.Argument(metavar="[REPOSITORY[:TAG|@DIGEST]]", help="What to look at.")
        ] = None,
    ) -> None:
        """List repositories, a repository's tags, or the parts of one image."""
        from reaper.cli.session import run_async, session, settings_of
        from reaper.core.reference import parse_reference

        named = parse_reference(reference) if reference else None
        settings = settings_of(common)

        async def work() -> tuple[str, list[str], list[dict[str, Any]]]:
            async with session(common, settings, read_only=True) as opened:
                await opened.client.ping()
                if named is None:
                    return await _repositories(opened)
                snapshot = await _read(opened, named.repository)
                if named.tag or named.digest:
                    snapshot = await _with_referrers(opened, snapshot, named)
                    return _parts(snapshot, named)
                return _tags(snapshot)

        _render(common, *run_async(work()))

    @command(app, "explain")
    def explain(
        common: Common,
        reference: Annotated[
            str, typer.Argument(metavar="REPOSITORY[:TAG|@DIGEST]", help="What to explain.")
        ],
    ) -> None:
        """Say why a tag or a manifest is kept or expires: every rule, what it saw, what it said."""
        from reaper.cli.session import format_of, policies_of, report_output, run_async, session, settings_of
        from reaper.core.plan import build_plan
        from reaper.core.reference import parse_reference
        from reaper.core.retention import decide
        from reaper.report.explain import explanation, render_json, render_text
        from reaper.report.text import safe
        from reaper.sweep import CAN_UNTAG, YES

        named = parse_reference(reference)
        settings = settings_of(common)
        policies = policies_of(common, settings)

        async def work() -> dict[str, Any]:
            async with session(common, settings, read_only=True) as opened:
                await opened.client.ping()
                snapshot = await _read(opened, named.repository)
                _require(snapshot, named)
                in_use = await _in_use(opened, named.repository)
                decisions = decide(policies, snapshot, snapshot.taken_at, in_use)
                can_untag = opened.store.observations.fact(opened.key, CAN_UNTAG) == YES
                plan = build_plan(snapshot, decisions, can_untag=can_untag)
                return explanation(snapshot, decisions, plan, named)

        explained = run_async(work())
        with report_output(common) as out:
            if format_of(common) is Format.JSON:
                render_json(explained, out)
            else:
                for line in render_text(explained):
                    out.write(f"{safe(line)}\n")

    @command(app, "verify")
    def verify_command(
        common: Common,
        repositories: Annotated[
            list[str] | None, typer.Argument(metavar="[REPOSITORY]...", help="Only these.")
        ] = None,
        *,
        deep: Annotated[bool, typer.Option("--deep", help="Read every blob, and check its digest.")] = False,
    ) -> None:
        """Prove that everything tagged can be pulled."""
        from reaper.cli.session import run_async, session, settings_of
        from reaper.observe.progress import progress_bars
        from reaper.verify import verify

        settings = settings_of(common)

        async def work() -> Any:
            async with session(common, settings, read_only=True) as opened:
                await opened.client.ping()
                with progress_bars() as progress:
                    return await verify(
                        opened.client,
                        repositories or None,
                        deep=deep,
                        concurrency=opened.registry.concurrency,
                        progress=progress,
                    )

        raise typer.Exit(_show_verification(common, run_async(work())))


async def _in_use(opened: Session, repository: str) -> Mapping[str, str]:
    """Return what is in use in ``repository``, as far as that can be read; say so where it cannot."""
    from reaper.compose import protector_for

    protector = protector_for(opened.settings, opened.registry, opened.store)
    if protector is None:
        return {}
    protection = await protector.read()
    for problem in protection.problems:
        typer.echo(f"reaper: not all images in use are known, so a run would be blocked: {problem}", err=True)
    return protection.in_use.of(repository)


async def _read(opened: Session, repository: str) -> Snapshot:
    from reaper.inventory import Inventory
    from reaper.run import utc_now

    inventory = Inventory(
        opened.client,
        opened.store,
        registry=opened.key,
        now=utc_now(),
        concurrency=opened.registry.concurrency,
    )
    return await inventory.read(repository)


async def _with_referrers(opened: Session, snapshot: Snapshot, named: Reference) -> Snapshot:
    from reaper.inventory import Inventory
    from reaper.run import utc_now

    digest = _require(snapshot, named) or ""
    if not await opened.client.has_referrers_api(snapshot.repository):
        return snapshot
    inventory = Inventory(opened.client, opened.store, registry=opened.key, now=utc_now())
    return await inventory.with_referrers(snapshot, [digest])


def _require(snapshot: Snapshot, named: Reference) -> str | None:
    """Return the digest that ``named`` stands for, None for the whole repository.

    Raises:
        ReaperError: it is not there.
    """
    from reaper.core.errors import ReaperError

    if named.tag is not None:
        if named.tag not in snapshot.tags:
            raise ReaperError(f"{named} is not there", hint=f"`reaper ls {named.repository}` lists its tags")
        return snapshot.tags[named.tag].digest
    if named.digest is not None and named.digest not in snapshot.manifests:
        raise ReaperError(
            f"{named} is not known", hint="reaper knows tagged manifests and what it has seen before"
        )
    if named.digest is None and not snapshot.tags and not snapshot.manifests:
        raise ReaperError(f"{named.repository} is empty, or not there")
    return named.digest


async def _repositories(opened: Session) -> tuple[str, list[str], list[dict[str, Any]]]:
    seen = {entry.name: entry for entry in opened.store.observations.repositories(opened.key)}
    rows = []
    for name in sorted([name async for name in opened.client.repositories()]):
        known = seen.get(name)
        rows.append(
            {
                "repository": name,
                "tags": known.tag_count if known else None,
                "last_inventory": known.last_inventory if known else None,
            }
        )
    return f"repositories of {opened.key}", ["repository", "tags", "last_inventory"], rows


def _tags(snapshot: Snapshot) -> tuple[str, list[str], list[dict[str, Any]]]:
    from reaper.core.times import created, pushed

    rows = []
    for name, entry in sorted(snapshot.tags.items()):
        built, put = created(snapshot, entry.digest), pushed(snapshot, entry)
        rows.append(
            {
                "tag": name,
                "digest": entry.digest,
                "created": built.time if built else None,
                "pushed": put.time if put else None,
                "size": snapshot.size(entry.digest),
                "platforms": _platforms(snapshot, entry.digest),
                "referrers": len(snapshot.referrers.get(entry.digest, ())),
            }
        )
    columns = ["tag", "digest", "created", "pushed", "size", "platforms", "referrers"]
    return f"tags of {snapshot.repository}", columns, rows


def _platforms(snapshot: Snapshot, digest: str) -> list[str]:
    manifest = snapshot.manifests[digest].manifest
    return [child.platform for child in manifest.children if child.platform]


def _parts(snapshot: Snapshot, named: Reference) -> tuple[str, list[str], list[dict[str, Any]]]:
    digest = _require(snapshot, named)
    rows = list(_parts_below(snapshot, digest or "", 0))
    return str(named), ["part", "digest", "type", "platform", "size"], rows


def _parts_below(snapshot: Snapshot, digest: str, depth: int) -> Iterator[dict[str, Any]]:
    entry = snapshot.manifests.get(digest)
    if entry is None:
        yield _part("missing", digest, "", None, None, depth)
        return
    manifest = entry.manifest
    yield _part(manifest.kind.value, digest, manifest.media_type, None, manifest.size, depth)
    if manifest.config is not None:
        config = manifest.config
        yield _part("config", config.digest, config.media_type, None, config.size, depth + 1)
    for layer in manifest.layers:
        yield _part("layer", layer.digest, layer.media_type, None, layer.size, depth + 1)
    for child in manifest.children:
        for number, part in enumerate(_parts_below(snapshot, child.digest, depth + 1)):
            yield {**part, "platform": child.platform} if number == 0 else part
    for referrer in snapshot.referrers.get(digest, ()):
        for number, part in enumerate(_parts_below(snapshot, referrer, depth + 1)):
            yield {**part, "part": f"{'  ' * (depth + 1)}referrer"} if number == 0 else part


def _part(
    part: str, digest: str, media_type: str, platform: str | None, size: int | None, depth: int
) -> dict[str, Any]:
    return {
        "part": "  " * depth + part,
        "digest": digest,
        "type": media_type,
        "platform": platform,
        "size": size,
    }


def _render(common: Common, title: str, columns: list[str], rows: list[dict[str, Any]]) -> None:
    from reaper.cli.session import format_of, report_output
    from reaper.report.listing import Column, render_rows
    from reaper.report.render import Format as ReportFormat

    with report_output(common) as out:
        shown = [
            Column(
                key,
                key.replace("_", " "),
                "right" if key in ("size", "referrers") else "left",
                unit="bytes" if key == "size" else "digest" if (key, columns[0]) == ("digest", "tag") else "",
            )
            for key in columns
        ]
        render_rows(title, shown, rows, ReportFormat(format_of(common).value), out)


def _show_verification(common: Common, found: Any) -> int:
    from reaper.cli.exits import Exit

    rows = [
        {
            "repository": damage.repository,
            "tag": damage.tag,
            "digest": damage.digest,
            "what": damage.what,
            "detail": damage.detail,
        }
        for damage in found.damages
    ]
    _render(common, "damage", ["repository", "tag", "digest", "what", "detail"], rows)
    typer.echo(
        f"verified {found.tags} tags, {found.manifests} manifests and {found.blobs} blobs "
        f"in {found.repositories} repositories: {len(found.damages)} damaged",
        err=True,
    )
    for error in found.errors:
        typer.echo(f"reaper: {error}", err=True)
    if found.damages:
        return int(Exit.FAILED)
    return int(Exit.PARTIAL if found.errors else Exit.DONE)
