"""What a real API server shows of the images in use."""

from __future__ import annotations

import asyncio
import gc
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from devtools.kubernetes import NOBODY, AnswerError, KubernetesServer
from reaper.core.errors import ReaperError
from reaper.core.fieldpath import parse_field_path
from reaper.kubernetes import ClusterUnreachableError, Resource, connect
from reaper.protect.cluster import KINDS, ClusterSource, Kind
from reaper.protect.images import Gathering
from reaper.protect.source import SourceError
from tests.protect.objects import (
    Json,
    custom_resource,
    job_template,
    pod,
    roles,
    spec,
    statuses,
    template,
    thing,
    workload,
)

pytestmark = pytest.mark.integration

HOST = "registry.example.com"
DIGESTS = [f"sha256:{character * 64}" for character in "abcdef"]
DOCS = Path(__file__).parents[2] / "docs" / "in-use.md"


class Reader:
    """Reads the namespaces of one test."""

    def __init__(self, server: KubernetesServer, *namespaces: str) -> None:
        self.server = server
        self.namespaces: Sequence[str] | None = namespaces or None

    def source(self, *kinds: Kind, kubeconfig: Path | None = None, **options: Any) -> ClusterSource:
        """Return a source; ``options`` are the client's."""
        config = kubeconfig or self.server.kubeconfig()
        return ClusterSource(
            "prod",
            lambda: connect(config, name="prod", read_only=True, **options),
            namespaces=self.namespaces,
            kinds=kinds,
        )

    def gather(self, *kinds: Kind, **options: Any) -> Gathering:
        """Read everything."""
        return asyncio.run(self.source(*kinds, **options).gather())

    def users(self, *kinds: Kind, **options: Any) -> dict[str, str]:
        """Read everything, and return each image's users."""
        found = self.gather(*kinds, **options).images
        return {str(image).removeprefix(f"{HOST}/"): str(users) for image, users in found.items()}


@pytest.fixture
def reader(kubernetes: KubernetesServer, namespace: str) -> Reader:
    """A reader of the test's own namespace."""
    return Reader(kubernetes, namespace)


def extra(resource: Resource, *paths: str, optional: bool = True) -> Kind:
    return Kind(str(resource), resource, tuple(map(parse_field_path, paths)), optional=optional)


def test_a_pod_uses_what_its_spec_and_its_status_name(
    kubernetes: KubernetesServer, namespace: str, reader: Reader
) -> None:
    body = spec(f"{HOST}/main:1", initContainers=[{"name": "i", "image": f"{HOST}/init:1"}])
    body["volumes"] = [{"name": "v", "image": {"reference": f"{HOST}/volume:1"}}]
    running = statuses((f"{HOST}/main:renamed", f"{HOST}/main@{DIGESTS[0]}"))
    status = {
        "containerStatuses": running,
        "initContainerStatuses": [
            {**statuses((DIGESTS[5], f"docker-pullable://{HOST}/init@{DIGESTS[1]}"))[0], "name": "i"}
        ],
    }
    kubernetes.apply(pod("web", namespace, body, status))
    # What cannot be there from the start is added as `kubectl debug` does it.
    kubernetes.request(
        "PATCH",
        f"/api/v1/namespaces/{namespace}/pods/web/ephemeralcontainers",
        {"spec": {"ephemeralContainers": [{"name": "debug", "image": f"{HOST}/debug:1"}]}},
        content_type="application/strategic-merge-patch+json",
    )
    assert reader.users() == dict.fromkeys(
        [
            "main:1",
            "init:1",
            "debug:1",
            "volume:1",
            "main:renamed",
            f"main@{DIGESTS[0]}",
            f"init@{DIGESTS[1]}",
            DIGESTS[5],
        ],
        f"Pod {namespace}/web in cluster prod",
    )


