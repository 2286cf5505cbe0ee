"""The examples of the design load unchanged, and mean what it says."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from reaper.config.policies import load_policies
from reaper.config.settings import load_settings
from reaper.core.policy import (
    AnyOf,
    Guard,
    KeepAll,
    KeepNewest,
    KeepPeriods,
    KeepPulledWithin,
    KeepWithin,
    Order,
    Period,
    Policy,
    Rule,
)
from reaper.core.selectors import Glob, Regex, Selector, Semver

DESIGN = Path(__file__).with_name("design")
DAY = timedelta(days=1)


def test_the_policy_of_section_5() -> None:
    assert load_policies([DESIGN / "policy.yaml"]) == (
        Policy(
            name="services",
            repositories=Selector((Glob("services/**"),), (Glob("services/legacy/*"),)),
            schedule="0 2 * * *",
            rules=(
                Rule("releases", KeepAll(), Selector((Semver(">=1.0.0"),))),
                Rule(
                    "last five builds of each branch",
                    KeepNewest(5, Order.PUSHED),
                    Selector((Regex("^(?P<branch>[a-z0-9-]+)-[0-9a-f]{7,40}$"),)),
                    group_by="branch",
                ),
                Rule("rule 3", KeepWithin(14 * DAY)),
                Rule("rule 4", KeepPulledWithin(30 * DAY)),
                Rule(
                    "rule 5",
                    AnyOf(
                        (
                            KeepPeriods(Period.DAILY, 7),
                            KeepPeriods(Period.WEEKLY, 4),
                            KeepPeriods(Period.MONTHLY, 12),
                            KeepPeriods(Period.YEARLY, 3),
                        )
                    ),
                ),
            ),
            untagged_keep_within=DAY,
            minimum_age=DAY,
            guard=Guard(max_deletions=500, max_share=0.5, share_from=1, min_tags=1),
        ),
    )


def test_the_settings_of_section_6() -> None:
    settings = load_settings(DESIGN / "settings.yaml")
    [main] = settings.registries
    assert settings.registry("main") is main
    assert (main.url, main.username) == ("https://registry.example.com", "reaper")
    assert main.password_file == Path("/run/secrets/registry")
    collect = main.collect
    assert collect.via == "command"
    assert collect.command == ["registry", "garbage-collect", "/etc/distribution/config.yml"]
    assert collect.schedule == "0 4 * * sun"  # not APScheduler's Monday
    assert collect.read_only is not None
    assert collect.read_only.on == [["registry-mode", "read-only"]]
    assert collect.restart == [["systemctl", "restart", "registry"]]
    assert collect.undo_window == DAY
    assert settings.policies == [Path("/etc/reaper/policies")]
    assert (settings.schedule, settings.run_at_start, settings.dry_run) == ("0 2 * * *", False, True)
    assert settings.store.url == "sqlite:////var/lib/reaper/reaper.db"
    assert (settings.web.host, settings.web.port) == ("0.0.0.0", 8080)
    assert (settings.log.format, settings.log.level) == ("json", "info")
