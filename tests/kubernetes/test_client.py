"""The client against a real API server, and against one that misbehaves."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from devtools.kubernetes import NOBODY
from devtools.kubernetes_node import Node, Place
from reaper.kubernetes import (
    AlreadyExistsError,
    ClusterClient,
    ClusterDeniedError,
    ClusterError,
    ClusterLoginError,
    ClusterUnreachableError,
    ConflictError,
    ExecInterruptedError,
    InvalidAnswerError,
    ObjectNotFoundError,
    PatchType,
    Propagation,
    ReadOnlyClientError,
    Resource,
    UnknownResourceError,
    connect,
)
from reaper.kubernetes.resources import DEPLOYMENTS, JOBS, NAMESPACES, PODS
from tests.kubernetes.conftest import Cluster, config_map
from tests.registry.fake import Fake, with_fake

pytestmark = pytest.mark.integration
CONFIG_MAPS = Resource("", "v1", "configmaps")


def name(item: dict[str, Any]) -> str:
    found: str = item["metadata"]["name"]
    return found


def pod_spec(image: str = "registry.example.com/app:1", **more: Any) -> dict[str, Any]:
    return {"containers": [{"name": "main", "image": image, **more}]}


def deployment(namespace: str) -> dict[str, Any]:
    labels = {"app": "web"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": namespace},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "containers": [
                        {"name": "main", "image": "a:1", "env": [{"name": "A", "value": "1"}]},
                        {"name": "side", "image": "b:1"},
                    ]
                },
            },
        },
    }


def test_a_list_is_read_in_pages(cluster: Cluster, namespace: str) -> None:
    names = [f"map-{number}" for number in range(7)]
    cluster.server.apply(*(config_map(each, namespace) for each in names))

    async def work(client: ClusterClient) -> None:
        assert await client.list_all(CONFIG_MAPS, name, namespace=namespace) == names
        everywhere = await client.list_all(CONFIG_MAPS, lambda item: item["metadata"])
        assert [each["name"] for each in everywhere if each["namespace"] == namespace] == names
        assert {each["namespace"] for each in everywhere} > {namespace}
        one = await client.list_all(CONFIG_MAPS, name, namespace=namespace, fields="metadata.name=map-3")
        assert one == ["map-3"]
        note = {"metadata": {"labels": {"kept": "yes"}}}
        await client.patch(CONFIG_MAPS, "map-5", note, namespace=namespace)
        assert await client.list_all(CONFIG_MAPS, name, namespace=namespace, labels="kept=yes") == ["map-5"]
        assert await client.list_all(CONFIG_MAPS, name, namespace="absent") == []

    cluster.run(work, page_size=3)


def test_a_list_that_expires_is_begun_anew(cluster: Cluster, namespace: str) -> None:
    names = [f"map-{number}" for number in range(7)]
    cluster.server.apply(*(config_map(each, namespace) for each in names))
    seen: list[str] = []

    def project(item: dict[str, Any]) -> str:
        seen.append(name(item))
        if len(seen) == 3:  # at the end of the first page
            cluster.server.apply(config_map("map-0a", namespace))
            cluster.server.expire_lists()
        return name(item)

    async def work(client: ClusterClient) -> None:
        found = await client.list_all(CONFIG_MAPS, project, namespace=namespace)
        assert found == ["map-0", "map-0a", *names[1:]], "all of one moment, each once"
        assert seen == [*names[:3], *found]

    cluster.run(work, page_size=3)


def test_a_list_that_expires_again_and_again_is_given_up(cluster: Cluster, namespace: str) -> None:
    cluster.server.apply(*(config_map(f"map-{number}", namespace) for number in range(3)))

    def project(_item: dict[str, Any]) -> None:
        cluster.server.expire_lists()

    async def work(client: ClusterClient) -> None:
        with pytest.raises(ClusterUnreachableError, match="the list expired 4 times while it was read"):
            await client.list_all(CONFIG_MAPS, project, namespace=namespace)

    cluster.run(work, page_size=1)


def test_what_is_absent_is_told_from_what_is_unknown(cluster: Cluster, namespace: str) -> None:
    async def work(client: ClusterClient) -> None:
        with pytest.raises(
            ObjectNotFoundError, match=f'get pods {namespace}/x: pods "x" not found'
        ) as absent:
            await client.get(PODS, "x", namespace=namespace)
        assert not isinstance(absent.value, UnknownResourceError)
        for unknown in (Resource("argoproj.io", "v1alpha1", "rollouts"), Resource("apps", "v1", "rollouts")):
            with pytest.raises(UnknownResourceError, match=f"list {unknown}"):
                await client.list_all(unknown, name)
            with pytest.raises(UnknownResourceError):
                await client.delete(unknown, "x", namespace=namespace)
        assert await client.delete(PODS, "x", namespace=namespace) is False

    cluster.run(work)


def test_custom_resources_are_plain_objects(cluster: Cluster, namespace: str) -> None:
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = {"plural": "rollouts", "singular": "rollout", "kind": "Rollout"}
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "rollouts.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": names, "versions": [version]},
    }
    cluster.server.apply(definition)
    rollouts = Resource("example.com", "v1", "rollouts")
    body = {
        "apiVersion": "example.com/v1",
        "kind": "Rollout",
        "metadata": {"name": "web"},
        "spec": {"template": {"spec": pod_spec()}},
    }

    async def work(client: ClusterClient) -> None:
        async with asyncio.timeout(20):
            while True:
                try:
                    await client.create(rollouts, body, namespace=namespace)
                    break
                except UnknownResourceError:  # it takes the server a moment
                    await asyncio.sleep(0.02)
        specs = await client.list_all(rollouts, lambda item: item["spec"])
        assert specs == [body["spec"]]

    cluster.run(work)
    cluster.server.request("DELETE", cluster.server.path(definition))


def test_changes_follow_the_version_that_was_read(cluster: Cluster, namespace: str) -> None:
    async def work(client: ClusterClient) -> None:
        created = await client.create(DEPLOYMENTS, deployment(namespace), namespace=namespace)
        with pytest.raises(AlreadyExistsError, match=r'deployments\.apps "web" already exists'):
            await client.create(DEPLOYMENTS, deployment(namespace), namespace=namespace)
        changed = await client.replace(DEPLOYMENTS, created | {"spec": created["spec"] | {"replicas": 3}})
        assert changed["spec"]["replicas"] == 3
        assert changed["spec"]["template"] == created["spec"]["template"]
        with pytest.raises(ConflictError, match="has been modified") as stale:
            await client.replace(DEPLOYMENTS, created | {"spec": created["spec"] | {"replicas": 4}})
        assert not isinstance(stale.value, AlreadyExistsError)
        old = {"resourceVersion": created["metadata"]["resourceVersion"]}
        with pytest.raises(ConflictError):
            await client.patch(DEPLOYMENTS, "web", {"metadata": old}, namespace=namespace)
        del created["metadata"]["resourceVersion"]
        with pytest.raises(ValueError, match="blindly"):
            await client.replace(DEPLOYMENTS, created)
        manager = changed["metadata"]["managedFields"][0]["manager"]
        assert manager == "reaper"

    cluster.run(work)


def test_patches_merge_as_their_type_says(cluster: Cluster, namespace: str) -> None:
    async def work(client: ClusterClient) -> None:
        await client.create(DEPLOYMENTS, deployment(namespace), namespace=namespace)
        env = [{"name": "B", "value": "2"}]
        body = {"spec": {"template": {"spec": {"containers": [{"name": "main", "env": env}]}}}}
        patched = await client.patch(DEPLOYMENTS, "web", body, namespace=namespace, patch=PatchType.STRATEGIC)
        main, side = patched["spec"]["template"]["spec"]["containers"]
        assert {item["name"] for item in main["env"]} == {"A", "B"}
        assert side["image"] == "b:1"
        notes = {"metadata": {"annotations": {"reaper.io/phase": "collecting"}}}
        noted = await client.patch(DEPLOYMENTS, "web", notes, namespace=namespace)
        assert noted["metadata"]["annotations"]["reaper.io/phase"] == "collecting"
        gone = {"metadata": {"annotations": {"reaper.io/phase": None}}}
        cleared = await client.patch(DEPLOYMENTS, "web", gone, namespace=namespace)
        assert "reaper.io/phase" not in cleared["metadata"].get("annotations", {})
        scale = {"spec": {"replicas": 0}}
        scaled = await client.patch(DEPLOYMENTS, "web", scale, namespace=namespace, subresource="scale")
        assert scaled["kind"] == "Scale"
        found = await client.get(DEPLOYMENTS, "web", namespace=namespace)
        assert found["spec"]["replicas"] == 0
        status = found | {"status": {"observedGeneration": 5}}
        await client.replace(DEPLOYMENTS, status, subresource="status")
        found = await client.get(DEPLOYMENTS, "web", namespace=namespace)
        assert found["status"]["observedGeneration"] == 5

    cluster.run(work)


def test_deletes_mean_one_object_and_say_what_follows(cluster: Cluster, namespace: str) -> None:
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "gc"},
        "spec": {"template": {"spec": pod_spec() | {"restartPolicy": "Never"}}},
    }

    async def work(client: ClusterClient) -> None:
        created = await client.create(JOBS, job, namespace=namespace)
        with pytest.raises(ConflictError, match="UID"):
            await client.delete(JOBS, "gc", namespace=namespace, uid="0")
        uid = created["metadata"]["uid"]
        assert await client.delete(
            JOBS, "gc", namespace=namespace, uid=uid, propagation=Propagation.FOREGROUND
        )
        found = await client.get(JOBS, "gc", namespace=namespace)
        assert found["metadata"]["finalizers"] == ["foregroundDeletion"]
        assert found["metadata"]["deletionTimestamp"]
        with pytest.raises(ValueError, match="which one"):
            await client.delete(JOBS, "gc")
        assert await client.get(NAMESPACES, namespace)

    cluster.run(work)


def test_roles_are_asked_and_refusals_told(cluster: Cluster, namespace: str) -> None:
    async def admin(client: ClusterClient) -> None:
        assert await client.may("list", PODS)
        assert await client.may("create", PODS, namespace=namespace, name="a", subresource="exec")

    async def nobody(client: ClusterClient) -> None:
        assert not await client.may("list", PODS, namespace=namespace)
        with pytest.raises(ClusterDeniedError, match='"nobody" cannot list resource "pods"') as refused:
            await client.list_all(PODS, name)
        assert refused.value.hint == "allow it in a Role or ClusterRole"
        assert refused.value.status == 403

    cluster.run(admin)
    cluster.run(nobody, user=NOBODY)


def test_a_wrong_token_is_told_without_telling_it(cluster: Cluster) -> None:
    async def work() -> None:
        async with connect(cluster.server.kubeconfig("stranger", token="s3cret-token")) as client:
            with pytest.raises(ClusterLoginError, match="cluster stranger: get pods") as refused:
                await client.get(PODS, "x", namespace="default")
            assert "s3cret" not in repr(refused.value)

    asyncio.run(work())


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_a_silent_server_takes_no_longer_than_allowed(cluster: Cluster, namespace: str) -> None:
    async def work(client: ClusterClient) -> None:
        await client.list_all(PODS, name, namespace=namespace)  # so that a connection is open
        with cluster.server.frozen():
            began = time.monotonic()
            with pytest.raises(ClusterUnreachableError, match=r"no answer within 0\.3 s"):
                await client.list_all(PODS, name, namespace=namespace, within=0.3)
            with pytest.raises(ClusterUnreachableError, match="no connection could be made in time"):
                await client.get(PODS, "x", namespace=namespace)
            assert time.monotonic() - began < 5
            before = open_files()
            for _ in range(3):
                with pytest.raises(ClusterUnreachableError):
                    await client.get(PODS, "x", namespace=namespace, within=0.2)
            await asyncio.sleep(0)  # in which what was closed goes
            assert open_files() <= before, "an attempt left its connection behind"
        assert await client.list_all(PODS, name, namespace=namespace, within=20) == []

    cluster.run(work, timeout=0.4)


def test_a_read_only_client_sends_reads_only(cluster: Cluster, namespace: str) -> None:
    async def work(client: ClusterClient) -> None:
        body = config_map("map", namespace)
        writes: list[Callable[[], Awaitable[object]]] = [
            lambda: client.create(CONFIG_MAPS, body, namespace=namespace),
            lambda: client.replace(
                CONFIG_MAPS, body | {"metadata": body["metadata"] | {"resourceVersion": "1"}}
            ),
            lambda: client.patch(CONFIG_MAPS, "map", {}, namespace=namespace),
            lambda: client.delete(CONFIG_MAPS, "kube-root-ca.crt", namespace="default"),
            lambda: client.may("list", PODS),
            lambda: client.exec(namespace, "pod", ["true"]),
        ]
        for write in writes:
            with pytest.raises(ReadOnlyClientError, match="nothing is to be changed"):
                await write()
        assert await client.list_all(CONFIG_MAPS, name, namespace=namespace) == []

    cluster.run(work, read_only=True)


class Pod:
    """A pod on a node of the test's own."""

    def __init__(self, node: Node, namespace: str) -> None:
        self.node = node
        self.place = Place(namespace, "registry-0", "main")


