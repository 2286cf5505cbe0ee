"""A real Prometheus scrapes the running daemon, evaluates all rules, and answers the dashboard's queries."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from devtools.prometheus import PrometheusError, PrometheusServer
from devtools.registry import RegistryServer
from reaper.observe.metrics_catalogue import CATALOGUE, Kind
from tests.e2e.conftest import Site
from tests.e2e.daemon import DaemonProcess, serving
from tests.observe.samples import filled, finish
from tests.prometheus.expressions import ALERTS, alerts, queries

pytestmark = pytest.mark.integration

#: Queries that are empty while all is well.
QUIET = {"annotation Collections", "annotation Blocked plans", "Read-only a day B"}


@pytest.fixture
def site(registry: RegistryServer, tmp_path: Path) -> Site:
    """A registry with a repository of five builds; no run is scheduled soon, one is made at the start."""
    site = Site(registry, tmp_path)
    for number in range(5):
        site.push("team/app", f"b{number}", age=10 + number)
    site.settings |= {"schedule": "0 0 29 2 *", "run_at_start": True, "dry_run": False}
    return site


@contextmanager
def samples() -> Iterator[str]:
    """Serve the metrics of a busy daemon with everything switched on; a run ends with each scrape."""
    metrics = filled()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            registry = metrics.registry("main")
            finish(registry, datetime.now(UTC), outcome="blocked", guards=("max_share",))
            finish(registry, datetime.now(UTC))
            registry.response("GET", 500, 0.2)
            registry.collection_finished("done", 60.0, 1, 1000)
            content, content_type = metrics.exposition()
            self.send_response(200)
            self.send_header("Content-Type", content_type)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def watching(binary: Path, tmp_path: Path, **targets: str) -> Iterator[PrometheusServer]:
    """Run Prometheus until it has scraped all targets and evaluated all rules several times."""
    with PrometheusServer(binary, targets, rules=ALERTS, root=tmp_path / "prometheus") as server:

        def seen() -> bool:
            scrapes = server.query("min(count_over_time(up[1m]) and on (job) up == 1)")
            evaluated = all(rule["lastEvaluation"] > "0001-01-02" for rule in server.rules())
            up = {series["metric"]["job"] for series in server.query("up == 1")}
            enough = bool(scrapes) and float(scrapes[0]["value"][1]) >= 4
            return enough and evaluated and up == set(targets)

        server.wait_for(seen, "scrapes and evaluations")
        yield server


def address(daemon: DaemonProcess) -> str:
    """Return where the daemon is scraped."""
    return urlsplit(daemon.url).netloc


def raised(server: PrometheusServer) -> set[str]:
    """Return the alerts that fire, or would after their time."""
    return {rule["name"] for rule in server.rules() if rule["state"] != "inactive"}


def test_the_daemon_is_scraped_rules_are_evaluated_and_the_dashboard_is_answered(
    site: Site, prometheus_binary: Path, tmp_path: Path
) -> None:
    site.rules("[{keep: {newest: 2}}]")
    with serving(site) as daemon, samples() as sample:
        daemon.wait_for("job_ended", outcome="done")
        with watching(prometheus_binary, tmp_path, reaper=address(daemon), sample=sample) as server:
            assert all(not target["lastError"] for target in server.targets())

            # The daemon's own figures arrive.
            deleted = server.query('reaper_manifests_deleted_total{job="reaper",policy="all"}')
            assert [series["value"][1] for series in deleted] == ["3"]
            assert server.query('reaper_run_last_success_timestamp_seconds{job="reaper"} > time() - 600')
            shown = {series["__name__"] for series in server.series('{job="reaper",__name__=~"reaper_.+"}')}
            endings = {spec.name: "_count" if spec.kind is Kind.HISTOGRAM else "" for spec in CATALOGUE}
            assert {f"{name}{endings[name]}" for name in ALWAYS} <= shown
            assert not any("repository" in series for series in server.series('{__name__=~"reaper_.+"}'))

            # Every rule was evaluated without an error, and all is well.
            assert {rule["name"] for rule in server.rules()} == {rule["alert"] for rule in alerts()}
            assert {rule["health"] for rule in server.rules()} == {"ok"}
            assert raised(server) == set()

            # Every query of the dashboard is answered, for the daemon and with everything switched on.
            assert not [fault for query in queries() for fault in refused(server, query.filled("reaper"))]
            empty = {
                query.where
                for query in queries()
                if not answered(server, query.filled("sample"), query.instant)
            }
            assert empty == QUIET
        assert daemon.end() == 0


#: What a daemon without an election, receivers, a collector and clusters shows once it has run.
ALWAYS = {
    "reaper_build_info",
    "reaper_config_last_reload_success_timestamp_seconds",
    "reaper_config_last_reload_successful",
    "reaper_dry_run",
    "reaper_events_total",
    "reaper_guard_tripped_total",
    "reaper_manifests",
    "reaper_manifests_deleted_total",
    "reaper_manifests_to_delete",
    "reaper_partial_repositories",
    "reaper_reclaimable_bytes",
    "reaper_registry_request_duration_seconds",
    "reaper_registry_requests_total",
    "reaper_repositories",
    "reaper_run_duration_seconds",
    "reaper_run_in_progress",
    "reaper_run_last_attempt_timestamp_seconds",
    "reaper_run_last_outcome",
    "reaper_run_last_success_timestamp_seconds",
    "reaper_runs_total",
    "reaper_schedule_interval_seconds",
    "reaper_schedule_next_timestamp_seconds",
    "reaper_tags",
    "reaper_journal_undoable_entries",
    "reaper_journal_oldest_undoable_timestamp_seconds",
}


def refused(server: PrometheusServer, expression: str) -> Iterator[str]:
    """Yield why Prometheus does not answer."""
    try:
        server.query(expression)
        server.query_range(expression, seconds=30, step=1)
    except PrometheusError as error:
        yield str(error)


def answered(server: PrometheusServer, expression: str, instant: bool) -> bool:
    """Tell whether there is anything to draw."""
    if instant:
        return bool(server.query(expression))
    return bool(server.query_range(expression, seconds=30, step=1))


def test_a_plan_that_is_blocked_raises_its_alert(site: Site, prometheus_binary: Path, tmp_path: Path) -> None:
    site.rules("[{keep: {newest: 1}}]", guard="{max_deletions: 1}")
    with serving(site) as daemon:
        daemon.wait_for("job_ended", outcome="blocked")
        with watching(prometheus_binary, tmp_path, reaper=address(daemon)) as server:
            assert raised(server) == {"ReaperPlanBlocked", "ReaperNeverSucceeded"}
            blocked = next(rule for rule in server.rules() if rule["name"] == "ReaperPlanBlocked")
            assert blocked["alerts"][0]["labels"]["registry"] == "main"
            assert blocked["alerts"][0]["annotations"]["summary"] == "Guard rails block the plan for main."
            assert server.query('reaper_guard_tripped_total{guard="max_deletions"} == 1')
        assert daemon.end() == 0
