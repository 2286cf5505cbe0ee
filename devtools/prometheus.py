"""A real Prometheus on loopback, for tests: it scrapes what it is given and evaluates rules."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlencode

from devtools.server import Server

_REQUEST_TIMEOUT = 30.0


class PrometheusError(Exception):
    """Prometheus refused a query, or its checker found fault."""


class PrometheusServer(Server):
    """A Prometheus that scrapes ``targets`` (``host:port`` by job)."""

    name: ClassVar[str] = "prometheus"

    def __init__(
        self,
        binary: Path,
        targets: Mapping[str, str],
        *,
        rules: Path | None = None,
        interval: float = 0.2,
        bearer_token: str | None = None,
        root: Path | None = None,
    ) -> None:
        """`rules` is a file of rules; `interval` is how often, in seconds, to scrape and to evaluate them."""
        super().__init__(root)
        self._binary = binary.resolve()
        self._targets = dict(targets)
        self._rules = rules
        self._interval = f"{round(interval * 1000)}ms"
        self._bearer_token = bearer_token

    @property
    def url(self) -> str:
        """Where Prometheus answers."""
        return f"http://{self.host}"

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the series of an instant query now. Raises PrometheusError when it is refused."""
        data = self._get("/api/v1/query", {"query": expression})
        result: list[dict[str, Any]] = data["result"]
        return result

    def query_range(self, expression: str, *, seconds: float, step: float) -> list[dict[str, Any]]:
        """Return the series of a range query over the last ``seconds``, as a graph sends it.

        Raises PrometheusError when it is refused.
        """
        now = time.time()
        parameters = {"query": expression, "start": str(now - seconds), "end": str(now), "step": str(step)}
        result: list[dict[str, Any]] = self._get("/api/v1/query_range", parameters)["result"]
        return result

    def series(self, selector: str) -> list[dict[str, str]]:
        """Return the label sets of the series that match."""
        found: list[dict[str, str]] = self._get("/api/v1/series", {"match[]": selector})
        return found

    def targets(self) -> list[dict[str, Any]]:
        """Return the targets that are scraped, and how that went."""
        active: list[dict[str, Any]] = self._get("/api/v1/targets", {"state": "active"})["activeTargets"]
        return active

    def rules(self) -> list[dict[str, Any]]:
        """Return all rules, with their health and the alerts they raise."""
        groups = self._get("/api/v1/rules", {})["groups"]
        return [rule for group in groups for rule in group["rules"]]

    def _configuration(self) -> dict[str, Any]:
        jobs: list[dict[str, Any]] = [
            {"job_name": job, "static_configs": [{"targets": [target]}]}
            for job, target in self._targets.items()
        ]
        if self._bearer_token is not None:
            for job in jobs:
                job["authorization"] = {"credentials": self._bearer_token}
        found: dict[str, Any] = {
            "global": {"scrape_interval": self._interval, "evaluation_interval": self._interval},
            "scrape_configs": jobs,
        }
        if self._rules is not None:
            found["rule_files"] = [str(self._rules.resolve())]
        return found

    def _command(self) -> Sequence[str | Path]:
        configuration = self.root / "prometheus.json"
        configuration.write_text(json.dumps(self._configuration(), indent=2))  # JSON is YAML
        return [
            self._binary,
            f"--config.file={configuration}",
            f"--storage.tsdb.path={self.root / 'data'}",
            f"--web.listen-address={self.host}",
            "--log.level=info",
        ]

    def _environment(self) -> Mapping[str, str]:
        return {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}

    def _answers(self) -> bool:
        try:
            return self._ask("/-/ready")[0] == http.client.OK
        except (OSError, http.client.HTTPException):
            return False

    def _get(self, path: str, parameters: Mapping[str, str]) -> Any:
        status, body = self._ask(f"{path}?{urlencode(parameters)}")
        try:
            answer = json.loads(body)
        except ValueError as error:
            raise PrometheusError(f"{path}: {status} {body[:500]!r}") from error
        if answer.get("status") != "success":
            raise PrometheusError(f"{path}: {answer.get('error')}: {dict(parameters)}")
        return answer["data"]

    def _ask(self, target: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_REQUEST_TIMEOUT)
        try:
            connection.request("GET", target)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


def check_rules(promtool: Path, rules: Path) -> str:
    """Have promtool check a file of rules, with every lint there is; return what it said.

    Raises PrometheusError when it finds fault.
    """
    return _promtool(promtool, "check", "rules", "--lint=all", "--lint-fatal", str(rules))


def run_rule_tests(promtool: Path, tests: Path) -> str:
    """Have promtool run a file of rule tests; return what it said. Raises PrometheusError when one fails."""
    return _promtool(promtool, "test", "rules", str(tests))


def check_metrics(promtool: Path, exposition: bytes) -> str:
    """Have promtool check an exposition; return what it said. Raises PrometheusError when it finds fault."""
    return _promtool(promtool, "check", "metrics", stdin=exposition)


def _promtool(promtool: Path, *arguments: str, stdin: bytes = b"") -> str:
    answer = subprocess.run(
        [promtool, *arguments], input=stdin, capture_output=True, timeout=300, check=False
    )
    said = (answer.stdout + answer.stderr).decode(errors="replace")
    if answer.returncode != 0:
        raise PrometheusError(f"promtool {' '.join(arguments)}: {said}")
    return said