@pytest.fixture
def pod(cluster: Cluster, namespace: str) -> Iterator[Pod]:
    with Node(cluster.server, f"node-{namespace}") as node:
        made = Pod(node, namespace)
        cluster.server.apply(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": made.place.pod, "namespace": namespace},
                "spec": {**pod_spec(), "nodeName": node.name},
            }
        )
        yield made


def test_logs_are_read_and_followed(cluster: Cluster, namespace: str, pod: Pod) -> None:
    async def work(client: ClusterClient) -> None:
        pod.node.write_log(pod.place, "one\ntwo\n")
        lines = [line async for line in client.pod_logs(namespace, pod.place.pod)]
        assert lines == ["one", "two"]
        lines = []
        async for line in client.pod_logs(namespace, pod.place.pod, container="main", follow=True):
            lines.append(line)
            if line == "two":
                pod.node.write_log(pod.place, "three, ü\nfour", end=True)
        assert lines == ["one", "two", "three, ü", "four"]
        with pytest.raises(ObjectNotFoundError, match="get pods/log"):
            await anext(client.pod_logs(namespace, "absent"))
        with pytest.raises(ClusterError, match="container side is not valid"):
            await anext(client.pod_logs(namespace, pod.place.pod, container="side"))

    cluster.run(work)


def test_following_a_log_ends_when_its_time_is_up(cluster: Cluster, namespace: str, pod: Pod) -> None:
    async def work(client: ClusterClient) -> None:
        pod.node.write_log(pod.place, "one\n")
        lines = client.pod_logs(namespace, pod.place.pod, follow=True, within=1)
        assert await anext(lines) == "one"
        with pytest.raises(ClusterUnreachableError, match="took too long"):
            await anext(lines)

    cluster.run(work)