def test_a_pod_that_ends_or_has_ended_or_has_not_begun_counts(
    kubernetes: KubernetesServer, namespace: str, reader: Reader
) -> None:
    kubernetes.apply(
        pod("pending", namespace, spec(f"{HOST}/pending")),
        pod("done", namespace, spec(f"{HOST}/done"), {"phase": "Succeeded"}),
        {
            **pod("ending", namespace, spec(f"{HOST}/ending")),
            "metadata": {"name": "ending", "namespace": namespace, "finalizers": ["example.com/wait"]},
        },
    )
    kubernetes.request("DELETE", f"/api/v1/namespaces/{namespace}/pods/ending")
    assert reader.users().keys() == {"pending:latest", "done:latest", "ending:latest"}


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda ns, i: workload("apps/v1", "Deployment", "x", ns, i, replicas=0), "Deployment"),
        (lambda ns, i: workload("apps/v1", "StatefulSet", "x", ns, i, serviceName="x"), "StatefulSet"),
        (lambda ns, i: workload("apps/v1", "DaemonSet", "x", ns, i), "DaemonSet"),
        (
            lambda ns, i: workload("v1", "ReplicationController", "x", ns, i, replicas=0),
            "ReplicationController",
        ),
        (lambda ns, i: thing("batch/v1", "Job", "x", ns, spec={**job_template(i), "suspend": True}), "Job"),
        (
            lambda ns, i: thing(
                "batch/v1",
                "CronJob",
                "x",
                ns,
                spec={"schedule": "0 2 * * *", "suspend": True, "jobTemplate": {"spec": job_template(i)}},
            ),
            "CronJob",
        ),
        (lambda ns, i: thing("v1", "PodTemplate", "x", ns, template=template(i)), "PodTemplate"),
    ],
)
def test_a_workload_uses_its_templates_images_even_without_pods(
    kubernetes: KubernetesServer,
    namespace: str,
    reader: Reader,
    make: Callable[[str, str], Json],
    kind: str,
) -> None:
    kubernetes.apply(make(namespace, f"{HOST}/app:1"))
    assert reader.users() == {"app:1": f"{kind} {namespace}/x in cluster prod"}


def test_what_a_rollback_goes_back_to_is_in_use(
    kubernetes: KubernetesServer, namespace: str, reader: Reader
) -> None:
    former = {"$patch": "replace", **template(f"{HOST}/set:1")}
    owner = {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "set", "uid": "0f0e0d0c"}
    data = {"spec": {"template": former}}
    revision = thing("apps/v1", "ControllerRevision", "set-1", namespace, revision=1, data=data)
    revision["metadata"]["ownerReferences"] = [owner]
    foreign = {"spec": {"revision": "of something else"}}
    kubernetes.apply(
        workload("apps/v1", "ReplicaSet", "web-1", namespace, f"{HOST}/web:1", replicas=0),
        revision,
        thing("apps/v1", "ControllerRevision", "odd-1", namespace, revision=1, data=foreign),
    )
    assert reader.users() == {
        "web:1": f"ReplicaSet {namespace}/web-1 in cluster prod",
        "set:1": f"ControllerRevision {namespace}/set-1 in cluster prod",
    }


def test_the_running_pod_names_the_user_and_the_others_are_counted(
    kubernetes: KubernetesServer, namespace: str, reader: Reader
) -> None:
    kubernetes.apply(
        workload("apps/v1", "Deployment", "web", namespace, f"{HOST}/web:1"),
        workload("apps/v1", "ReplicaSet", "web-1", namespace, f"{HOST}/web:1"),
        pod("web-1-a", namespace, spec(f"{HOST}/web:1")),
        pod("web-1-b", namespace, spec(f"{HOST}/web:1")),
    )
    assert reader.users() == {"web:1": f"Pod {namespace}/web-1-a in cluster prod and 3 more"}


