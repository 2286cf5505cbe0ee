"""A PostgreSQL server of this process's own, on a free loopback port, with its data in a temporary folder."""

from __future__ import annotations

import itertools
import os
import shutil
import stat
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Final

import psycopg

from devtools.server import Server, ServerError

_NOBODY: Final = 65534


class PostgresqlServer(Server):
    """The server whose programs are in ``binaries``.

    Nothing in it survives a power failure: it trades that for speed.
    """

    name: ClassVar[str] = "postgresql"
    polite: ClassVar[bool] = False

    def __init__(self, binaries: Path) -> None:
        # Not in a test's own folder, which others than its owner cannot enter. It refuses to run as root.
        super().__init__(user=_NOBODY if os.geteuid() == 0 else None)
        self._binaries = binaries
        self._data = self.root / "data"
        self._numbers = itertools.count(1)

    @property
    def _server(self) -> str:
        return f"postgresql://reaper@{self.host}"

    def make_database(self) -> str:
        """Make an empty database, and return its URL."""
        name = f"reaper_{next(self._numbers)}"
        with psycopg.connect(f"{self._server}/postgres", autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return f"{self._server}/{name}"

    def _prepare(self) -> None:
        super()._prepare()
        if self._data.exists():
            return
        self._data.mkdir(mode=0o700)
        if self._user is not None:
            for folder in (self.root, self._data):
                os.chown(folder, self._user, self._user)
            self._bring_within_reach()
        initdb: list[str | Path] = [self._binaries / "initdb", "--pgdata", self._data, "--no-sync"]
        initdb += ["--locale", "C", "--encoding", "UTF8", "--username", "reaper", "--auth", "trust"]
        answer = subprocess.run(
            self._bound(initdb), capture_output=True, text=True, check=False, cwd=self.root
        )
        if answer.returncode != 0:
            raise ServerError(f"initdb failed: {answer.stderr.strip()}")

    def _command(self) -> Sequence[str | Path]:
        options = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off"}
        settings = [word for key, value in options.items() for word in ("-c", f"{key}={value}")]
        return [self._binaries / "postgres", "-D", self._data, "-p", str(self.port), *settings]

    def _answers(self) -> bool:
        try:
            with psycopg.connect(f"{self._server}/postgres", connect_timeout=5) as connection:
                return connection.execute("SHOW data_directory").fetchone() == (str(self._data),)
        except psycopg.OperationalError:
            return False

    def _bring_within_reach(self) -> None:
        """Copy the programs if the other user cannot reach them, in root's own cache for instance."""
        if any(not folder.stat().st_mode & stat.S_IXOTH for folder in self._binaries.resolve().parents):
            copy = self.root / "programs"
            shutil.copytree(self._binaries, copy, symlinks=True)
            self._binaries = copy
