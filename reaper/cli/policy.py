"""``reaper check``, ``reaper schema`` and ``reaper version``: what needs no registry."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reaper.cli.options import Common, Format, command

if TYPE_CHECKING:
    from reaper.cli.check_registry import RegistryCheck
    from reaper.config.errors import Problem
    from reaper.config.settings import Settings
    from reaper.core.policy import Policy


class Schema(StrEnum):
    """What there is a JSON Schema of."""

    POLICY = "policy"
    SETTINGS = "settings"
    TESTS = "tests"
    REPORT = "report"


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""

    @command(app, "check")
    def check(
        common: Common,
        paths: Annotated[
            list[Path] | None,
            typer.Argument(
                metavar="[PATH]...", help="Policy files or folders, instead of those of the settings."
            ),
        ] = None,
    ) -> None:
        """Validate settings and policies; with --registry, the registry and the login as well.

        Every problem of every file is one line: file, line, column, what is wrong, what would be right.
        """
        from reaper.cli.check_registry import check_registry
        from reaper.cli.exits import Exit

        found = _examine(common, paths or [])
        if not found.problems and common.registry and found.settings:
            found.registry = check_registry(common, found.settings)
        _show(common, found)
        if found.problems:
            raise typer.Exit(Exit.USAGE)
        if found.registry and found.registry.error:
            raise found.registry.error

    @command(app, "schema")
    def schema(
        common: Common, what: Annotated[Schema, typer.Argument(help="Of which files.")] = Schema.POLICY
    ) -> None:
        """Print the JSON Schema of policy files, of settings, of policy tests, or of the report."""
        import json

        from reaper.cli.session import report_output

        with report_output(common) as out:
            json.dump(_schema(what), out, indent=2, ensure_ascii=False)
            out.write("\n")

    @command(app, "version")
    def version(common: Common) -> None:
        """Print the version."""
        from reaper import __version__

        del common
        typer.echo(f"reaper {__version__}")


@dataclass(slots=True)
class _Found:
    """What ``check`` found. ``settings`` is None where they are not valid."""

    settings: Settings | None = None
    policies: dict[Path, tuple[Policy, ...]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    registry: RegistryCheck | None = None

    @property
    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield each policy for the report."""
        for file, policies in self.policies.items():
            for policy in policies:
                yield {
                    "policy": policy.name,
                    "file": str(file),
                    "repositories": str(policy.repositories),
                    "rules": [rule.name for rule in policy.rules],
                    "schedule": policy.schedule,
                }


def _examine(common: Common, paths: Sequence[Path]) -> _Found:
    """Check the settings and every set of policies that one registry may have.

    Raises:
        UsageError: there is neither a settings file nor a policy.
    """
    from reaper.cli.exits import UsageError
    from reaper.cli.session import settings_of
    from reaper.config.errors import ConfigurationError
    from reaper.config.policies import load_policy_files

    found = _Found()
    sets = [paths or common.policies or []]
    try:
        found.settings = settings_of(common)
    except ConfigurationError as error:
        found.problems += error.problems
    else:
        if not paths and not common.policies:
            sets = [found.settings.policies, *(each.policies or () for each in found.settings.registries)]
    for chosen in sets:
        try:
            found.policies.update(load_policy_files(chosen))
        except ConfigurationError as error:
            # A file that several registries share is wrong once.
            found.problems += [problem for problem in error.problems if problem not in found.problems]
    if not found.problems and not found.policies and found.settings and not found.settings.file:
        hint = "name policy files or folders of them, or a settings file with --config"
        raise UsageError("there is nothing to check", hint=hint)
    return found


def _show(common: Common, found: _Found) -> None:
    """Write what was found. For people, problems go where every other command writes them."""
    import json

    from reaper.cli.session import format_of, report_output
    from reaper.report.text import count, safe

    chosen = format_of(common)
    if chosen is Format.TABLE and found.problems:
        for problem in found.problems:
            typer.echo(safe(str(problem)), err=True)
        typer.echo(f"reaper: {count(len(found.problems), 'problem')}", err=True)
        return
    with report_output(common) as out:
        if chosen is Format.TABLE:
            out.writelines(f"{line}\n" for line in _lines(found))
        elif chosen is Format.JSON:
            json.dump(_document(found), out, indent=2, ensure_ascii=False)
            out.write("\n")
        else:
            _show_rows(found, chosen, out)


def _lines(found: _Found) -> Iterator[str]:
    from reaper.report.text import count, safe

    if found.settings and found.settings.file:
        names = ", ".join(registry.name for registry in found.settings.registries)
        yield safe(f"{found.settings.file}: settings, {f'registries {names}' if names else 'no registry'}")
    for row in found.rows:
        when = f", schedule {row['schedule']}" if row["schedule"] else ""
        what = f"{count(len(row['rules']), 'rule')}, repositories {row['repositories']}{when}"
        yield safe(f"{row['file']}: policy {row['policy']}: {what}")
    if found.registry:
        yield from found.registry.lines()
    policies = sum(len(policies) for policies in found.policies.values())
    yield f"valid: {count(policies, 'policy', 'policies')} in {count(len(found.policies), 'file')}"


def _document(found: _Found) -> dict[str, Any]:
    settings = found.settings
    return {
        "valid": not found.problems,
        "settings": str(settings.file) if settings and settings.file else None,
        "policies": list(found.rows),
        "problems": [asdict(problem) for problem in found.problems],
        "warnings": list(settings.warnings) if settings else [],
        "registry": found.registry.document() if found.registry else None,
    }


def _show_rows(found: _Found, chosen: Format, out: Any) -> None:
    from reaper.report.listing import Column, render_rows
    from reaper.report.render import Format as ReportFormat

    keys = ["policy", "file", "repositories", "rules", "schedule"]
    rows: list[Mapping[str, Any]] = [{**row, "rules": ", ".join(row["rules"])} for row in found.rows]
    title = "policies"
    if found.problems:
        keys = ["file", "line", "column", "message", "suggestion"]
        rows = [asdict(problem) for problem in found.problems]
        title = "problems"
    render_rows(title, [Column(key, key) for key in keys], rows, ReportFormat(chosen.value), out)


def _schema(what: Schema) -> dict[str, Any]:
    if what is Schema.REPORT:
        from reaper.report.schema import report_schema

        return report_schema()
    from reaper.config.schema import policy_schema, policy_tests_schema, settings_schema

    makers = {Schema.SETTINGS: settings_schema, Schema.TESTS: policy_tests_schema}
    return makers.get(what, policy_schema)()
