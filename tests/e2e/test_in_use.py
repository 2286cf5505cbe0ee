"""Images in use, end to end: a real registry, a real API server, the installed command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from devtools.kubernetes import NOBODY, KubernetesServer
from tests.e2e.conftest import Site
from tests.e2e.daemon import serving
from tests.protect.objects import pod, spec, statuses, thing, workload

KEEP_ONE = "[{keep: {newest: 1}}]"


class Cluster:
    """A namespace of the shared cluster, as the site's settings have it."""

    def __init__(self, server: KubernetesServer, namespace: str, site: Site) -> None:
        self.server = server
        self.namespace = namespace
        self.site = site
        self.host = site.server.url.removeprefix("http://")
        self.settings: dict[str, Any] = {
            "name": "prod",
            "kubeconfig": str(server.kubeconfig()),
            "namespaces": [namespace],
        }
        site.settings["in_use"] = {"clusters": [self.settings]}

    def runs(self, name: str, image: str, digest: str) -> None:
        """Let a pod run an image, with the digest that its node pulled."""
        status = {"phase": "Running", "containerStatuses": statuses((image, f"{self.host}/app@{digest}"))}
        self.server.apply(pod(name, self.namespace, spec(image), status))

    def end(self, name: str) -> None:
        """Delete a pod at once."""
        path = f"/api/v1/namespaces/{self.namespace}/pods/{name}"
        self.server.request("DELETE", f"{path}?gracePeriodSeconds=0")


@pytest.fixture
def cluster(kubernetes: KubernetesServer, namespace: str, site: Site) -> Cluster:
    """An empty namespace."""
    return Cluster(kubernetes, namespace, site)


def decision(report: dict[str, Any], tag: str) -> tuple[str, str]:
    (found,) = (t for r in report["repositories"] for t in r["tags"] if t["tag"] == tag)
    return found["decision"], found["reason"]


def test_a_running_image_whose_tag_has_moved_is_kept_and_for_a_while_after_it_ended(
    site: Site, cluster: Cluster
) -> None:
    site.rules(KEEP_ONE, untagged="{keep_within: 0s}")
    running = site.push("app", "main", age=30)
    unused = site.push("app", "dev", age=29)
    cluster.runs("web-1", f"{cluster.host}/app:main", running.digest)
    cluster.server.apply(workload("apps/v1", "Deployment", "other", cluster.namespace, "nginx", replicas=0))
    site.json("--dry-run")
    site.push("app", "main", age=20)
    site.push("app", "dev", age=19)
    report = site.json("run")
    assert site.pusher.get_manifest("app", running.digest) is not None
    assert site.pusher.get_manifest("app", unused.digest) is None
    (kept,) = (m for m in report["repositories"][0]["manifests"] if m["digest"] == running.digest)
    user = f"Pod {cluster.namespace}/web-1 in cluster prod"
    assert (kept["action"], kept["tags"], kept["reason"]) == ("keep", [], f"in use by {user}")
    assert decision(report, "main")[0] == "keep"

    cluster.end("web-1")
    assert site.json("run")["summary"]["deleted_manifests"] == 0
    explained = site.reaper("explain", f"app@{running.digest}")
    assert f"in use by {user}, last seen 20" in explained.out

    site.settings["in_use_grace"] = "0s"
    site.json("run")
    assert site.pusher.get_manifest("app", running.digest) is None


def test_a_rollback_in_one_cluster_and_an_index_in_another(
    site: Site, cluster: Cluster, kubernetes: KubernetesServer
) -> None:
    site.rules(KEEP_ONE)
    for number in range(4):
        site.push("app", f"v{number}", age=40 - number)
    other = f"{cluster.namespace}-b"
    cluster.server.apply(
        thing("v1", "Namespace", other, None),
        workload("apps/v1", "ReplicaSet", "web-1", other, f"{cluster.host}/app:v1", replicas=0),
        pod("batch", cluster.namespace, spec("alias.example.com/proxied/app:v0")),
    )
    site.settings["registries"][0]["hosts"] = ["alias.example.com/proxied"]
    second = {**cluster.settings, "name": "stage", "namespaces": [other]}
    site.settings["in_use"]["clusters"].append(second)
    report = site.json("run")
    assert set(site.pusher.tags("app")) == {"v0", "v1", "v3"}
    assert decision(report, "v1")[1] == f"in-use: in use by ReplicaSet {other}/web-1 in cluster stage"
    assert decision(report, "v0")[1] == f"in-use: in use by Pod {cluster.namespace}/batch in cluster prod"


