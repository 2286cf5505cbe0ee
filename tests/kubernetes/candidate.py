"""``python -m tests.kubernetes.candidate``: a process that writes while it leads, for tests of the election.

It appends its name to a file every few milliseconds, each time after a check, and tells on its standard
output what happens to it, as JSON lines. SIGTERM ends it cleanly.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path

from reaper.kubernetes import LeaseElector, LeaseTimes, NotLeaderError, connect


def tell(event: str, **more: object) -> None:
    """Print an event with the time on the clock that all processes of the machine share."""
    sys.stdout.write(json.dumps({"event": event, "at": time.monotonic(), **more}) + "\n")
    sys.stdout.flush()


async def campaign(kubeconfig: Path, namespace: str, name: str, journal: Path, times: LeaseTimes) -> None:
    """Campaign until SIGTERM, writing into the journal while leading."""
    client = connect(kubeconfig)
    elector = LeaseElector(
        client,
        namespace=namespace,
        name="test",
        identity=name,
        times=times,
        on_gained=lambda: tell("gained"),
        on_lost=lambda reason: tell("lost", reason=reason),
    )
    running = asyncio.create_task(elector.run())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    output = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    tell("ready")
    while not running.done():
        try:
            elector.check()
        except NotLeaderError:
            pass
        else:
            os.write(output, f"{name} {time.monotonic()}\n".encode())
        await asyncio.sleep(0.01)
    os.close(output)
    await client.close()
    if not running.cancelled():
        await running


if __name__ == "__main__":
    file, space, who, written, *seconds = sys.argv[1:]
    asyncio.run(campaign(Path(file), space, who, Path(written), LeaseTimes(*map(float, seconds))))
