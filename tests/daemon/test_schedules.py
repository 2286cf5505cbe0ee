"""When jobs come due."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from reaper.daemon.jobs import JobSpec, Schedule
from reaper.daemon.schedules import Schedules, interval, was_missed

NIGHTLY = Schedule("0 2 * * *", ZoneInfo("UTC"))
BERLIN = Schedule("30 1 * * *", ZoneInfo("Europe/Berlin"))


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("schedule", "last", "now", "missed"),
    [
        (NIGHTLY, "2026-03-01T02:00:01", "2026-03-02T01:59:59", False),
        (NIGHTLY, "2026-03-01T02:00:01", "2026-03-02T02:00:00", True),
        (NIGHTLY, "2026-03-01T02:00:00", "2026-03-01T02:00:30", False),
        # Half past one in Berlin is half past midnight in winter, and an hour earlier in summer.
        (BERLIN, "2026-01-10T00:30:01", "2026-01-11T00:29:00", False),
        (BERLIN, "2026-01-10T00:30:01", "2026-01-11T00:31:00", True),
        (BERLIN, "2026-07-10T00:30:01", "2026-07-10T23:31:00", True),
    ],
)
def test_what_was_missed(schedule: Schedule, last: str, now: str, missed: bool) -> None:
    assert was_missed(schedule, at(last), at(now)) is missed


@pytest.mark.parametrize(
    ("crontab", "expected"),
    [
        ("0 2 * * *", timedelta(days=1)),
        ("0 4 * * sun", timedelta(days=7)),
        ("*/15 * * * *", timedelta(minutes=15)),
        # Friday to Monday is the longest that the last run may be ago.
        ("0 9 * * mon,tue,wed,thu,fri", timedelta(days=3)),
    ],
)
def test_the_longest_pause_between_two_runs(crontab: str, expected: timedelta) -> None:
    assert interval(Schedule(crontab, ZoneInfo("UTC")), at("2026-03-04T12:00:00")) == expected


def test_jobs_are_fired_and_those_that_stay_keep_their_time() -> None:
    stays, goes, comes = (
        JobSpec(name, "run", NIGHTLY, (f"policy of {name}",)) for name in ("stays", "goes", "comes")
    )

    async def work() -> None:
        fired: list[JobSpec] = []
        rang = asyncio.Event()

        async def fire(job: JobSpec) -> None:
            fired.append(job)
            rang.set()

        schedules = Schedules(fire)
        schedules.apply([stays, goes], timedelta())
        schedules.start()
        before = schedules.next_at(stays)
        assert before is not None
        assert before > datetime.now(UTC)
        assert (before.hour, before.minute, before.tzinfo) == (2, 0, UTC)
        schedules.apply([stays, comes], timedelta(seconds=30))
        assert schedules.next_at(stays) == before
        assert schedules.next_at(goes) is None
        # Due now, instead of tonight.
        scheduler = schedules._scheduler
        scheduler.modify_job("comes run 0 2 * * * (UTC)", next_run_time=datetime.now(UTC))
        await asyncio.wait_for(rang.wait(), 30)
        assert fired == [comes]
        schedules.stop()
        await asyncio.sleep(0)  # it stops in the loop's next round
        assert not schedules.running

    asyncio.run(work())


def test_jitter_comes_on_top_of_the_schedule() -> None:
    async def work() -> set[int]:
        async def fire(_job: JobSpec) -> None:
            raise AssertionError

        seconds = set()
        for number in range(20):
            schedules = Schedules(fire)
            schedules.apply([JobSpec(str(number), "run", NIGHTLY)], timedelta(minutes=5))
            schedules.start()
            due = schedules.next_at(JobSpec(str(number), "run", NIGHTLY))
            assert due is not None
            midnight = due.replace(hour=0, minute=0, second=0, microsecond=0)
            assert timedelta(hours=2, minutes=-5) <= due - midnight <= timedelta(hours=2, minutes=5)
            seconds.add(int((due - midnight).total_seconds()))
            schedules.stop()
        return seconds

    assert len(asyncio.run(work())) > 1
