"""A real distribution registry on loopback, for tests and the demo."""

from __future__ import annotations

import atexit
import dataclasses
import http.client
import json
import os
import re
import secrets
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

from devtools import die_with_parent
from devtools.ports import free_port
from devtools.registry_config import RegistryOptions, configuration

_READY_TIMEOUT = 30.0
_STOP_TIMEOUT = 10.0
_COLLECT_TIMEOUT = 600.0
_POLL = 0.01
_PORT_ATTEMPTS = 20
_IDENTITY = "X-Reaper-Devtools"
_AGENT = "reaper-devtools/"
_PORT_TAKEN = "address already in use"
# host - user [time] "METHOD path protocol" status size "referer" "agent"
_ACCESS = re.compile(r'\S+ \S+ .* \[[^\]]*\] "([A-Z]+) (\S+) [^"]*" (\d{3}) \S+ ".*" "(.*)"')


class ServerError(Exception):
    """The registry did not start, or did not do what was waited for; the message ends with its log."""


class Access(NamedTuple):
    """One request the registry answered; `path` has the query with it."""

    method: str
    path: str
    status: int


class RegistryServer:
    """A registry process with its own storage, configuration and logs below one folder.

    A context manager; the process ends with it, at exit, and (on Linux) when its starter is killed. The
    thread that starts it must live as long as it is needed: that is what the kernel watches.
    """

    def __init__(
        self, binary: Path, root: Path | None = None, options: RegistryOptions | None = None
    ) -> None:
        """`root` stays when given; otherwise a temporary folder is made and removed by `__exit__`."""
        self.options = options or RegistryOptions()
        self._binary = binary.resolve()
        self._owns_root = root is None
        self.root = Path(tempfile.mkdtemp(prefix="reaper-registry-")) if root is None else root
        self.storage = self.root / "storage"
        self.config_path = self.root / "config.yml"
        self.access_log_path = self.root / "access.log"
        self.log_path = self.root / "registry.log"
        self._identity = secrets.token_hex(8)
        self._port: int | None = None
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
    def host(self) -> str:
        """``127.0.0.1:port``, as it stands in an image's name."""
        if self._port is None:
            raise ServerError("the registry has not been started")
        return f"127.0.0.1:{self._port}"

    @property
    def url(self) -> str:
        """Where the registry answers, without ``/v2/``; the same after a restart."""
        prefix = (self.options.http_prefix or "").rstrip("/")
        return f"{'https' if self.options.tls else 'http'}://{self.host}{prefix}"

    @property
    def pid(self) -> int | None:
        """The process, None while stopped."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start, and return once it answers. Raises ServerError when it does not."""
        if self._process is not None:
            raise ServerError("the registry is running already")
        self.storage.mkdir(parents=True, exist_ok=True)
        keep_port = self._port is not None
        for _ in range(_PORT_ATTEMPTS):
            if not keep_port:
                self._port = free_port()
            if self._launch():
                return
            if keep_port:
                time.sleep(_POLL * 10)  # whoever holds our old port for a moment has to let go of it
        raise ServerError(f"no port for the registry in {_PORT_ATTEMPTS} attempts")

    def stop(self) -> None:
        """Stop the process if it runs: politely, then by force."""
        self._end(force=False)

    def kill(self) -> None:
        """End the process as a crash would."""
        self._end(force=True)

    def restart(self, **changes: Any) -> None:
        """Stop, change the given options (``readonly=True``), and start at the same address."""
        self.stop()
        self.options = dataclasses.replace(self.options, **changes)
        self.start()

    def garbage_collect(
        self, *, dry_run: bool = False, delete_untagged: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """Run the registry's own offline collection on this storage; the caller looks at the status."""
        flags = ["--dry-run"] * dry_run + ["--delete-untagged"] * delete_untagged
        return subprocess.run(
            [self._binary, "garbage-collect", *flags, self.config_path],
            env=self._environment(),
            capture_output=True,
            text=True,
            timeout=_COLLECT_TIMEOUT,
            check=False,
        )

    def disk_usage(self) -> int:
        """The bytes in the storage's files."""
        return sum(path.stat().st_size for path in self.storage.rglob("*") if path.is_file())

    def log(self) -> str:
        """What the registry has logged (not its accesses)."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def access_log(self) -> list[Access]:
        """Every request answered so far, in order, without this class's own.

        Raises ServerError when the log cannot be brought up to date.
        """
        if self._process is not None:
            # A request is logged when its handler returns, which the client may not have waited for. Ours
            # comes after all that the caller knows of: when it is in the log, so are they.
            marker = _AGENT + secrets.token_hex(8)
            self._probe(marker)
            self._wait(
                lambda: any(agent == marker for _, agent in self._accesses()), "the access log is behind"
            )
        return [access for access, agent in self._accesses() if not agent.startswith(_AGENT)]

    def _accesses(self) -> list[tuple[Access, str]]:
        if not self.access_log_path.exists():
            return []
        whole, _, _unfinished = self.access_log_path.read_text().rpartition("\n")
        return [_parse_access(line) for line in whole.splitlines()]

    def _launch(self) -> bool:
        """Start the process and wait for it; False when the port was taken by someone else."""
        # JSON is YAML, so no YAML writer is needed.
        settings = configuration(self.options, self.storage, self.host, self.root / "htpasswd")
        http_settings = settings["http"]
        http_settings |= {"secret": self._identity, "headers": {_IDENTITY: [self._identity]}}
        self.config_path.write_text(json.dumps(settings, indent=2))
        log_start = self.log_path.stat().st_size if self.log_path.exists() else 0
        command = [
            sys.executable,
            "-ISB",
            die_with_parent.__file__,
            str(self._binary),
            "serve",
            str(self.config_path),
        ]
        with self.access_log_path.open("ab") as accesses, self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                command, env=self._environment(), stdin=subprocess.DEVNULL, stdout=accesses, stderr=log
            )
        atexit.register(self.stop)
        try:
            self._wait(lambda: self._exited() or self._answers(), "the registry does not answer")
        except BaseException:  # not left running, whatever happened
            self.kill()
            raise
        if not self._exited():
            return True
        self.kill()
        if _PORT_TAKEN in self.log()[log_start:]:
            return False
        raise ServerError(f"the registry exited at its start\n{self.log()[log_start:]}")

    def _end(self, *, force: bool) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        atexit.unregister(self.stop)
        if not force:
            process.terminate()
            try:
                process.wait(_STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                force = True
        if force:
            process.kill()
            process.wait()

    def _exited(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def _answers(self) -> bool:
        try:
            status, identity = self._probe(_AGENT + "start")
        except (OSError, http.client.HTTPException):
            return False
        # Another process's registry may have got the port first: then ours is about to say so and exit.
        return identity == self._identity and status in {200, 401}

    def _probe(self, agent: str) -> tuple[int, str | None]:
        parts = urlsplit(self.url)
        host, port = parts.hostname or "", parts.port or 0
        if self.options.tls:
            context = ssl.create_default_context()
            context.check_hostname = False  # it is our own server, and its certificate is the caller's affair
            context.verify_mode = ssl.CERT_NONE
            connection: http.client.HTTPConnection
            connection = http.client.HTTPSConnection(host, port, timeout=_STOP_TIMEOUT, context=context)
        else:
            connection = http.client.HTTPConnection(host, port, timeout=_STOP_TIMEOUT)
        try:
            connection.request("GET", f"{parts.path}/v2/", headers={"User-Agent": agent})
            answer = connection.getresponse()
            answer.read()
            return answer.status, answer.getheader(_IDENTITY)
        finally:
            connection.close()

    def _wait(self, condition: Callable[[], bool], failure: str) -> None:
        deadline = time.monotonic() + _READY_TIMEOUT
        while not condition():
            if time.monotonic() > deadline:
                raise ServerError(f"{failure} after {_READY_TIMEOUT:.0f} s\n{self.log()}")
            time.sleep(_POLL)

    def _environment(self) -> dict[str, str]:
        # The developer's REGISTRY_… variables would override the configuration.
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("REGISTRY_", "OTEL_"))}
        return kept | {"OTEL_TRACES_EXPORTER": "none"} | dict(self.options.environment)


def _parse_access(line: str) -> tuple[Access, str]:
    found = _ACCESS.fullmatch(line)
    if found is None:
        raise ServerError(f"not a line of an access log: {line}")
    method, path, status, agent = found.groups()
    return Access(method, path, int(status)), agent
