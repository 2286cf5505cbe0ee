"""Metrics: what is shown when, and that labels stay few."""

from __future__ import annotations

import inspect
import re
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from devtools.docs import METRICS, metrics_page
from devtools.prometheus import PrometheusError, check_metrics
from reaper.collect import Outcome as CollectionOutcome
from reaper.core import retention
from reaper.core.retention import Decision
from reaper.observe.metrics import Metrics
from reaper.observe.metrics_catalogue import (
    CATALOGUE,
    COLLECTIONS,
    DELETES_SKIPPED,
    OUTCOMES,
    PROTECTED_TAGS,
    TAGS,
    Kind,
    Spec,
)
from reaper.report.model import Outcome
from reaper.sweep import Outcome as StepOutcome
from tests.observe.samples import DAY, filled, finish

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def shown(metrics: Metrics) -> Series:
    """Return every sample of the exposition, by name and labels."""
    families = text_string_to_metric_families(metrics.exposition()[0].decode())
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    """Return one series' value, or None where it is absent."""
    return shown(metrics).get((name, frozenset(labels.items())))


def names(metrics: Metrics) -> set[str]:
    """Return the names of the metrics that have a series."""
    found = {name for name, _ in shown(metrics)}
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in found}


class TestCatalogue:
    def test_a_busy_daemon_shows_every_metric_and_no_other(self) -> None:
        own = {name for name in names(filled()) if not name.startswith("process_")}
        # It cannot be read-only and writable at once.
        assert own == {spec.name for spec in CATALOGUE} - {
            "reaper_registry_read_only_since_timestamp_seconds"
        }

    @pytest.mark.parametrize("spec", CATALOGUE, ids=lambda spec: spec.name)
    def test_names_and_labels_follow_prometheus_conventions(self, spec: Spec) -> None:
        assert re.fullmatch(r"reaper(_[a-z]+)+", spec.name)
        assert spec.name.endswith("_total") == (spec.kind is Kind.COUNTER)
        assert not re.search(r"milli|minutes|hours|_age|kilo|mega|percent", spec.name)
        assert set(spec.values) <= set(spec.labels)
        assert not {"repository", "tag", "digest", "url", "path", "cluster", "job", "instance"} & set(
            spec.labels
        )
        assert spec.help.endswith(".")
        assert (spec.kind is Kind.HISTOGRAM) == bool(spec.buckets)

    def test_labels_know_every_word_that_is_used(self) -> None:
        assert set(OUTCOMES) == {outcome.value for outcome in Outcome}
        assert set(TAGS.values["decision"]) == {decision.value for decision in Decision}
        assert set(DELETES_SKIPPED.values["cause"]) == {outcome.value for outcome in StepOutcome} - {"done"}
        named = re.findall(r'Verdict\(BUILT_IN, "([\w-]+)"', inspect.getsource(retention))
        assert set(PROTECTED_TAGS.values["protection"]) == {*named, "referrer"}
        # A registry that collects by itself has no collections here.
        ends = {outcome.value for outcome in CollectionOutcome} - {"none"}
        assert set(COLLECTIONS.values["outcome"]) == ends | {"postponed"}

    def test_docs_metrics_md_is_current(self) -> None:
        assert METRICS.read_text() == metrics_page(), "run .venv/bin/python -m devtools.docs"

    def test_every_metric_is_documented_once(self) -> None:
        documented = re.findall(r"^\| `(reaper_\w+)` \|", metrics_page(), re.MULTILINE)
        assert sorted(documented) == sorted(spec.name for spec in CATALOGUE)


