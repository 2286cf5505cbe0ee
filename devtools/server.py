"""One way to start a real server on loopback, to wait for it, and to stop it."""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from devtools import die_with_parent
from devtools.ports import free_port

_STOP_TIMEOUT = 10.0
_WAIT_TIMEOUT = 30.0
_POLL = 0.01
_PORT_ATTEMPTS = 20
_PORT_TAKEN = "address already in use"
_TAIL = 8000


class ServerError(Exception):
    """A server did not start, or did not do what was waited for; the message ends with its log."""


class Server(ABC):
    """A process that serves on a port of its own, with all its files below one folder.

    A context manager; the process ends with it, at exit, and (on Linux) when its starter is killed. The
    thread that starts it must live as long as it is needed: that is what the kernel watches.
    """

    #: What it is called in errors, and its log's file.
    name: ClassVar[str]
    #: For how many seconds its start is waited for.
    patience: ClassVar[float] = 60.0
    #: Whether `stop` asks it to end before it makes it: not where nothing that it still does is of use.
    polite: ClassVar[bool] = True

    def __init__(self, root: Path | None = None, *, user: int | None = None) -> None:
        """`root` stays when given; otherwise a temporary folder is made and removed by `__exit__`.

        The process runs as `user`, where that is another than the caller.
        """
        self._owns_root = root is None
        made = Path(tempfile.mkdtemp(prefix=f"reaper-{self.name}-")) if root is None else root
        self.root = made.absolute()  # the process has it as its working folder
        self.log_path = self.root / f"{self.name}.log"
        #: Where standard output goes, if not into the log.
        self._output_path = self.log_path
        self._log_start = 0
        self._user = user
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
    def port(self) -> int:
        """Where it listens; the same after a restart. Raises ServerError before the first start."""
        if self._port is None:
            raise ServerError(f"{self.name} has not been started")
        return self._port

    @property
    def host(self) -> str:
        """``127.0.0.1:port``, as it stands in an image's name."""
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int | None:
        """The process, None while stopped."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start, and return once it answers. Raises ServerError when it does not."""
        if self._process is not None:
            raise ServerError(f"{self.name} is running already")
        try:
            self._prepare()
            self._launch_somewhere()
        except BaseException:  # not left running, whatever happened
            self.kill()
            raise

    def stop(self) -> None:
        """Stop the process if it runs: politely, then by force."""
        self._end(force=not self.polite)

    def kill(self) -> None:
        """End the process as a crash would."""
        self._end(force=True)

    def log(self) -> str:
        """What it has logged."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def wait_for(self, condition: Callable[[], bool], what: str, timeout: float = _WAIT_TIMEOUT) -> None:
        """Wait until ``condition`` holds. Raises ServerError when it does not get so in time."""
        deadline = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > deadline:
                raise ServerError(f"{what}: not within {timeout:.0f} s\n{self._said()}")
            time.sleep(_POLL)

    def _prepare(self) -> None:
        """Make what it needs before a start, whatever its port will be."""
        self.root.mkdir(parents=True, exist_ok=True)

    @abstractmethod
    def _command(self) -> Sequence[str | Path]:
        """Write its configuration for `port`, and return the command."""

    @abstractmethod
    def _answers(self) -> bool:
        """Tell whether it is ready: this one, and not another's that got the port first."""

    def _environment(self) -> Mapping[str, str]:
        return os.environ

    def _bound(self, command: Sequence[str | Path]) -> list[str]:
        """The command that runs ``command`` as the server's user, until this process ends."""
        user = [] if self._user is None else ["--user", str(self._user)]
        return [sys.executable, "-ISB", die_with_parent.__file__, *user, *map(str, command)]

    def _launch_somewhere(self) -> None:
        keep_port = self._port is not None
        for _ in range(_PORT_ATTEMPTS):
            if not keep_port:
                self._port = free_port()
            if self._launch():
                return
            if keep_port:
                time.sleep(_POLL * 10)  # whoever holds our old port for a moment has to let go of it
        raise ServerError(f"no port for {self.name} in {_PORT_ATTEMPTS} attempts")

    def _launch(self) -> bool:
        """Start the process and wait for it; False when the port was taken by someone else."""
        command = self._bound(self._command())
        self._log_start = self.log_path.stat().st_size if self.log_path.exists() else 0
        with self._output_path.open("ab") as output, self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self.root,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=log,
            )
        atexit.register(self.stop)
        self.wait_for(lambda: self._exited() or self._answers(), f"{self.name} is not ready", self.patience)
        if not self._exited():
            return True
        self.kill()
        if _PORT_TAKEN in self._said().lower():
            return False
        raise ServerError(f"{self.name} exited at its start\n{self._said()}")

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

    def _said(self) -> str:
        """What it logged last, since it was last started."""
        return self.log()[self._log_start :][-_TAIL:]
