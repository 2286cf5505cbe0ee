"""The daemon's metrics follow its settings."""

from __future__ import annotations

import signal

import pytest

from tests.e2e.conftest import Site
from tests.e2e.daemon import serving

pytestmark = pytest.mark.integration

#: No run comes due while the test runs.
SETTINGS = {"schedule": "0 0 29 2 *", "dry_run": False}


def test_metrics_follow_the_settings(site: Site) -> None:
    site.rules("[{keep: all}]")
    (site.folder / "images.txt").write_text("127.0.0.1/team/app:v1\n")
    collect = {"via": "command", "command": ["true"], "undo_window": "48h"}
    other = {"name": "other", "url": "http://127.0.0.1:9", "collect": collect}
    main = {"name": "main", "url": site.server.url}
    site.settings |= SETTINGS | {"registries": [main, other], "in_use": {"files": ["images.txt"]}}
    with serving(site) as daemon:
        daemon.wait_for("daemon_started")
        leap = daemon.metric("reaper_schedule_interval_seconds", 'kind="run",registry="main"') or 0
        assert leap >= 4 * 365 * 86400
        # Collections of the other take place with its runs.
        assert daemon.metric("reaper_schedule_interval_seconds", 'kind="collection",registry="other"') == leap
        assert daemon.metric("reaper_undo_window_seconds", 'registry="other"') == 48 * 3600
        assert daemon.metric("reaper_schedule_interval_seconds", 'kind="collection",registry="main"') is None
        assert daemon.metric("reaper_undo_window_seconds", 'registry="main"') is None
        assert daemon.metric("reaper_runs_total", 'outcome="done",registry="other"') == 0

        # A policy of its own schedule makes the pauses between runs shorter.
        site.rules("[{keep: all}]", schedule="'17 3 1 1 *'")
        daemon.process.send_signal(signal.SIGHUP)
        daemon.until(
            lambda: (
                daemon.metric("reaper_schedule_interval_seconds", 'kind="run",registry="main"') == 366 * 86400
            )
        )

        # What left the settings is heard of no more.
        site.settings["registries"] = [main]
        site.write_settings()
        daemon.process.send_signal(signal.SIGHUP)
        daemon.until(lambda: daemon.metric("reaper_runs_total", 'outcome="done",registry="other"') is None)
        assert 'registry="other"' not in daemon.get("/metrics")[1]

        # An audit collects nothing.
        site.settings |= {"registries": [main | {"collect": collect}], "dry_run": True}
        site.write_settings()
        daemon.process.send_signal(signal.SIGHUP)
        daemon.until(lambda: daemon.metric("reaper_dry_run") == 1)
        assert daemon.metric("reaper_schedule_interval_seconds", 'kind="collection",registry="main"') is None

        # A mistake that is taken back is no mistake any more.
        policy = site.folder / "policies" / "policy.yaml"
        before = policy.read_text()
        policy.write_text("version: 1\npolicies: [\n")
        daemon.process.send_signal(signal.SIGHUP)
        daemon.until(lambda: daemon.metric("reaper_config_last_reload_successful") == 0)
        policy.write_text(before)
        daemon.until(lambda: daemon.metric("reaper_config_last_reload_successful") == 1)
        assert daemon.end() == 0
