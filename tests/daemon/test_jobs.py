"""From settings and policies to jobs."""

from __future__ import annotations

from zoneinfo import ZoneInfo

from reaper.config.settings import Settings
from reaper.core.policy import KeepAll, Policy, Rule
from reaper.core.selectors import Glob, Selector
from reaper.daemon.jobs import JobSpec, Schedule, plan_jobs, unscheduled

UTC = ZoneInfo("UTC")
BERLIN = ZoneInfo("Europe/Berlin")


def policy(name: str, schedule: str | None = None, timezone: ZoneInfo = UTC) -> Policy:
    return Policy(
        name, Selector((Glob("**"),)), (Rule("r", KeepAll()),), schedule=schedule, timezone=timezone
    )


def settings(**keys: object) -> Settings:
    return Settings.model_validate(
        {"registries": [{"name": "main", "url": "https://registry.example.com"}], **keys}
    )


def test_policies_on_one_schedule_are_one_run() -> None:
    policies = [policy("a", "0 2 * * *"), policy("b"), policy("c", "0 2 * * *", BERLIN), policy("d")]
    jobs = plan_jobs(settings(schedule="0 2 * * *"), {"main": policies})
    assert jobs == (
        JobSpec("main", "run", Schedule("0 2 * * *", UTC), ("a", "b", "d")),
        JobSpec("main", "run", Schedule("0 2 * * *", BERLIN), ("c",)),
    )


def test_the_default_schedule_is_in_the_settings_time_zone() -> None:
    (job,) = plan_jobs(settings(schedule="30 1 * * *", timezone="Europe/Berlin"), {"main": [policy("a")]})
    assert job.schedule == Schedule("30 1 * * *", BERLIN)
    assert job.key == "run 30 1 * * * (Europe/Berlin)"


def test_a_policy_without_any_schedule_is_named() -> None:
    policies = [policy("a", "0 2 * * *"), policy("b")]
    assert plan_jobs(settings(), {"main": policies})[0].policies == ("a",)
    assert unscheduled(settings(), policies) == ["b"]
    assert unscheduled(settings(schedule="0 3 * * *"), policies) == []


def test_a_collection_has_its_own_schedule() -> None:
    collect = {"via": "command", "command": ["registry", "garbage-collect", "c.yml"], "schedule": "0 4 * * 0"}
    registries = [
        {"name": "main", "url": "https://a.example", "collect": collect},
        {"name": "other", "url": "https://b.example"},
    ]
    given = Settings.model_validate({"registries": registries, "schedule": "0 2 * * *", "dry_run": False})
    jobs = plan_jobs(given, {"main": [policy("a")], "other": [policy("b")]})
    assert [(job.registry, job.kind, job.schedule.crontab, job.policies) for job in jobs] == [
        ("main", "run", "0 2 * * *", ("a",)),
        ("main", "collect", "0 4 * * sun", ()),
        ("other", "run", "0 2 * * *", ("b",)),
    ]
    # A daemon that only audits collects nothing.
    audits = plan_jobs(given.model_copy(update={"dry_run": True}), {"main": [policy("a")], "other": []})
    assert [job.kind for job in audits] == ["run"]
