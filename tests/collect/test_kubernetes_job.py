"""Collections by a job: a real API server, the documented role, a real registry, a real collector."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from devtools.images import build_image
from devtools.pusher import AnswerError
from reaper.collect import CollectError, Mode, Outcome, Phase, StuckReadOnlyError, Tally
from reaper.collect.kubernetes_job import KubernetesJobCollector
from reaper.collect.kubernetes_job_spec import DRY_RUN, MANAGED_BY
from reaper.collect.kubernetes_read_only import DEADLINE, ORIGINAL, STARTED
from reaper.collect.kubernetes_workload import READ_ONLY_VARIABLE, Pace
from reaper.collect.procedure import ignore_progress
from reaper.kubernetes import ClusterUnreachableError
from reaper.kubernetes.resources import JOBS
from tests.collect.cluster import PACE, ClusterSite

pytestmark = pytest.mark.integration

READ_ONLY = {"name": READ_ONLY_VARIABLE, "value": '{"enabled":true}'}


def ready(site: ClusterSite, **options: Any) -> KubernetesJobCollector:
    """Return a collector of a registry with garbage in it."""
    site.deploy()
    site.allow(0)
    site.push_kept_and_deleted()
    return site.collector(KubernetesJobCollector, **options)


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "DaemonSet"])
def test_a_job_collects(kind: str, cluster_site: ClusterSite) -> None:
    site = cluster_site
    site.deploy(kind)
    site.allow(0)
    image = build_image(seed="again")
    site.pusher.delete("team/app", site.pusher.push("team/app", image, "1"))
    site.pusher.push("team/app", build_image(seed="kept"), "kept")
    before, untouched = site.disk_usage(), site.workload()["spec"]
    result = asyncio.run(site.procedure(site.collector(KubernetesJobCollector)))
    assert result.outcome is Outcome.DONE, result
    assert (result.blobs, result.bytes, result.warnings) == (3, image.size, ())
    assert before - site.disk_usage() == result.bytes
    assert site.workload()["spec"] == untouched
    assert site.is_as_before()
    # The descriptors of what was swept are forgotten.
    site.pusher.push("team/app", image, "1")
    assert site.pusher.pull("team/app", "1") == image
    assert site.pusher.pull("team/app", "kept") == build_image(seed="kept")


def test_the_job_is_the_registrys_own_pod(cluster_site: ClusterSite) -> None:
    site = cluster_site
    resources = {"limits": {"memory": "1Gi"}}
    context = {"readOnlyRootFilesystem": True, "allowPrivilegeEscalation": False}
    site.deploy(
        container={
            "env": [{"name": "REGISTRY_LOG_LEVEL", "value": "info"}],
            "ports": [{"containerPort": 5000}],
            "readinessProbe": {"httpGet": {"path": "/", "port": 5000}},
            "resources": resources,
            "securityContext": context,
        },
        pod={
            "serviceAccountName": "registry",
            "imagePullSecrets": [{"name": "pull"}],
            "tolerations": [{"key": "storage", "operator": "Exists"}],
            "securityContext": {"runAsNonRoot": True, "runAsUser": 1000, "fsGroup": 1000},
        },
    )
    site.allow(0)
    site.push_kept_and_deleted()
    collector = site.collector(KubernetesJobCollector)
    asyncio.run(collector.collect(dry_run=False, on_progress=ignore_progress))
    job = site.job()
    assert job is not None
    template, own = job["spec"]["template"]["spec"], site.workload()["spec"]["template"]["spec"]
    for key in ("serviceAccountName", "imagePullSecrets", "tolerations", "securityContext", "volumes"):
        assert template[key] == own[key], key
    [container] = template["containers"]
    assert container["command"] == ["registry", "garbage-collect", "/etc/docker/registry/config.yml"]
    for key in ("image", "resources", "securityContext", "volumeMounts"):
        assert container[key] == own["containers"][0][key], key
    assert container["env"] == [
        *own["containers"][0]["env"],
        {"name": "OTEL_TRACES_EXPORTER", "value": "none"},
    ]
    assert not {"ports", "readinessProbe", "args"} & container.keys()
    assert (template["restartPolicy"], job["spec"]["backoffLimit"]) == ("Never", 0)
    assert job["spec"]["activeDeadlineSeconds"] == 60
    assert job["metadata"]["ownerReferences"][0]["uid"] == site.workload()["metadata"]["uid"]
    assert "app" not in job["spec"]["template"]["metadata"]["labels"]


@pytest.mark.parametrize(("access", "node"), [("ReadWriteOnce", 0), ("ReadWriteMany", 1)])
def test_the_job_runs_where_the_volume_is(access: str, node: int, cluster_site: ClusterSite) -> None:
    """Pods that ask for no node get the second one here; the registry's is the first."""
    site = cluster_site
    site.deploy(access=access)
    site.allow(0)
    site.push_kept_and_deleted()
    collector = site.collector(KubernetesJobCollector)
    asyncio.run(collector.collect(dry_run=True, on_progress=ignore_progress))
    [pod] = [each for each in site.pods() if each["metadata"]["name"].startswith("reaper-gc-")]
    assert pod["spec"]["nodeName"] == site.workloads.nodes[node]


