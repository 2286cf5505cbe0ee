"""Settings of collections in a container, in a cluster and on request."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest

from devtools.docs import DOCS
from tests.config.conftest import ReadSettings, Refused

EXAMPLES = re.findall(
    r"^```yaml\n(collect:\n.*?)^```$", (DOCS / "collection.md").read_text(), re.DOTALL | re.MULTILINE
)


def registry(collect: str) -> str:
    return f"registries:\n  - name: main\n    url: https://registry.example.com\n    collect: {collect}\n"


def test_a_cluster(read_settings: ReadSettings, tmp_path: Path) -> None:
    found = read_settings(
        registry(
            "{via: kubernetes-job, kubernetes: {namespace: registry, workload: sts/registry, "
            "kubeconfig: prod.kubeconfig, read_only: scale, rollout_timeout: 5m}}"
        )
    )
    kubernetes = found.registries[0].collect.kubernetes
    assert kubernetes is not None
    assert kubernetes.workload == "statefulset/registry"
    assert kubernetes.kubeconfig == tmp_path / "prod.kubeconfig"
    assert (kubernetes.read_only, kubernetes.rollout_timeout) == ("scale", timedelta(minutes=5))


def test_a_container(read_settings: ReadSettings, tmp_path: Path) -> None:
    found = read_settings(
        registry(
            "{via: docker, docker: {container: registry, socket: engine.sock}, "
            "read_only: {on: [a], off: [b]}}"
        )
    )
    docker = found.registries[0].collect.docker
    assert docker is not None
    assert (docker.container, docker.socket) == ("registry", tmp_path / "engine.sock")


def test_a_webhook(read_settings: ReadSettings, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret\n")
    found = read_settings(
        registry("{via: webhook, webhook: {url: 'https://collector.example.com/hook', token_file: token}}")
    )
    webhook = found.registries[0].collect.webhook
    assert webhook is not None
    assert webhook.read_token() == "secret"


def test_there_is_an_example_of_each_procedure() -> None:
    found = [re.search(r"via: (\S+)", each) for each in EXAMPLES]
    assert [each and each[1] for each in found] == [
        "command",
        "docker",
        "kubernetes-job",
        "kubernetes-exec",
        "webhook",
    ]


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_of_a_collection_loads(example: str, read_settings: ReadSettings) -> None:
    indented = "".join(f"    {line}\n" for line in example.splitlines())
    text = f"registries:\n  - name: main\n    url: https://registry.example.com\n{indented}"
    assert read_settings(text).registries[0].collect.via in example


@pytest.mark.parametrize(
    ("collect", "says"),
    [
        ("{via: docker}", "4:14: docker is missing; add docker: {container: registry}"),
        ("{via: docker, docker: {}}", "container is missing; the name or the id"),
        (
            "{via: kubernetes-job}",
            "kubernetes is missing; add kubernetes: {namespace: registry, workload: deployment/registry}",
        ),
        ("{via: kubernetes-exec}", "kubernetes is missing"),
        ("{via: webhook}", "webhook is missing; add webhook: {url: "),
        ("{docker: {container: a}}", "docker is not used by via: none; add via: docker"),
        (
            "{via: docker, docker: {container: a}, webhook: {url: 'https://a.example.com'}}",
            "webhook is not used by via: docker; leave it out",
        ),
        (
            "{via: docker, docker: {container: a}, restart: [a]}",
            "restart is not used by via: docker; the engine restarts the container",
        ),
        (
            "{via: kubernetes-job, kubernetes: {namespace: a, workload: ds/a}, restart: [a]}",
            "restart is not used by via: kubernetes-job; the rollout that makes it writable",
        ),
        (
            "{via: webhook, webhook: {url: 'https://a.example.com'}, command: [a]}",
            "a command that is never run; the receiver knows its own",
        ),
        (
            "{via: kubernetes-exec, kubernetes: {namespace: a, workload: sts/a, read_only: scale}}",
            "without a pod there is none to collect in; use read_only: environment",
        ),
        (
            "{via: kubernetes-job, kubernetes: {namespace: a, workload: daemonset/a, read_only: scale}}",
            "a daemonset cannot be scaled; use read_only: environment",
        ),
        (
            "{via: kubernetes-job, kubernetes: {namespace: a, workload: registry}}",
            "'registry' is not a workload; write deployment/NAME",
        ),
        (
            "{via: kubernetes-job, kubernetes: {namespace: a, workload: pod/a}}",
            "'pod/a' is not a workload",
        ),
        ("{via: webhook, webhook: {url: collector}}", "this is not a URL; such as https://"),
        (
            "{via: webhook, webhook: {url: 'https://a:b@c.example.com'}}",
            "the URL must not carry a login; give token_file",
        ),
        (
            "{via: webhook, webhook: {url: 'https://a.example.com', token: a, token_file: b}}",
            "token stands beside token_file; keep one of them",
        ),
        ("{delete_untagged: true}", "unknown key 'delete_untagged'"),
    ],
)
def test_what_makes_no_sense(collect: str, says: str, settings_refused: Refused) -> None:
    [problem] = settings_refused(registry(collect))
    assert says in problem