def test_other_resources_by_field_path(kubernetes: KubernetesServer, namespace: str, reader: Reader) -> None:
    rollouts = Resource(f"{namespace}.example.com", "v1alpha1", "rollouts")
    define(kubernetes, rollouts, "Rollout")
    body = {
        "template": template(f"{HOST}/canary:2"),
        "steps": [{"image": f"{HOST}/step:1"}, {"pause": {}}],
    }
    version = f"{rollouts.group}/v1alpha1"
    kubernetes.apply(
        thing(version, "Rollout", "web", namespace, spec=body),
        thing(version, "Rollout", "bare", namespace, spec={"workloadRef": {"name": "web"}}),
    )
    kind = extra(rollouts, "spec.template.spec", "spec.steps[*].image", optional=False)
    user = f"rollouts.{rollouts.group} {namespace}/web in cluster prod"
    assert reader.users(kind) == {"canary:2": user, "step:1": user}


def test_annotations_of_pods_by_field_path(
    kubernetes: KubernetesServer, namespace: str, reader: Reader
) -> None:
    injected = pod("mesh", namespace, spec(f"{HOST}/app:1"))
    injected["metadata"]["annotations"] = {"sidecar.istio.io/proxyImage": f"{HOST}/proxy:1"}
    kubernetes.apply(injected)
    kind = extra(Resource("", "v1", "pods"), "metadata.annotations['sidecar.istio.io/proxyImage']")
    assert reader.users(kind).keys() == {"app:1", "proxy:1"}


def test_a_resource_of_the_whole_cluster(kubernetes: KubernetesServer, namespace: str) -> None:
    tools = Resource(f"{namespace}.example.org", "v1", "tools")
    define(kubernetes, tools, "Tool", scope="Cluster")
    kubernetes.apply(thing(f"{tools.group}/v1", "Tool", namespace, None, spec={"image": f"{HOST}/tool:1"}))
    found = Reader(kubernetes).users(extra(tools, "spec.image"))
    assert found["tool:1"] == f"tools.{tools.group} {namespace} in cluster prod"


def test_a_resource_that_the_cluster_lacks(reader: Reader) -> None:
    absent = extra(Resource("nowhere.example.com", "v1", "things"), "spec.image")
    assert reader.users(absent) == {}
    with pytest.raises(ReaperError, match=r"cluster prod: list things\.nowhere\.example\.com"):
        reader.users(replace(absent, optional=False))


def test_a_path_that_leads_elsewhere_makes_the_cluster_unread(
    kubernetes: KubernetesServer, namespace: str, reader: Reader
) -> None:
    kubernetes.apply(workload("apps/v1", "Deployment", "web", namespace, f"{HOST}/web:1"))
    deployments = Resource("apps", "v1", "deployments")
    with pytest.raises(
        SourceError, match=rf"{namespace}/web in cluster prod: spec\.template is neither an image"
    ):
        reader.gather(extra(deployments, "spec.template"))
    with pytest.raises(SourceError, match=r"spec\.replicas is neither an image nor a pod's spec"):
        reader.gather(extra(deployments, "spec.replicas"))
    with pytest.raises(SourceError) as caught:
        reader.gather(extra(deployments, "spec.template.spec.containers"))
    assert caught.value.hint == "write spec.template.spec.containers[*]"


def test_what_is_no_image_is_counted(kubernetes: KubernetesServer, namespace: str, reader: Reader) -> None:
    kubernetes.apply(pod("odd", namespace, spec("Not/An/Image", f"{HOST}/app:1")))
    found = reader.gather()
    assert (found.unreadable, len(found.images)) == (1, 1)
    assert found.examples == [f"'Not/An/Image' (Pod {namespace}/odd in cluster prod)"]


def test_all_namespaces_or_some(kubernetes: KubernetesServer, namespace: str) -> None:
    other = f"{namespace}-b"
    kubernetes.apply(
        thing("v1", "Namespace", other, None),
        pod("a", namespace, spec(f"{HOST}/{namespace}:a")),
        pod("b", other, spec(f"{HOST}/{namespace}:b")),
    )
    wanted = {f"{namespace}:a", f"{namespace}:b"}
    assert Reader(kubernetes, namespace).users().keys() == {f"{namespace}:a"}
    assert Reader(kubernetes, namespace, other, namespace).users().keys() == wanted
    assert wanted <= Reader(kubernetes).users().keys()


