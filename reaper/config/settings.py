"""The settings (DESIGN section 6): a file, the environment over it, the command's options over both."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import Field, PrivateAttr, ValidationError
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from reaper.config.collection import CollectSettings
from reaper.config.environment import CONFIG, DELIMITER, PREFIX, Environment, near_misses, variable_of
from reaper.config.errors import ConfigurationError, Problem, nearest
from reaper.config.fields import Crontab, Duration, SomeDuration, TextField, Timezone
from reaper.config.in_use import InUseSettings
from reaper.config.leadership import LeaderElectionSettings
from reaper.config.located import load_document
from reaper.config.login import Login
from reaper.config.model import Checked, Fault, place_in, problems_of
from reaper.config.nodes import Document
from reaper.config.notify import NotifySettings
from reaper.config.paths import FilePaths, anchored
from reaper.config.policies import share_in_percent
from reaper.config.registries import RegistrySettings
from reaper.config.urls import registry_url, same_registry
from reaper.config.web import WebSettings
from reaper.core.errors import InvalidInputError
from reaper.core.policy import UTC, Guard

__all__ = [
    "CollectSettings",
    "GuardSettings",
    "LogSettings",
    "Login",
    "RegistrySettings",
    "Settings",
    "StoreSettings",
    "WebSettings",
    "load_settings",
]

_STATE: Final = Path("/var/lib/reaper")
_DATABASE: Final = "reaper.db"
_DATABASES: Final = ("sqlite", "postgresql")
#: The key under which the file's content travels to the sources; no YAML key can be it.
_FILE: Final = "\0file"


def _store_url(text: str) -> str:
    scheme, found, rest = text.partition("://")
    if not found or scheme.partition("+")[0] not in _DATABASES or not rest.strip("/"):
        hint = "write sqlite:////path/to/reaper.db or postgresql://host/database"
        raise InvalidInputError("this is not a database's URL", hint=hint)
    return text


def default_store_url() -> str:
    """Return where the database is unless the settings say otherwise.

    ``/var/lib/reaper/reaper.db`` for root and for users without a home; else ``reaper/reaper.db`` in the
    user's folder for state (``~/.local/state``, ``$XDG_STATE_HOME``).
    """
    folder = _STATE
    if os.geteuid() != 0:
        from platformdirs import user_state_path

        found = user_state_path("reaper", appauthor=False)
        folder = found if found.is_absolute() else _STATE
    return f"sqlite:///{folder / _DATABASE}"


class StoreSettings(Checked):
    """Where reaper keeps what it remembers."""

    url: Annotated[str, TextField(_store_url, "a database's URL", str)] = Field(
        default_factory=default_store_url,
        repr=False,  # it may carry PostgreSQL's password
        description="`sqlite:///FILE` or `postgresql://…`.",
    )
    keep_journal: SomeDuration = Field(
        default=timedelta(days=90),
        description="How long the journal keeps what can no longer be undone, or was. The rest stays; where "
        "the registry collects by itself (`via: none`), deletes so old count as collected.",
    )
    keep_runs: SomeDuration = Field(
        default=timedelta(days=400), description="How long runs and their reports are kept."
    )


class LogSettings(Checked):
    """What is logged, and how."""

    hints: ClassVar[Mapping[str, str]] = {"verbosity": "did you mean 'level'?"}

    format: Literal["auto", "console", "json"] = Field(
        default="auto", description="auto: console on a terminal, else JSON."
    )
    level: Literal["debug", "info", "warning", "error"] = Field(
        default="warning", description="The least important lines to log."
    )


class GuardSettings(Checked):
    """The limits of a whole run, beyond which it waits for a person."""

    nullable: ClassVar[frozenset[str]] = frozenset({"max_deletions", "max_share", "max_vanished"})

    max_deletions: int | None = Field(
        default=10_000, ge=0, description="The most manifests to delete in a run. null: no limit."
    )
    max_share: float | None = Field(
        default=0.5,
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="The largest share of the registry to delete, from 0 to 1. null: no limit.",
    )
    share_from: int = Field(
        default=200, ge=0, description="The share counts from so many deletes on. 1 where max_share is given."
    )
    max_vanished: float | None = Field(
        default=0.5,
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="The largest share of the repositories that may be gone from the registry's catalog "
        "since the last inventory. null: no limit.",
    )

    @classmethod
    def faults(cls, data: Mapping[str, Any]) -> Iterator[Fault]:
        """Yield a share that was meant in percent."""
        yield from share_in_percent(data)

    def to_guard(self) -> Guard:
        """Return the core's guard. A share that was asked for counts from the first delete on."""
        asked = self.max_share is not None and "max_share" in self.model_fields_set
        share_from = 1 if asked and "share_from" not in self.model_fields_set else self.share_from
        return Guard(
            max_deletions=self.max_deletions,
            max_share=self.max_share,
            share_from=share_from,
            min_tags=0,
            min_repositories=0,
            max_vanished=self.max_vanished,
        )


