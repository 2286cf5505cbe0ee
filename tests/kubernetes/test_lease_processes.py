"""The election among real processes, with a real API server: never two writers, whatever freezes or dies."""

from __future__ import annotations

import json
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import pytest

from devtools.kubernetes import KubernetesServer

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.integration
_PATIENCE = 60.0
#: Seconds: what others wait, when a leader stops, between two tries.
QUICK = (3.0, 1.5, 0.2)
#: So long that nothing in a test happens because a Lease ran out.
SLOW = (60.0, 40.0, 0.2)


class Candidate:
    """A process that campaigns and writes; see ``candidate``."""

    def __init__(
        self, server: KubernetesServer, namespace: str, name: str, journal: Path, times: tuple[float, ...]
    ) -> None:
        self.name = name
        self.journal = journal
        arguments = (str(server.kubeconfig()), namespace, name, str(journal), *map(str, times))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.kubernetes.candidate", *arguments],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._events: queue.Queue[dict[str, Any]] = queue.Queue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        self.expect("ready")

    def expect(self, event: str) -> dict[str, Any]:
        """Wait for the next event, which has to be this one."""
        found = self._events.get(timeout=_PATIENCE)
        assert found["event"] == event, found
        return found

    def events(self) -> list[dict[str, Any]]:
        """What has been told meanwhile."""
        return [self._events.get() for _ in range(self._events.qsize())]

    def writes(self) -> list[float]:
        """When it wrote."""
        return [at for name, at in written(self.journal) if name == self.name]

    def wait_for_write(self) -> float:
        """Wait until it has written once more; returns when it did."""
        before, deadline = len(self.writes()), time.monotonic() + _PATIENCE
        while len(self.writes()) == before:
            assert time.monotonic() < deadline, f"{self.name} wrote nothing"
            time.sleep(0.02)
        return self.writes()[-1]

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def close(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()
        self._reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("{"):  # the rest is its log
                self._events.put(json.loads(line))


def written(journal: Path) -> list[tuple[str, float]]:
    """Who wrote when, in the order of the writes."""
    lines = journal.read_text().splitlines() if journal.exists() else []
    return [(name, float(at)) for name, at in (line.split() for line in lines)]


def reigns(journal: Path) -> list[str]:
    """The writers in order, each as often as it took over from another."""
    names = [name for name, _ in written(journal)]
    return [name for index, name in enumerate(names) if index == 0 or names[index - 1] != name]


class Start(Protocol):
    """Starts a candidate against a server."""

    def __call__(self, name: str, times: tuple[float, ...] = QUICK) -> Candidate: ...


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """What the candidates write into."""
    return tmp_path / "journal"


@pytest.fixture
def start(kubernetes: KubernetesServer, namespace: str, journal: Path) -> Iterator[Start]:
    """Start candidates of one election in the shared cluster."""
    with ExitStack() as candidates:

        def begin(name: str, times: tuple[float, ...] = QUICK) -> Candidate:
            candidate = Candidate(kubernetes, namespace, name, journal, times)
            candidates.callback(candidate.close)
            return candidate

        yield begin


def test_a_killed_leader_is_followed_when_its_lease_runs_out(start: Start, journal: Path) -> None:
    first = start("first")
    first.expect("gained")
    second = start("second")
    first.wait_for_write()
    first.send(signal.SIGKILL)
    second.expect("gained")
    second.wait_for_write()
    assert reigns(journal) == ["first", "second"]
    # Whatever delayed it, the first stops at its deadline, and the second waits for the whole duration.
    assert second.writes()[0] - first.writes()[-1] >= QUICK[0] - QUICK[1]


def test_a_frozen_leader_writes_nothing_when_it_thaws(start: Start, journal: Path) -> None:
    first = start("first")
    first.expect("gained")
    second = start("second")
    first.wait_for_write()
    first.send(signal.SIGSTOP)
    second.expect("gained")
    taken_over = second.wait_for_write()
    first.send(signal.SIGCONT)
    assert first.expect("lost")["at"] > taken_over
    second.wait_for_write()
    assert reigns(journal) == ["first", "second"]
    assert first.writes()[-1] < second.writes()[0]
    # It goes on as a candidate.
    second.send(signal.SIGTERM)
    second.expect("lost")
    first.expect("gained")
    first.wait_for_write()
    assert reigns(journal) == ["first", "second", "first"]


def test_a_leader_that_ends_hands_over_at_once(start: Start, journal: Path) -> None:
    first = start("first", SLOW)
    first.expect("gained")
    second = start("second", SLOW)
    first.wait_for_write()
    began = time.monotonic()
    first.send(signal.SIGTERM)
    assert first.expect("lost")["reason"] == "it ends"
    second.expect("gained")
    assert time.monotonic() - began < SLOW[1] / 2  # it did not wait for the Lease to run out
    second.wait_for_write()
    assert first.process.wait(_PATIENCE) == 0
    assert reigns(journal) == ["first", "second"]


def test_a_leader_stops_when_the_api_server_is_silent(
    kubernetes: KubernetesServer, start: Start, journal: Path
) -> None:
    first = start("first")
    first.expect("gained")
    second = start("second")
    first.wait_for_write()
    with kubernetes.frozen():
        frozen = time.monotonic()
        lost = first.expect("lost")
        last = first.writes()[-1]
        assert last - frozen < QUICK[1] + 0.5
        assert lost["at"] - frozen < QUICK[0], "it stops before the Lease runs out"
        assert not second.events()
        time.sleep(0.1)  # ten times what lies between two writes
        assert first.writes()[-1] == last
    # One of the two leads again, and then only that one writes.
    deadline = time.monotonic() + _PATIENCE
    while written(journal)[-1][1] <= last:
        assert time.monotonic() < deadline, "nobody leads again"
        time.sleep(0.02)
    leader = {"first": first, "second": second}[written(journal)[-1][0]]
    assert [event["event"] for event in leader.events()][-1] == "gained"
    assert len(reigns(journal)) <= 2
