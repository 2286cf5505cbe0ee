"""Collections in the registry's own pod: through a real API server, with the documented role."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from devtools.images import build_image
from reaper.collect import CollectError, Mode, Outcome, Phase, StuckReadOnlyError, Waits, run_procedure
from reaper.collect.kubernetes_exec import KubernetesExecCollector
from reaper.collect.kubernetes_read_only import ORIGINAL
from reaper.collect.kubernetes_workload import Pace
from reaper.collect.procedure import ignore_progress
from tests.collect.cluster import ClusterSite

pytestmark = pytest.mark.integration


def ready(site: ClusterSite, **options: object) -> KubernetesExecCollector:
    """Return a collector of a registry with garbage in it, whose volume no other pod can have."""
    site.deploy("StatefulSet", access="ReadWriteOncePod")
    site.allow(1)
    site.push_kept_and_deleted()
    return site.collector(KubernetesExecCollector, **options)


def hanging(site: ClusterSite, folder: Path) -> None:
    """Put a collector in place of the real one that goes on until it is ended, deaf to a mere request."""
    script = folder / "registry"
    script.write_text("#!/bin/sh\ntrap '' TERM\nwhile :; do sleep 0.05; done\n")
    script.chmod(0o755)
    site.workloads.binary_inside = str(script)


def test_the_registry_is_collected_in_its_own_pod(cluster_site: ClusterSite) -> None:
    site = cluster_site
    collector = ready(site)
    image = build_image(layers=[10_000, 20_000])
    before, untouched = site.disk_usage(), site.workload()["spec"]
    result = asyncio.run(site.procedure(collector))
    assert (result.outcome, result.blobs, result.warnings) == (Outcome.DONE, 4, ()), result
    assert before - site.disk_usage() == result.bytes > 30_000
    assert site.workload()["spec"] == untouched
    assert site.is_as_before()
    site.pusher.push("team/app", image, "old")
    assert site.pusher.pull("team/app", "old") == image


def test_a_missing_right_is_named(cluster_site: ClusterSite) -> None:
    site = cluster_site
    site.deploy("StatefulSet", wait=False)
    site.allow(1, without=("create", "pods/exec"))
    with pytest.raises(CollectError, match="create pods/exec"):
        asyncio.run(site.procedure(site.collector(KubernetesExecCollector)))
    assert site.phases == []


def test_an_image_without_a_shell_is_refused(cluster_site: ClusterSite) -> None:
    site = cluster_site
    collector = ready(site)
    site.workloads.missing = {"sh"}
    with pytest.raises(CollectError, match="cannot tell whether a collector runs in it") as caught:
        asyncio.run(site.procedure(collector))
    assert "needs sh, tr and cut" in (caught.value.hint or "")
    assert site.phases == []


def test_a_failing_collector_is_told(cluster_site: ClusterSite) -> None:
    site = cluster_site
    collector = ready(site)
    site.workloads.instead = ["sh", "-c", "echo out of disk >&2; exit 3"]
    result = asyncio.run(site.procedure(collector))
    assert result.outcome is Outcome.FAILED
    assert "ended with exit code 3: out of disk" in result.detail
    assert site.is_as_before()


def test_a_dropped_connection_is_noticed_and_its_collector_ended(
    cluster_site: ClusterSite, tmp_path: Path
) -> None:
    """It would go on for ever, and does not listen to SIGTERM."""
    site = cluster_site
    collector = ready(site)

    async def drop() -> None:
        task = asyncio.create_task(site.procedure(collector, on_phase=on_phase))
        while Phase.COLLECTING not in site.phases or not site.workloads.collecting:
            await asyncio.wait({task}, timeout=0.02)
        for machine in site.workloads.machines:
            machine.drop()
        result = await task
        assert result.outcome is Outcome.FAILED
        assert "the command may still run; it was looked for and ended" in result.detail
        assert result.began

    def on_phase(phase: Phase) -> None:
        if phase is Phase.COLLECTING:
            hanging(site, tmp_path)
        if phase is Phase.RESTARTING:
            site.wait(lambda: site.workloads.collecting == 0)
            assert ORIGINAL in site.workload()["metadata"]["annotations"]

    asyncio.run(drop())
    assert site.is_as_before()


def test_a_cancellation_ends_the_collector_before_anything_else(
    cluster_site: ClusterSite, tmp_path: Path
) -> None:
    site = cluster_site
    collector = ready(site)
    hanging(site, tmp_path)

    async def cancel() -> None:
        task = asyncio.create_task(collector.collect(dry_run=False, on_progress=ignore_progress))
        while not site.workloads.collecting:
            await asyncio.wait({task}, timeout=0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    site.wait(lambda: site.workloads.collecting == 0)


def test_a_successor_finds_and_ends_the_collector(cluster_site: ClusterSite, tmp_path: Path) -> None:
    site = cluster_site
    first = ready(site)
    asyncio.run(first.read_only_on())
    hanging(site, tmp_path)

    async def orphan() -> None:
        async with first._connect() as client:
            command = ["registry", "garbage-collect", "/etc/docker/registry/config.yml"]
            task = asyncio.create_task(client.exec(site.namespace, "registry-0", command, within=60.0))
            while not site.workloads.collecting:
                await asyncio.wait({task}, timeout=0.02)
            task.cancel()
            await asyncio.wait({task})

    asyncio.run(orphan())
    assert site.workloads.collecting == 1
    second = site.collector(KubernetesExecCollector)
    assert asyncio.run(site.recover(second, Phase.COLLECTING)) == []
    site.wait(lambda: site.workloads.collecting == 0)
    assert site.is_as_before()


def test_a_pod_that_cannot_be_asked_keeps_the_registry_read_only(
    cluster_site: ClusterSite, tmp_path: Path
) -> None:
    site = cluster_site
    collector = ready(site, pace=Pace(poll=0.05, rollout=20.0, end=0.5))
    began: list[Phase] = []

    async def record(phase: Phase) -> None:
        began.append(phase)
        if phase is Phase.COLLECTING:
            hanging(site, tmp_path)
            collector._timeout = 1.0
        if phase is Phase.RESTARTING:
            site.workloads.missing = {"sh"}

    with pytest.raises(StuckReadOnlyError, match="cannot tell whether a collector runs"):
        asyncio.run(
            run_procedure(
                collector,
                probe_mode=site.probe,
                record_phase=record,
                waits=Waits(settle=1.0, poll=0.02, watch=0.1),
            )
        )
    assert site.mode() is Mode.READ_ONLY
    site.workloads.missing = set()
    assert asyncio.run(site.recover(site.collector(KubernetesExecCollector), Phase.MAKING_WRITABLE)) == []
    assert site.is_as_before()
