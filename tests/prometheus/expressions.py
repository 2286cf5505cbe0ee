"""What PromQL expressions ask for, and whether reaper has it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import promql_parser
from ruamel.yaml import YAML

from reaper.observe.metrics_catalogue import CATALOGUE, Kind, Spec

ROOT: Final = Path(__file__).resolve().parents[2]
ALERTS: Final = ROOT / "helm/reaper/files/alerts.yaml"
DASHBOARD: Final = ROOT / "helm/reaper/files/dashboards/reaper.json"

SPECS: Final[Mapping[str, Spec]] = {spec.name: spec for spec in CATALOGUE}
#: What every client of Prometheus has, and reaper as well.
PROCESS: Final = {"process_start_time_seconds", "process_resident_memory_bytes", "process_cpu_seconds_total"}
#: What Prometheus adds to every series.
_TARGET: Final = {"namespace", "job", "instance"}


@dataclass(frozen=True, slots=True)
class Use:
    """A metric in an expression, and what its labels have to match."""

    metric: str
    matchers: tuple[tuple[str, str, str], ...]

    def faults(self) -> Iterator[str]:
        """Yield why reaper never has such a series."""
        name = re.sub(r"_(bucket|sum|count)$", "", self.metric)
        spec = SPECS.get(self.metric) or SPECS.get(name)
        if spec is None:
            if self.metric not in PROCESS:
                yield f"{self.metric} is no metric"
            return
        if (self.metric != spec.name) != (spec.kind is Kind.HISTOGRAM):
            yield f"{self.metric} is no series of a {spec.kind}"
        for label, operator, wanted in self.matchers:
            if label not in {*spec.labels, *_TARGET}:
                yield f"{self.metric} has no label {label}"
            known = spec.values.get(label)
            if operator == "MatchOp.Equal" and known is not None and wanted not in known:
                yield f"{self.metric}: {label} is never {wanted}"


def uses(expression: str) -> list[Use]:
    """Return every metric in an expression. Raises ValueError when it is none."""
    found: list[Use] = []

    def visit(node: Any) -> bool:
        if isinstance(node, promql_parser.VectorSelector):
            matchers = tuple((m.name, str(m.op), m.value) for m in node.matchers.matchers)
            found.append(Use(str(node.name), matchers))
        return True

    promql_parser.walk(promql_parser.parse(expression), visit)
    return found


def alerts() -> list[dict[str, Any]]:
    """Return the alert rules, as the file has them."""
    document = YAML(typ="safe").load(ALERTS.read_text())
    return [rule for group in document["groups"] for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    """Return the dashboard."""
    found: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return found


@dataclass(frozen=True, slots=True)
class Query:
    """A query of the dashboard: where it stands, and whether it asks for now only."""

    where: str
    expression: str
    instant: bool

    def filled(self, job: str) -> str:
        """Return the expression with Grafana's variables filled in, for one job and everything in it."""
        values = {"namespace": ".*", "job": job, "registry": ".*", "__rate_interval": "10s", "__range": "1h"}
        return re.sub(r"\$(\w+)", lambda found: values[found[1]], self.expression)


def queries() -> list[Query]:
    """Return every query of the dashboard: panels, annotations, and what fills its variables."""
    document = dashboard()
    found = [
        Query(f"{panel['title']} {target['refId']}", target["expr"], target["instant"])
        for panel in document["panels"]
        for target in panel.get("targets", [])
    ]
    found += [
        Query(f"annotation {each['name']}", each["expr"], False)
        for each in document["annotations"]["list"]
        if "expr" in each
    ]
    for variable in document["templating"]["list"]:
        if variable["type"] == "query":
            selector = re.fullmatch(r"label_values\((.+), \w+\)", variable["query"]["query"])
            assert selector is not None
            found.append(Query(f"variable {variable['name']}", selector[1], True))
    return found