def test_a_volume_for_one_pod_alone_is_refused(cluster_site: ClusterSite) -> None:
    site = cluster_site
    site.deploy(access="ReadWriteOncePod")
    site.allow(0)
    with pytest.raises(CollectError, match="data is ReadWriteOncePod: no other pod can mount it"):
        asyncio.run(site.procedure(site.collector(KubernetesJobCollector)))
    assert site.phases == []


@pytest.mark.parametrize(
    ("verb", "resource", "told"),
    [
        ("patch", "deployments", "patch deployments.apps registry"),
        ("get", "deployments", "get deployments.apps registry"),
        ("list", "pods", "list pods"),
        ("create", "jobs", "create jobs.batch"),
        ("delete", "jobs", "delete jobs.batch reaper-gc-deployment-registry"),
        ("get", "pods/log", "get pods/log"),
        ("get", "persistentvolumeclaims", "get persistentvolumeclaims data"),
    ],
)
def test_a_missing_right_is_named_before_anything_is_touched(
    verb: str, resource: str, told: str, cluster_site: ClusterSite
) -> None:
    site = cluster_site
    site.deploy(wait=False)
    site.allow(0, without=(verb, resource))
    before = site.workload()["metadata"]["generation"]
    with pytest.raises(CollectError, match=f"may not, in namespace {site.namespace}: .*{told}"):
        asyncio.run(site.procedure(site.collector(KubernetesJobCollector)))
    assert site.workload()["metadata"]["generation"] == before
    assert (site.phases, site.job()) == ([], None)


def test_the_registry_is_read_only_while_it_is_collected(cluster_site: ClusterSite, tmp_path: Path) -> None:
    site = cluster_site
    collector = ready(site)
    go = tmp_path / "go"
    site.workloads.instead = ["sh", "-c", f"while [ ! -e {go} ]; do sleep 0.02; done"]

    async def push_meanwhile() -> None:
        task = asyncio.create_task(site.procedure(collector))
        while Phase.COLLECTING not in site.phases:
            await asyncio.wait({task}, timeout=0.02)
        with pytest.raises(AnswerError, match="405"):
            await asyncio.to_thread(site.pusher.push, "team/app", build_image(seed="new"), "new")
        annotations = site.workload()["metadata"]["annotations"]
        assert {STARTED, DEADLINE, ORIGINAL} <= annotations.keys()
        go.touch()
        assert (await task).outcome is Outcome.DONE

    asyncio.run(push_meanwhile())
    assert site.is_as_before()


def test_pods_of_before_that_still_terminate_are_waited_for(cluster_site: ClusterSite) -> None:
    site = cluster_site
    collector = ready(site)
    site.workloads.keep_terminating = True

    async def switch() -> None:
        task = asyncio.create_task(collector.read_only_on())
        # The new pod serves, and the old one has only been asked to end.
        while await asyncio.to_thread(site.mode) is not Mode.READ_ONLY or len(site.pods()) != 2:
            await asyncio.wait({task}, timeout=0.02)
        done, _ = await asyncio.wait({task}, timeout=0.5)
        assert not done
        site.workloads.keep_terminating = False
        await task
        assert len(site.pods()) == 1

    asyncio.run(switch())


@pytest.mark.parametrize(
    "entry",
    [
        {"name": READ_ONLY_VARIABLE, "value": '{"enabled":false}'},
        {
            "name": READ_ONLY_VARIABLE,
            "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}},
        },
    ],
)
def test_the_variable_of_before_is_put_back(entry: dict[str, Any], cluster_site: ClusterSite) -> None:
    site = cluster_site
    site.deploy(container={"env": [{"name": "A", "value": "1"}, entry]}, wait=False)
    site.allow(0)
    before = site.workload()["spec"]
    collector = site.collector(KubernetesJobCollector, pace=Pace(poll=0.05, rollout=20.0, end=20.0))

    async def both() -> None:
        await collector.read_only_on()
        assert READ_ONLY in site.workload()["spec"]["template"]["spec"]["containers"][0]["env"]
        await collector.read_only_off()

    asyncio.run(both())
    assert site.workload()["spec"] == before