def test_a_file_and_a_command_name_further_images(site: Site, tmp_path: Path) -> None:
    site.rules(KEEP_ONE)
    for number in range(4):
        site.push("app", f"v{number}", age=40 - number)
    host = site.server.url.removeprefix("http://")
    (site.folder / "images.txt").write_text(f"# by hand\n{host}/app:v0\n")
    site.settings["in_use"] = {"files": ["images.txt"], "commands": [["echo", f"{host}/app:v1"]]}
    report = site.json("run")
    assert set(site.pusher.tags("app")) == {"v0", "v1", "v3"}
    assert decision(report, "v0")[1] == f"in-use: in use by file {site.folder}/images.txt, line 2"
    assert decision(report, "v1")[1] == "in-use: in use by command echo, line 1"


def test_a_cluster_that_may_not_be_read_blocks_runs_and_audits(site: Site, cluster: Cluster) -> None:
    site.rules(KEEP_ONE)
    site.push("app", "v0", age=40)
    site.push("app", "v1", age=39)
    cluster.settings["kubeconfig"] = str(cluster.server.kubeconfig(NOBODY))
    for arguments in (["run"], ["--dry-run"]):
        report = site.json(*arguments, code=3)
        assert report["outcome"] == "blocked"
        (guard,) = report["guards"]
        assert guard["guard"] == "in_use_unknown"
        assert "cluster prod: list" in guard["message"]
        assert "forbidden" in guard["message"]
    assert set(site.pusher.tags("app")) == {"v0", "v1"}
    explained = site.reaper("explain", "app:v0")
    assert explained.code == 0
    assert "a run would be blocked: cluster prod: list" in explained.err


def test_a_pod_with_an_image_that_is_none_blocks_unless_that_is_to_be_ignored(
    site: Site, cluster: Cluster
) -> None:
    site.rules(KEEP_ONE)
    site.push("app", "v0", age=40)
    site.push("app", "v1", age=39)
    cluster.server.apply(pod("odd", cluster.namespace, spec("Not An Image")))
    (guard,) = site.json("run", code=3)["guards"]
    assert guard["message"] == (
        f"cluster prod: this is no image: 'Not An Image' (Pod {cluster.namespace}/odd in cluster prod); "
        "it is not known what it stands for"
    )
    site.settings["in_use"]["ignore_unreadable"] = True
    report = site.json("run")
    assert site.pusher.tags("app") == ["v1"]
    assert any("ignored, as the settings say" in note for note in report["notes"])


def test_a_registry_that_no_cluster_calls_by_its_name_is_noted(site: Site, cluster: Cluster) -> None:
    site.rules(KEEP_ONE)
    site.push("app", "v0", age=40)
    cluster.server.apply(pod("web", cluster.namespace, spec("registry.internal:5000/app:v0")))
    notes = site.json("--dry-run")["notes"]
    assert any(note.startswith("none of the 1 images in use (prod) names this registry") for note in notes)
    assert any("come from registry.internal:5000, where 1 repository is called as here" in n for n in notes)


def test_the_daemon_keeps_what_is_in_use_and_tells_how_it_read_the_cluster(
    site: Site, cluster: Cluster
) -> None:
    site.rules(KEEP_ONE)
    for number in range(3):
        site.push("app", f"v{number}", age=40 - number)
    cluster.server.apply(pod("web", cluster.namespace, spec(f"{cluster.host}/app:v0")))
    site.settings |= {"schedule": "0 0 29 2 *", "run_at_start": True, "dry_run": False}
    with serving(site) as daemon:
        daemon.wait_for("job_ended", outcome="done")
        assert set(site.pusher.tags("app")) == {"v0", "v2"}
        source = 'source="cluster prod"'
        assert daemon.metric("reaper_in_use_complete", source) == 1
        assert daemon.metric("reaper_in_use_images", source) == 1
        assert daemon.end() == 0
    cluster.settings["kubeconfig"] = str(cluster.server.kubeconfig(NOBODY))
    with serving(site) as daemon:
        daemon.wait_for("job_ended", outcome="blocked")
        assert daemon.metric("reaper_in_use_complete", source) == 0
        guard = 'guard="in_use_unknown",registry="main"'
        assert daemon.metric("reaper_guard_tripped_total", guard) == 1
        assert daemon.end() == 0
