"""Registries that are not distribution, on loopback, for tests: Gitea's, and CUE Labs' in memory."""

from __future__ import annotations

import http.client
import json
import os
import secrets
import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlsplit

from devtools.program import ended
from devtools.server import Server, ServerError

_PROBE_TIMEOUT = 10.0
_SETUP_TIMEOUT = 120.0
_IDENTITY = "X-Reaper-Devtools"


class _Registry(Server):
    """What both have: an address, and TLS or not."""

    def __init__(self, binary: Path, root: Path | None, tls: tuple[Path, Path] | None) -> None:
        super().__init__(root)
        self._binary = binary.resolve()
        self._tls = tls
        self._identity = secrets.token_hex(8)

    @property
    def url(self) -> str:
        """Where the registry answers, without ``/v2/``; the same after a restart."""
        return f"{'https' if self._tls else 'http'}://{self.host}"

    def _get(self, path: str) -> tuple[http.client.HTTPMessage, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_PROBE_TIMEOUT)
        if self._tls:
            context = ssl.create_default_context()
            context.check_hostname = False  # it is our own server, and its certificate is the caller's affair
            context.verify_mode = ssl.CERT_NONE
            connection = http.client.HTTPSConnection(
                "127.0.0.1", self.port, timeout=_PROBE_TIMEOUT, context=context
            )
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.headers, answer.read()
        finally:
            connection.close()


class OciRegistryServer(_Registry):
    """CUE Labs' registry: the referrers API, deletable tags; what it holds ends with the process."""

    name: ClassVar[str] = "ociregistry"
    polite: ClassVar[bool] = False

    def __init__(
        self,
        binary: Path,
        root: Path | None = None,
        *,
        tls: tuple[Path, Path] | None = None,
        login: tuple[str, str] | None = None,
        max_page_size: int = 0,
        omit_digest: bool = False,
        leave_tags: bool = False,
    ) -> None:
        """With `login` it asks for that user and password; larger pages than `max_page_size` are refused (0:
        none are); with `omit_digest` the answer for a tag does not tell its digest; with `leave_tags` those
        of a manifest that is deleted stay listed, and lead nowhere.
        """
        super().__init__(binary, root, tls)
        self._options = [f"--max-page-size={max_page_size}"]
        self._options += ["--omit-digest"] * omit_digest + ["--leave-tags"] * leave_tags
        if login:
            self._options += [f"--username={login[0]}", f"--password={login[1]}"]
        if tls:
            self._options += [f"--certificate={tls[0]}", f"--key={tls[1]}"]

    def _command(self) -> Sequence[str | Path]:
        return [self._binary, f"--address={self.host}", f"--identity={self._identity}", *self._options]

    def _answers(self) -> bool:
        try:
            return self._get("/v2/")[0][_IDENTITY] == self._identity
        except (OSError, http.client.HTTPException):
            return False


class GiteaServer(_Registry):
    """Gitea with its packages, as a registry: Bearer tokens of its own, everything in PostgreSQL and files.

    Its users own the repositories: each is ``USER/NAME``.
    """

    name: ClassVar[str] = "gitea"

    def __init__(
        self,
        binary: Path,
        database: str,
        root: Path | None = None,
        *,
        users: Mapping[str, str],
        tls: tuple[Path, Path] | None = None,
    ) -> None:
        """`database` is the URL of an empty one in PostgreSQL; `users` have passwords."""
        super().__init__(binary, root, tls)
        self._database = database
        self._users = users
        self._config = self.root / "app.ini"

    def _prepare(self) -> None:
        super()._prepare()
        if self._config.exists():
            return
        self._write_configuration(port=0)
        self._gitea("migrate")
        for user, password in self._users.items():
            login = ("--username", user, "--password", password, "--email", f"{user}@example.com")
            self._gitea("admin", "user", "create", *login, "--must-change-password=false")

    def _command(self) -> Sequence[str | Path]:
        self._write_configuration(self.port)
        return [self._binary, "web", "--config", self._config]

    def _answers(self) -> bool:
        try:
            _, body = self._get("/api/healthz")
            named: object = json.loads(body)["description"]
        except (OSError, http.client.HTTPException, ValueError, KeyError):
            return False
        return named == self._identity

    def _environment(self) -> Mapping[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("GITEA_")}
        return kept | {"HOME": str(self.root)}

    def _gitea(self, *arguments: str) -> None:
        answer = ended(
            [self._binary, "--config", self._config, *arguments],
            env=self._environment(),
            cwd=self.root,
            timeout=_SETUP_TIMEOUT,
        )
        if answer.returncode != 0:
            raise ServerError(f"gitea {arguments[0]} failed: {answer.stdout}{answer.stderr}")

    def _write_configuration(self, port: int) -> None:
        database = urlsplit(self._database)
        scheme = "https" if self._tls else "http"
        certificate, key = self._tls or ("", "")
        sections: dict[str, dict[str, object]] = {
            "": {
                "APP_NAME": self._identity,
                "WORK_PATH": self.root,
                "I_AM_BEING_UNSAFE_RUNNING_AS_ROOT": os.geteuid() == 0,
            },
            "server": {
                "PROTOCOL": scheme,
                "HTTP_ADDR": "127.0.0.1",
                "HTTP_PORT": port,
                "ROOT_URL": f"{scheme}://127.0.0.1:{port}/",
                "CERT_FILE": certificate,
                "KEY_FILE": key,
                "STATIC_ROOT_PATH": self._binary.parent,
                "OFFLINE_MODE": True,
                "DISABLE_SSH": True,
            },
            "database": {
                "DB_TYPE": "postgres",
                "HOST": f"{database.hostname}:{database.port}",
                "NAME": database.path.strip("/"),
                "USER": database.username,
                "SSL_MODE": "disable",
            },
            "security": {
                "INSTALL_LOCK": True,
                "SECRET_KEY": self._identity,
                "PASSWORD_HASH_ALGO": "pbkdf2_v1",  # the least cost, for every request checks one
            },
            "log": {"MODE": "console", "LEVEL": "Info"},
            "queue": {"TYPE": "channel"},
            "indexer": {"ISSUE_INDEXER_TYPE": "db"},
            "actions": {"ENABLED": False},
            "cron": {"ENABLED": False},
        }
        lines = []
        for section, keys in sections.items():
            lines += [f"[{section}]"] * bool(section)
            lines += [
                f"{name} = {str(value).lower() if isinstance(value, bool) else value}"
                for name, value in keys.items()
            ]
        self._config.write_text("\n".join(lines) + "\n")
