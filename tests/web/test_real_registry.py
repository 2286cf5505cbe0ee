"""Against the real distribution: what it says of pushes and pulls, and what follows for retention."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from devtools.images import build_image, build_index
from devtools.pusher import Pusher
from devtools.registry import RegistryServer
from devtools.registry_config import RegistryOptions
from devtools.skopeo import Skopeo
from reaper.core.policy import AnyOf, Guard, KeepPulledWithin, KeepWithin, Policy, Rule
from reaper.core.selectors import EVERYTHING
from reaper.planning import Scope
from reaper.registry import RegistryClient, parse_address
from reaper.registry import RegistryOptions as ClientOptions
from reaper.report.model import RepositoryReport
from reaper.run import Run, RunOptions
from reaper.store import RepositoryRecord, Store, StoreError
from tests.conftest import MakeRegistry
from tests.web.conftest import Site

pytestmark = pytest.mark.integration

HOUR = timedelta(hours=1)
POLICY = Policy(
    name="all",
    repositories=EVERYTHING,
    rules=(Rule("used", AnyOf((KeepPulledWithin(48 * HOUR), KeepWithin(HOUR)))),),
    minimum_age=timedelta(),
    guard=Guard(max_deletions=None, max_share=None, min_tags=0),
)


class World:
    """A registry that tells an application of everything, and a clock that all of reaper goes by.

    The clock begins three days ago, where all that the registry tells is "just now".
    """

    def __init__(self, site: Site) -> None:
        self.site = site
        self.registry: RegistryServer
        self.pusher: Pusher
        self.behind = 72 * HOUR
        site.clock = self.now

    def now(self) -> datetime:
        return datetime.now(UTC) - self.behind

    def remembered(self) -> RepositoryRecord:
        return self.site.store.observations.load(self.registry.url, "team/app")

    def wait(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < deadline, (self.site.events, self.registry.log()[-3000:])
            time.sleep(0.02)

    def audit(self) -> RepositoryReport:
        async def run() -> RepositoryReport:
            options = ClientOptions(parse_address(self.registry.url), read_only=True)
            async with RegistryClient(options) as client:
                told = RunOptions(
                    client.url, Scope((POLICY,)), dry_run=True, guard=Guard(None, None, 0, 0, 0)
                )
                job = Run(client, self.site.store, told, clock=self.now)
                try:
                    (found,) = (await job.execute()).repositories
                finally:
                    job.close()
                return found

        return asyncio.run(run())

    def catch_up(self) -> None:
        """Let the three days pass, while somebody listens."""
        while self.behind:
            self.behind -= HOUR / 2
            self.site.store.events.listening([self.registry.url], self.now())


@pytest.fixture
def world(site: Site, make_registry: MakeRegistry) -> Iterator[World]:
    """A registry and an application that know each other."""
    site.events_secret = "s3cret"
    made = World(site)
    with site.serve() as url:
        made.registry = make_registry(
            RegistryOptions(
                notifications_url=f"{url}/events/main",
                notifications_headers={"Authorization": "Bearer s3cret"},
            )
        )
        made.pusher = Pusher(made.registry.url)
        site.state.current = replace(site.state.current, registries={"main": made.registry.url})
        yield made


def test_pulls_keep_and_pushes_have_their_time(world: World, skopeo: Skopeo, tmp_path: Path) -> None:
    site, pusher = world.site, world.pusher
    began = world.now()
    plain, other = (build_image(seed=seed) for seed in ("plain", "other"))
    index = build_index([build_image(seed=p, platform=p) for p in ("linux/amd64", "linux/arm64")])
    pusher.push("team/app", plain, "plain", "alias")
    pusher.push("team/app", other, "other")
    pusher.push("team/app", index, "index")
    world.wait(lambda: {"plain", "alias", "other", "index"} <= world.remembered().tags.keys())
    pushed = {name: tag.pushed_event for name, tag in world.remembered().tags.items()}
    assert all(at is not None and began <= at <= world.now() for at in pushed.values())
    assert world.remembered().manifests.keys() >= {child.digest for child in index.children}
    assert site.store.events.pulls_tracked_since(world.registry.url, world.now()) is None

    # Reaper's own reading tells it that pulls are told, and counts for nothing else.
    assert {tag.decision for tag in world.audit().tags} == {"keep"}
    world.wait(lambda: site.store.events.pulls_tracked_since(world.registry.url, world.now()) is not None)
    assert all(manifest.pulled is None for manifest in world.remembered().manifests.values())

    world.catch_up()
    waited = {tag.tag: tag for tag in world.audit().tags}
    assert {tag.decision for tag in waited.values()} == {"expire"}
    assert "no pull in 2d" in waited["plain"].reason
    assert "(push event), beyond 1h" in waited["plain"].reason
    assert {name: tag.pushed_at for name, tag in waited.items()} == pushed

    # Now some are pulled, each in another way; one is only looked at.
    pusher.pull("team/app", plain.digest)
    child = index.children[1]
    skopeo.copy(f"docker://{world.registry.host}/team/app@{child.digest}", f"dir:{tmp_path}/child")
    accept = {"Accept": other.media_type}
    pusher.request("HEAD", f"/v2/team/app/manifests/{other.digest}", {200}, headers=accept)
    heads = ("main", "pull", "ignored")
    world.wait(lambda: {plain.digest, child.digest} <= pulled(world.remembered()))
    world.wait(lambda: site.events.count(heads) > 0)

    kept = {tag.tag: tag for tag in world.audit().tags}
    decisions = {name: tag.decision for name, tag in kept.items()}
    assert decisions == {"plain": "keep", "alias": "keep", "index": "keep", "other": "expire"}
    assert "pulled" in kept["index"].reason
    assert "(pull event), within 2d" in kept["index"].reason
    assert kept["plain"].pulled_at is not None


def pulled(record: RepositoryRecord) -> set[str]:
    return {digest for digest, manifest in record.manifests.items() if manifest.pulled is not None}


def test_a_registry_waits_for_reaper_and_loses_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Distribution sends what was answered with 503 again, in order, until it is taken."""
    store, image = world.site.store, build_image(seed="late")
    refused = 0

    def fail(*_: object, **__: object) -> None:
        nonlocal refused
        refused += 1
        raise StoreError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(store.events, "record", fail)
        world.pusher.push("team/app", image, "v1")
        world.wait(lambda: refused > 1)
    world.wait(lambda: "v1" in world.remembered().tags)
    assert world.remembered().tags["v1"].digest == image.digest


def test_a_wrong_secret_stores_nothing(site: Site, make_registry: MakeRegistry, store: Store) -> None:
    site.events_secret = "s3cret"
    with site.serve() as url:
        registry = make_registry(RegistryOptions(notifications_url=f"{url}/events/main"))
        site.state.current = replace(site.state.current, registries={"main": registry.url})
        Pusher(registry.url).push("team/app", build_image(), "v1")
        deadline = time.monotonic() + 30
        while "401 Unauthorized unaccepted" not in registry.log():
            assert time.monotonic() < deadline
            time.sleep(0.02)
    assert store.observations.repositories(registry.url) == []
