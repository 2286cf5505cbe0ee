"""What the daemon tells its metrics of runs and collections, its own and others'."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from reaper.books import Counts
from reaper.collect import Phase
from reaper.daemon.recording import Recorder
from reaper.observe.metrics import Metrics
from reaper.report.model import CollectionReport, GuardReport, Outcome, RunReport, Summary
from reaper.store import Store, open_store
from tests.observe.samples import DAY
from tests.observe.test_metrics import value

URL = "http://127.0.0.1:5000"
MINUTE = timedelta(minutes=1)


class World:
    """A recorder with its metrics, its store and a clock."""

    def __init__(self, store: Store) -> None:
        self.now = datetime(2026, 3, 1, 12, tzinfo=UTC)
        self.store = store
        self.metrics = Metrics(version="1", clock=lambda: self.now)
        self.recorder = self.another()

    def another(self) -> Recorder:
        """Return one more recorder of the same registry, as a reload makes it."""
        return Recorder(self.metrics.registry("main"), self.store, URL, clock=lambda: self.now)

    def value(self, name: str, **labels: str) -> float | None:
        """Return the value of a series of the registry."""
        return value(self.metrics, name, registry="main", **labels)

    def phases(self, *phases: Phase) -> None:
        """Let a collection take steps, a minute each, as the procedure records them."""
        for phase in phases:
            self.recorder.phase(phase)
            kept = None if phase is Phase.FINISHED else phase.value
            self.store.observations.set_fact(URL, "collection_phase", kept)
            self.now += MINUTE

    def ran(self, outcome: str, *, dry_run: bool = False, command: str = "run") -> None:
        """Let another process run on the registry for a minute."""
        run = f"{self.now:%H%M%S}{outcome}"
        self.store.runs.begin(run, URL, command, dry_run, self.now)
        self.now += MINUTE
        self.store.runs.finish(run, self.now, outcome, {})

    def report(self, outcome: Outcome, **more: object) -> RunReport:
        """Return the report of a run that ended now."""
        summary = Summary(repositories=2, tags=9, kept_tags=5, expired_tags=4, reclaimable_bytes=1000)
        return RunReport("r", URL, False, self.now - MINUTE, self.now, outcome, summary, **more)  # type: ignore[arg-type]  # few fields, as given


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A new daemon on an empty store."""
    with open_store(f"sqlite:///{tmp_path}/reaper.db") as store:
        yield World(store)


class TestCollections:
    whole = (
        Phase.MAKING_READ_ONLY,
        Phase.COLLECTING,
        Phase.RESTARTING,
        Phase.MAKING_WRITABLE,
        Phase.VERIFYING,
        Phase.FINISHED,
    )

    def test_a_whole_collection(self, world: World) -> None:
        world.phases(Phase.MAKING_READ_ONLY, Phase.COLLECTING)
        assert world.value("reaper_collection_in_progress") == 1
        assert world.value("reaper_registry_read_only") == 1
        world.phases(*self.whole[2:])
        world.recorder.verified(0)
        world.recorder.collected(CollectionReport("command", "done", 3, 5000), 360.0)
        world.recorder.nothing_under_way()
        assert world.value("reaper_collection_in_progress") == 0
        assert world.value("reaper_registry_read_only") == 0
        assert world.value("reaper_registry_read_only_seconds_total") == 4 * 60
        assert world.value("reaper_collections_total", outcome="done") == 1
        assert world.value("reaper_collections_total", outcome="failed") == 0
        assert world.value("reaper_freed_bytes_total") == 5000
        assert world.value("reaper_verify_failures") == 0

    def test_one_without_a_read_only_mode_never_says_read_only(self, world: World) -> None:
        for phase in (Phase.COLLECTING, Phase.RESTARTING, Phase.VERIFYING, Phase.FINISHED):
            world.phases(phase)
            assert world.value("reaper_registry_read_only") == 0
        assert world.value("reaper_registry_read_only_seconds_total") == 0

    def test_one_that_cannot_make_it_writable_is_over_and_leaves_it_read_only(self, world: World) -> None:
        """As the alert ReaperRegistryReadOnly needs it: read-only, and no collection under way."""
        world.phases(*self.whole[:4])
        world.recorder.nothing_under_way()
        assert world.value("reaper_registry_read_only") == 1
        assert world.value("reaper_collection_in_progress") == 0
        assert world.value("reaper_collections_total", outcome="failed") == 1
        # The tries to put it back are no collections, or the alert would never have its ten minutes.
        since = world.value("reaper_registry_read_only_since_timestamp_seconds")
        for _ in range(5):
            world.phases(Phase.MAKING_WRITABLE)
            world.recorder.nothing_under_way()
            world.recorder.seed(audits=False)
            assert world.value("reaper_collection_in_progress") == 0
            assert world.value("reaper_registry_read_only") == 1
            assert world.value("reaper_registry_read_only_since_timestamp_seconds") == since
        world.phases(Phase.MAKING_WRITABLE, Phase.FINISHED)
        assert world.value("reaper_registry_read_only") == 0
        assert world.value("reaper_collections_total", outcome="failed") == 1

    def test_one_that_another_process_left_half_way_counts_until_somebody_ends_it(self, world: World) -> None:
        world.store.observations.set_fact(URL, "collection_phase", Phase.COLLECTING.value)
        world.recorder.cut_short()
        assert world.value("reaper_registry_read_only") == 1
        world.recorder.seed(audits=False)
        assert world.value("reaper_registry_read_only") == 1
        world.store.observations.set_fact(URL, "collection_phase", None)
        world.recorder.seed(audits=False)
        assert world.value("reaper_registry_read_only") == 0

    def test_a_reload_in_the_midst_of_one_changes_nothing(self, world: World) -> None:
        world.phases(Phase.MAKING_READ_ONLY, Phase.COLLECTING)
        world.another().seed(audits=False)
        assert world.value("reaper_registry_read_only") == 1
        assert world.value("reaper_collection_in_progress") == 1

    def test_one_that_is_put_off_frees_nothing_and_takes_no_time(self, world: World) -> None:
        postponed = CollectionReport("command", "postponed", detail="deletes can be undone")
        world.recorder.run_finished(world.report(Outcome.DONE, collection=postponed), Counts())
        assert world.value("reaper_collections_total", outcome="postponed") == 1
        assert world.value("reaper_collection_duration_seconds_count") == 0

    def test_damage_is_known_again_after_a_restart(self, world: World) -> None:
        world.recorder.seed(audits=False)
        assert world.value("reaper_verify_failures") is None
        world.store.observations.set_fact(URL, "known_damage", json.dumps(["team/app:v1 lacks a layer"]))
        world.recorder.seed(audits=False)
        assert world.value("reaper_verify_failures") == 1

    def test_the_undo_window_is_there_where_there_are_collections(self, world: World) -> None:
        world.recorder.configured(undo_window=DAY)
        assert world.value("reaper_undo_window_seconds") == 86400
        world.recorder.configured(undo_window=None)
        assert world.value("reaper_undo_window_seconds") is None