def test_a_command_runs_in_a_pod(cluster: Cluster, namespace: str, pod: Pod) -> None:
    async def work(client: ClusterClient) -> None:
        output: list[bytes] = []
        errors: list[bytes] = []
        script = "echo $0 $1; echo trouble >&2; exit 3"
        code = await client.exec(
            namespace,
            pod.place.pod,
            ["sh", "-c", script, "a b", "ü&?"],
            on_stdout=output.append,
            on_stderr=errors.append,
        )
        assert code == 3
        assert b"".join(output).decode() == "a b ü&?\n"
        assert b"".join(errors) == b"trouble\n"
        assert pod.node.executed == [(pod.place, ("sh", "-c", script, "a b", "ü&?"))]
        assert await client.exec(namespace, pod.place.pod, ["true"], container="main") == 0
        output.clear()
        size = 1_000_000
        big = ["head", "-c", str(size), "/dev/zero"]
        assert await client.exec(namespace, pod.place.pod, big, on_stdout=output.append) == 0
        assert b"".join(output) == bytes(size)

    cluster.run(work)


def test_a_command_that_cannot_run_is_told(cluster: Cluster, namespace: str, pod: Pod) -> None:
    async def work(client: ClusterClient) -> None:
        with pytest.raises(ClusterError, match="No such file") as failure:
            await client.exec(namespace, pod.place.pod, ["/absent"])
        assert not isinstance(failure.value, ExecInterruptedError)
        with pytest.raises(ObjectNotFoundError):
            await client.exec(namespace, "absent", ["true"])
        with pytest.raises(ClusterError, match="400"):
            await client.exec(namespace, pod.place.pod, ["true"], container="absent")

    async def nobody(client: ClusterClient) -> None:
        with pytest.raises(ClusterDeniedError) as refused:
            await client.exec(namespace, pod.place.pod, ["true"])
        assert refused.value.hint == "exec needs both get and create of pods/exec"

    cluster.run(work)
    cluster.run(nobody, user=NOBODY)
    assert [command for _, command in pod.node.executed] == [("/absent",)]