class Settings(BaseSettings, Checked):
    """All settings. Made by `load_settings`."""

    model_config = SettingsConfigDict(
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        # Of the file's keys; variables are upper-case by custom, and read in any case.
        case_sensitive=True,
        env_prefix=PREFIX,
        env_nested_delimiter=DELIMITER,
        # Else a limit could not be lifted by a variable.
        env_parse_none_str="null",
    )
    hints: ClassVar[Mapping[str, str]] = {
        "registry": "did you mean 'registries'?",
        "version": "that is for policy files, which settings name under policies",
        "rules": "that is for policy files, which settings name under policies",
    }

    registries: list[RegistrySettings] = Field(default=[], description="The registries.")
    policies: Annotated[FilePaths, NoDecode] = Field(
        default=[], description="Policy files, and folders of them."
    )
    schedule: Crontab | None = Field(default=None, description="When to run, for policies without their own.")
    timezone: Timezone = Field(default=UTC, description="The time zone of the schedules here.")
    jitter: Duration = Field(
        default=timedelta(),
        description="Schedules begin up to so much later, by chance.",
    )
    run_at_start: bool = Field(default=False, description="Whether the daemon runs once when it starts.")
    dry_run: bool = Field(default=True, description="Whether the daemon only audits.")
    store: StoreSettings = Field(default_factory=StoreSettings, description="The database.")
    web: WebSettings = Field(default=WebSettings(), description="The daemon's web server.")
    log: LogSettings = Field(default=LogSettings(), description="Logging.")
    guard: GuardSettings = Field(default=GuardSettings(), description="The whole run's guard rails.")
    in_use: InUseSettings = Field(default=InUseSettings(), description="Where images in use are named.")
    in_use_grace: Duration = Field(
        default=timedelta(days=7), description="How long an image stays protected after it was last in use."
    )
    leader_election: LeaderElectionSettings = Field(
        default=LeaderElectionSettings(), description="Which of several daemons writes."
    )
    shutdown_grace: Duration = Field(
        default=timedelta(seconds=25),
        description="How long the daemon waits for what is under way when it is stopped.",
    )
    notify: list[NotifySettings] = Field(default=[], description="Who is told about runs.")

    _file: Path | None = PrivateAttr(default=None)
    _warnings: tuple[str, ...] = PrivateAttr(default=())

    @property
    def file(self) -> Path | None:
        """The file that the settings came from, if any."""
        return self._file

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is probably not meant, a line each: variables that are nearly settings."""
        return self._warnings

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return options, environment and file, the strongest first."""
        del env_settings, dotenv_settings, file_secret_settings
        assert isinstance(init_settings, InitSettingsSource)
        file = init_settings.init_kwargs.pop(_FILE, {})
        return init_settings, Environment(settings_cls), InitSettingsSource(settings_cls, file)

    @classmethod
    def faults(cls, data: Mapping[str, Any]) -> Iterator[Fault]:
        """Yield registries of the same name."""
        registries = data.get("registries")
        seen: set[str] = set()
        for index, registry in enumerate(registries if isinstance(registries, list) else ()):
            name = registry.get("name") if isinstance(registry, Mapping) else None
            if isinstance(name, str) and name in seen:
                at = ("registries", index, "name")
                yield Fault(f"another registry is named {name!r} as well", "give it another name", at)
            seen.add(str(name))

    def registry(self, name_or_url: str | None = None) -> RegistrySettings:
        """Return the registry of that name or URL; without one, the only one that is configured.

        A URL that no configured registry has makes settings of its own, with the defaults.

        Raises:
            InvalidInputError: there is no such registry, or none or several to choose from.
        """
        names = ", ".join(registry.name for registry in self.registries)
        if name_or_url is None:
            if len(self.registries) == 1:
                return self.registries[0]
            if not self.registries:
                hint = "give --registry URL, or configure one under registries"
                raise InvalidInputError("no registry is configured", hint=hint)
            raise InvalidInputError(
                "several registries are configured", hint=f"give --registry, one of: {names}"
            )
        for registry in self.registries:
            if registry.name == name_or_url:
                return registry
        if not _is_address(name_or_url):
            near = nearest(name_or_url, [registry.name for registry in self.registries])
            known = f"the configured ones are: {names}" if names else "give its URL, such as https://HOST"
            hint = f"did you mean {near!r}?" if near else known
            raise InvalidInputError(f"no registry is named {name_or_url!r}", hint=hint)
        url = registry_url(name_or_url)
        for registry in self.registries:
            if same_registry(registry.url, url):
                return registry
        return RegistrySettings.model_construct(name=url.rpartition("://")[2], url=url)


