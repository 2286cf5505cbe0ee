"""Registries in the shared cluster."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from devtools.kubernetes import KubernetesServer
from devtools.kubernetes_workloads import Workloads
from tests.collect.cluster import ClusterSite


@pytest.fixture
def cluster_site(kubernetes: KubernetesServer, namespace: str, distribution: Path) -> Iterator[ClusterSite]:
    """A namespace of the shared cluster in which workloads run; nothing is deployed in it yet."""
    with Workloads(kubernetes, namespace, distribution) as workloads:
        yield ClusterSite(kubernetes, namespace, workloads)
