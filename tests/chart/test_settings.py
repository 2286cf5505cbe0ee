"""What the container reads is what the values say: its files and variables, loaded by reaper's own code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from devtools import kubelet
from devtools.helm_docs import read_values
from reaper.config.policies import load_policies
from reaper.config.settings import Login, Settings, load_settings
from tests.chart.conftest import VALUES, Objects, only

_SERVICE = """
version: 1
policies:
  - name: everything
    repositories: ["**"]
    rules: [{keep: all}]
"""
#: What a site's own Secrets and ConfigMaps hold, that the sets of values name.
_GIVEN: Mapping[tuple[str, str], Mapping[str, str]] = {
    ("Secret", "reaper-database"): {"uri": "postgresql://reaper:database-secret@db.example.com/reaper"},
    ("Secret", "reaper-registry"): {"password": "registry-secret\n"},
    ("Secret", "reaper-web"): {"token": "web-secret"},
    ("ConfigMap", "retention-policies"): {"all.yaml": _SERVICE, "ignored.txt": "no policy"},
    ("Secret", "main-login"): {"pass": "main-secret"},
    ("ConfigMap", "company-ca"): {"bundle.pem": "the company's"},
    ("Secret", "mirror-login"): {"token": "mirror-secret"},
    ("Secret", "mirror-ca"): {"ca.crt": "the mirror's"},
    ("Secret", "docker-login"): {".dockerconfigjson": '{"auths": {}}'},
    ("Secret", "far-collector"): {"kubeconfig": "the far kubeconfig"},
    ("Secret", "hooked"): {"bearer": "hook-secret"},
    ("Secret", "web"): {"bearer": "web-secret", "events": "events-secret"},
    ("Secret", "chat"): {"url": "https://chat.example.com/secret"},
    ("Secret", "trail"): {"address": "https://trail.example.com/secret"},
    ("Secret", "production-reader"): {"kubeconfig": "a kubeconfig"},
    ("ConfigMap", "in-use"): {"in-use.txt": "registry.example.com/services/api:1.0.0\n"},
}
#: What the chart decides, not `config`.
_OF_THE_CHART: dict[str, Any] = {
    "policies": True,
    "store": True,
    "registries": {
        "__all__": {
            "password_file": True,
            "token_file": True,
            "docker_config": True,
            "ca_file": True,
            "collect": {"kubernetes": {"kubeconfig"}, "webhook": {"token_file"}},
        }
    },
    "notify": {"__all__": {"url_file"}},
    "web": {"token_file", "events_secret_file"},
    "leader_election": {"name", "namespace"},
    "in_use": {"clusters": {"__all__": {"kubeconfig"}}},
}


class Container:
    """The daemon's container: its files below a folder, and its variables."""

    def __init__(self, objects: Objects, root: Path) -> None:
        pod = only(objects, "Deployment")["spec"]["template"]["spec"]
        self.container = next(each for each in pod["containers"] if each["name"] == "reaper")
        contents = {**_GIVEN, **kubelet.contents_of(objects)}
        kubelet.mount(pod, self.container, contents, root)
        # Of the container's paths, those below the folder: there is no other root here than this machine's.
        self.variables = {
            name: value.replace("/etc/reaper", f"{root}/etc/reaper")
            for name, value in kubelet.environment(self.container, contents).items()
        }
        file = Path(self.variables["REAPER_CONFIG"])
        text = file.read_text().replace("/etc/reaper", f"{root}/etc/reaper")
        file.write_text(text.replace("/var/lib/reaper", f"{root}/var/lib/reaper"))

    def settings(self, monkeypatch: pytest.MonkeyPatch) -> Settings:
        """The settings, as the daemon finds them."""
        for name, value in self.variables.items():
            monkeypatch.setenv(name, value)
        return load_settings()


@pytest.fixture(params=VALUES)
def values(request: pytest.FixtureRequest) -> str:
    """The name of a set of values, each in its turn."""
    name: str = request.param
    return name


@pytest.fixture
def container(values: str, rendered: Mapping[str, Objects], tmp_path: Path) -> Container:
    """The container that these values render."""
    return Container(rendered[values], tmp_path / "root")


def merged(values: str) -> dict[str, Any]:
    """Return the values over the chart's defaults: mappings are merged, null removes a default."""
    found: dict[str, Any] = _merged(read_values(), YAML(typ="safe", pure=True).load(VALUES[values]))
    return found


def _merged(below: Any, above: Any) -> Any:
    if not isinstance(below, dict) or not isinstance(above, dict):
        return above
    found = {**below, **{key: _merged(below.get(key), value) for key, value in above.items()}}
    return {key: value for key, value in found.items() if value is not None or key not in below}