def _is_address(text: str) -> bool:
    host = text.partition("/")[0]
    return "://" in text or "@" in text or "." in host or ":" in host or host == "localhost"


def load_settings(file: Path | None = None, overrides: Mapping[str, Any] | None = None) -> Settings:
    """Return the settings: of the file, with the environment over it, and ``overrides`` over both.

    Without ``file`` it is the first that exists of ``$REAPER_CONFIG`` (which has to), ``./reaper.yaml``,
    ``reaper/reaper.yaml`` in ``$XDG_CONFIG_HOME`` (``~/.config``), and ``/etc/reaper/reaper.yaml``.

    Raises:
        ConfigurationError: with everything that is wrong, wherever it came from. It never holds a secret.
    """
    found = file or _find_file()
    document: Document | None = None
    problems: list[Problem] = []
    if found is not None:
        loaded = load_document(found)
        if isinstance(loaded, Problem):
            hint = f"{CONFIG} names it" if not file and os.environ.get(CONFIG) else loaded.suggestion
            raise ConfigurationError([replace(loaded, suggestion=hint)])
        document = loaded
        if {"version", "policies"} <= document.root.items.keys():
            hint = "policies are given with --policies, or named by the settings under policies"
            wrong = Problem(document.file, 1, 1, "this is a policy file, not a settings file", hint)
            raise ConfigurationError([wrong])
        problems += document.problems
    options = dict(overrides or {})
    settings: Settings | None = None
    data = anchored(document.data, found.absolute().parent) if document and found else {}
    try:
        settings = Settings(**{**options, _FILE: data})
    except ValidationError as error:
        given = Environment(Settings)()
        problems += problems_of(error, lambda fault: _place(fault, document, given, options))
    if problems or settings is None:
        raise ConfigurationError(sorted(problems, key=_order))
    settings._file = found  # noqa: SLF001 - only this function makes settings
    settings._warnings = near_misses(Settings, os.environ)  # noqa: SLF001
    return settings


def _find_file() -> Path | None:
    named = os.environ.get(CONFIG)
    if named:
        return Path(named)
    base = os.environ.get("XDG_CONFIG_HOME", "")
    home = base if Path(base).is_absolute() else os.path.expanduser("~/.config")  # noqa: PTH111 - never raises
    places = (Path("reaper.yaml"), Path(home, "reaper", "reaper.yaml"), Path("/etc/reaper/reaper.yaml"))
    # Not Path.is_file, which raises in a folder that may not be searched.
    return next((place for place in places if os.path.isfile(place)), None)  # noqa: PTH113


def _order(problem: Problem) -> tuple[str, int, int]:
    return problem.file, problem.line or 0, problem.column or 0


def _place(
    fault: Fault, document: Document | None, given: Mapping[str, Any], options: Mapping[str, Any]
) -> Problem:
    """Return ``fault`` with its place: an option, a variable, or a line of the file."""
    if fault.at and fault.at[0] in options and _reaches(options, fault.at):
        return Problem("options", None, None, fault.message, fault.suggestion)
    variable = variable_of(Settings, given, fault.at)
    if variable is not None:
        text = fault.message.endswith("not this text")
        as_json = text and any(kind in fault.message for kind in ("expected a mapping", "expected a list"))
        suggestion = fault.suggestion or ("write it as JSON" if as_json else None)
        return Problem(f"environment variable {variable}", None, None, fault.message, suggestion)
    if document is None:
        return Problem("settings", None, None, fault.message, fault.suggestion)
    return place_in(document, fault, echo=False)


def _reaches(data: Any, steps: tuple[str | int, ...]) -> bool:
    for step in steps:
        if not isinstance(data, Mapping):
            return True
        if step not in data:
            return False
        data = data[step]
    return True
