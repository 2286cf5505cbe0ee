"""kill -9 of ``reaper`` at each request that it sends and each commit of its store; then it starts again.

The moment after a commit is that before the next request, or the next commit. The moment after a request
is that as well, unless it has changed something: then the change is made, and its sender never hears of it.

Each change that is made, and some of the other moments: a hundred kills. ``REAPER_KILLS=all``: all of them.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from devtools.fault_proxy import Exchange, FaultProxy
from devtools.images import build_image, build_index, build_signature, signature_tag
from devtools.pusher import Pusher
from devtools.registry import RegistryServer
from devtools.registry_config import RegistryOptions
from reaper.store import JournalEntry, RunRecord, State, open_store
from reaper.sweep.placeholder import PLACEHOLDER
from tests.forks import POOL, Forks

CHILD, SHARED, NEW, ALONE = (
    build_image(seed=name, layers=()) for name in ("child", "shared", "new", "alone")
)
OLD, KEPT = build_index([CHILD, SHARED]), build_index([SHARED, NEW])
SIGNATURE = build_signature(OLD)
KEEP = {"keep": NEW, "keep-index": KEPT}
EXPIRED = {"old": OLD, "older": OLD, "alone": ALONE, signature_tag(OLD): SIGNATURE}
DOOMED = {image.digest: image for image in (OLD, CHILD, SIGNATURE, ALONE)}
POLICY = """\
version: 1
policies:
  - name: tidy
    repositories: {include: ['**']}
    rules: [{tags: {glob: 'keep*'}, keep: all}]
    minimum_age: 0s
    guard: {min_tags: 0}
