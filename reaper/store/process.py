"""Which process wrote something, and whether it still lives."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Process:
    """A process, told apart from a later one with the same number.

    ``started`` is the kernel's start time, in clock ticks since boot, and empty where /proc is missing.
    ``space`` is where ``pid`` means anything: one boot of one kernel, and one PID namespace of it. Two
    containers may both have a process 1 and, by their settings, even the same host name.
    """

    host: str
    pid: int
    started: str
    space: str

    def shares_space_with(self, other: Process) -> bool:
        """Tell whether both see the same process under the same number."""
        return self.host == other.host and self.space == other.space

    def is_gone(self) -> bool:
        """Tell whether this process has ended. It must share its space with the process that asks."""
        started = _started(self.pid)
        if started and self.started:
            return started != self.started
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            # It is somebody else's, and exists: /proc may hide it (hidepid).
            return False
        return False

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


def this_process() -> Process:
    """Return the process that asks."""
    return Process(socket.gethostname(), os.getpid(), _started(os.getpid()), _space())


def _started(pid: int) -> str:
    """Return the start time of ``pid``, ``ended`` of a zombie, or nothing where it is unknown."""
    try:
        stat = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    # proc(5): the second field, the name, stands in brackets and may itself contain brackets and spaces.
    state, *fields = stat.rpartition(")")[2].split()
    return "ended" if state in ("Z", "X") else fields[18]


def _space() -> str:
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        namespace = (_PROC / "self/ns/pid").readlink()
    except OSError:
        return ""
    return f"{boot} {namespace}"
