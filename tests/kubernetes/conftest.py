"""Clients of the shared cluster, and objects for it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest

from devtools.kubernetes import ADMIN, KubernetesServer
from reaper.kubernetes import ClusterClient, connect

Result = TypeVar("Result")


class Cluster:
    """Runs coroutines with a client of the cluster, as one of its users."""

    def __init__(self, server: KubernetesServer) -> None:
        self.server = server

    def run(
        self,
        work: Callable[[ClusterClient], Coroutine[Any, Any, Result]],
        *,
        user: str = ADMIN,
        **options: Any,
    ) -> Result:
        """Return what `work` returns for a client that is closed afterwards."""
        import asyncio

        async def with_client() -> Result:
            async with connect(self.server.kubeconfig(user), **options) as client:
                return await work(client)

        return asyncio.run(with_client())


@pytest.fixture
def cluster(kubernetes: KubernetesServer) -> Cluster:
    """The shared cluster."""
    return Cluster(kubernetes)


def config_map(name: str, namespace: str, **data: str) -> dict[str, Any]:
    """The simplest object there is."""
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