def test_an_interrupted_command_may_still_run(cluster: Cluster, namespace: str, pod: Pod) -> None:
    async def work(client: ClusterClient) -> None:
        with pytest.raises(ExecInterruptedError, match="not finished after 1 s; the command may still run"):
            await client.exec(namespace, pod.place.pod, ["sleep", "60"], within=1)
        assert pod.node.running == 1

    cluster.run(work)


def kubeconfig(url: str, folder: Path) -> Path:
    """A kubeconfig without any login."""
    settings = {
        "current-context": "fake",
        "contexts": [{"name": "fake", "context": {"cluster": "fake"}}],
        "clusters": [{"name": "fake", "cluster": {"server": url}}],
    }
    path = folder / "kubeconfig"
    path.write_text(json.dumps(settings))
    return path


def with_answers(
    answers: Sequence[web.Response | Exception],
    work: Callable[[ClusterClient], Awaitable[None]],
    folder: Path,
) -> Fake:
    """Let a client work with a server that gives these answers, one for each request."""
    left = list(answers)
    seen: list[Fake] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        given = left.pop(0)
        if isinstance(given, Exception):
            assert request.transport is not None
            request.transport.close()
            raise given
        return given

    async def run(fake: Fake) -> None:
        seen.append(fake)
        async with connect(kubeconfig(fake.url, folder)) as client:
            await work(client)
        assert not left

    with_fake(answer, run)
    return seen[0]


