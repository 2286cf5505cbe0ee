"""kill -9 of the installed command, at the moments that matter; the next command puts everything right."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from devtools.images import Image, build_image, build_index
from devtools.pusher import Pusher
from devtools.registry import RegistryServer
from reaper.store import State, open_store
from tests.e2e.conftest import REAPER
from tests.registry.fake import Fake, with_fake
from tests.registry.proxy import Proxy, hang_up

CHILD = build_image(seed="child", created=datetime.now(UTC) - timedelta(days=90))
OLD = build_index([CHILD])
NEW = build_image(seed="new", created=datetime.now(UTC) - timedelta(days=9))
POLICY = """\
version: 1
policies:
  - name: tidy
    repositories: {include: ['**']}
    rules: [{tags: {glob: new}, keep: all}]
    minimum_age: 0s
"""


class Machine:
    """Runs ``reaper`` against the proxy, and kills it when a request arrives or has been answered."""

    def __init__(self, url: str, proxy: Proxy, folder: Path) -> None:
        self._proxy = proxy
        self._url = url
        self._store = f"sqlite:///{folder}/reaper.db"
        self._command = [str(REAPER), "--registry", url, "--policies", str(folder / "policy.yaml")]
        self._environment = {**os.environ, "REAPER_STORE__URL": self._store}
        (folder / "policy.yaml").write_text(POLICY)

    async def reaper(self, *arguments: str, code: int | None = 0) -> Any:
        """Run it, expect this exit code (None: killed), and return its JSON."""
        process = await asyncio.create_subprocess_exec(
            *self._command,
            *arguments,
            "--format=json",
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self._environment,
        )
        self._running = process
        out, err = await process.communicate()
        assert process.returncode == (-9 if code is None else code), err.decode()
        return json.loads(out) if out else None

    async def killed(self, *arguments: str, at: str, arrived: bool) -> None:
        """Run it and kill it at the request ``METHOD reference``, with or without that request's effect."""

        def kill(request: web.Request) -> web.StreamResponse | None:
            if f"{request.method} {request.path.rpartition('/')[2]}" != at:
                return None
            self._running.kill()
            return hang_up(request)

        async def before(request: web.Request) -> web.StreamResponse | None:
            return None if arrived else kill(request)

        async def after(request: web.Request, _answer: object) -> web.StreamResponse | None:
            return kill(request) if arrived else None

        untouched = self._proxy.before, self._proxy.after
        self._proxy.before, self._proxy.after = before, after
        await self.reaper(*arguments, code=None)
        self._proxy.before, self._proxy.after = untouched

    def states(self) -> list[tuple[str, State]]:
        """Return what the journal says of each delete, the first one first."""
        with open_store(self._store, read_only=True) as store:
            runs = store.runs.recent(100, self._url)
            entries = [entry for run in runs for entry in store.journal.of_run(self._url, run.id)]
        return [(entry.digest, entry.state) for entry in sorted(entries, key=lambda entry: entry.id)]


Work = Callable[[Machine], Coroutine[Any, Any, None]]


@pytest.fixture
def machine(registry: RegistryServer, pusher: Pusher, tmp_path: Path) -> Callable[[Work], None]:
    """Return a function that gives a coroutine a machine, and a registry with something to delete."""
    pusher.push("app", OLD, "old", "older")
    pusher.push("app", NEW, "new")

    def run(work: Work) -> None:
        proxy = Proxy(registry.url)

        async def with_machine(fake: Fake) -> None:
            await work(Machine(fake.url, proxy, tmp_path))

        with_fake(proxy, with_machine)

    return run


@pytest.mark.parametrize(
    ("image", "arrived"),
    [(OLD, False), (OLD, True), (CHILD, True)],
    ids=["index not arrived", "index arrived", "child arrived"],
)
def test_a_run_that_is_killed_at_a_delete(
    machine: Callable[[Work], None], pusher: Pusher, image: Image, arrived: bool
) -> None:
    async def work(machine: Machine) -> None:
        await machine.killed("run", at=f"DELETE {image.digest}", arrived=arrived)
        report = await machine.reaper("run")
        assert report["settled"] == 1
        assert pusher.tags("app") == ["new"]
        for gone in (OLD, CHILD):
            assert pusher.get_manifest("app", gone.digest) is None
        deleted = [(OLD.digest, State.DELETED), (CHILD.digest, State.DELETED)]
        assert machine.states() == (deleted if arrived else [(OLD.digest, State.CANCELLED), *deleted])
        await machine.reaper("restore", "app:old")

    machine(work)
    assert pusher.pull("app", "old") == pusher.pull("app", "older") == OLD
    assert pusher.pull("app", "new") == NEW


@pytest.mark.parametrize(
    ("at", "arrived"),
    [(f"PUT {CHILD.digest}", False), (f"PUT {OLD.digest}", True), ("PUT old", True)],
    ids=["child not arrived", "index arrived", "tag arrived"],
)
def test_a_restore_that_is_killed(
    machine: Callable[[Work], None], pusher: Pusher, at: str, arrived: bool
) -> None:
    async def work(machine: Machine) -> None:
        run = (await machine.reaper("run"))["run_id"]
        await machine.killed("restore", "--run", run, at=at, arrived=arrived)
        await machine.reaper("restore", "--run", run)
        assert {state for _, state in machine.states()} == {State.RESTORED}

    machine(work)
    assert pusher.pull("app", "old") == pusher.pull("app", "older") == OLD


def test_a_run_that_is_killed_while_it_looks_around(machine: Callable[[Work], None], pusher: Pusher) -> None:
    async def work(machine: Machine) -> None:
        await machine.killed("run", at="HEAD new", arrived=True)
        report = await machine.reaper("run")
        assert (report["settled"], report["summary"]["deleted_manifests"]) == (0, 2)

    machine(work)