def test_the_settings_are_the_values(
    values: str, container: Container, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "expected.yaml"
    # Only what a secret stands behind is not valid by itself.
    config = merged(values)["config"]
    for registry in config["registries"]:
        if "username" in registry:
            registry["password_file"] = "/any"
    for receiver in config.get("notify", ()):
        receiver["url_file"] = "/any"
    YAML(typ="safe", pure=True).dump(config, file)
    file.write_text(file.read_text().replace("/etc/reaper", f"{tmp_path}/root/etc/reaper"))
    expected = load_settings(file)
    found = container.settings(monkeypatch)
    assert found.model_dump(exclude=_OF_THE_CHART) == expected.model_dump(exclude=_OF_THE_CHART)
    assert found.warnings == ()


def test_the_policies_are_the_values(
    values: str, container: Container, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = load_policies(container.settings(monkeypatch).policies)
    folder = tmp_path / "policies"
    folder.mkdir()
    for name, content in merged(values)["policies"].items():
        if isinstance(content, str):
            (folder / name).write_text(content)
        else:
            YAML(typ="safe", pure=True).dump(content, folder / name)
    if not merged(values)["policies"]:
        (folder / "all.yaml").write_text(_SERVICE)
    assert found == load_policies([folder])
    assert found


def test_the_command_finds_nothing_wrong(container: Container, tmp_path: Path) -> None:
    """As the chart's own test does it."""
    reaper = Path(sys.executable).with_name("reaper")
    answer = subprocess.run(
        [reaper, "check", "--format", "json"],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), **container.variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (answer.returncode, answer.stderr) == (0, "")
    assert json.loads(answer.stdout)


def test_the_daemon_is_what_runs(rendered: Mapping[str, Objects]) -> None:
    for objects in rendered.values():
        pod = only(objects, "Deployment")["spec"]["template"]["spec"]
        container = next(each for each in pod["containers"] if each["name"] == "reaper")
        assert "command" not in container
        assert container["args"] == ["serve"]


def test_secrets_arrive(
    rendered: Mapping[str, Objects], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Container(rendered["everything"], tmp_path).settings(monkeypatch)
    main, mirror, docker, far, hooked = found.registries
    assert main.credentials() == Login(username="reaper", password="main-secret")
    assert _text(main.ca_file) == "the company's"
    assert mirror.credentials() == Login(token="mirror-secret")
    assert _text(mirror.ca_file) == "the mirror's"
    assert _text(docker.docker_config) == '{"auths": {}}'
    assert docker.docker_config == tmp_path / "etc/reaper/secrets/registries/docker/config.json"
    assert far.collect.kubernetes
    assert _text(far.collect.kubernetes.kubeconfig) == "the far kubeconfig"
    assert hooked.collect.webhook
    assert hooked.collect.webhook.read_token() == "hook-secret"
    assert found.web.read_token() == "web-secret"
    assert found.web.read_events_secret() == "events-secret"
    assert [receiver.read_url() for receiver in found.notify] == [
        "https://chat.example.com/secret",
        "https://trail.example.com/secret",
    ]
    here, production = found.in_use.clusters
    assert here.kubeconfig is None
    assert _text(production.kubeconfig) == "a kubeconfig"
    assert found.in_use.files[0].read_text().startswith("registry.example.com/services/api")


def _text(file: Path | None) -> str | None:
    return file.read_text() if file else None


def test_no_secret_is_rendered(rendered: Mapping[str, Objects]) -> None:
    assert not any(each["kind"] == "Secret" for objects in rendered.values() for each in objects)


def test_the_store(rendered: Mapping[str, Objects], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sqlite = Container(rendered["sqlite"], tmp_path / "sqlite")
    folder = tmp_path / "sqlite/var/lib/reaper"
    assert sqlite.settings(monkeypatch).store.url == f"sqlite:///{folder}/reaper.db"
    assert folder.is_dir()
    postgresql = Container(rendered["ha"], tmp_path / "postgresql").settings(monkeypatch)
    assert postgresql.store.url == "postgresql://reaper:database-secret@db.example.com/reaper"


def test_an_audit_unless_told_otherwise(
    rendered: Mapping[str, Objects], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Container(rendered["sqlite"], tmp_path).settings(monkeypatch).dry_run is True


def test_the_lease_is_the_releases_own(
    rendered: Mapping[str, Objects], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    election = Container(rendered["ha"], tmp_path).settings(monkeypatch).leader_election
    assert (election.enabled, election.name, election.namespace) == (True, "release-reaper", "images")
    assert election.lease_duration == timedelta(seconds=30)
