"""The chart, and the real helm of each major."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from devtools.helm import MAJORS, Helm, helm_binary
from devtools.helm_docs import CHART

Objects = Sequence[Mapping[str, Any]]

#: Sets of values that cover every template, by name.
VALUES = {path.name.removesuffix("-values.yaml"): path for path in sorted(CHART.glob("ci/*-values.yaml"))}


@pytest.fixture(scope="session")
def helms(tmp_path_factory: pytest.TempPathFactory) -> Mapping[int, Helm]:
    """Helm of each major on the chart, away from any cluster."""
    home = tmp_path_factory.mktemp("helm")
    return {major: Helm(helm_binary(major, fetch=False), CHART, home) for major in MAJORS}


@pytest.fixture(scope="session")
def helm(helms: Mapping[int, Helm]) -> Helm:
    """The newest helm."""
    return helms[max(helms)]


@pytest.fixture(scope="session")
def rendered(helm: Helm) -> Mapping[str, Objects]:
    """What each set of values renders. Shared: not to be changed."""
    return {name: helm.template([path]) for name, path in VALUES.items()}


@pytest.fixture(params=VALUES)
def objects(request: pytest.FixtureRequest, rendered: Mapping[str, Objects]) -> Objects:
    """What one set of values renders, each in its turn. Shared: not to be changed."""
    return rendered[request.param]


def only(objects: Objects, kind: str, name: str | None = None) -> Mapping[str, Any]:
    """Return the one object of that kind, and of that name where given."""
    (found,) = (each for each in objects if each["kind"] == kind and name in (None, each["metadata"]["name"]))
    return found


def pods(objects: Objects) -> list[Mapping[str, Any]]:
    """Return the spec of each pod: the daemon's and the test's."""
    return [
        only(objects, "Deployment")["spec"]["template"]["spec"],
        only(objects, "Pod")["spec"],
    ]


def containers(pod: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the containers of a pod's spec, those of its start included."""
    return [*pod.get("initContainers", ()), *pod["containers"]]
