"""The daemon as a process: schedules, reload, signals, metrics, notifications."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from reaper.store import open_store
from tests.e2e.conftest import Site
from tests.e2e.daemon import serving, swap_config_map

pytestmark = pytest.mark.integration

NEVER = "0 0 29 2 *"


def builds(site: Site, count: int = 5) -> None:
    for number in range(count):
        site.push("team/app", f"b{number}", age=10 + number)


def policy(newest: int) -> str:
    return (
        "version: 1\npolicies:\n  - name: all\n    repositories: {include: ['**']}\n"
        f"    rules: [{{keep: {{newest: {newest}}}}}]\n    minimum_age: 0s\n"
    )


def test_it_audits_until_told_otherwise(site: Site) -> None:
    builds(site)
    site.rules("[{keep: {newest: 2}}]")
    site.settings |= {"schedule": NEVER, "run_at_start": True}
    with serving(site) as daemon:
        daemon.wait_for("job_ended", outcome="done")
        assert len(site.pusher.tags("team/app")) == 5
        assert daemon.metric("reaper_dry_run") == 1
        assert daemon.metric("reaper_tags", 'decision="expire",registry="main"') == 3
        assert daemon.metric("reaper_runs_total", 'outcome="done",registry="main"') == 1
        assert (daemon.metric("reaper_run_last_success_timestamp_seconds", 'registry="main"') or 0) > 0
        assert (
            daemon.metric("reaper_registry_requests_total", 'method="HEAD",registry="main",status="200"') or 0
        ) > 0
        assert daemon.get("/healthz")[0] == 200
        assert daemon.get("/readyz")[0] == 200
        assert daemon.end() == 0
    assert site.reaper("runs", "--format", "json").rows[0]["outcome"] == "done"


def test_it_deletes_when_dry_run_is_off_and_logs_each_delete(site: Site) -> None:
    builds(site)
    site.rules("[{name: two, keep: {newest: 2}}]")
    site.settings |= {"schedule": NEVER, "run_at_start": True, "dry_run": False}
    with serving(site) as daemon:
        daemon.wait_for("job_ended", outcome="done")
        assert sorted(site.pusher.tags("team/app")) == ["b0", "b1"]
        deleted = daemon.events("manifest_deleted")
        assert {line["tags"][0] for line in deleted} == {"b2", "b3", "b4"}
        run = site.reaper("runs", "--format", "json").rows[0]["run"]
        for line in deleted:
            assert line["run_id"] == run
            assert line["registry"] == site.server.url
            assert line["repository"] == "team/app"
            assert line["digest"].startswith("sha256:")
            assert line["rule"] == "two"
            assert line["reason"].startswith("no rule keeps it")
        assert daemon.metric("reaper_manifests_deleted_total", 'policy="all",registry="main"') == 3
        assert daemon.end(signal.SIGINT) == 0


def test_a_missed_run_is_caught_up_once(site: Site) -> None:
    builds(site)
    site.rules("[{keep: {newest: 2}}]")
    site.settings |= {"schedule": "0 2 * * *", "timezone": "Europe/Berlin", "dry_run": False}
    with open_store(f"sqlite:///{site.folder}/reaper.db") as store:
        last = datetime.now(UTC) - timedelta(days=3)
        store.observations.set_fact(site.server.url, "last run 0 2 * * * (Europe/Berlin)", last.isoformat())
    with serving(site) as daemon:
        daemon.wait_for("job_missed", registry="main")
        daemon.wait_for("job_ended", outcome="done")
        assert daemon.end() == 0
        assert len(daemon.events("job_started")) == 1
    with serving(site) as daemon:
        daemon.wait_for("daemon_started")
        assert daemon.end() == 0
        assert not daemon.events("job_started")


def test_policies_are_followed_when_a_config_map_changes(site: Site) -> None:
    builds(site)
    folder = site.folder / "mounted"
    swap_config_map(folder, {"policy.yaml": policy(newest=4)})
    site.settings |= {"policies": ["mounted"], "schedule": NEVER, "run_at_start": True}
    with serving(site) as daemon:
        daemon.wait_for("job_ended", outcome="done")
        swap_config_map(folder, {"policy.yaml": "version: 1\npolicies: []\nrulez: 1\n"})
        failed = daemon.wait_for("configuration_invalid")
        assert "policy.yaml:3:1" in failed["error"]
        assert daemon.metric("reaper_config_last_reload_successful") == 0
        assert "policy.yaml:3:1" in daemon.get("/readyz")[1]
        assert "policy.yaml:3:1" in daemon.get("/")[1]
        position = len(daemon.lines)
        swap_config_map(folder, {"policy.yaml": policy(newest=1)})
        daemon.wait_for("configuration_loaded", after=position)
        assert daemon.metric("reaper_config_last_reload_successful") == 1
        assert "policy.yaml" not in daemon.get("/readyz")[1]
        # SIGHUP asks at once, whether or not anything has changed.
        position = len(daemon.lines)
        daemon.process.send_signal(signal.SIGHUP)
        daemon.wait_for("configuration_loaded", after=position)
        assert daemon.end() == 0


def test_going_live_needs_no_restart(site: Site) -> None:
    site.rules("[{keep: {newest: 1}}]")
    site.settings |= {"schedule": NEVER}
    with serving(site) as daemon:
        daemon.wait_for("daemon_started", dry_run=True)
        site.settings["dry_run"] = False
        site.write_settings()
        daemon.wait_for("configuration_loaded")
        assert daemon.metric("reaper_dry_run") == 0
        assert daemon.end() == 0


def test_sigterm_ends_a_sweep_between_two_deletes_and_the_next_start_does_the_rest(site: Site) -> None:
    builds(site, 40)
    site.rules("[{keep: {newest: 1}}]", guard="{max_share: null}")
    site.settings |= {"schedule": NEVER, "dry_run": False, "guard": {"max_share": None}}
    # Just before its last time: missed, so that it runs at once, now and after the interruption.
    with open_store(f"sqlite:///{site.folder}/reaper.db") as store:
        store.observations.set_fact(site.server.url, f"last run {NEVER} (UTC)", "2020-01-01T00:00:00+00:00")
    with serving(site) as daemon:
        daemon.wait_for("manifest_deleted")
        assert daemon.end() == 0
        deleted = len(daemon.events("manifest_deleted"))
    left = site.pusher.tags("team/app")
    assert len(left) == 40 - deleted > 1
    assert site.reaper("runs", "--format", "json").rows[0]["outcome"] == "interrupted"
    with serving(site) as daemon:
        daemon.wait_for("job_ended", outcome="done")
        assert daemon.end() == 0
    assert site.pusher.tags("team/app") == ["b0"]


def test_a_run_is_skipped_while_another_process_is_at_work(site: Site) -> None:
    builds(site)
    site.rules("[{keep: {newest: 1}}]")
    site.settings |= {"schedule": NEVER, "dry_run": False, "run_at_start": True}
    with (
        open_store(f"sqlite:///{site.folder}/reaper.db") as store,
        store.locks.acquire(f"write {site.server.url}", "a test", datetime.now(UTC)),
        serving(site) as daemon,
    ):
        assert "a test" in daemon.wait_for("run_skipped")["reason"]
        assert daemon.end() == 0
    assert len(site.pusher.tags("team/app")) == 5


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"registries": []}, "no registry is configured"),
        ({"schedule": "61 * * * *"}, "is not a crontab line"),
        ({"web": {"listen": "256.0.0.1:1"}}, "cannot listen on"),
        ({"leader_election": {"enabled": True, "kubeconfig": "/nowhere"}}, "/nowhere"),
    ],
)
def test_what_keeps_it_from_starting_is_said_in_one_line(
    site: Site, change: dict[str, Any], said: str
) -> None:
    site.rules("[{keep: all}]")
    site.settings |= change
    ended = site.reaper("serve")
    assert ended.code in (1, 2)
    assert said in ended.err
    assert len([line for line in ended.err.splitlines() if line.startswith("reaper: ")]) == 1


@contextmanager
def receiver() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Take JSON bodies on loopback; the path says by whom they were sent."""
    taken: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            taken.append({"path": self.path, **body})
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", taken
        finally:
            server.shutdown()
            thread.join()


