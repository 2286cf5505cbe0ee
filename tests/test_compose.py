"""What settings make of the sources of images in use, and of the ways to a collector."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from reaper.collect import CommandCollector, NoneCollector
from reaper.collect.docker import DockerCollector
from reaper.collect.kubernetes_exec import KubernetesExecCollector
from reaper.collect.kubernetes_job import KubernetesJobCollector
from reaper.collect.webhook import WebhookCollector
from reaper.compose import collector_for, protector_for
from reaper.config.settings import RegistrySettings, Settings
from reaper.protect import Aliases, SourceKind, parse_image
from reaper.store import Store, open_store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(f"sqlite:///{tmp_path}/reaper.db") as opened:
        yield opened


def aliases_of(url: str, store: Store, *hosts: str) -> Aliases:
    registry = RegistrySettings.model_validate(
        {"name": "main", "url": url, **({"hosts": hosts} if hosts else {})}
    )
    settings = Settings.model_validate({"registries": [registry], "in_use": {"files": ["images.txt"]}})
    protector = protector_for(settings, registry, store)
    assert protector is not None
    return protector._aliases


@pytest.mark.parametrize(
    ("url", "ours", "foreign"),
    [
        (
            "https://registry.example.com",
            ["registry.example.com", "registry.example.com:443"],
            ["registry.example.com:80"],
        ),
        ("https://Registry.Example.com:443", ["registry.example.com", "registry.example.com:443"], []),
        ("https://registry.example.com:5000", ["registry.example.com:5000"], ["registry.example.com"]),
        ("http://registry.svc", ["registry.svc", "registry.svc:80"], ["registry.svc:443"]),
        ("http://[::1]:5000", ["[::1]:5000"], ["[::1]"]),
        ("https://[2001:db8::1]", ["[2001:db8::1]", "[2001:db8::1]:443"], []),
        ("localhost:5000", ["localhost:5000"], []),
        ("https://registry.example.com/base", ["registry.example.com"], []),
    ],
)
def test_a_registry_is_called_as_its_url_calls_it(
    url: str, ours: list[str], foreign: list[str], store: Store
) -> None:
    found = aliases_of(url, store)
    assert [found.repository(parse_image(f"{host}/team/app:v1")) for host in ours] == ["team/app"] * len(ours)
    assert [found.repository(parse_image(f"{host}/team/app:v1")) for host in foreign] == [None] * len(foreign)


def test_a_registry_is_called_as_its_settings_say_besides(store: Store) -> None:
    found = aliases_of("https://registry.example.com", store, "docker.io=hub")
    assert found.repository(parse_image("nginx")) == "hub/library/nginx"
    assert found.repository(parse_image("registry.example.com/app")) == "app"


def test_without_a_source_there_is_no_protector(store: Store) -> None:
    registry = RegistrySettings(name="main", url="https://registry.example.com")
    assert protector_for(Settings(registries=[registry]), registry, store) is None


def test_sources_of_one_kind_have_names_of_their_own(store: Store) -> None:
    registry = RegistrySettings(name="main", url="https://registry.example.com")
    in_use = {
        "clusters": [{"name": "prod"}, {"name": "stage", "namespaces": ["shop"]}],
        "files": ["a.txt"],
        "commands": [["kubectl", "a"], ["kubectl", "b"], ["crictl"]],
    }
    settings = Settings.model_validate({"registries": [registry], "in_use": in_use})
    protector = protector_for(settings, registry, store)
    assert protector is not None
    assert [(source.kind, source.name) for source in protector._sources] == [
        (SourceKind.CLUSTER, "prod"),
        (SourceKind.CLUSTER, "stage"),
        (SourceKind.FILE, "a.txt"),
        (SourceKind.COMMAND, "kubectl"),
        (SourceKind.COMMAND, "kubectl (2)"),
        (SourceKind.COMMAND, "crictl"),
    ]


WORKLOAD = {"namespace": "registry", "workload": "deployment/registry"}
HOOKS = {"on": [["a"]], "off": [["b"]]}


@pytest.mark.parametrize(
    ("collect", "kind", "read_only", "restart", "stops"),
    [
        ({"via": "none"}, NoneCollector, False, False, False),
        ({"via": "command", "command": ["gc"]}, CommandCollector, False, False, False),
        ({"via": "docker", "docker": {"container": "a"}}, DockerCollector, False, True, False),
        (
            {"via": "docker", "docker": {"container": "a"}, "read_only": HOOKS},
            DockerCollector,
            True,
            True,
            False,
        ),
        ({"via": "kubernetes-job", "kubernetes": WORKLOAD}, KubernetesJobCollector, True, True, False),
        (
            {"via": "kubernetes-job", "kubernetes": {**WORKLOAD, "read_only": "scale"}},
            KubernetesJobCollector,
            True,
            False,
            True,
        ),
        ({"via": "kubernetes-exec", "kubernetes": WORKLOAD}, KubernetesExecCollector, True, True, False),
        (
            {"via": "webhook", "webhook": {"url": "https://collector.example.com", "restart": False}},
            WebhookCollector,
            True,
            False,
            False,
        ),
    ],
)
def test_each_way_to_a_collector(
    collect: dict[str, object], kind: type, read_only: bool, restart: bool, stops: bool, store: Store
) -> None:
    registry = RegistrySettings.model_validate(
        {"name": "main", "url": "https://registry.example.com", "collect": collect}
    )
    found = collector_for(registry, store, registry.url)
    assert type(found) is kind
    assert found.via == collect["via"]
    can = found.capabilities
    assert (can.read_only, can.restart, can.stops) == (read_only, restart, stops)