class TestExposition:
    def test_promtool_finds_no_fault(self, promtool: Path) -> None:
        content, content_type = filled().exposition()
        assert content_type.startswith("text/plain; version=0.0.4")
        assert not check_metrics(promtool, content)

    def test_promtool_would_find_one(self, promtool: Path) -> None:
        with pytest.raises(PrometheusError, match="no help text"):
            check_metrics(promtool, b"reaper_things 1\n")

    def test_what_is_not_known_is_absent_and_never_0(self) -> None:
        metrics = Metrics(version="1")
        metrics.registry("main")
        metrics.cluster("prod")
        assert not any(name.endswith("_timestamp_seconds") for name, _ in shown(metrics))
        assert not {"reaper_leader", "reaper_dry_run", "reaper_tags", "reaper_verify_failures"} & names(
            metrics
        )

    def test_counters_begin_at_0_so_that_the_first_event_is_an_increase(self) -> None:
        metrics = Metrics(version="1")
        metrics.registry("main", policies=["all"])
        metrics.receivers(["chat"])
        assert value(metrics, "reaper_runs_total", registry="main", outcome="failed") == 0
        assert value(metrics, "reaper_manifests_deleted_total", registry="main", policy="all") == 0
        assert value(metrics, "reaper_guard_tripped_total", registry="main", guard="max_share") == 0
        assert value(metrics, "reaper_notifications_total", receiver="chat", outcome="failed") == 0
        assert value(metrics, "reaper_run_duration_seconds_count", registry="main") == 0

    def test_two_daemons_in_one_process_do_not_meet(self) -> None:
        one, other = Metrics(version="1"), Metrics(version="2")
        one.registry("main")
        assert "reaper_runs_total" not in names(other)
        assert value(other, "reaper_build_info", version="1", python=sys.version.split()[0]) is None

    def test_no_series_of_the_client_library_tells_when_it_was_created(self) -> None:
        assert not [name for name in names(filled()) if name.endswith("_created")]

    def test_a_million_requests_to_ten_thousand_repositories_are_a_handful_of_series(self) -> None:
        metrics = Metrics(version="1")
        registry = metrics.registry("main")
        for status in range(700):
            for method in ("GET", "HEAD", "BREW", "PROPFIND"):
                registry.response(method, status, 0.01)
        requests = [key for key in shown(metrics) if key[0] == "reaper_registry_requests_total"]
        assert len(requests) == 3 * 502  # each possible status, none and other
        assert (
            value(metrics, "reaper_registry_requests_total", registry="main", method="other", status="200")
            == 2
        )

    def test_many_threads_count_right(self) -> None:
        metrics = Metrics(version="1")

        def work() -> None:
            for _ in range(2000):
                metrics.registry("main").response("GET", 200, 0.01)
                metrics.registry("main").event("push", "recorded")

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(20):
            metrics.exposition()
        for thread in threads:
            thread.join()
        requests = value(
            metrics, "reaper_registry_requests_total", registry="main", method="GET", status="200"
        )
        assert requests == 8000
        assert (
            value(metrics, "reaper_events_total", registry="main", action="push", outcome="recorded") == 8000
        )