def status(code: int, headers: dict[str, str] | None = None) -> web.Response:
    body = {"kind": "Status", "status": "Failure", "code": code, "message": f"trouble {code}"}
    return web.json_response(body, status=code, headers=headers)


def page(*names: str) -> web.Response:
    return web.json_response({"metadata": {}, "items": [{"metadata": {"name": each}} for each in names]})


async def listing(client: ClusterClient) -> None:
    assert await client.list_all(PODS, name) == ["a"]


def test_reads_are_tried_again(tmp_path: Path) -> None:
    throttled = status(429, {"Retry-After": "0"})
    answers: list[web.Response | Exception] = [status(503), ConnectionResetError(), throttled, page("a")]
    fake = with_answers(answers, listing, tmp_path)
    assert fake.paths() == ["/api/v1/pods?limit=500"] * 4
    (agent,) = {headers["User-Agent"] for _, _, headers in fake.requests}
    assert agent.startswith("reaper/")


def test_reads_are_not_tried_forever(tmp_path: Path) -> None:
    async def work(client: ClusterClient) -> None:
        with pytest.raises(ClusterUnreachableError, match="trouble 500") as failure:
            await client.list_all(PODS, name)
        assert failure.value.status == 500

    assert len(with_answers([status(500) for _ in range(4)], work, tmp_path).requests) == 4


