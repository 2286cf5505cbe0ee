"""What the settings and policies say to do when."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal
from zoneinfo import ZoneInfo

from reaper.config.settings import RegistrySettings, Settings
from reaper.core.policy import Policy


@dataclass(frozen=True, slots=True)
class Schedule:
    """A crontab line in a time zone."""

    crontab: str
    timezone: ZoneInfo

    def __str__(self) -> str:
        return f"{self.crontab} ({self.timezone.key})"


@dataclass(frozen=True, slots=True)
class JobSpec:
    """One thing to do on a schedule: a run with some of a registry's policies, or a collection.

    ``registry`` is the configured name; ``policies`` are names, and empty for a collection.
    """

    registry: str
    kind: Literal["run", "collect"]
    schedule: Schedule
    policies: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """The job's name among those of its registry.

        It stays when policies come and go, so that a restart knows when the job last began.
        """
        return f"{self.kind} {self.schedule}"


def plan_jobs(settings: Settings, policies: Mapping[str, Sequence[Policy]]) -> tuple[JobSpec, ...]:
    """Return the jobs of all registries; ``policies`` are those of each registry, by its name.

    Policies on the same schedule make one run, since a run reads the registry once for all of them. A
    daemon that only audits collects nothing.
    """
    return tuple(
        job for registry in settings.registries for job in _of(registry, settings, policies[registry.name])
    )


def unscheduled(settings: Settings, policies: Sequence[Policy]) -> list[str]:
    """Return the names of the policies that no schedule ever applies."""
    return [policy.name for policy in policies if policy.schedule is None and settings.schedule is None]


def _of(registry: RegistrySettings, settings: Settings, policies: Sequence[Policy]) -> Iterator[JobSpec]:
    default = Schedule(settings.schedule, settings.timezone) if settings.schedule else None
    groups: dict[Schedule, list[str]] = {}
    for policy in policies:
        own = Schedule(policy.schedule, policy.timezone) if policy.schedule else default
        if own is not None:
            groups.setdefault(own, []).append(policy.name)
    for schedule, names in groups.items():
        yield JobSpec(registry.name, "run", schedule, tuple(sorted(names)))
    collect = registry.collect
    if collect.schedule is not None and collect.via != "none" and not settings.dry_run:
        yield JobSpec(registry.name, "collect", Schedule(collect.schedule, settings.timezone))