class TestRuns:
    def test_a_run_that_is_done(self) -> None:
        metrics = Metrics(version="1")
        registry = metrics.registry("main")
        registry.run_started(NOW)
        assert value(metrics, "reaper_run_in_progress", registry="main") == 1
        finish(registry, NOW)
        assert value(metrics, "reaper_run_in_progress", registry="main") == 0
        assert value(metrics, "reaper_runs_total", registry="main", outcome="done") == 1
        assert value(metrics, "reaper_run_last_attempt_timestamp_seconds", registry="main") == NOW.timestamp()
        ended = value(metrics, "reaper_run_last_success_timestamp_seconds", registry="main")
        assert ended == NOW.timestamp() + 42
        assert value(metrics, "reaper_run_duration_seconds_sum", registry="main") == 42
        assert value(metrics, "reaper_run_duration_seconds_bucket", registry="main", le="15.0") == 0
        assert value(metrics, "reaper_run_duration_seconds_bucket", registry="main", le="60.0") == 1
        assert value(metrics, "reaper_tags", registry="main", decision="expire") == 4
        assert value(metrics, "reaper_manifests_deleted_total", registry="main", policy="services") == 3
        assert value(metrics, "reaper_deletes_skipped_total", registry="main", cause="cancelled") == 1
        assert value(metrics, "reaper_reclaimable_bytes", registry="main") == 3_000_000

    @pytest.mark.parametrize("outcome", [outcome.value for outcome in Outcome if outcome is not Outcome.DONE])
    def test_any_other_end_is_no_success(self, outcome: str) -> None:
        metrics = Metrics(version="1")
        finish(metrics.registry("main"), NOW, outcome=outcome)
        assert value(metrics, "reaper_run_last_success_timestamp_seconds", registry="main") is None
        last = {o: value(metrics, "reaper_run_last_outcome", registry="main", outcome=o) for o in OUTCOMES}
        assert last == {o: float(o == outcome) for o in OUTCOMES}

    def test_a_run_that_fails_leaves_the_figures_of_the_last_look(self) -> None:
        metrics = Metrics(version="1")
        registry = metrics.registry("main")
        finish(registry, NOW)
        registry.run_started(NOW + DAY)
        registry.run_finished(
            outcome="failed",
            dry_run=False,
            started_at=NOW + DAY,
            finished_at=NOW + DAY,
            tags={},
            deleted={"services": 2},
            skipped={},
            reclaimable_bytes=0,
            manifests_to_delete=0,
            partial_repositories=0,
            guards=(),
            repositories=0,
            manifests=0,
        )
        assert value(metrics, "reaper_tags", registry="main", decision="keep") == 7
        assert value(metrics, "reaper_reclaimable_bytes", registry="main") == 3_000_000
        # What it did before it failed counts.
        assert value(metrics, "reaper_manifests_deleted_total", registry="main", policy="services") == 5
        assert (
            value(metrics, "reaper_run_last_success_timestamp_seconds", registry="main")
            == NOW.timestamp() + 42
        )

    def test_an_audit_deletes_nothing(self) -> None:
        metrics = Metrics(version="1")
        finish(metrics.registry("main", policies=["services"]), NOW, dry_run=True)
        assert value(metrics, "reaper_manifests_deleted_total", registry="main", policy="services") == 0
        assert value(metrics, "reaper_tags_untagged_total", registry="main", policy="services") == 0
        assert value(metrics, "reaper_runs_total", registry="main", outcome="done") == 1

    def test_tags_that_were_taken_off_count_by_policy(self) -> None:
        metrics = Metrics(version="1")
        finish(metrics.registry("main"), NOW)
        assert value(metrics, "reaper_tags_untagged_total", registry="main", policy="builds") == 2

    def test_a_guard_rail_counts_once_a_run_however_often_it_tripped(self) -> None:
        metrics = Metrics(version="1")
        guards = ("min_tags", "min_tags", "max_share", "newfangled", "brand_new")
        finish(metrics.registry("main"), NOW, outcome="blocked", guards=guards)
        for guard in ("min_tags", "max_share", "other"):
            assert value(metrics, "reaper_guard_tripped_total", registry="main", guard=guard) == 1

    def test_a_protection_that_keeps_nothing_any_more_is_0(self) -> None:
        metrics = Metrics(version="1")
        registry = metrics.registry("main")
        finish(registry, NOW)
        registry.run_finished(
            outcome="done",
            dry_run=False,
            started_at=NOW,
            finished_at=NOW,
            tags={},
            deleted={},
            skipped={},
            reclaimable_bytes=0,
            manifests_to_delete=0,
            partial_repositories=0,
            guards=(),
            repositories=0,
            manifests=0,
            protected={"latest": 4},
        )
        assert value(metrics, "reaper_protected_tags", registry="main", protection="in-use") == 0
        assert value(metrics, "reaper_protected_tags", registry="main", protection="latest") == 4

    def test_what_the_store_remembers_is_shown_before_the_first_run(self) -> None:
        metrics = Metrics(version="1")
        registry = metrics.registry("main")
        registry.last_success(NOW)
        registry.last_run(outcome="blocked", started_at=NOW + DAY)
        assert value(metrics, "reaper_run_last_success_timestamp_seconds", registry="main") == NOW.timestamp()
        assert value(metrics, "reaper_run_last_outcome", registry="main", outcome="blocked") == 1
        assert value(metrics, "reaper_runs_total", registry="main", outcome="blocked") == 0


