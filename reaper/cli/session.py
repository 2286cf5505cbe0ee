"""From options and settings to the objects that a command works with.

What talks to a registry or to the store is imported where it is needed: `reaper check` does without.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

import typer

from reaper.cli.exits import Exit, UsageError, exit_for_outcome
from reaper.cli.options import Common, Format
from reaper.config.policies import load_policies
from reaper.config.settings import RegistrySettings, Settings, load_settings
from reaper.core.errors import ReaperError
from reaper.core.policy import Policy
from reaper.observe.logging import configure_logging

if TYPE_CHECKING:
    from reaper.capabilities import Capabilities
    from reaper.collection import Collection
    from reaper.registry import RegistryClient
    from reaper.report.model import RunReport
    from reaper.repositories import Repositories
    from reaper.store import Store

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Session:
    """One registry, ready to be talked to, and the store behind it."""

    settings: Settings
    registry: RegistrySettings
    client: RegistryClient
    store: Store

    @property
    def key(self) -> str:
        """The registry's name in the store and in reports: its URL."""
        return self.client.url


def settings_of(common: Common) -> Settings:
    """Return the settings that the options lead to, and set logging up as they say.

    Raises:
        ConfigurationError: the settings are not valid.
    """
    settings = load_settings(common.config, overrides_of(common))
    configure_logging(settings.log.format, settings.log.level)
    for warning in settings.warnings:
        typer.echo(f"reaper: {warning}", err=True)
    return settings


def overrides_of(common: Common) -> dict[str, Any]:
    """Return the settings that the options stand for, as `load_settings` takes them."""
    overrides: dict[str, Any] = {}
    if common.policies:
        overrides["policies"] = [path.absolute() for path in common.policies]
    log: dict[str, str] = {}
    if common.log_format:
        log["format"] = common.log_format.value
    if common.verbose:
        log["level"] = "info" if common.verbose == 1 else "debug"
    if log:
        overrides["log"] = log
    return overrides


def policies_of(common: Common, settings: Settings) -> tuple[Policy, ...]:
    """Return the policies for the chosen registry: its own, unless options name others.

    Raises:
        UsageError: none are named.
        ConfigurationError: one is not valid.
    """
    paths = settings.policies
    if not common.policies:
        paths = settings.registry(common.registry).policies or paths
    if not paths:
        raise UsageError("no policies", hint="name a policy file or a folder of them with --policies PATH")
    return load_policies(paths)


@asynccontextmanager
async def session(common: Common, settings: Settings, *, read_only: bool) -> AsyncIterator[Session]:
    """Open the registry and the store; with ``read_only`` the transport refuses all but GET and HEAD.

    Raises:
        ConfigurationError, InvalidInputError: the registry's address or its settings are not valid.
        StoreError: the store cannot be opened.
    """
    from reaper.compose import registry_options
    from reaper.registry import RegistryClient
    from reaper.store import open_store

    registry = settings.registry(common.registry)
    options = registry_options(registry, read_only=read_only, docker_config=common.docker_config)
    with open_store(settings.store.url) as store:
        async with RegistryClient(options) as client:
            yield Session(settings, registry, client, store)


def collection_of(opened: Session) -> Collection:
    """Return the collections of the session's registry, as its settings have them."""
    from reaper.compose import collection_for

    return collection_for(opened.registry, opened.client, opened.store)


def repositories_of(opened: Session) -> Repositories:
    """Return what lists the repositories of the session's registry, as its settings have it."""
    from reaper.compose import repositories_for

    return repositories_for(opened.registry, opened.client)


def capabilities_of(opened: Session) -> Capabilities:
    """Return what the session's registry can do, as far as its settings, the store and itself tell."""
    from reaper.compose import capabilities_for

    return capabilities_for(opened.registry, opened.client, opened.store)


def run_async(work: Coroutine[Any, Any, Result]) -> Result:
    """Run ``work`` to its end."""
    return asyncio.run(work)


@contextmanager
def report_output(common: Common) -> Iterator[TextIO]:
    """Open where the report goes: ``--output``, or standard output.

    Raises:
        ReaperError: the file cannot be written.
    """
    if common.output is None:
        yield sys.stdout
        return
    try:
        with Path(common.output).open("w", encoding="utf-8", newline="") as out:
            yield out
    except OSError as error:
        raise ReaperError(f"cannot write {common.output}: {error.strerror}") from error


def format_of(common: Common) -> Format:
    """Return the chosen format; a table by default."""
    return common.format or Format.TABLE


def stop_on_signals(stop: Callable[[], None]) -> None:
    """Call ``stop`` on SIGTERM and SIGINT, instead of ending in the middle of a change."""
    import signal

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)


def show_report(common: Common, report: RunReport) -> Exit:
    """Write the report of a run where it belongs, and return the exit code of its outcome.

    What ended the run early goes to standard error as well, unless a person reads the report on a terminal.

    Raises:
        ReaperError: it cannot be written.
    """
    from reaper.report.render import Format as ReportFormat
    from reaper.report.render import render
    from reaper.report.text import safe

    with report_output(common) as out:
        render(report, ReportFormat(format_of(common).value), out, verbose=bool(common.verbose))
        out.flush()
    shown = common.output is None and format_of(common) is Format.TABLE and sys.stdout.isatty()
    if report.error is not None and not shown:
        typer.echo(f"reaper: {safe(report.error)}", err=True)
    return exit_for_outcome(report.outcome.value)