def test_others_are_told_of_a_blocked_run(site: Site) -> None:
    builds(site)
    site.rules("[{keep: {newest: 1}}]", guard="{max_deletions: 1}")
    with receiver() as (url, taken):
        (site.folder / "url").write_text(f"{url}/slack-secret\n")
        site.settings |= {
            "schedule": NEVER,
            "run_at_start": True,
            "dry_run": False,
            "notify": [
                {"name": "ops", "url": f"{url}/json-secret"},
                {"name": "chat", "url_file": "url", "format": "slack", "on": ["digest"]},
                {"name": "quiet", "url": f"{url}/quiet", "on": ["failed"]},
            ],
        }
        with serving(site) as daemon:
            daemon.wait_for("notification_sent", receiver="ops")
            daemon.wait_for("notification_sent", receiver="chat")
            assert daemon.metric("reaper_guard_tripped_total", 'guard="max_deletions",registry="main"') == 1
            assert daemon.end() == 0
            assert "secret" not in "".join(daemon.raw)
    by_path = {each["path"]: each for each in taken}
    assert by_path.keys() == {"/json-secret", "/slack-secret"}
    told = by_path["/json-secret"]
    assert told["schema"] == "reaper.notification/v1"
    assert (told["registry"], told["outcome"], told["dry_run"]) == ("main", "blocked", False)
    assert told["summary"]["manifests_to_delete"] == 4
    assert "max_deletions" in told["problems"][0] or "4" in told["problems"][0]
    assert "blocked" in by_path["/slack-secret"]["text"]
