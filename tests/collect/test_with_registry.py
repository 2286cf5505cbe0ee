"""The procedure around a real distribution 2.8: what a naive collection loses, and the procedure does not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from http.client import HTTPException
from pathlib import Path

import pytest

from devtools.control import Control
from devtools.images import build_image, build_index
from devtools.pusher import AnswerError, BrokenImageError, Pusher
from devtools.registry import RegistryServer
from reaper.collect import (
    CollectError,
    CollectionResult,
    CommandCollector,
    Mode,
    Outcome,
    Phase,
    Tally,
    Waits,
    recover,
    run_procedure,
    stored_sizes,
)
from reaper.collect.procedure import ignore_progress
from reaper.core.errors import ReaperError
from tests.collect.storage import add_blob, blob_path

pytestmark = pytest.mark.integration

WAITS = Waits(settle=20.0, poll=0.02, watch=0.1)
_NOBODY = f"/v2/reaper-probe/manifests/sha256:{'0' * 64}"


class Site:
    """A registry with a collection configured for it."""

    def __init__(self, server: RegistryServer, control: Control, distribution: Path) -> None:
        self.server = server
        self.control = control
        self.pusher = Pusher(server.url)
        self.command = [str(distribution), "garbage-collect", str(server.config_path)]
        self.phases: list[Phase] = []

    def collector(self, command: Sequence[str] | None = None, *, timeout: float = 60.0) -> CommandCollector:
        return CommandCollector(
            command or self.command,
            read_only_on=[self.control.hook("on")],
            read_only_off=[self.control.hook("off")],
            restart=[self.control.hook("restart")],
            timeout=timeout,
            hook_timeout=60.0,
            blob_size=stored_sizes(self.server.storage),
        )

    async def probe(self) -> Mode:
        try:
            answer = await asyncio.to_thread(self.pusher.request, "DELETE", _NOBODY, {404, 405})
        except (OSError, HTTPException) as error:
            raise ReaperError(f"no answer: {error}") from error
        if answer.status == 404:
            return Mode.WRITABLE
        return Mode.READ_ONLY if "allow" in answer.headers else Mode.DELETES_DISABLED

    async def record(self, phase: Phase) -> None:
        self.phases.append(phase)

    async def procedure(
        self,
        collector: CommandCollector,
        *,
        dry_run: bool = False,
        on_progress: Callable[[Tally], None] = ignore_progress,
    ) -> CollectionResult:
        async def has_repositories() -> bool:
            return bool(await asyncio.to_thread(self.pusher.repositories))

        return await run_procedure(
            collector,
            probe_mode=self.probe,
            record_phase=self.record,
            has_repositories=has_repositories,
            dry_run=dry_run,
            on_progress=on_progress,
            waits=WAITS,
        )

    def mode(self) -> Mode:
        return asyncio.run(self.probe())


@pytest.fixture
def site(registry: RegistryServer, distribution: Path) -> Iterator[Site]:
    control = Control(registry)
    try:
        yield Site(registry, control, distribution)
    finally:
        # The kernel ends a registry with the thread that started it, which is the control's by now.
        registry.stop()
        control.close()


def script(folder: Path, text: str) -> str:
    path = folder / "collector.sh"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def push_kept_and_deleted(pusher: Pusher) -> None:
    """Push an image that stays and one that is deleted; 30,000 bytes of layers become garbage."""
    pusher.push("team/app", build_image(seed="kept"), "kept")
    pusher.delete("team/app", pusher.push("team/app", build_image(layers=[10_000, 20_000]), "old"))


def test_a_naive_collection_loses_a_re_pushed_image(site: Site) -> None:
    """The fact that the procedure exists for; should it ever change, this test says so."""
    image = build_image(seed="again")
    site.pusher.delete("team/app", site.pusher.push("team/app", image, "1"))
    naive = CommandCollector(site.command)
    asyncio.run(naive.collect(dry_run=False, on_progress=ignore_progress))
    site.pusher.push("team/app", image, "1")
    with pytest.raises(BrokenImageError):
        site.pusher.pull("team/app", "1")


def test_the_procedure_does_not(site: Site) -> None:
    image, kept = build_image(seed="again"), build_index([build_image(seed="a"), build_image(seed="b")])
    site.pusher.push("team/app", kept, "kept")
    site.pusher.delete("team/app", site.pusher.push("team/app", image, "1"))
    before = site.server.disk_usage()
    result = asyncio.run(site.procedure(site.collector()))
    assert result.outcome is Outcome.DONE, result
    assert (result.blobs, result.bytes, result.blobs_of_unknown_size) == (3, image.size, 0)
    assert before - site.server.disk_usage() == result.bytes
    assert result.warnings == ()
    assert site.control.asked == ["on", "restart", "off"]
    site.pusher.push("team/app", image, "1")
    assert site.pusher.pull("team/app", "1") == image
    assert site.pusher.pull("team/app", "kept") == kept


def test_the_registry_is_read_only_while_it_is_collected(site: Site, tmp_path: Path) -> None:
    push_kept_and_deleted(site.pusher)
    proof = tmp_path / "go"
    held = script(tmp_path, f"while [ ! -e {proof} ]; do sleep 0.02; done; exec {' '.join(site.command)}")
    collector = site.collector([held])

    async def push_meanwhile() -> CollectionResult:
        task = asyncio.create_task(site.procedure(collector))
        while Phase.COLLECTING not in site.phases:
            await asyncio.wait({task}, timeout=0.02)
        with pytest.raises(AnswerError, match="405"):
            await asyncio.to_thread(site.pusher.push, "team/app", build_image(seed="new"), "new")
        proof.touch()
        return await task

    result = asyncio.run(push_meanwhile())
    assert result.outcome is Outcome.DONE
    site.pusher.push("team/app", build_image(seed="new"), "new")


def test_a_second_collection_finds_nothing_and_disturbs_nobody(site: Site) -> None:
    push_kept_and_deleted(site.pusher)
    asyncio.run(site.procedure(site.collector()))
    site.control.asked.clear()
    result = asyncio.run(site.procedure(site.collector()))
    assert (result.outcome, result.detail) == (Outcome.NOTHING, "nothing to collect: every blob is needed")
    assert site.control.asked == []


def test_a_dry_run_changes_nothing(site: Site) -> None:
    push_kept_and_deleted(site.pusher)
    before = site.server.disk_usage()
    result = asyncio.run(site.procedure(site.collector(), dry_run=True))
    assert (result.outcome, result.dry_run, result.blobs) == (Outcome.DONE, True, 4)
    assert result.bytes > 30_000
    assert site.server.disk_usage() == before
    assert site.control.asked == []


def test_an_empty_registry_has_nothing_to_collect(site: Site) -> None:
    result = asyncio.run(site.procedure(site.collector()))
    assert (result.outcome, result.detail) == (Outcome.NOTHING, "nothing to collect: its storage is empty")
    assert site.control.asked == []


def test_the_configuration_of_another_storage_is_noticed(site: Site, tmp_path: Path) -> None:
    push_kept_and_deleted(site.pusher)
    other = tmp_path / "config.yml"
    other.write_text(site.server.config_path.read_text().replace(str(site.server.storage), str(tmp_path)))
    with pytest.raises(CollectError, match="the registry has repositories"):
        asyncio.run(site.procedure(site.collector([*site.command[:2], str(other)])))


def test_deleting_untagged_is_refused(site: Site) -> None:
    index = build_index([build_image(seed="a"), build_image(seed="b")])
    site.pusher.push("team/app", index, "1")
    with pytest.raises(CollectError, match=r"distribution 2\.8\.\d+ removes the children"):
        asyncio.run(site.procedure(site.collector([*site.command, "--delete-untagged"])))
    assert site.pusher.pull("team/app", "1") == index


@pytest.mark.parametrize(
    ("text", "seconds", "detail"),
    [
        ("echo out of disk; exit 1", 60.0, "ended with exit code 1: out of disk"),
        ("kill -9 $$", 60.0, "ended with signal 9"),
        ("sleep 60", 0.3, "took longer than 0.3 seconds"),
    ],
)
def test_a_failing_collector_leaves_the_registry_writable(
    site: Site, tmp_path: Path, text: str, seconds: float, detail: str
) -> None:
    push_kept_and_deleted(site.pusher)
    result = asyncio.run(site.procedure(site.collector([script(tmp_path, text)], timeout=seconds)))
    assert result.outcome is Outcome.FAILED
    assert detail in result.detail
    assert site.control.asked == ["on", "restart", "off"]
    assert site.mode() is Mode.WRITABLE


def test_a_cancellation_halfway_leaves_everything_tagged_whole(site: Site) -> None:
    image, kept = build_image(seed="old"), build_image(seed="kept")
    site.pusher.push("team/app", kept, "kept")
    site.pusher.delete("team/app", site.pusher.push("team/app", image, "old"))
    garbage = [add_blob(site.server.storage, str(number).encode()) for number in range(3000)]

    async def cancel_halfway() -> None:
        swept = asyncio.Event()

        def tell(tally: Tally) -> None:
            if tally.blobs > 100 and Phase.COLLECTING in site.phases:
                swept.set()

        task = asyncio.create_task(site.procedure(site.collector(), on_progress=tell))
        await swept.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel_halfway())
    left = sum(blob_path(site.server.storage, digest).exists() for digest in garbage)
    assert 0 < left < len(garbage), "not halfway"
    assert site.mode() is Mode.WRITABLE
    assert site.control.asked == ["on", "restart", "off"]
    site.pusher.push("team/app", image, "old")
    assert site.pusher.pull("team/app", "old") == image
    assert site.pusher.pull("team/app", "kept") == kept


def test_hooks_without_effect_stop_before_collecting(site: Site) -> None:
    push_kept_and_deleted(site.pusher)
    before = site.server.disk_usage()
    collector = CommandCollector(site.command, read_only_on=[["true"]], read_only_off=[["true"]])
    result = asyncio.run(
        run_procedure(
            collector,
            probe_mode=site.probe,
            record_phase=site.record,
            waits=Waits(settle=0.3, poll=0.02, watch=1.0),
        )
    )
    assert result.outcome is Outcome.FAILED
    assert "to be read-only, but it is writable" in result.detail
    assert site.server.disk_usage() == before


def test_a_hook_that_fails_stops_before_collecting(site: Site) -> None:
    push_kept_and_deleted(site.pusher)
    before = site.server.disk_usage()
    site.control.broken.add("on")
    result = asyncio.run(site.procedure(site.collector()))
    assert result.outcome is Outcome.FAILED
    assert "command 1 of read_only.on" in result.detail
    assert site.server.disk_usage() == before
    assert site.control.asked == ["on", "off"]


def test_a_successor_makes_a_left_registry_writable(site: Site) -> None:
    site.server.restart(readonly=True)
    problems = asyncio.run(
        recover(
            Phase.COLLECTING,
            site.collector(),
            probe_mode=site.probe,
            record_phase=site.record,
            waits=WAITS,
        )
    )
    assert problems == []
    assert site.control.asked == ["restart", "off"]
    assert site.mode() is Mode.WRITABLE
    assert site.phases[-1] is Phase.FINISHED
