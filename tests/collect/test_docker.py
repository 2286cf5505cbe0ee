"""Collections through the engine's socket: a double of the engine, a real registry and a real collector."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest

from devtools.docker_engine import DockerEngine
from devtools.images import build_image
from devtools.ports import free_port
from devtools.pusher import Pusher
from devtools.registry_config import RegistryOptions, configuration
from reaper.collect import (
    CollectError,
    CollectionResult,
    Mode,
    Outcome,
    Phase,
    StuckReadOnlyError,
    Waits,
    recover,
    run_procedure,
    stored_sizes,
)
from reaper.collect.docker import DockerCollector
from reaper.collect.procedure import ignore_progress
from reaper.core.errors import InvalidInputError, ReaperError

pytestmark = pytest.mark.integration

WAITS = Waits(settle=20.0, poll=0.02, watch=0.1)
_NOBODY = f"/v2/reaper-probe/manifests/sha256:{'0' * 64}"


class Site:
    """A container with a registry, and the two configurations that it can have."""

    def __init__(self, folder: Path, binary: Path, **options: Any) -> None:
        self.folder = folder
        self.storage = folder / "storage"
        self.storage.mkdir()
        host = f"127.0.0.1:{free_port()}"
        for name, readonly in (("writable", False), ("readonly", True)):
            settings = configuration(
                RegistryOptions(readonly=readonly), self.storage, host, folder / "htpasswd"
            )
            (folder / f"{name}.yml").write_text(json.dumps(settings))
        self.config = folder / "config.yml"
        self.config.write_text((folder / "writable.yml").read_text())
        command = [str(binary), "serve", str(self.config)]
        self.engine = DockerEngine(
            folder, "registry", command, environment={"OTEL_TRACES_EXPORTER": "none"}, **options
        )
        self.pusher = Pusher(f"http://{host}")
        self.phases: list[Phase] = []

    def collector(self, **options: Any) -> DockerCollector:
        chosen: dict[str, Any] = {
            "socket": self.engine.socket,
            "read_only_on": [["cp", str(self.folder / "readonly.yml"), str(self.config)]],
            "read_only_off": [["cp", str(self.folder / "writable.yml"), str(self.config)]],
            "timeout": 60.0,
            "hook_timeout": 20.0,
            "orphan_timeout": 0.2,
            "blob_size": stored_sizes(self.storage),
            **options,
        }
        return DockerCollector("registry", **chosen)

    async def probe(self) -> Mode:
        try:
            answer = await asyncio.to_thread(self.pusher.request, "DELETE", _NOBODY, {404, 405})
        except (OSError, HTTPException) as error:
            raise ReaperError(f"no answer: {error}") from error
        if answer.status == 404:
            return Mode.WRITABLE
        return Mode.READ_ONLY if "allow" in answer.headers else Mode.DELETES_DISABLED

    def mode(self) -> Mode | None:
        try:
            return asyncio.run(self.probe())
        except ReaperError:
            return None

    async def procedure(
        self, collector: DockerCollector, on_phase: Callable[[Phase], None] = lambda _phase: None
    ) -> CollectionResult:
        async def record(phase: Phase) -> None:
            self.phases.append(phase)
            on_phase(phase)

        return await run_procedure(
            collector, probe_mode=self.probe, record_phase=record, on_progress=ignore_progress, waits=WAITS
        )

    def push_kept_and_deleted(self) -> None:
        self.pusher.push("team/app", build_image(seed="kept"), "kept")
        old = self.pusher.push("team/app", build_image(layers=[10_000, 20_000]), "old")
        self.pusher.delete("team/app", old)

    def wait(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 20.0
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.02)


@pytest.fixture
def site(tmp_path: Path, distribution: Path) -> Iterator[Site]:
    found = Site(tmp_path, distribution)
    with found.engine:
        found.wait(lambda: found.mode() is Mode.WRITABLE)
        found.push_kept_and_deleted()
        yield found


def test_a_collection_in_a_container(site: Site) -> None:
    image = build_image(layers=[10_000, 20_000])
    result = asyncio.run(site.procedure(site.collector()))
    assert (result.outcome, result.blobs, result.warnings) == (Outcome.DONE, 4, ()), result
    assert result.bytes > 30_000
    assert site.phases == [
        Phase.MAKING_READ_ONLY,
        Phase.COLLECTING,
        Phase.RESTARTING,
        Phase.MAKING_WRITABLE,
        Phase.FINISHED,
    ]
    commands = [each.command[1:] for each in site.engine.execs.values()]
    assert commands == [
        ["garbage-collect", "--dry-run", str(site.config)],
        ["garbage-collect", str(site.config)],
    ]
    assert site.mode() is Mode.WRITABLE
    site.pusher.push("team/app", image, "old")
    assert site.pusher.pull("team/app", "old") == image
    assert site.pusher.pull("team/app", "kept") == build_image(seed="kept")


def test_without_read_only_commands_it_warns(site: Site) -> None:
    result = asyncio.run(site.procedure(site.collector(read_only_on=(), read_only_off=())))
    assert result.outcome is Outcome.DONE
    [warning] = result.warnings
    assert "collect.read_only is not configured" in warning
    assert site.engine.starts == 2


def test_a_failing_collector_is_told(site: Site) -> None:
    site.engine.instead = ["/bin/sh", "-c", "echo out of disk >&2; exit 3"]
    result = asyncio.run(site.procedure(site.collector()))
    assert result.outcome is Outcome.FAILED
    assert "ended with exit code 3: out of disk" in result.detail
    assert site.mode() is Mode.WRITABLE


def test_a_dropped_connection_does_not_leave_a_collector_behind(site: Site) -> None:
    site.engine.instead = ["/bin/sleep", "600"]

    async def drop() -> CollectionResult:
        task = asyncio.create_task(site.procedure(site.collector(), on_phase))
        while Phase.COLLECTING not in site.phases or not site.engine.running:
            await asyncio.wait({task}, timeout=0.02)
        site.engine.drop()
        return await task

    def on_phase(phase: Phase) -> None:
        if phase is Phase.MAKING_WRITABLE:
            assert site.engine.running == 0

    result = asyncio.run(drop())
    assert result.outcome is Outcome.FAILED
    assert "the collector was lost sight of: its output ended before it did" in result.detail
    assert site.engine.running == 0
    assert site.mode() is Mode.WRITABLE


@pytest.mark.parametrize("how", ["timeout", "cancellation"])
def test_a_hanging_collector_ends_with_the_container(site: Site, how: str) -> None:
    site.engine.instead = ["/bin/sleep", "600"]
    collector = site.collector(timeout=0.5 if how == "timeout" else 60.0)

    async def cancel() -> None:
        task = asyncio.create_task(collector.collect(dry_run=False, on_progress=ignore_progress))
        while not site.engine.running:
            await asyncio.wait({task}, timeout=0.02)
        if how == "cancellation":
            task.cancel()
        with pytest.raises(asyncio.CancelledError if how == "cancellation" else CollectError):
            await task

    asyncio.run(cancel())
    assert (site.engine.running, site.engine.starts) == (0, 2)


def test_a_successor_ends_the_collector_with_the_container(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = site.collector()
    asyncio.run(first.read_only_on())
    site.wait(lambda: site.mode() is Mode.READ_ONLY)
    site.engine.instead = ["/bin/sleep", "600"]

    async def die() -> None:
        monkeypatch.setattr(first, "_restart", _nothing)  # as if reaper were killed
        task = asyncio.create_task(first.collect(dry_run=False, on_progress=ignore_progress))
        while not site.engine.running:
            await asyncio.wait({task}, timeout=0.02)
        task.cancel()
        await asyncio.wait({task})

    async def _nothing(_engine: object) -> None:
        pass

    asyncio.run(die())
    assert site.engine.running == 1
    with pytest.raises(CollectError, match="a collector runs already"):
        asyncio.run(site.collector().check())

    async def record(phase: Phase) -> None:
        site.phases.append(phase)

    problems = asyncio.run(
        recover(Phase.COLLECTING, site.collector(), probe_mode=site.probe, record_phase=record, waits=WAITS)
    )
    assert problems == []
    assert site.engine.running == 0
    assert site.mode() is Mode.WRITABLE


def test_a_container_that_does_not_come_back_is_told(site: Site) -> None:
    broken = [["cp", "/dev/null", str(site.config)]]
    collector = site.collector(read_only_off=broken)

    async def quick() -> CollectionResult:
        async def record(_phase: Phase) -> None:
            pass

        waits = Waits(settle=2.0, poll=0.02, watch=0.1)
        return await run_procedure(collector, probe_mode=site.probe, record_phase=record, waits=waits)

    with pytest.raises(StuckReadOnlyError, match="it does not answer"):
        asyncio.run(quick())


def test_a_container_that_is_not_there_is_refused(site: Site) -> None:
    collector = DockerCollector("other", socket=site.engine.socket)
    with pytest.raises(CollectError, match="No such container: other"):
        asyncio.run(collector.check())


def test_a_container_that_does_not_run_is_refused(site: Site) -> None:
    site.engine.stop()
    with pytest.raises(CollectError, match="the container registry does not run"):
        asyncio.run(site.collector().check())


def test_a_container_that_a_restart_removes_is_refused(tmp_path: Path, distribution: Path) -> None:
    found = Site(tmp_path, distribution, auto_remove=True)
    with found.engine, pytest.raises(CollectError, match="does not outlive a restart"):
        asyncio.run(found.collector().check())


def test_a_collector_that_the_container_lacks_is_told(site: Site) -> None:
    collector = site.collector(command=["/no/registry", "garbage-collect", "/config.yml"])
    with pytest.raises(CollectError, match="executable file not found"):
        asyncio.run(site.procedure(collector))
    assert site.phases == []


def test_an_engine_that_is_not_there_is_told(tmp_path: Path) -> None:
    collector = DockerCollector("registry", socket=tmp_path / "none.sock")
    with pytest.raises(CollectError, match=r"none\.sock does not answer"):
        asyncio.run(collector.check())


@pytest.mark.parametrize(
    "command",
    [
        ["sh", "-c", "registry garbage-collect /config.yml"],
        ["registry", "garbage-collect", "--dry-run", "/config.yml"],
        ["registry", "garbage-collect", "-m", "/config.yml"],
    ],
)
def test_commands_that_reaper_cannot_read_are_refused(command: list[str]) -> None:
    with pytest.raises(InvalidInputError):
        DockerCollector("registry", command=command)


def test_read_only_needs_both_ways() -> None:
    with pytest.raises(InvalidInputError, match="needs both"):
        DockerCollector("registry", read_only_on=[["on"]])
