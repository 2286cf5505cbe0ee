"""Collections on request, with a receiver that runs the real collector on the storage of a real registry."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from devtools.control import Control
from devtools.images import build_image
from devtools.registry import RegistryServer
from reaper.collect import CollectError, Mode, Outcome, Phase, Tally, run_procedure
from reaper.collect.procedure import ignore_progress
from reaper.collect.webhook import WebhookCollector
from tests.collect.storage import Storage
from tests.collect.test_with_registry import WAITS, Site
from tests.registry.fake import Fake, with_fake

Steps = list[dict[str, Any]]


def collector(fake: Fake, **options: Any) -> WebhookCollector:
    chosen = {"registry": "https://registry.example.com", "poll": 0.02, "step_timeout": 5.0, **options}
    return WebhookCollector(f"{fake.url}/hook", **chosen)


def answers(*found: web.Response) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Return a handler that gives these answers in turn, and the last one for ever."""
    left = list(found)

    async def handler(_request: web.Request) -> web.StreamResponse:
        answer = left.pop(0) if len(left) > 1 else left[0]
        return web.Response(status=answer.status, body=answer.body, headers=answer.headers)

    return handler


def state(name: str, status: int = 200, location: str | None = None, **more: Any) -> web.Response:
    headers = {} if location is None else {"Location": location}
    return web.json_response({"state": name, **more}, status=status, headers=headers)


async def run(collecting: WebhookCollector, *, dry_run: bool = False) -> Any:
    return await collecting.collect(dry_run=dry_run, on_progress=ignore_progress)


def test_what_is_asked(tmp_path: Path) -> None:
    bodies: Steps = []

    async def handler(request: web.Request) -> web.StreamResponse:
        bodies.append(await request.json())
        return web.Response(status=204)

    async def work(fake: Fake) -> list[dict[str, str]]:
        found = collector(fake, token=lambda: "secret")
        await found.read_only_on()
        await run(found, dry_run=True)
        await found.restart()
        await found.read_only_off()
        return [headers for _, _, headers in fake.requests]

    headers = with_fake(handler, work)
    assert [body["step"] for body in bodies] == ["read-only-on", "collect", "restart", "read-only-off"]
    assert [body["dry_run"] for body in bodies] == [False, True, False, False]
    assert {body["version"] for body in bodies} == {1}
    assert {body["registry"] for body in bodies} == {"https://registry.example.com"}
    assert len({body["id"] for body in bodies}) == 4
    assert {each["Authorization"] for each in headers} == {"Bearer secret"}


def test_figures_and_logs_are_read_while_it_runs() -> None:
    digest = f"sha256:{'1' * 64}"
    summary = "1 blobs marked, 1 blobs and 0 manifests eligible for deletion"
    log = f"{summary}\nblob eligible for deletion: {digest}\n"
    handler = answers(
        state("running", 202, "/jobs/1", blobs=1, bytes=10),
        state("running", log=log),
        state("done", blobs=3, bytes=30, manifests=1),
    )
    seen: list[Tally] = []

    async def work(fake: Fake) -> Any:
        found = await collector(fake, blob_size=lambda _digest: 7).collect(
            dry_run=False, on_progress=seen.append
        )
        assert fake.paths() == ["/jobs/1", "/jobs/1"]
        return found

    found = with_fake(handler, work)
    assert [(tally.blobs, tally.size) for tally in seen] == [(1, 10), (1, 7), (3, 30)]
    assert (found.tally.manifests, found.tally.unsized, found.nothing) == (1, 0, False)


def test_nothing_to_collect_is_known_by_the_figures() -> None:
    found = with_fake(answers(state("done", blobs=0, bytes=0)), lambda fake: run(collector(fake)))
    assert found.nothing


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (state("failed", message="disk full"), "the receiver's collector failed: disk full"),
        (web.Response(status=403), "answered 403"),
        (web.Response(status=302, headers={"Location": "/other"}), "answered 302"),
        (web.Response(status=503), "cannot be asked: it answered 503"),
        (web.Response(text="[]"), "has no state"),
        (web.Response(text="<html>"), "has no state"),
        (state("asleep"), "has no state that is one of running, done, failed"),
        (state("running", 202), "does not say where to ask"),
        (state("running", 202, "https://elsewhere.example.com/1"), "sends on to another server"),
        (state("done", blobs="many"), "blobs is no number"),
        (state("done", blobs=-1), "blobs is no number"),
        (state("done", log="x" * (17 * 1024 * 1024)), "is larger than"),
    ],
)
def test_answers_against_the_contract_are_failures(answer: web.Response, says: str) -> None:
    with pytest.raises(CollectError, match=says):
        with_fake(answers(answer), lambda fake: run(collector(fake)))


def test_a_step_that_fails_is_told() -> None:
    async def work(fake: Fake) -> None:
        with pytest.raises(CollectError, match="the receiver failed at read-only-on: locked"):
            await collector(fake).read_only_on()

    with_fake(answers(state("failed", message="locked")), work)