class TestTimes:
    def test_the_time_that_a_registry_is_read_only_is_counted_while_it_lasts(self) -> None:
        now = NOW
        metrics = Metrics(version="1", clock=lambda: now)
        registry = metrics.registry("main")
        seconds: Callable[[], float | None] = lambda: value(  # noqa: E731
            metrics, "reaper_registry_read_only_seconds_total", registry="main"
        )
        registry.read_only_since(NOW - timedelta(seconds=30))
        assert seconds() == 30
        now += timedelta(seconds=15)
        assert (seconds(), seconds()) == (45, 45)
        registry.read_only_since(NOW - timedelta(seconds=30))
        now += timedelta(seconds=5)
        since = value(metrics, "reaper_registry_read_only_since_timestamp_seconds", registry="main")
        assert since == NOW.timestamp() - 30
        registry.read_only_since(None)
        now += timedelta(seconds=500)
        assert seconds() == 50
        assert value(metrics, "reaper_registry_read_only", registry="main") == 0
        assert value(metrics, "reaper_registry_read_only_since_timestamp_seconds", registry="main") is None

    def test_a_clock_that_goes_back_takes_nothing_from_a_counter(self) -> None:
        now = NOW
        metrics = Metrics(version="1", clock=lambda: now)
        registry = metrics.registry("main")
        registry.read_only_since(NOW)
        now -= timedelta(hours=1)
        registry.read_only_since(None)
        assert value(metrics, "reaper_registry_read_only_seconds_total", registry="main") == 0

    def test_the_oldest_delete_is_a_time_and_not_an_age(self) -> None:
        metrics = Metrics(version="1", clock=lambda: NOW)
        registry = metrics.registry("main")
        registry.undoable(2, 3600.0)
        name = "reaper_journal_oldest_undoable_timestamp_seconds"
        assert value(metrics, name, registry="main") == NOW.timestamp() - 3600
        registry.undoable(0, None)
        assert value(metrics, name, registry="main") is None
        assert value(metrics, "reaper_journal_undoable_entries", registry="main") == 0

    def test_a_schedule_that_was_dropped_is_absent(self) -> None:
        metrics = Metrics(version="1")
        registry = metrics.registry("main")
        registry.scheduled("run", NOW, 60.0)
        assert value(metrics, "reaper_schedule_interval_seconds", registry="main", kind="run") == 60
        registry.scheduled("run", None, None)
        assert value(metrics, "reaper_schedule_interval_seconds", registry="main", kind="run") is None

    def test_images_that_could_not_be_read_leave_the_time_when_they_could(self) -> None:
        metrics = Metrics(version="1")
        cluster = metrics.cluster("prod")
        cluster.read(True, NOW, 10, 0)
        cluster.read(False, NOW + DAY, 3, 1)
        assert value(metrics, "reaper_in_use_complete", source="prod") == 0
        assert (
            value(metrics, "reaper_in_use_last_complete_timestamp_seconds", source="prod") == NOW.timestamp()
        )
        assert value(metrics, "reaper_in_use_unreadable_references", source="prod") == 1

    def test_a_reload_that_fails_leaves_the_time_of_the_one_in_force(self) -> None:
        metrics = Metrics(version="1")
        metrics.configuration_reloaded(True, NOW)
        metrics.configuration_reloaded(False, NOW + DAY)
        assert value(metrics, "reaper_config_last_reload_successful") == 0
        assert value(metrics, "reaper_config_last_reload_success_timestamp_seconds") == NOW.timestamp()


class TestLeadership:
    leading = frozenset(spec.name for spec in CATALOGUE if spec.leading)

    def test_without_an_election_there_is_no_leader_and_all_is_shown(self) -> None:
        metrics = filled()
        metrics.leader(None)
        assert "reaper_leader" not in names(metrics)
        assert "reaper_run_last_success_timestamp_seconds" in names(metrics)

    def test_who_waits_shows_nothing_that_only_the_writer_knows(self) -> None:
        metrics = Metrics(version="1")
        metrics.leader(False)
        registry = metrics.registry("main")
        registry.last_success(NOW)
        assert not self.leading & names(metrics)
        assert value(metrics, "reaper_leader") == 0
        # It was seeded from the store before it came to lead.
        metrics.leader(True)
        assert value(metrics, "reaper_run_last_success_timestamp_seconds", registry="main") == NOW.timestamp()

    def test_who_lost_the_lead_forgets_what_it_knew(self) -> None:
        metrics = filled()
        metrics.leader(False)
        assert not self.leading & names(metrics)
        metrics.leader(True)
        assert self.leading & names(metrics) == {"reaper_run_in_progress", "reaper_collection_in_progress"}
        # Counters go on.
        assert value(metrics, "reaper_runs_total", registry="main", outcome="done") == 1


class TestRetired:
    def test_a_registry_that_left_the_settings_leaves_nothing_behind(self) -> None:
        metrics = filled()
        metrics.registry("other")
        metrics.retire_registry("main")
        registries = {dict(labels).get("registry") for _, labels in shown(metrics)}
        assert registries == {None, "other"}
        assert value(metrics, "reaper_runs_total", registry="other", outcome="done") == 0

    def test_and_can_come_back(self) -> None:
        metrics = filled()
        metrics.retire_registry("main")
        finish(metrics.registry("main"), NOW)
        assert value(metrics, "reaper_runs_total", registry="main", outcome="done") == 1

    def test_a_source_of_images_in_use_as_well(self) -> None:
        metrics = filled()
        metrics.retire_cluster("cluster prod")
        assert "reaper_in_use_images" not in names(metrics)
