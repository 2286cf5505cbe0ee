"""What every test gets: a world of its own without the developer's files, and real servers on request."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import pytest
from hypothesis import HealthCheck, Phase, settings

from devtools import tools
from devtools.golang import kube_apiserver
from devtools.kubernetes import KubernetesServer
from devtools.offline import only_loopback
from devtools.postgresql import PostgresqlServer
from devtools.pusher import Pusher
from devtools.registry import RegistryServer
from devtools.registry_config import RegistryOptions
from devtools.skopeo import Skopeo
from devtools.tools import distribution_2, etcd, postgresql_binaries, skopeo_binary
from tests.forks import POOL

# The same examples in every run, so that no change is failed by another's luck; `thorough` looks further.
# How fast examples are made says more about a busy machine than about the test.
settings.register_profile(
    "ci",
    max_examples=100,
    deadline=None,
    derandomize=True,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("thorough", settings.get_profile("ci"), max_examples=3000, derandomize=False)
# `make mutate` runs tests thousands of times, and asks whether one fails, not for its smallest example.
settings.register_profile(
    "mutation",
    settings.get_profile("ci"),
    max_examples=10,
    phases=(Phase.explicit, Phase.generate),
    print_blob=False,
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

_FOLDERS = {
    "XDG_CONFIG_HOME": ".config",
    "XDG_CACHE_HOME": ".cache",
    "XDG_DATA_HOME": ".local/share",
    "XDG_STATE_HOME": ".local/state",
    "XDG_RUNTIME_DIR": ".run",
    "DOCKER_CONFIG": ".docker",
}
_FOREIGN_PREFIXES = ("REAPER_", "REGISTRY_", "KUBERNETES_", "DOCKER_", "XDG_", "OTEL_")
_FOREIGN = {
    "KUBECONFIG",
    "NETRC",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "FORCE_COLOR",
    "NO_COLOR",
    "COLUMNS",
    "LINES",
}
_PROXIES = {"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"}


class MakeRegistry(Protocol):
    """Starts one more registry with the given options (distribution 2.8 unless told another binary)."""

    def __call__(
        self, options: RegistryOptions | None = None, *, binary: Path | None = None
    ) -> RegistryServer: ...


def pytest_unconfigure() -> None:
    """End the processes that run ``reaper`` in forks."""
    POOL.close()


@pytest.fixture(scope="session", autouse=True)
def offline() -> Iterator[None]:
    """Nothing but this machine can be reached from within the tests' process."""
    with only_loopback():
        yield


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty home of the test's own, and an environment without the developer's settings."""
    # Not `mktemp`, which reads the whole folder to find the next number: this is done for every test.
    folder = tmp_path_factory.getbasetemp() / "homes" / secrets.token_hex(8)
    folder.mkdir(parents=True)
    for name in list(os.environ):
        if name.startswith(_FOREIGN_PREFIXES) or name.upper() in _FOREIGN | _PROXIES:
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(folder))
    for name, below in _FOLDERS.items():
        monkeypatch.setenv(name, str(folder / below))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def distribution() -> Path:
    """The distribution 2.8 binary; nothing is fetched while tests run (``make tools`` does that)."""
    return distribution_2(fetch=False)


@pytest.fixture
def make_registry(distribution: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeRegistry]:
    """Start registries that end with the test."""
    with ExitStack() as servers:

        def make(options: RegistryOptions | None = None, *, binary: Path | None = None) -> RegistryServer:
            root = tmp_path_factory.mktemp("registry")
            servers.callback(shutil.rmtree, root / "storage", ignore_errors=True)  # the logs stay
            return servers.enter_context(RegistryServer(binary or distribution, root, options))

        yield make


@pytest.fixture
def registry(make_registry: MakeRegistry) -> RegistryServer:
    """A fresh, empty distribution 2.8."""
    return make_registry()


@pytest.fixture
def pusher(registry: RegistryServer) -> Pusher:
    """An independent client of `registry`."""
    return Pusher(registry.url)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresqlServer]:
    """A real PostgreSQL; each test makes a database of its own in it."""
    with PostgresqlServer(postgresql_binaries(fetch=False)) as server:
        yield server


@pytest.fixture(scope="session")
def skopeo() -> Skopeo:
    """The real skopeo."""
    return Skopeo(skopeo_binary(fetch=False))


@pytest.fixture(scope="session")
def promtool() -> Path:
    """Prometheus' checker of rules and expositions."""
    return tools.promtool(fetch=False)


@pytest.fixture(scope="session")
def prometheus_binary() -> Path:
    """The real Prometheus, as PrometheusServer takes it."""
    return tools.prometheus(fetch=False)


@pytest.fixture(scope="session")
def kubernetes_binaries() -> tuple[Path, Path]:
    """The API server's and etcd's, as KubernetesServer takes them; nothing is fetched while tests run."""
    return kube_apiserver(fetch=False), etcd(fetch=False)


@pytest.fixture(scope="session")
def kubernetes(kubernetes_binaries: tuple[Path, Path]) -> Iterator[KubernetesServer]:
    """A cluster that the tests share; each keeps to namespaces of its own, and leaves the server running."""
    with KubernetesServer(*kubernetes_binaries) as server:
        yield server


@pytest.fixture
def namespace(kubernetes: KubernetesServer) -> Iterator[str]:
    """A new namespace in the shared cluster; its pods go with the test: to others they would be in use."""
    name = f"test-{secrets.token_hex(6)}"
    kubernetes.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    yield name
    kubernetes.request("DELETE", f"/api/v1/namespaces/{name}/pods?gracePeriodSeconds=0")
