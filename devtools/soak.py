"""``make soak``: the daemon for minutes on a real registry, with pushers, faults, crashes and collections.

It ends non-zero when a tag is not as its pusher left it, `reaper verify` finds anything, the books are not
closed, or the daemon's memory grows. ``python -m devtools.soak --seconds 300``; the seed is printed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import Any

from devtools import fault_proxy
from devtools.control import Control
from devtools.errors import SetupError
from devtools.fault_proxy import Fault, FaultProxy
from devtools.images import Image, build_image, build_index
from devtools.pusher import AnswerError, BrokenImageError, Pusher
from devtools.registry import RegistryServer
from devtools.server import ServerError
from devtools.tools import distribution_2

_PUSHERS = 3
_REPOSITORIES = 6
#: The same minute in other words: each is a job of its own, so that each minute has many runs.
_EVERY_MINUTE = [
    f"{minute} {hour} * * *" for minute in ("*", "0-59", "*/1") for hour in ("*", "0-23", "*/1", "0-23/1")
]
#: Which part of the time is spent on ending the daemon and starting it again.
_RESTARTS = 0.35
#: How much the daemon's memory may grow from the first half of its life to the second, in KiB and as a share.
_MAY_GROW = 8 * 1024
_MAY_GROW_BY = 0.05
_FAULTS: dict[str, Fault] = {
    "refused": fault_proxy.answer(503, b"{}", Retry_After="1"),
    "too many": fault_proxy.answer(429, b"{}"),
    "broken": fault_proxy.answer(500, b"oh"),
    "reset": fault_proxy.hang_up,
    "answer lost": fault_proxy.lose_answer,
    "cut": fault_proxy.cut,
    "truncated": fault_proxy.truncate,
    "slow": fault_proxy.slow(0.3),
}
_LATER = 60.0


class SoakError(Exception):
    """Something is not as promised."""


@dataclass
class Figures:
    """What the soak has seen; ``memory`` is in KiB, of the daemon that lives longest."""

    pushes: int = 0
    refused: int = 0
    faults: int = 0
    kills: int = 0
    terms: int = 0
    memory: list[int] = field(default_factory=list)


class Soak:
    """One registry, one daemon, and all who make their life hard."""

    def __init__(
        self, folder: Path, server: RegistryServer, control: Control, proxy: FaultProxy, seed: int
    ) -> None:
        self._folder = folder
        self._proxy = proxy
        self._pusher = Pusher(server.url)
        self._seed = seed
        self._end = threading.Event()
        self._latest: dict[str, Image] = {}
        self._failures: list[Exception] = []
        self.figures = Figures()
        (folder / "policies").mkdir()
        for number, schedule in enumerate(_EVERY_MINUTE[:_REPOSITORIES]):
            (folder / "policies" / f"{number}.yaml").write_text(json.dumps(_policy(number, schedule)))
        collect = {
            "via": "command",
            "command": [str(distribution_2(fetch=False)), "garbage-collect", str(server.config_path)],
            "read_only": {"on": control.hook("on"), "off": control.hook("off")},
            "restart": control.hook("restart"),
            "undo_window": "5s",
            # Not before each run: what they delete is to be undone, raced for and cut short as well.
            "schedule": "*/2 * * * *",
        }
        (folder / "reaper.yaml").write_text(
            json.dumps(
                {
                    "registries": [{"name": "soak", "url": proxy.url, "collect": collect}],
                    "policies": ["policies"],
                    "run_at_start": True,
                    "dry_run": False,
                    "store": {"url": f"sqlite:///{folder}/reaper.db"},
                    "web": {"listen": "127.0.0.1:0"},
                    "guard": {"max_deletions": None, "max_share": None, "max_vanished": None},
                    "log": {"format": "json", "level": "info"},
                }
            )
        )

    def work(self, seconds: float) -> None:
        """Do it all for so long, and prove that nothing is lost."""
        end = time.monotonic() + seconds
        self._push_all()
        with self._others():
            self._restart_until(time.monotonic() + seconds * _RESTARTS)
            self._watch_until(end)
        self._proxy.heal()
        if self._failures:
            raise SoakError(f"a pusher failed: {self._failures[0]}")
        self._prove()

    def _push_all(self) -> None:
        for number in range(_REPOSITORIES):
            self._push(number, random.Random(f"{self._seed} first {number}"), 0)

    @contextmanager
    def _others(self) -> Iterator[None]:
        work: list[Callable[[], None]] = [self._break_things]
        work += [partial(self._keep_pushing, number) for number in range(_PUSHERS)]
        threads = [threading.Thread(target=each) for each in work]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._end.set()
            for thread in threads:
                thread.join()

    def _keep_pushing(self, number: int) -> None:
        chance = random.Random(f"{self._seed} {number}")
        count = 0
        try:
            while not self._end.wait(chance.uniform(0, 0.4)):
                count += 1
                self._push(chance.randrange(number, _REPOSITORIES, _PUSHERS), chance, count)
        except AnswerError as error:
            self._failures.append(error)

    def _push(self, number: int, chance: random.Random, count: int) -> None:
        """Push an image or an index under a tag of its own, and under ``latest``, until it is taken."""
        repository = f"team-{number}/app"
        images = [
            build_image(
                seed=chance.randrange(10**6), created=datetime.now(UTC), layers=(chance.randrange(1, 2000),)
            )
            for _ in range(2)
        ]
        image = build_index(images) if chance.random() < 0.5 else images[0]
        deadline = time.monotonic() + _LATER
        while True:
            try:
                self._pusher.push(repository, image, f"main-{count}-{number}", "latest")
            except (OSError, HTTPException, AnswerError) as error:
                # It restarts, or is read-only (405); or a part was deleted between two requests (400).
                if isinstance(error, AnswerError) and error.status not in (400, 404, 405, 503):
                    raise
                if time.monotonic() > deadline:
                    raise
                self.figures.refused += 1
                time.sleep(0.1)
            else:
                self._latest[repository] = image
                self.figures.pushes += 1
                return

    def _break_things(self) -> None:
        chance = random.Random(f"{self._seed} faults")
        while not self._end.wait(0.5):
            self._proxy.heal()
            fault = _FAULTS[chance.choice(sorted(_FAULTS))]
            self._proxy.inject(fault, nth=chance.sample(range(1, 200), 3))
            self.figures.faults += 1

    def _restart_until(self, end: float) -> None:
        chance = random.Random(f"{self._seed} restarts")
        while time.monotonic() < end:
            with self._daemon() as daemon:
                self._end.wait(chance.uniform(1, 8))
                if chance.random() < 0.6:
                    self.figures.kills += 1
                    daemon.kill()
                else:
                    self.figures.terms += 1
                    # While it still starts, nothing is there yet that could catch the signal.
                    self._terminate(daemon, 0, -signal.SIGTERM)

    def _watch_until(self, end: float) -> None:
        with self._daemon() as daemon:
            while time.monotonic() < end:
                if daemon.poll() is not None:
                    raise SoakError(f"the daemon ended with {daemon.returncode}")
                self.figures.memory.append(_memory(daemon.pid))
                self._end.wait(1)
            self._terminate(daemon, 0)

    def _terminate(self, daemon: subprocess.Popen[bytes], *codes: int) -> None:
        daemon.send_signal(signal.SIGTERM)
        code = daemon.wait(_LATER)
        if code not in codes:
            raise SoakError(f"after SIGTERM the daemon ended with {code}")

    @contextmanager
    def _daemon(self) -> Iterator[subprocess.Popen[bytes]]:
        with (self._folder / "daemon.log").open("ab") as log:
            daemon = subprocess.Popen(self._command("serve"), stderr=log, stdout=subprocess.DEVNULL)
            try:
                yield daemon
            finally:
                daemon.kill()
                daemon.wait()

    def _command(self, *arguments: str) -> list[str]:
        reaper = Path(sys.executable).with_name("reaper")
        return [str(reaper), arguments[0], "--config", str(self._folder / "reaper.yaml"), *arguments[1:]]

    def _reaper(self, *arguments: str, codes: tuple[int, ...] = (0,)) -> Any:
        ended = subprocess.run(
            self._command(*arguments, "--format", "json"),
            capture_output=True,
            check=False,
            env=dict(os.environ),
        )
        if ended.returncode not in codes:
            raise SoakError(
                f"reaper {arguments[0]} ended with {ended.returncode}: {ended.stderr.decode()[-2000:]}"
            )
        return json.loads(ended.stdout)

    def _prove(self) -> None:
        """See that the books are closed, that all can be pulled, and that memory did not grow."""
        if b"Traceback" in (self._folder / "daemon.log").read_bytes():
            raise SoakError("the daemon's log has a traceback")
        self._reaper("run")
        self._reaper("verify", "--deep")
        runs = self._reaper("runs", "--limit", "1000")
        if any(run["outcome"] == "running" for run in runs):
            raise SoakError("a run is still noted as running")
        for repository, image in self._latest.items():
            try:
                whole = self._pusher.pull(repository, "latest") == image
            except BrokenImageError as error:
                raise SoakError(str(error)) from error
            if not whole:
                raise SoakError(f"{repository}:latest is not what was pushed last")
        outcomes = sorted({run["outcome"] for run in runs})
        deleted = sum(run["deleted"] for run in runs)
        count = {outcome: sum(run["outcome"] == outcome for run in runs) for outcome in outcomes}
        figures = self.figures
        print(f"pushes {figures.pushes}, refused and tried again {figures.refused}")
        print(
            f"faults {figures.faults} times, daemon killed {figures.kills} times, ended {figures.terms} times"
        )
        print(f"runs {count}, {deleted} deletes")
        self._prove_memory()

    def _prove_memory(self) -> None:
        memory = self.figures.memory
        # The first runs import, compile and fill caches.
        settled = memory[len(memory) // 4 :]
        half = len(settled) // 2
        first, second = (statistics.median(part) for part in (settled[:half], settled[half:]))
        print(f"memory: {first / 1024:.1f} MiB, later {second / 1024:.1f} MiB ({len(memory)} samples)")
        if second - first > max(_MAY_GROW, first * _MAY_GROW_BY):
            raise SoakError(f"memory grew by {(second - first) / 1024:.1f} MiB")


def _policy(number: int, schedule: str) -> dict[str, Any]:
    policy = {
        "name": f"team-{number}",
        "repositories": {"include": [f"team-{number}/**"]},
        "schedule": schedule,
        "rules": [{"name": "newest", "tags": {"glob": "main-*"}, "keep": {"newest": 2}}],
        "untagged": {"keep_within": "0s"},
        "minimum_age": "0s",
        "guard": {"max_deletions": None, "max_share": None, "min_tags": 0},
    }
    return {"version": 1, "policies": [policy]}


def _memory(pid: int) -> int:
    """Return the resident memory of a process, in KiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0


def main() -> int:
    """Soak, and return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--seconds", type=float, default=300.0, help="how long; 90 at the least (%(default)s)"
    )
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    asked = parser.parse_args()
    print(f"soaking for {asked.seconds:.0f} seconds, seed {asked.seed}", flush=True)
    try:
        with (
            tempfile.TemporaryDirectory(prefix="reaper-soak-") as folder,
            RegistryServer(distribution_2(fetch=False), Path(folder) / "registry") as server,
            Control(server) as control,
            FaultProxy(server.url) as proxy,
        ):
            Soak(Path(folder), server, control, proxy, asked.seed).work(asked.seconds)
    except (SoakError, ServerError, SetupError) as error:
        print(f"soak: {error}", file=sys.stderr)
        return 1
    print("soak: nothing was lost")
    return 0


if __name__ == "__main__":
    sys.exit(main())
