"""What the web side sees of the daemon. Everything here answers at once: from memory, without waiting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol


@dataclass(frozen=True, slots=True)
class Job:
    """One thing that the daemon does on a schedule. ``registry`` is its configured name.

    ``schedule`` is for people, such as ``0 2 * * * (Europe/Berlin)``. ``last_at`` is when it last began,
    ``running_since`` is None unless it is under way. ``policies`` are empty for a collection.
    """

    registry: str
    kind: Literal["run", "collect"]
    policies: tuple[str, ...]
    schedule: str
    next_at: datetime | None = None
    last_at: datetime | None = None
    running_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Configuration:
    """The settings and policies that are in force, since ``loaded_at``.

    ``error`` says why a newer version of ``files`` is not, and ``failed_at`` since when; None when the files
    are what is in force.
    """

    loaded_at: datetime
    error: str | None = None
    failed_at: datetime | None = None
    files: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Status:
    """The daemon at one moment.

    ``leader`` is None where there is no election. ``registries`` are the configured names, each with the
    registry's key in the store: its URL, as `reaper.registry.RegistryClient.url` has it.
    """

    version: str
    started_at: datetime
    dry_run: bool
    leader: bool | None
    configuration: Configuration
    registries: Mapping[str, str] = field(default_factory=dict)
    jobs: tuple[Job, ...] = ()


class DaemonState(Protocol):
    """The daemon, as the web side may ask it."""

    def status(self) -> Status:
        """Return what the daemon is doing."""

    def dead(self) -> str | None:
        """Return why the process should be restarted, None while it is well. For the liveness probe.

        That is when the scheduler's heartbeat is stale, or a leader outlived its lease: never because
        something else, such as a registry or an API server, does not answer.
        """

    def unready(self) -> Sequence[str]:
        """Return why the daemon is not ready, for the readiness probe; nothing when it is. Standbys are."""