def test_a_list_of_many_pages_is_read_to_its_end(
    kubernetes: KubernetesServer, namespace: str, reader: Reader
) -> None:
    kubernetes.apply(*(pod(f"p{number}", namespace, spec(f"{HOST}/app:{number}")) for number in range(7)))
    found = reader.gather(page_size=2)
    assert {str(image) for image in found.images} == {f"{HOST}/app:{number}" for number in range(7)}
    assert found.read == 7


def test_a_role_that_is_missing_makes_the_cluster_unread(
    kubernetes: KubernetesServer, namespace: str, reader: Reader
) -> None:
    with pytest.raises(ReaperError, match=r"cluster prod: list .* forbidden"):
        reader.gather(kubeconfig=kubernetes.kubeconfig(NOBODY))
    kubernetes.apply(
        *roles(namespace, "partly", [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}])
    )
    token = kubernetes.service_account_token(namespace, "partly")
    with pytest.raises(ReaperError, match="forbidden"):
        reader.gather(kubeconfig=kubernetes.kubeconfig(f"{namespace}-partly", token=token))


def test_the_documented_role_is_enough_and_no_more(
    kubernetes: KubernetesServer, namespace: str, reader: Reader
) -> None:
    (text,) = re.findall(
        r"```yaml\n(apiVersion: rbac[^`]*?kind: ClusterRole\n.*?)```", DOCS.read_text(), re.DOTALL
    )
    rules = YAML(typ="safe").load(text.split("\n---\n")[0])["rules"]
    kubernetes.apply(*roles(namespace, "reaper", rules), pod("a", namespace, spec(f"{HOST}/app:1")))
    token = kubernetes.service_account_token(namespace, "reaper")
    config = kubernetes.kubeconfig(f"{namespace}-reaper", token=token)
    assert reader.users(kubeconfig=config).keys() == {"app:1"}
    assert {verb for rule in rules for verb in rule["verbs"]} == {"list"}
    allowed = {(group, what) for rule in rules for group in rule["apiGroups"] for what in rule["resources"]}
    assert allowed == {(kind.resource.group, kind.resource.plural) for kind in KINDS}


# A TLS handshake that is cancelled leaves its socket to Python's garbage collection (httpcore), which is made
# to happen here, and not in a test that comes later.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_cluster_that_does_not_answer_is_unread(kubernetes_binaries: tuple[Path, Path]) -> None:
    with KubernetesServer(*kubernetes_binaries) as server:
        reader = Reader(server)
        with server.frozen(), pytest.raises(ClusterUnreachableError, match="cluster prod"):
            reader.gather(timeout=0.5)
        hanging = reader.source(timeout=60)
        hanging._limit = 0.5
        with server.frozen(), pytest.raises(SourceError, match="cluster prod: not read within"):
            asyncio.run(hanging.gather())
        config = server.kubeconfig()
        server.stop()
        with pytest.raises(ClusterUnreachableError, match="cluster prod"):
            reader.gather(kubeconfig=config, timeout=0.5)
    gc.collect()


def test_a_configuration_that_is_no_use_makes_the_cluster_unread(tmp_path: Path, reader: Reader) -> None:
    with pytest.raises(SourceError, match=r"cluster prod: .*none"):
        reader.gather(kubeconfig=tmp_path / "none")


def define(server: KubernetesServer, resource: Resource, kind: str, *, scope: str = "Namespaced") -> None:
    """Add a kind of objects to the cluster, and wait until it serves it."""
    server.apply(custom_resource(resource.group, resource.version, resource.plural, kind, scope=scope))
    deadline = time.monotonic() + 20
    while True:
        try:
            server.request("GET", f"/apis/{resource.group}/{resource.version}/{resource.plural}")
        except AnswerError as error:
            if error.status not in (404, 503) or time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return
