"""A real distribution registry on loopback, for tests and the demo."""

from __future__ import annotations

import dataclasses
import http.client
import json
import os
import re
import secrets
import ssl
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple
from urllib.parse import urlsplit

from devtools.registry_config import RegistryOptions, configuration
from devtools.server import Server, ServerError

_PROBE_TIMEOUT = 10.0
_COLLECT_TIMEOUT = 600.0
_IDENTITY = "X-Reaper-Devtools"
_AGENT = "reaper-devtools/"
# host - user [time] "METHOD path protocol" status size "referer" "agent"
_ACCESS = re.compile(r'\S+ \S+ .* \[[^\]]*\] "([A-Z]+) (\S+) [^"]*" (\d{3}) \S+ ".*" "(.*)"')


class Access(NamedTuple):
    """One request the registry answered; `path` has the query with it."""

    method: str
    path: str
    status: int


class RegistryServer(Server):
    """A registry with its own storage, configuration and logs."""

    name: ClassVar[str] = "registry"

    def __init__(
        self, binary: Path, root: Path | None = None, options: RegistryOptions | None = None
    ) -> None:
        super().__init__(root)
        self.options = options or RegistryOptions()
        self._binary = binary.resolve()
        self.storage = self.root / "storage"
        self.config_path = self.root / "config.yml"
        self.access_log_path = self._output_path = self.root / "access.log"
        self._identity = secrets.token_hex(8)

    @property
    def url(self) -> str:
        """Where the registry answers, without ``/v2/``; the same after a restart."""
        prefix = (self.options.http_prefix or "").rstrip("/")
        return f"{'https' if self.options.tls else 'http'}://{self.host}{prefix}"

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

    def access_log(self) -> list[Access]:
        """Every request answered so far, in order, without this class's own.

        Raises ServerError when the log cannot be brought up to date.
        """
        if self._process is not None:
            # A request is logged when its handler returns, which the client may not have waited for. Ours
            # comes after all that the caller knows of: when it is in the log, so are they.
            marker = _AGENT + secrets.token_hex(8)
            self._probe(marker)
            self.wait_for(
                lambda: any(agent == marker for _, agent in self._accesses()), "the access log is behind"
            )
        return [access for access, agent in self._accesses() if not agent.startswith(_AGENT)]

    def _accesses(self) -> list[tuple[Access, str]]:
        if not self.access_log_path.exists():
            return []
        whole, _, _unfinished = self.access_log_path.read_text().rpartition("\n")
        return [_parse_access(line) for line in whole.splitlines()]

    def _prepare(self) -> None:
        super()._prepare()
        self.storage.mkdir(parents=True, exist_ok=True)

    def _command(self) -> Sequence[str | Path]:
        # JSON is YAML, so no YAML writer is needed.
        settings = configuration(self.options, self.storage, self.host, self.root / "htpasswd")
        http_settings = settings["http"]
        http_settings |= {"secret": self._identity, "headers": {_IDENTITY: [self._identity]}}
        self.config_path.write_text(json.dumps(settings, indent=2))
        return [self._binary, "serve", self.config_path]

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
            if self.options.tls_client:
                context.load_cert_chain(self.options.tls_client[1])
            connection: http.client.HTTPConnection
            connection = http.client.HTTPSConnection(host, port, timeout=_PROBE_TIMEOUT, context=context)
        else:
            connection = http.client.HTTPConnection(host, port, timeout=_PROBE_TIMEOUT)
        try:
            connection.request("GET", f"{parts.path}/v2/", headers={"User-Agent": agent})
            answer = connection.getresponse()
            answer.read()
            return answer.status, answer.getheader(_IDENTITY)
        finally:
            connection.close()

    def _environment(self) -> Mapping[str, str]:
        # The developer's REGISTRY_… variables would override the configuration.
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("REGISTRY_", "OTEL_"))}
        return kept | {"OTEL_TRACES_EXPORTER": "none"} | dict(self.options.environment)


def _parse_access(line: str) -> tuple[Access, str]:
    found = _ACCESS.fullmatch(line)
    if found is None:
        raise ServerError(f"not a line of an access log: {line}")
    method, path, status, agent = found.groups()
    return Access(method, path, int(status)), agent
