"""Runs ``reaper`` in forks of a process that has imported all of it.

What a fork does is what the installed command does; only the interpreter's start is spared, most of a second
for each of some thousand commands. ``python -m tests.forks`` is that process: each line of its standard input
is a `Job` in JSON; the answer is a line with the number of the new process, which begins after another line
of input; then a line with how it ended.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, NoReturn

from sqlalchemy import Connection, Engine, event


@dataclass(frozen=True)
class Job:
    """What to run, in which environment and folder, where its output goes.

    ``commit`` is before which commit of the store to die, from 1 on.
    """

    arguments: Sequence[str]
    environment: Mapping[str, str]
    folder: str
    output: str
    errors: str
    commit: int | None = None

    def dumped(self) -> str:
        """Return the line that stands for it."""
        return json.dumps(asdict(self)) + "\n"


class Forks:
    """Runs ``reaper`` in forks, one at a time; what it writes is in ``output`` and ``errors``."""

    def __init__(self, folder: Path) -> None:
        self.output, self.errors = folder / "output", folder / "errors"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.forks"],
            cwd=Path(__file__).parents[1],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._to, self._of = self._process.stdin, self._process.stdout
        assert self._of.readline() == "ready\n"
        #: The running process, as a handle: its number may be another's as soon as it has ended.
        self._handle: int | None = None
        self._turn = threading.Lock()

    def run(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        *,
        commit: int | None = None,
        timeout: float = 600,
    ) -> int:
        """Run ``reaper`` and return its exit code.

        Raises:
            subprocess.TimeoutExpired: it did not end in ``timeout`` seconds, and was killed.
        """
        job = Job(arguments, environment, str(Path.cwd()), str(self.output), str(self.errors), commit)
        self._to.write(job.dumped())
        self._to.flush()
        handle = os.pidfd_open(int(self._of.readline()))
        # It waits for this line: nobody can want to end it before it can be ended.
        with self._turn:
            self._handle = handle
        late = threading.Timer(timeout, self.send, [signal.SIGKILL])
        late.start()
        self._to.write("go\n")
        self._to.flush()
        code = int(self._of.readline())
        in_time = late.is_alive()
        late.cancel()
        with self._turn:
            self._handle = None
        os.close(handle)
        if not in_time:
            raise subprocess.TimeoutExpired(["reaper", *arguments], timeout)
        return code

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the running process."""
        with self._turn:
            # What comes late, of one that was killed before, is for nobody.
            if self._handle is not None:
                signal.pidfd_send_signal(self._handle, number)

    def close(self) -> None:
        """End the process that forks."""
        self._to.close()
        assert self._process.wait(60) == 0
        self._of.close()


class Pool:
    """Forks that are ready: as many as tests have wanted at a time."""

    def __init__(self) -> None:
        self._idle: list[Forks] = []

    @contextmanager
    def one(self) -> Iterator[Forks]:
        """Lend one."""
        forks = self._idle.pop() if self._idle else Forks(Path(tempfile.mkdtemp(prefix="reaper-forks-")))
        try:
            yield forks
        finally:
            self._idle.append(forks)

    def close(self) -> None:
        """End them all."""
        while self._idle:
            forks = self._idle.pop()
            forks.close()
            shutil.rmtree(forks.output.parent)


POOL: Final = Pool()


def main() -> None:
    """Serve jobs until standard input ends."""
    import reaper

    for module in pkgutil.walk_packages(reaper.__path__, "reaper."):
        if not module.name.endswith("__main__") and ".migrations" not in module.name:
            importlib.import_module(module.name)
    _say("ready")
    for line in sys.stdin:
        job = Job(**json.loads(line))
        told, tell = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.read(told, 1)
            _run(job)
        _say(pid)
        sys.stdin.readline()
        os.write(tell, b".")
        os.close(told)
        os.close(tell)
        _say(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def _say(what: object) -> None:
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


def _run(job: Job) -> NoReturn:
    code = 70
    try:
        _redirect(job)
        os.environ.clear()
        os.environ.update(job.environment)
        time.tzset()
        os.chdir(job.folder)
        if job.commit is not None:
            _die_at(job.commit)
        sys.argv = ["reaper", *job.arguments]
        from reaper.cli.main import main as reaper

        reaper()
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:  # noqa: BLE001 - nothing may go on in the copy of the parent
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _redirect(job: Job) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    for path, how, number in ((os.devnull, os.O_RDONLY, 0), (job.output, flags, 1), (job.errors, flags, 2)):
        file = os.open(path, how)
        os.dup2(file, number)
        os.close(file)


def _die_at(number: int) -> None:
    """Kill this process before its commit of this ``number``."""
    left = number

    @event.listens_for(Engine, "commit")
    def commit(_connection: Connection) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
