"""When jobs come due: APScheduler's cron triggers over the jobs that the configuration names."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime, timedelta

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler  # type: ignore[import-untyped]  # it has no types
from apscheduler.triggers.cron import CronTrigger  # type: ignore[import-untyped]  # it has no types

from reaper.daemon.jobs import JobSpec, Schedule

_log = structlog.get_logger(__name__)


class Schedules:
    """Calls ``fire`` for each job when it is due; a job that is still under way is not begun again."""

    def __init__(self, fire: Callable[[JobSpec], Awaitable[None]]) -> None:
        self._fire = fire
        self._scheduler = AsyncIOScheduler(
            timezone=UTC,
            # However late: a laptop that slept, or a starved process, runs once instead of never.
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
        )
        self._jobs: dict[str, JobSpec] = {}

    def start(self) -> None:
        """Begin to fire. Call it in the event loop that the jobs are to run in."""
        self._scheduler.start()

    def stop(self) -> None:
        """Fire no more. Jobs under way go on."""
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)

    @property
    def running(self) -> bool:
        """Whether jobs are fired."""
        return bool(self._scheduler.running)

    def apply(self, jobs: Iterable[JobSpec], jitter: timedelta) -> None:
        """Make ``jobs`` the ones that are fired; what stays the same keeps its next time.

        ``jitter`` is the longest, random delay of each.
        """
        wanted = {f"{job.registry} {job.key}": job for job in jobs}
        for name in self._jobs.keys() - wanted.keys():
            self._scheduler.remove_job(name)
        for name, job in wanted.items():
            if self._jobs.get(name) != job:
                trigger = _trigger(job.schedule, jitter)
                self._scheduler.add_job(self._fire, trigger, args=[job], id=name, replace_existing=True)
                _log.info("job_scheduled", registry=job.registry, job=job.key, policies=job.policies)
        self._jobs = wanted

    def next_at(self, job: JobSpec) -> datetime | None:
        """Return when the job is due next, or None when it is not scheduled (any more)."""
        found = self._scheduler.get_job(f"{job.registry} {job.key}")
        due: datetime | None = getattr(found, "next_run_time", None)
        return None if due is None else due.astimezone(UTC)


def was_missed(schedule: Schedule, last: datetime, now: datetime) -> bool:
    """Tell whether the schedule came due after ``last`` and before ``now``."""
    due = _trigger(schedule, timedelta()).get_next_fire_time(last, last)
    return due is not None and due <= now


def interval(schedule: Schedule, now: datetime) -> timedelta | None:
    """Return the longest of the schedule's next few pauses: how old the last run may usually get."""
    trigger = _trigger(schedule, timedelta())
    longest: timedelta | None = None
    last = trigger.get_next_fire_time(None, now)
    for _ in range(8):
        following = None if last is None else trigger.get_next_fire_time(last, last)
        if last is None or following is None:
            break
        longest = max(longest or timedelta(), following - last)
        last = following
    return longest


def _trigger(schedule: Schedule, jitter: timedelta) -> CronTrigger:
    trigger = CronTrigger.from_crontab(schedule.crontab, timezone=schedule.timezone)
    trigger.jitter = int(jitter.total_seconds()) or None
    return trigger