def test_retry_after_is_honoured_within_the_time_given(tmp_path: Path) -> None:
    async def work(client: ClusterClient) -> None:
        began = time.monotonic()
        assert await client.list_all(PODS, name) == ["a"]
        assert time.monotonic() - began >= 1
        for seconds in ("30", "3600"):
            with pytest.raises(ClusterUnreachableError, match="trouble 429"):
                await client.get(PODS, f"after-{seconds}", namespace="x", within=0.3)
        assert time.monotonic() - began < 20

    waits = [status(429, {"Retry-After": seconds}) for seconds in ("1", "30", "3600")]
    with_answers([waits[0], page("a"), *waits[1:]], work, tmp_path)


def test_writes_are_tried_again_only_when_nothing_was_done(tmp_path: Path) -> None:
    body = config_map("map", "x")

    async def work(client: ClusterClient) -> None:
        assert await client.create(CONFIG_MAPS, body, namespace="x") == {"metadata": {}}
        for _ in range(2):
            with pytest.raises(ClusterUnreachableError):
                await client.create(CONFIG_MAPS, body, namespace="x")

    refused = status(429, {"Retry-After": "0"})
    done = web.json_response({"metadata": {}})
    fake = with_answers([refused, done, status(500), ConnectionResetError()], work, tmp_path)
    assert fake.paths("POST") == ["/api/v1/namespaces/x/configmaps?fieldManager=reaper"] * 4


@pytest.mark.parametrize(
    "answer",
    [
        lambda: web.Response(text="<html>Sign in</html>", content_type="text/html"),
        lambda: web.Response(text='{"items": [', content_type="application/json"),
        lambda: web.json_response([]),
        lambda: web.json_response({"kind": "PodList", "metadata": {}}),
        lambda: web.json_response({"metadata": {}, "items": None}),
        lambda: web.json_response({"metadata": {}, "items": ["a"]}),
        lambda: web.json_response({"items": []}),
        lambda: web.Response(status=302, headers={"Location": "/login"}),
        lambda: web.Response(status=204),
        lambda: web.Response(status=404, text="<html>Not here</html>"),
    ],
)
def test_nothing_is_concluded_from_a_strange_answer(
    answer: Callable[[], web.Response], tmp_path: Path
) -> None:
    async def work(client: ClusterClient) -> None:
        with pytest.raises(InvalidAnswerError, match="cluster fake: list pods"):
            await client.list_all(PODS, name)

    with_answers([answer()], work, tmp_path)


def test_a_refusal_without_a_status_is_told(tmp_path: Path) -> None:
    async def work(client: ClusterClient) -> None:
        with pytest.raises(ClusterError, match="the API server answered 422"):
            await client.list_all(PODS, name)
        with pytest.raises(ClusterDeniedError, match="the API server answered 403"):
            await client.list_all(PODS, name)

    answers = [web.Response(status=422, text="no"), web.Response(status=403, text="<html>")]
    with_answers(answers, work, tmp_path)


def test_nobody_there_is_told(tmp_path: Path) -> None:
    async def work() -> None:
        async with connect(kubeconfig("http://127.0.0.1:9", tmp_path)) as client:
            with pytest.raises(ClusterUnreachableError, match="cluster fake: get pods x/a"):
                await client.get(PODS, "a", namespace="x")
            with pytest.raises(ClusterUnreachableError):
                await client.exec("x", "a", ["true"])

    asyncio.run(work())