"""
KILLED = -signal.SIGKILL
ALL = os.environ.get("REAPER_KILLS") == "all"
SOME = 2 if ALL else 4
CHANGES = "DELETE|PUT"


@dataclass(frozen=True)
class Moment:
    """When to kill: before which request or commit, or after which request that changes something."""

    what: str
    number: int


class Ground:
    """One registry that is as before each time, behind a proxy; a store of its own for each case."""

    def __init__(self, server: RegistryServer, proxy: FaultProxy, forks: Forks, folder: Path) -> None:
        self.server, self.proxy, self.forks, self.folder = server, proxy, forks, folder
        self.pusher = Pusher(server.url)
        (folder / "policy.yaml").write_text(POLICY)
        for tag, image in (KEEP | EXPIRED).items():
            self.pusher.push("app", image, tag)
        self._repository = server.storage / "docker/registry/v2/repositories/app"
        shutil.copytree(self._repository, folder / "app")
        self._store = folder / "reaper.db"
        self._empty_store = folder / "empty.db"
        with open_store(f"sqlite:///{self._empty_store}"):
            pass

    @property
    def store_url(self) -> str:
        return f"sqlite:///{self._store}"

    def reset(self, *, with_store: bool = True) -> None:
        """Put the registry back as it was, and forget everything; with an empty store, or with none."""
        self.proxy.heal()
        shutil.rmtree(self._repository)
        shutil.copytree(self.folder / "app", self._repository)
        for file in self.folder.glob("reaper.db*"):
            file.unlink()
        if with_store:
            shutil.copy(self._empty_store, self._store)

    def reaper(self, *arguments: str, moment: Moment | None = None, untag: str = "auto") -> int:
        """Run ``reaper``, kill it at a moment, and return its exit code."""
        registry = {"name": "main", "url": self.proxy.url, "untag": untag}
        commit = moment.number if moment and moment.what == "commit" else None
        if moment and moment.what == "request":
            self.proxy.inject(self._kill, nth=moment.number)
        if moment and moment.what == "change":
            self.proxy.inject(self._kill_done, CHANGES, nth=moment.number)
        policy = str(self.folder / "policy.yaml")
        settings = {"REAPER_STORE__URL": self.store_url, "REAPER_REGISTRIES": json.dumps([registry])}
        code = self.forks.run(
            [*arguments, "--registry", self.proxy.url, "--policies", policy, "--format=json"],
            {**os.environ, **settings},
            commit=commit,
        )
        self.proxy.heal()
        assert "Traceback" not in self.forks.errors.read_text(), self.forks.errors.read_text()
        return code

    def report(self) -> Any:
        """Return what the last command has written."""
        return json.loads(self.forks.output.read_text())

    def _kill(self, exchange: Exchange) -> None:
        self.forks.send(signal.SIGKILL)
        exchange.hang_up()

    def _kill_done(self, exchange: Exchange) -> None:
        exchange.upstream()
        self._kill(exchange)

    def books(self) -> tuple[list[RunRecord], list[JournalEntry]]:
        """Return the runs, and the journal, oldest first; nothing where the store was never made."""
        if not self._store.exists():
            return [], []
        with open_store(self.store_url) as store:
            runs = store.runs.recent(100, self.proxy.url)
            entries = [entry for run in runs for entry in store.journal.of_run(self.proxy.url, run.id)]
        return runs, sorted(entries, key=lambda entry: entry.id)

    def missing(self) -> set[str]:
        """Return what is gone from the registry, of all that ever was in it. What is kept must be whole."""
        for tag, image in KEEP.items():
            assert self.pusher.pull("app", tag) == image
        return {digest for digest in DOOMED if self.pusher.get_manifest("app", digest) is None}

    def explained(self, *states: State) -> None:
        """Everything that is gone is in the journal, byte for byte, and nothing else was begun."""
        entries = self.books()[1]
        explained = {entry.digest: entry for entry in entries if entry.state in states}
        gone = self.missing()
        assert gone <= set(explained)
        for digest in gone:
            assert explained[digest].content == DOOMED[digest].body
            assert explained[digest].media_type == DOOMED[digest].media_type
        assert {entry.digest for entry in entries} <= set(DOOMED)

    def settled(self) -> None:
        """Nothing is open or running, and the journal and the registry say the same."""
        runs, entries = self.books()
        assert [run.outcome for run in runs if run.outcome == "running"] == []
        assert {entry.state for entry in entries} <= {State.DELETED, State.CANCELLED, State.RESTORED}
        assert {entry.digest for entry in entries if entry.state is State.DELETED} == self.missing()

    def undo(self) -> None:
        """Restore every run, and see that all is as it was."""
        for run in self.books()[0]:
            if run.command == "run" and self._undoable(run):
                assert self.reaper("restore", "--run", run.id) == 0, self.forks.errors.read_text()
        self.settled()
        assert self.missing() == set()
        for tag, image in (KEEP | EXPIRED).items():
            assert self.pusher.pull("app", tag) == image

    def _undoable(self, run: RunRecord) -> bool:
        with open_store(self.store_url, read_only=True) as store:
            return bool(store.journal.undoable(run.registry, run_id=run.id))


@pytest.fixture(scope="module")
def ground(distribution: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    root = tmp_path_factory.mktemp("registry")
    # Without the cache it notices that the repository is another.
    options = RegistryOptions(descriptor_cache=False)
    folder = tmp_path_factory.mktemp("ground")
    with (
        RegistryServer(distribution, root, options) as server,
        FaultProxy(server.url) as proxy,
        POOL.one() as forks,
    ):
        yield Ground(server, proxy, forks, folder)


@pytest.mark.parametrize(
    ("what", "first", "step", "least"),
    [
        # In parts, which can be shared among processors.
        *(("request", first, 4, 30) for first in range(1, 5 if ALL else 2)),
        *(("commit", first, 3, 15) for first in range(1, 4 if ALL else 3)),
        ("change", 1, 1, len(DOOMED)),
    ],
)
def test_a_run_that_is_killed(ground: Ground, what: str, first: int, step: int, least: int) -> None:
    number, code = first, KILLED
    while code == KILLED:
        ground.reset(with_store=what != "commit")
        code = ground.reaper("run", moment=Moment(what, number))
        assert code in (0, KILLED), ground.forks.errors.read_text()
        ground.explained(State.PENDING, State.DELETED)
        assert ground.reaper("run") == 0, ground.forks.errors.read_text()
        ground.settled()
        assert ground.missing() == set(DOOMED)
        ground.undo()
        number += step
    assert number > least


@pytest.mark.parametrize(("what", "step"), [("request", SOME), ("commit", SOME), ("change", 1)])
def test_a_restore_that_is_killed(ground: Ground, what: str, step: int) -> None:
    number, code = 1, KILLED
    while code == KILLED:
        ground.reset()
        assert ground.reaper("run") == 0
        run = ground.report()["run_id"]
        code = ground.reaper("restore", "--run", run, moment=Moment(what, number))
        assert code in (0, KILLED), ground.forks.errors.read_text()
        ground.explained(State.DELETED, State.RESTORING)
        if code == KILLED:
            # Somebody tries again. All may be back already.
            ended = ground.reaper("restore", "--run", run)
            assert ended == 0 or "nothing to restore" in ground.forks.errors.read_text()
        ground.undo()
        number += step
    assert number > len(DOOMED)


@pytest.fixture
def tagged_twice(ground: Ground) -> Iterator[str]:
    """A repository with an expired tag on an image that stays, which this registry cannot delete alone."""
    ground.pusher.push("twice", NEW, "keep", "expired")
    yield "twice"
    shutil.rmtree(ground.server.storage / "docker/registry/v2/repositories/twice")


@pytest.mark.parametrize(("what", "step"), [("request", SOME), ("commit", SOME), ("change", 1)])
def test_a_placeholder_that_is_killed(ground: Ground, tagged_twice: str, what: str, step: int) -> None:
    number, code, pusher = 1, KILLED, ground.pusher
    run = ("run", "--repository", tagged_twice)
    while code == KILLED:
        ground.reset()
        code = ground.reaper(*run, moment=Moment(what, number), untag="placeholder")
        assert code in (0, KILLED), ground.forks.errors.read_text()
        assert pusher.pull(tagged_twice, "keep") == NEW
        assert ground.reaper(*run, untag="placeholder") == 0, ground.forks.errors.read_text()
        assert pusher.tags(tagged_twice) == ["keep"]
        entries = ground.books()[1]
        assert [entry.state for entry in entries if entry.state is not State.CANCELLED] == [State.DELETED]
        assert {entry.digest for entry in entries} == {NEW.digest}
        for entry in entries:
            assert pusher.get_manifest(tagged_twice, entry.plan[PLACEHOLDER]) is None
        assert ground.reaper("restore", f"{tagged_twice}:expired") == 0
        assert pusher.pull(tagged_twice, "expired") == pusher.pull(tagged_twice, "keep") == NEW
        number += step
    assert number > 4


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_sigterm_lets_the_delete_in_flight_end_and_leaves_the_rest(ground: Ground, number: int) -> None:
    def terminate(exchange: Exchange) -> None:
        ground.forks.send(signal.SIGTERM)
        exchange.send(exchange.upstream())

    ground.reset()
    # Not the one of a manifest that nobody has, which asks whether the registry can untag.
    digest = ".*/manifests/sha256:(?!0{64})[0-9a-f]{64}"
    ground.proxy.inject(terminate, "DELETE", digest, nth=number)
    assert ground.reaper("run") == 1
    assert ground.report()["outcome"] == "interrupted"
    assert len(ground.missing()) == number
    ground.settled()
    assert ground.books()[0][0].outcome == "interrupted"
    assert ground.reaper("run") == 0
    assert ground.missing() == set(DOOMED)
    ground.undo()
