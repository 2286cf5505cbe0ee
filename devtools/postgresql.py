"""A PostgreSQL server of this process's own, on a free loopback port, with its data in a temporary folder."""

from __future__ import annotations

import itertools
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import psycopg

from devtools import die_with_parent
from devtools.errors import SetupError
from devtools.ports import free_port

_START_SECONDS: Final = 60.0
_NOBODY: Final = 65534


class PostgresqlServer:
    """Starts the server whose programs are in ``binaries``. Use it as a context manager.

    Nothing in it survives a power failure: it trades that for speed.
    """

    def __init__(self, binaries: Path) -> None:
        self._binaries = binaries
        # Not in a test's own folder, which others than its owner cannot enter.
        self._root = Path(tempfile.mkdtemp(prefix="reaper-postgresql-"))
        # The server refuses to run as root.
        self._user = _NOBODY if os.geteuid() == 0 else None
        self._numbers = itertools.count(1)
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()

    @property
    def _server(self) -> str:
        return f"postgresql://reaper@127.0.0.1:{self.port}"

    def make_database(self) -> str:
        """Make an empty database, and return its URL."""
        name = f"reaper_{next(self._numbers)}"
        with psycopg.connect(f"{self._server}/postgres", autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return f"{self._server}/{name}"

    def start(self) -> None:
        """Start, and return when connections are accepted.

        Raises:
            SetupError: it does not start.
        """
        data = self._root / "data"
        data.mkdir(mode=0o700)
        if self._user is not None:
            for folder in (self._root, data):
                os.chown(folder, self._user, self._user)
            self._bring_within_reach()
        made = ["--pgdata", str(data), "--no-sync", "--locale", "C", "--encoding", "UTF8"]
        answer = subprocess.run(
            self._command("initdb", *made, "--username", "reaper", "--auth", "trust"),
            capture_output=True,
            text=True,
            check=False,
            cwd=self._root,
        )
        if answer.returncode != 0:
            raise SetupError(f"initdb failed: {answer.stderr.strip()}")
        options = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off"}
        settings = [word for key, value in options.items() for word in ("-c", f"{key}={value}")]
        command = self._command("postgres", "-D", str(data), "-p", str(self.port), *settings)
        with (self._root / "log").open("wb") as log:
            self._process = subprocess.Popen(
                command, cwd=self._root, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        self._wait()

    def close(self) -> None:
        """Stop at once, and delete the data."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._root, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _command(self, program: str, *arguments: str) -> list[str]:
        user = [] if self._user is None else ["--user", str(self._user)]
        starter = [sys.executable, str(die_with_parent.__file__), *user]
        return [*starter, str(self._binaries / program), *arguments]

    def _bring_within_reach(self) -> None:
        """Copy the programs if the other user cannot reach them, in root's own cache for instance."""
        if any(not folder.stat().st_mode & stat.S_IXOTH for folder in self._binaries.resolve().parents):
            copy = self._root / "programs"
            shutil.copytree(self._binaries, copy, symlinks=True)
            self._binaries = copy

    def _wait(self) -> None:
        assert self._process is not None
        end = time.monotonic() + _START_SECONDS
        while True:
            try:
                psycopg.connect(f"{self._server}/postgres", connect_timeout=5).close()
            except psycopg.OperationalError:
                if self._process.poll() is not None or time.monotonic() > end:
                    log = (self._root / "log").read_text(errors="replace")
                    raise SetupError(f"PostgreSQL did not start: {log}") from None
                time.sleep(0.05)
            else:
                return