def test_a_lost_answer_is_asked_for_again_with_the_same_id() -> None:
    bodies: Steps = []

    async def handler(request: web.Request) -> web.StreamResponse:
        bodies.append(await request.json())
        if len(bodies) == 1:
            assert request.transport is not None
            request.transport.close()
        return state("done", blobs=1, bytes=1)

    with_fake(handler, lambda fake: run(collector(fake)))
    assert len(bodies) == 2
    assert bodies[0] == bodies[1]


@pytest.mark.parametrize("how", ["timeout", "cancellation"])
def test_a_collector_that_is_given_up_on_is_ended(how: str) -> None:
    ended = asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        if request.method == "DELETE":
            ended.set()
            return web.Response(status=202, headers={"Location": "/jobs/1"})
        if ended.is_set() and request.method == "GET":
            return state("failed", message="ended")
        return state("running", 202, "/jobs/1")

    async def work(fake: Fake) -> None:
        found = collector(fake, timeout=0.2 if how == "timeout" else 60.0)
        task = asyncio.create_task(run(found))
        if how == "cancellation":
            while not fake.paths("GET"):
                await asyncio.wait({task}, timeout=0.02)
            task.cancel()
        with pytest.raises(CollectError if how == "timeout" else asyncio.CancelledError):
            await task
        assert fake.paths("DELETE") == ["/jobs/1"]

    with_fake(handler, work)
    assert ended.is_set()


def test_nothing_is_made_writable_while_a_collector_may_run() -> None:
    gone = False

    async def handler(request: web.Request) -> web.StreamResponse:
        if request.method == "DELETE":
            return web.Response(status=404 if gone else 500)
        if request.method == "POST" and (await request.json())["step"] != "collect":
            return web.Response(status=204)
        return state("running", 202, "/jobs/1")

    async def work(fake: Fake) -> None:
        nonlocal gone
        found = collector(fake, timeout=0.2)
        with pytest.raises(CollectError, match="took longer"):
            await run(found)
        for step in (found.restart, found.read_only_off):
            with pytest.raises(CollectError, match="does not say that its collector has ended"):
                await step()
        assert len(fake.paths("POST")) == 1
        gone = True
        await found.restart()
        await found.read_only_off()
        assert len(fake.paths("POST")) == 3

    with_fake(handler, work)


def test_an_empty_storage_is_no_failure(tmp_path: Path, distribution: Path) -> None:
    import subprocess

    storage = Storage(tmp_path, distribution)
    ended = subprocess.run(storage.command, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    found = with_fake(
        answers(state("failed", log=ended.stdout + ended.stderr)), lambda fake: run(collector(fake))
    )
    assert found.empty_storage


@contextmanager
def site_of(server: RegistryServer, distribution: Path) -> Iterator[Site]:
    control = Control(server)
    try:
        yield Site(server, control, distribution)
    finally:
        # The kernel ends a registry with the thread that started it, which is the control's by now.
        server.stop()
        control.close()


@pytest.mark.integration
def test_a_receiver_that_keeps_to_the_contract(registry: RegistryServer, distribution: Path) -> None:
    with site_of(registry, distribution) as site:
        image = build_image(seed="again")
        site.pusher.delete("team/app", site.pusher.push("team/app", image, "1"))
        site.pusher.push("team/app", build_image(seed="kept"), "kept")
        log = bytearray()

        async def handler(request: web.Request) -> web.StreamResponse:
            if request.method == "GET":
                return state("done", log=log.decode())
            body = json.loads(await request.read())
            hook = {"read-only-on": "on", "read-only-off": "off", "restart": "restart"}.get(body["step"])
            if hook is not None:
                process = await asyncio.create_subprocess_exec(*site.control.hook(hook))
                await process.wait()
                return web.Response(status=204)
            flags = ["--dry-run"] if body["dry_run"] else []
            process = await asyncio.create_subprocess_exec(
                *site.command[:2], *flags, site.command[2], stdout=-1, stderr=-2
            )
            log[:] = (await process.communicate())[0]
            return web.Response(status=202, headers={"Location": f"/jobs/{body['id']}"})

        async def record(phase: Phase) -> None:
            site.phases.append(phase)

        async def work(fake: Fake) -> Any:
            return await run_procedure(
                collector(fake, step_timeout=30.0),
                probe_mode=site.probe,
                record_phase=record,
                waits=WAITS,
            )

        result = with_fake(handler, work)
        assert (result.outcome, result.blobs, result.warnings) == (Outcome.DONE, 3, ()), result
        assert site.control.asked == ["on", "restart", "off"]
        assert site.mode() is Mode.WRITABLE
        site.pusher.push("team/app", image, "1")
        assert site.pusher.pull("team/app", "1") == image