def test_scaling_down_and_up(cluster_site: ClusterSite) -> None:
    site = cluster_site
    site.deploy(spec={"replicas": 2})
    site.allow(0)
    site.push_kept_and_deleted()
    modes: list[Mode | None] = []

    def on_phase(phase: Phase) -> None:
        if phase is Phase.MAKING_WRITABLE:
            modes.append(None if not site.workload()["spec"]["replicas"] else Mode.WRITABLE)

    collector = site.collector(KubernetesJobCollector, how="scale")
    result = asyncio.run(site.procedure(collector, on_phase=on_phase))
    assert (result.outcome, result.blobs, result.warnings) == (Outcome.DONE, 4, ())
    assert modes == [None]
    assert site.workload()["spec"]["replicas"] == 2
    assert site.is_as_before()


@pytest.mark.parametrize(
    ("how", "kind", "spec", "says"),
    [
        ("environment", "Deployment", {"paused": True}, "is paused"),
        ("environment", "Deployment", {"replicas": 0}, "is scaled to 0"),
        ("environment", "DaemonSet", {"updateStrategy": {"type": "OnDelete"}}, "OnDelete"),
        (
            "scale",
            "StatefulSet",
            {"persistentVolumeClaimRetentionPolicy": {"whenScaled": "Delete", "whenDeleted": "Retain"}},
            "the registry would be lost",
        ),
        ("environment", "StatefulSet", {"replicas": 2}, "separate registries"),
    ],
)
def test_what_could_not_be_put_back_is_refused(
    how: str, kind: str, spec: dict[str, Any], says: str, cluster_site: ClusterSite
) -> None:
    site = cluster_site
    site.deploy(kind, spec=spec, wait=False)
    site.allow(0)
    with pytest.raises(CollectError, match=says):
        asyncio.run(site.collector(KubernetesJobCollector, how=how).check())


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"container": {"image": "example.com/own:1", "volumeMounts": []}}, "does not say where"),
        (
            {"container": {"env": [{"name": "REGISTRY_STORAGE_CACHE_BLOBDESCRIPTOR", "value": "redis"}]}},
            "keeps descriptors in Redis",
        ),
        (
            {"pod": {"volumes": [{"name": "data", "emptyDir": {}}, {"name": "config", "emptyDir": {}}]}},
            "the volume data, which is lost with its pod",
        ),
        (
            {"pod": {"containers": [{"name": "a", "image": "a"}, {"name": "b", "image": "b"}]}},
            "has the containers a, b; name the registry's",
        ),
    ],
)
def test_what_cannot_be_collected_is_refused(
    changes: dict[str, Any], says: str, cluster_site: ClusterSite
) -> None:
    site = cluster_site
    site.deploy(wait=False, **changes)
    site.allow(0)
    with pytest.raises(CollectError) as caught:
        asyncio.run(site.collector(KubernetesJobCollector).check())
    assert says in f"{caught.value.message}; {caught.value.hint}"


@pytest.mark.parametrize(
    ("text", "seconds", "detail"),
    [
        ("echo out of disk; exit 3", 60.0, "ended with exit code 3: out of disk"),
        ("kill -9 $$", 60.0, "ended with exit code 137"),
        ("sleep 600", 5.0, "took longer than 5 seconds"),
    ],
)
def test_a_failing_job_is_deleted_and_leaves_the_registry_writable(
    text: str, seconds: float, detail: str, cluster_site: ClusterSite
) -> None:
    site = cluster_site
    collector = ready(site, timeout=seconds)
    site.workloads.instead = ["sh", "-c", text]
    result = asyncio.run(site.procedure(collector))
    assert result.outcome is Outcome.FAILED
    assert detail in result.detail
    assert site.job() is None
    assert len(site.pods()) == 1
    assert site.is_as_before()


def test_a_job_without_a_node_is_given_up_on(cluster_site: ClusterSite) -> None:
    site = cluster_site
    collector = ready(site, pace=Pace(poll=0.05, rollout=1.0, end=20.0))
    # Somebody moved the claim: its pod is on one node, and the job's is made to wait for the other.
    site.server.request(
        "PATCH",
        f"/api/v1/namespaces/{site.namespace}/persistentvolumeclaims/data/status",
        {"status": {"accessModes": ["ReadWriteMany"]}},
        content_type="application/merge-patch+json",
    )
    with pytest.raises(CollectError, match=r"did not start within 1 seconds: .*Multi-Attach error"):
        asyncio.run(collector.collect(dry_run=True, on_progress=ignore_progress))
    assert site.job() is None