class TestRuns:
    def test_what_a_run_saw_and_did(self, world: World) -> None:
        counts = Counts(partial=1)
        counts.deleted["services"] += 3
        counts.untagged["services"] += 2
        counts.skipped["failed"] += 1
        counts.protected["in-use"] += 2
        counts.put_back = 2
        guards = [GuardReport("max_share", "…", "team/app"), GuardReport("max_share", "…", "team/web")]
        world.recorder.run_started(world.now)
        world.recorder.run_finished(world.report(Outcome.PARTIAL, guards=guards), counts)
        assert world.value("reaper_run_in_progress") == 0
        assert world.value("reaper_partial_repositories") == 1
        assert world.value("reaper_manifests_deleted_total", policy="services") == 3
        assert world.value("reaper_tags_untagged_total", policy="services") == 2
        assert world.value("reaper_deletes_skipped_total", cause="failed") == 1
        assert world.value("reaper_guard_tripped_total", guard="max_share") == 1
        assert world.value("reaper_tags", decision="expire") == 4
        assert world.value("reaper_protected_tags", protection="in-use") == 2
        assert world.value("reaper_protected_tags", protection="latest") == 0
        assert world.value("reaper_tags_put_back_total") == 2
        assert world.value("reaper_journal_undoable_entries") == 0

    def test_a_run_by_hand_counts_and_ends_an_alert(self, world: World) -> None:
        world.recorder.run_finished(world.report(Outcome.BLOCKED), Counts())
        assert world.value("reaper_run_last_outcome", outcome="blocked") == 1
        world.now += MINUTE
        world.ran("done")
        world.recorder.seed(audits=False)
        assert world.value("reaper_run_last_outcome", outcome="blocked") == 0
        assert world.value("reaper_run_last_success_timestamp_seconds") == world.now.timestamp()

    def test_an_audit_by_hand_cleans_nothing_up_and_counts_where_the_daemon_audits_alone(
        self, world: World
    ) -> None:
        world.ran("done", dry_run=True)
        world.recorder.seed(audits=False)
        assert world.value("reaper_run_last_success_timestamp_seconds") is None
        world.recorder.seed(audits=True)
        assert world.value("reaper_run_last_success_timestamp_seconds") == world.now.timestamp()

    def test_a_collection_by_hand_is_no_run(self, world: World) -> None:
        world.ran("done", command="gc")
        world.recorder.seed(audits=False)
        assert world.value("reaper_run_last_success_timestamp_seconds") is None

    def test_a_run_that_cannot_even_begin_has_failed(self, world: World) -> None:
        world.recorder.run_started(world.now)
        world.recorder.run_without_report(world.now, world.now + MINUTE)
        assert world.value("reaper_runs_total", outcome="failed") == 1
        assert world.value("reaper_run_last_outcome", outcome="failed") == 1
        assert world.value("reaper_tags", decision="keep") is None
