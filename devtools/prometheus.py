"""A real Prometheus on loopback, for tests: it scrapes what it is given and evaluates rules."""

from __future__ import annotations

import atexit
import http.client
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode

from devtools import die_with_parent
from devtools.ports import free_port

_READY_TIMEOUT = 60.0
_STOP_TIMEOUT = 10.0
_REQUEST_TIMEOUT = 30.0
_POLL = 0.02
_PORT_ATTEMPTS = 20
_PORT_TAKEN = "address already in use"


class PrometheusError(Exception):
    """Prometheus did not start, refused a query, or did not get to see what was waited for."""


class PrometheusServer:
    """A Prometheus that scrapes ``targets`` (``host:port`` by job), its data below one folder.

    A context manager; the process ends with it, at exit, and (on Linux) when its starter is killed. The
    thread that starts it must live as long as it is needed: that is what the kernel watches.
    """

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
        """`rules` is a file of rules; `interval` is how often, in seconds, to scrape and to evaluate them.

        `root` stays when given; otherwise a temporary folder is made and removed by `__exit__`.
        """
        self._binary = binary.resolve()
        self._targets = dict(targets)
        self._rules = rules
        self._interval = f"{round(interval * 1000)}ms"
        self._bearer_token = bearer_token
        self._owns_root = root is None
        self.root = Path(tempfile.mkdtemp(prefix="reaper-prometheus-")) if root is None else root
        self._log_path = self.root / "prometheus.log"
        self._port = 0
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if self._owns_root:
            shutil.rmtree(self.root, ignore_errors=True)

    @property
    def url(self) -> str:
        """Where Prometheus answers."""
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start, and return once it is ready. Raises PrometheusError when it does not get so."""
        if self._process is not None:
            raise PrometheusError("Prometheus is running already")
        self.root.mkdir(parents=True, exist_ok=True)
        (self.root / "prometheus.json").write_text(
            json.dumps(self._configuration(), indent=2)
        )  # JSON is YAML
        for _ in range(_PORT_ATTEMPTS):
            self._port = free_port()
            if self._launch():
                return
        raise PrometheusError(f"no port for Prometheus in {_PORT_ATTEMPTS} attempts")

    def stop(self) -> None:
        """Stop the process if it runs: politely, then by force."""
        process, self._process = self._process, None
        if process is None:
            return
        atexit.unregister(self.stop)
        process.terminate()
        try:
            process.wait(_STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def log(self) -> str:
        """What Prometheus has logged."""
        return self._log_path.read_text(errors="replace") if self._log_path.exists() else ""

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

    def wait_for(self, condition: Callable[[], bool], what: str, timeout: float = 30.0) -> None:
        """Wait until ``condition`` holds. Raises PrometheusError when it does not get so in time."""
        deadline = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > deadline:
                raise PrometheusError(f"{what}: not within {timeout:.0f} s\n{self.log()[-4000:]}")
            time.sleep(_POLL)

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

    def _launch(self) -> bool:
        """Start the process and wait for it; False when the port was taken by someone else."""
        begins = self._log_path.stat().st_size if self._log_path.exists() else 0
        command = [
            sys.executable,
            "-ISB",
            die_with_parent.__file__,
            str(self._binary),
            f"--config.file={self.root / 'prometheus.json'}",
            f"--storage.tsdb.path={self.root / 'data'}",
            f"--web.listen-address=127.0.0.1:{self._port}",
            "--log.level=info",
        ]
        environment = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
        with self._log_path.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, cwd=self.root
            )
        atexit.register(self.stop)
        try:
            self.wait_for(lambda: self._exited() or self._ready(), "Prometheus is not ready", _READY_TIMEOUT)
        except BaseException:  # not left running, whatever happened
            self.stop()
            raise
        if not self._exited():
            return True
        self.stop()
        said = self.log()[begins:]
        if _PORT_TAKEN in said:
            return False
        raise PrometheusError(f"Prometheus exited at its start\n{said}")

    def _exited(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def _ready(self) -> bool:
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
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_REQUEST_TIMEOUT)
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
