"""``python die_with_parent.py [--user NUMBER] COMMAND…``: become COMMAND, which ends when its starter does.

A program of its own because running Python between fork and exec is unsafe in a process with threads.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Ask for the signal, then run the command in this process's place, as another user if one is named."""
    parent, command = os.getppid(), sys.argv[1:]
    if command[0] == "--user":  # before the signal is asked for, since the kernel forgets it with the user
        user, command = int(command[1]), command[2:]
        os.setgroups([])
        os.setgid(user)
        os.setuid(user)
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the signal was asked for
        sys.exit(1)
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
