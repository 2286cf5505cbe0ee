"""A daemon's metrics, filled as a busy one fills them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from reaper.observe.metrics import Metrics, RegistryMetrics

DAY = timedelta(days=1)


def finish(
    registry: RegistryMetrics,
    started: datetime,
    *,
    outcome: str = "done",
    dry_run: bool = False,
    took: timedelta = timedelta(seconds=42),
    guards: tuple[str, ...] = (),
) -> None:
    """Let a run begin and end that keeps seven tags and deletes four manifests."""
    registry.run_started(started)
    registry.run_finished(
        outcome=outcome,
        dry_run=dry_run,
        started_at=started,
        finished_at=started + took,
        tags={"keep": 7, "expire": 4, "ignore": 1},
        deleted={"services": 3, "builds": 1},
        untagged={"builds": 2},
        skipped={"cancelled": 1},
        reclaimable_bytes=3_000_000,
        manifests_to_delete=5,
        partial_repositories=0,
        guards=guards,
        repositories=2,
        manifests=30,
        protected={"in-use": 2, "latest": 1},
    )


def filled(now: datetime | None = None) -> Metrics:
    """Return metrics in which every metric there is has a series."""
    now = now or datetime.now(UTC)
    metrics = Metrics(version="1.2.3")
    metrics.dry_run(False)
    metrics.leader(True)
    metrics.leader_transition()
    metrics.lease_renewed(0.02)
    metrics.configuration_reloaded(True, now - DAY)
    metrics.receivers(["chat"])
    metrics.notification("chat", "sent")
    registry = metrics.registry("main", policies=["services", "builds"])
    for method, status in (("HEAD", 200), ("GET", 200), ("DELETE", 202), ("GET", 429), ("GET", 0)):
        registry.response(method, status, 0.03)
    registry.retried("throttled")
    registry.throttled(2.0)
    registry.token_fetched("done")
    finish(registry, now - timedelta(hours=2), outcome="blocked", guards=("max_share",))
    finish(registry, now - timedelta(hours=1))
    registry.scheduled("run", now + timedelta(hours=1), 7200)
    registry.scheduled("collection", now + DAY, 7 * 86400)
    registry.undo_window(86400)
    registry.collection_started()
    registry.read_only_since(now - timedelta(minutes=20))
    registry.collection_finished("done", 300.0, 12, 4_000_000)
    registry.read_only_since(None)
    registry.verify_failures(0)
    registry.undoable(4, 3600.0)
    registry.event("push", "recorded", 3)
    registry.tag_put_back()
    metrics.cluster("cluster prod").read(True, now - timedelta(hours=1), 120, 0)
    return metrics
