"""The installed reaper collects in a cluster, is killed while it does, and is followed by another."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from devtools.images import build_image
from reaper.collect.kubernetes_job_spec import DRY_RUN
from reaper.collect.kubernetes_read_only import ORIGINAL
from reaper.core.reference import digest_of
from tests.collect.cluster import ClusterSite
from tests.collect.storage import blob_path
from tests.e2e.conftest import REAPER, run_reaper

pytestmark = [pytest.mark.integration, pytest.mark.e2e]

POLICY = """
version: 1
policies:
  - name: all
    repositories: {include: ['**']}
    rules: [{keep: {newest: 1}}]
    minimum_age: 0s
"""


class Reaper:
    """The installed command, with settings for a registry in a cluster."""

    def __init__(self, site: ClusterSite, folder: Path) -> None:
        self.site = site
        self.file = folder / "reaper.yaml"
        (folder / "policy.yaml").write_text(POLICY)
        collect = {
            "via": "kubernetes-job",
            "undo_window": "0s",
            "timeout": "5m",
            "kubernetes": {
                "kubeconfig": str(site.kubeconfig()),
                "namespace": site.namespace,
                "workload": "deployment/registry",
            },
        }
        url = site.workloads.service.url
        settings = {
            "policies": ["policy.yaml"],
            "store": {"url": f"sqlite:///{folder}/reaper.db"},
            "registries": [{"name": "main", "url": url, "collect": collect}],
        }
        self.file.write_text(json.dumps(settings))

    def run(self, *arguments: str) -> Any:
        """Run it to its end; returns its JSON."""
        ended = run_reaper("--config", str(self.file), *arguments, "--format", "json")
        assert ended.code == 0, f"{ended.err}\n{self.site.workloads.errors[-3:]}"
        return json.loads(ended.out)

    def kill_when(self, condition: Callable[[], bool]) -> None:
        """Collect, and kill it as soon as the condition holds."""
        process = subprocess.Popen(
            [str(REAPER), "--config", str(self.file), "gc"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        deadline = time.monotonic() + 60.0
        try:
            while not condition():
                assert process.poll() is None, process.stderr and process.stderr.read()
                assert time.monotonic() < deadline, self.site.workloads.errors[-3:]
                time.sleep(0.02)
        finally:
            process.kill()
            process.wait()
            if process.stderr:
                process.stderr.close()


@pytest.fixture
def reaper(cluster_site: ClusterSite, tmp_path: Path) -> Reaper:
    """Reaper for a registry of which it has deleted an image."""
    site = cluster_site
    site.deploy()
    site.allow(0)
    found = Reaper(site, tmp_path)
    for days, tag in ((2, "old"), (1, "kept")):
        created = datetime.now(UTC) - timedelta(days=days)
        site.pusher.push("team/app", build_image(seed=tag, created=created), tag)
    return found


def digest_of_old(site: ClusterSite) -> str:
    found = site.pusher.get_manifest("team/app", "old")
    assert found is not None
    return digest_of(found.body)


def swept(site: ClusterSite, digest: str) -> bool:
    return not blob_path(site.storage, digest).exists()


def collecting(site: ClusterSite) -> bool:
    job = site.job()
    return job is not None and job["metadata"]["annotations"][DRY_RUN] == "false"


def changed(site: ClusterSite) -> bool:
    return ORIGINAL in site.workload()["metadata"].get("annotations", {})


def test_what_was_deleted_is_collected(reaper: Reaper) -> None:
    site = reaper.site
    digest = digest_of_old(site)
    assert reaper.run("run")["summary"]["deleted_manifests"] == 1
    assert not swept(site, digest)
    [row] = reaper.run("gc")
    assert (row["via"], row["outcome"], row["warnings"]) == ("kubernetes-job", "done", [])
    assert row["blobs"] == 3
    assert row["bytes"] > 0
    assert swept(site, digest)
    assert site.is_as_before()
    assert site.pusher.tags("team/app") == ["kept"]
    site.pusher.pull("team/app", "kept")


@pytest.mark.parametrize("moment", ["making read-only", "collecting", "making writable"])
def test_a_successor_puts_right_what_a_killed_reaper_left(reaper: Reaper, moment: str) -> None:
    site = reaper.site
    digest = digest_of_old(site)
    reaper.run("run")
    if moment == "making read-only":
        site.workloads.paused = True  # so that it is still waiting for the rollout
        reaper.kill_when(lambda: changed(site))
    elif moment == "collecting":
        site.workloads.instead = ["sleep", "600"]
        reaper.kill_when(lambda: collecting(site) and site.workloads.started[-1][1:2] == ["garbage-collect"])
    else:

        def writable_asked_for() -> bool:
            site.workloads.paused = site.workloads.paused or collecting(site)
            return site.workloads.paused and not changed(site)

        reaper.kill_when(writable_asked_for)
    site.workloads.paused, site.workloads.instead = False, None
    [row] = reaper.run("gc")
    assert row["outcome"] == ("nothing" if moment == "making writable" else "done"), row
    assert swept(site, digest)
    assert site.is_as_before()
    site.pusher.pull("team/app", "kept")
    site.pusher.push("team/app", build_image(seed="new"), "new")
