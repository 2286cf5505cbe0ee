"""A dry run changes nothing: what a real registry received, and what the transport refuses to send."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from devtools.images import build_image, build_index
from devtools.registry import RegistryServer
from reaper.core.plan import Action, RepositoryPlan, Step
from reaper.registry import RegistryClient, RegistryOptions, parse_address
from reaper.run import utc_now
from reaper.store import open_store
from reaper.sweep import Outcome, StepResult, Sweeper
from tests.e2e.conftest import Site


@pytest.fixture(scope="module")
def site(distribution: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site with everything that a real run would act on: deletes, a shared digest, a collection."""
    folder = tmp_path_factory.mktemp("site")
    with RegistryServer(distribution, folder / "registry") as server:
        site = Site(server, folder)
        index = build_index([build_image(seed="a"), build_image(seed="b")])
        site.pusher.push("team/app", index, "old")
        site.pusher.push_signature("team/app", index)
        site.push("team/app", "keep", "alias", age=30)
        site.rules("[{tags: {glob: 'keep*'}, keep: all}]", untagged="{keep_within: 0s}")
        command = [str(distribution), "garbage-collect", str(server.config_path)]
        site.settings["registries"][0]["collect"] = {
            "via": "command",
            "command": command,
            "read_only": {"on": ["false"], "off": ["false"]},
            "restart": ["false"],
        }
        yield site


@pytest.mark.parametrize(
    "arguments",
    [
        ["--dry-run"],
        ["run", "--dry-run", "--exit-code"],
        ["explain", "team/app"],
        ["explain", "team/app:alias"],
        ["ls"],
        ["ls", "team/app"],
        ["ls", "team/app:old"],
        ["verify"],
        ["verify", "--deep", "team/app"],
        ["gc", "--dry-run"],
    ],
    ids=" ".join,
)
def test_only_get_and_head_reach_the_registry(site: Site, arguments: list[str]) -> None:
    before = len(site.server.access_log())
    disk = site.server.disk_usage()
    ended = site.reaper(*arguments)
    assert ended.code in {0, 10}, ended.err
    received = site.server.access_log()[before:]
    assert {access.method for access in received} <= {"GET", "HEAD"}
    assert received or arguments[0] == "gc"  # Its collector reads the storage, and the registry is not asked.
    assert site.server.disk_usage() == disk


def test_a_sweep_that_should_not_be_is_stopped_by_the_transport(site: Site, tmp_path: Path) -> None:
    """The promise does not rest on anybody's remembering that this is a dry run."""
    image = site.pusher.get_manifest("team/app", "alias")
    assert image is not None
    step = Step(Action.DELETE, image.digest, image.media_type, ("alias", "keep"), "a fault", "p")
    before = len(site.server.access_log())

    async def sweep() -> list[StepResult]:
        options = RegistryOptions(parse_address(site.server.url), read_only=True)
        with open_store(f"sqlite:///{tmp_path}/reaper.db") as store:
            async with RegistryClient(options) as client:
                sweeper = Sweeper(
                    client,
                    store,
                    registry=site.server.url,
                    run_id="run",
                    clock=utc_now,
                    may_write=lambda: None,
                )
                tags = dict.fromkeys(site.pusher.tags("team/app"), image.digest)
                return [
                    result async for result in sweeper.sweep(RepositoryPlan("team/app", (), (step,)), tags)
                ]

    (result,) = asyncio.run(sweep())
    assert result.outcome is Outcome.FAILED
    assert result.detail.startswith("a dry run does not send DELETE")
    assert {access.method for access in site.server.access_log()[before:]} <= {"GET", "HEAD"}