def test_a_registry_that_somebody_makes_writable_stops_the_job(cluster_site: ClusterSite) -> None:
    site = cluster_site
    collector = ready(site)
    site.workloads.instead = ["sleep", "600"]

    def on_phase(phase: Phase) -> None:
        if phase is Phase.COLLECTING:
            container = {"name": "registry", "env": [{"name": READ_ONLY_VARIABLE, "$patch": "delete"}]}
            site.change({"spec": {"template": {"spec": {"containers": [container]}}}})

    result = asyncio.run(site.procedure(collector, on_phase=on_phase))
    assert result.outcome is Outcome.FAILED
    assert "became writable during the collection, which was stopped" in result.detail
    assert site.job() is None
    assert site.is_as_before()
    # Its pods have seen the collection, and were replaced all the same.
    assert "reaper.io/restarted-at" in site.workload()["spec"]["template"]["metadata"]["annotations"]


def test_a_cancellation_deletes_the_job_and_puts_back(cluster_site: ClusterSite) -> None:
    site = cluster_site
    collector = ready(site)
    site.workloads.instead = ["sleep", "600"]

    async def cancel() -> None:
        task = asyncio.create_task(site.procedure(collector))
        while Phase.COLLECTING not in site.phases or len(site.pods()) < 2:
            await asyncio.wait({task}, timeout=0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    assert site.job() is None
    assert site.is_as_before()


def test_a_successor_ends_the_job_and_puts_back(cluster_site: ClusterSite) -> None:
    """Of its predecessor it knows the phase alone; what was there before stands on the workload."""
    site = cluster_site
    first = ready(site)
    site.workloads.instead = ["sleep", "600"]

    async def begin() -> None:
        await first.read_only_on()
        async with first._connect() as client:
            body = await first._body(client, "run", dry_run=False)
            await client.create(JOBS, body, namespace=site.namespace)

    asyncio.run(begin())
    site.wait(lambda: len(site.pods()) == 2)
    second = site.collector(KubernetesJobCollector)
    assert asyncio.run(site.recover(second, Phase.COLLECTING)) == []
    assert site.job() is None
    assert site.is_as_before()


def test_what_another_store_left_is_put_back_after_its_deadline(cluster_site: ClusterSite) -> None:
    site = cluster_site
    collector = ready(site)
    asyncio.run(collector.read_only_on())
    another = site.collector(KubernetesJobCollector)
    with pytest.raises(CollectError, match=r"another collection of deployment .* may last until"):
        asyncio.run(another.check())
    assert site.mode() is Mode.READ_ONLY
    site.change({"metadata": {"annotations": {DEADLINE: "2026-01-01T00:00:00+00:00"}}})
    asyncio.run(another.check())
    assert site.is_as_before()


def test_another_collection_that_began_meanwhile_is_left_alone(cluster_site: ClusterSite) -> None:
    site = cluster_site
    collector = ready(site)
    asyncio.run(collector.check())
    asyncio.run(site.collector(KubernetesJobCollector).read_only_on())
    with pytest.raises(CollectError, match="another collection of deployment"):
        asyncio.run(collector.read_only_on())
    asyncio.run(collector.restart())
    asyncio.run(collector.read_only_off())
    assert site.mode() is Mode.READ_ONLY


def test_what_a_successor_has_begun_is_left_alone(cluster_site: ClusterSite) -> None:
    """A leader that lost its lease may still be putting back when the next one collects."""
    site = cluster_site
    first = ready(site)
    second = site.collector(KubernetesJobCollector)
    site.workloads.instead = ["sleep", "600"]

    async def follow() -> None:
        await first.read_only_on()
        await first.collect(dry_run=True, on_progress=ignore_progress)
        await second.read_only_off()
        await second.read_only_on()
        task = asyncio.create_task(second.collect(dry_run=False, on_progress=ignore_progress))
        while len(site.pods()) < 2:
            await asyncio.wait({task}, timeout=0.02)
        await first.restart()
        await first.read_only_off()
        assert site.job() is not None
        assert not task.done()
        task.cancel()
        await asyncio.wait({task})

    asyncio.run(follow())
    assert site.mode() is Mode.READ_ONLY


def test_an_api_server_that_is_away_is_waited_for(cluster_site: ClusterSite) -> None:
    site = cluster_site
    collector = ready(site)
    asyncio.run(collector.read_only_on())
    broken = 2

    class Away:
        """The client, whose first patches are done, and not answered."""

        def __init__(self, client: Any) -> None:
            self._client = client

        def __getattr__(self, name: str) -> Any:
            return getattr(self._client, name)

        async def patch(self, *arguments: Any, **options: Any) -> Any:
            nonlocal broken
            found = await self._client.patch(*arguments, **options)
            if broken:
                broken -= 1
                raise ClusterUnreachableError("no answer")
            return found

    async def put_back() -> None:
        async with collector._connect() as client:
            away: Any = Away(client)
            await collector._read_only.off(away)

    asyncio.run(put_back())
    assert broken == 1
    assert site.is_as_before()


def test_a_job_that_is_not_ours_is_neither_used_nor_deleted(cluster_site: ClusterSite) -> None:
    site = cluster_site
    collector = ready(site)
    asyncio.run(collector.collect(dry_run=True, on_progress=ignore_progress))
    job = site.job()
    assert job is not None
    assert job["metadata"]["annotations"][DRY_RUN] == "true"
    path = f"/apis/batch/v1/namespaces/{site.namespace}/jobs/{job['metadata']['name']}"
    labels = {"metadata": {"labels": {MANAGED_BY: "helm"}}}
    site.server.request("PATCH", path, labels, content_type="application/merge-patch+json")
    with pytest.raises(CollectError, match="that is not reaper's"):
        asyncio.run(collector.collect(dry_run=False, on_progress=ignore_progress))
    asyncio.run(collector.read_only_off())
    assert site.job() is not None


def test_a_job_of_another_run_that_collects_is_left_alone(cluster_site: ClusterSite) -> None:
    site = cluster_site
    collector = ready(site)
    site.workloads.instead = ["sleep", "600"]

    async def both() -> None:
        task = asyncio.create_task(collector.collect(dry_run=False, on_progress=ignore_progress))
        while site.job() is None:
            await asyncio.wait({task}, timeout=0.02)
        other = site.collector(KubernetesJobCollector)
        with pytest.raises(CollectError, match="of another run is still collecting"):
            await other.collect(dry_run=False, on_progress=ignore_progress)
        assert site.job() is not None
        task.cancel()
        await asyncio.wait({task})

    asyncio.run(both())


def test_a_pod_that_may_still_collect_keeps_the_registry_read_only(cluster_site: ClusterSite) -> None:
    """As on a node that is gone: its pod is asked to end, and nobody knows whether it has."""
    site = cluster_site
    collector = ready(site, timeout=1.0, pace=Pace(poll=0.05, rollout=20.0, end=0.5))
    site.workloads.instead = ["sleep", "600"]

    def on_phase(phase: Phase) -> None:
        site.workloads.keep_terminating = phase is not Phase.MAKING_READ_ONLY

    with pytest.raises(StuckReadOnlyError, match="may still be read-only"):
        asyncio.run(_quick(site, collector, on_phase))
    assert site.mode() is Mode.READ_ONLY
    site.workloads.keep_terminating = False
    assert asyncio.run(site.recover(site.collector(KubernetesJobCollector), Phase.MAKING_WRITABLE)) == []
    assert site.is_as_before()


async def _quick(
    site: ClusterSite, collector: KubernetesJobCollector, on_phase: Callable[[Phase], None]
) -> None:
    from reaper.collect import Waits, run_procedure

    async def record(phase: Phase) -> None:
        on_phase(phase)

    await run_procedure(
        collector,
        probe_mode=site.probe,
        record_phase=record,
        waits=Waits(settle=2.0, poll=0.02, watch=0.1),
    )


def test_progress_comes_while_the_job_runs(cluster_site: ClusterSite, tmp_path: Path) -> None:
    site = cluster_site
    collector = ready(site)
    go, digest = tmp_path / "go", f"sha256:{'1' * 64}"
    text = f"echo 'blob eligible for deletion: {digest}'; while [ ! -e {go} ]; do sleep 0.02; done"
    site.workloads.instead = ["sh", "-c", text]

    async def watch() -> None:
        seen = asyncio.Event()

        def on_progress(tally: Tally) -> None:
            if tally.blobs == 1:
                seen.set()

        task = asyncio.create_task(collector.collect(dry_run=False, on_progress=on_progress))
        async with asyncio.timeout(20):
            await seen.wait()
        assert not task.done()
        go.touch()
        assert (await task).tally.blobs == 1

    asyncio.run(watch())


def test_an_empty_registry_has_nothing_to_collect(cluster_site: ClusterSite) -> None:
    site = cluster_site
    site.deploy()
    site.allow(0)
    result = asyncio.run(site.procedure(site.collector(KubernetesJobCollector, pace=PACE)))
    assert (result.outcome, result.detail) == (Outcome.NOTHING, "nothing to collect: its storage is empty")
    assert site.phases == []
