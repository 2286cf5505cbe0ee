"""The settings and policies in force: loaded together, or not at all."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from reaper.config.policies import load_policies
from reaper.config.settings import Settings, load_settings
from reaper.core.errors import InvalidInputError
from reaper.core.policy import Policy
from reaper.daemon.jobs import JobSpec, plan_jobs


@dataclass(frozen=True, slots=True)
class Loaded:
    """One valid set of settings and policies. ``policies`` are those of each registry, by its name."""

    settings: Settings
    policies: Mapping[str, tuple[Policy, ...]]
    jobs: tuple[JobSpec, ...]
    at: datetime


class ConfigurationFiles:
    """Where settings and policies come from.

    ``overrides`` are the command's options, over everything. ``registry``, a name or a URL, is the only one
    to work on; None: all that are configured.
    """

    def __init__(self, file: Path | None, overrides: Mapping[str, Any], registry: str | None = None) -> None:
        self._file = file
        self._overrides = dict(overrides)
        self._registry = registry

    def load(self, now: datetime) -> Loaded:
        """Return what the files say now.

        Raises:
            ConfigurationError: with everything that is wrong in them.
            InvalidInputError: they leave a daemon nothing to do.
        """
        settings = load_settings(self._file, self._overrides)
        if self._registry is not None:
            settings = settings.model_copy(update={"registries": [settings.registry(self._registry)]})
        if not settings.registries:
            raise InvalidInputError(
                "no registry is configured", hint="give --registry URL, or configure one under registries"
            )
        policies = {}
        for registry in settings.registries:
            named = None if "policies" in self._overrides else registry.policies
            paths = named or settings.policies
            if not paths:
                raise InvalidInputError(
                    f"registry {registry.name} has no policies",
                    hint="name policy files or folders under policies in the settings file",
                )
            policies[registry.name] = load_policies(paths)
        return Loaded(settings, policies, plan_jobs(settings, policies), now)

    def fingerprint(self, loaded: Loaded) -> bytes:
        """Return what changes whenever a file of ``loaded`` changes, comes or goes.

        The content counts, not the time: a ConfigMap changes by a swapped symbolic link, and a file that
        is written twice within the clock's grain is another one too.
        """
        digest = hashlib.sha256()
        for path in self.files(loaded):
            digest.update(str(path).encode(errors="surrogateescape") + b"\0")
            try:
                content = path.read_bytes()
            except OSError as error:
                digest.update(f"{type(error).__name__}\0".encode())
            else:
                digest.update(hashlib.sha256(content).digest())
        return digest.digest()

    def files(self, loaded: Loaded) -> list[Path]:
        """Return every file that ``loaded`` came from, and those that lie beside them by now."""
        settings = loaded.settings
        named = [*settings.policies, *(p for one in settings.registries for p in one.policies or ())]
        found = [settings.file] if settings.file else []
        found += (file for path in named for file in _below(path))
        return sorted(set(found))


def _below(path: Path) -> Iterator[Path]:
    # Whatever lies in the folder: which of it are policy files is for the loader to say.
    try:
        yield from (entry for entry in path.iterdir() if entry.is_file()) if path.is_dir() else (path,)
    except OSError:
        yield path
