"""``python -m tests.safety.forks``: runs ``reaper`` in forks of a process that has imported all of it.

Each line of standard input is a `Job` in JSON; the answer is a line with the number of the process, which
begins after another line of input; then a line with how it ended. Starting the interpreter anew for each of
some hundred processes would take minutes.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import signal
import sys
import traceback
from dataclasses import asdict, dataclass
from typing import NoReturn, cast

from sqlalchemy import Connection, Engine, event


@dataclass(frozen=True)
class Job:
    """What to run, where its report goes, and before which commit of the store to die, from 1 on."""

    arguments: list[str]
    environment: dict[str, str]
    output: str
    errors: str
    commit: int | None = None

    def dumped(self) -> str:
        """Return the line that stands for it."""
        return json.dumps(asdict(self)) + "\n"


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
        for path, number in ((job.output, 1), (job.errors, 2)):
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(file, number)
            os.close(file)
        os.environ.update(job.environment)
        if job.commit is not None:
            _die_at(job.commit)
        sys.argv = ["reaper", *job.arguments]
        from reaper.cli.main import main as reaper

        reaper()
    except SystemExit as ended:
        code = cast("int", ended.code or 0)
    except BaseException:  # noqa: BLE001 - nothing may go on in the copy of the parent
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


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
