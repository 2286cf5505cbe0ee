"""A repository of a real distribution 2.8, behind a proxy, and plans that keep what a tag `keep…` needs."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest
from aiohttp import web

from devtools.pusher import Pusher
from devtools.registry import RegistryServer
from devtools.registry_config import RegistryOptions
from reaper.core.plan import RepositoryPlan, build_plan
from reaper.core.policy import KeepAll, Policy, Rule
from reaper.core.retention import decide
from reaper.core.selectors import Glob, Selector
from reaper.core.snapshot import Snapshot
from reaper.inventory import Inventory
from reaper.registry import RegistryClient
from reaper.store import JournalEntry, State, Store, open_store
from reaper.sweep import StepResult, Sweeper
from tests.registry.fake import Fake, with_fake
from tests.registry.proxy import Proxy

Result = TypeVar("Result")
REGISTRY = "registry"
REPOSITORY = "app"
START = datetime(2026, 3, 1, tzinfo=UTC)
POLICY = Policy(
    "tidy",
    Selector((Glob("**"),)),
    (Rule("kept", KeepAll(), Selector((Glob("keep*"),))),),
    minimum_age=timedelta(),
)


class Field:
    """A client of the repository, and what reaper remembers of it. Every look and sweep takes a day."""

    def __init__(
        self, client: RegistryClient, store: Store, fake: Fake, proxy: Proxy, server: RegistryServer
    ) -> None:
        self.client = client
        self.store = store
        self.proxy = proxy
        self.server = server
        self.pusher = Pusher(server.url)
        self.now = START
        self.tags: dict[str, str] = {}
        self.snapshot = Snapshot(REPOSITORY, START)
        self._fake = fake

    def clock(self) -> datetime:
        return self.now

    async def look(self) -> Snapshot:
        self.now += timedelta(days=1)
        inventory = Inventory(self.client, self.store, registry=REGISTRY, now=self.now)
        self.snapshot = await inventory.read(REPOSITORY)
        return self.snapshot

    async def plan(self, *, can_untag: bool = False, placeholder: bool = False) -> RepositoryPlan:
        snapshot = await self.look()
        self.tags = {tag.name: tag.digest for tag in snapshot.tags.values()}
        decisions = decide([POLICY], snapshot, self.now)
        return build_plan(snapshot, decisions, can_untag=can_untag, placeholder=placeholder)

    async def sweep(
        self,
        plan: RepositoryPlan,
        *,
        run: str = "run",
        may_write: Callable[[], None] = lambda: None,
        steps: int | None = None,
    ) -> list[StepResult]:
        """Carry out a plan, or its first steps; what was sent before is forgotten."""
        self.clear()
        self.now += timedelta(days=1)
        sweeper = Sweeper(
            self.client, self.store, registry=REGISTRY, run_id=run, clock=self.clock, may_write=may_write
        )
        results: list[StepResult] = []
        async with aclosing(sweeper.sweep(plan, self.tags)) as sweeping:
            while steps is None or len(results) < steps:
                try:
                    results.append(await anext(sweeping))
                except StopAsyncIteration:
                    break
        return results

    async def clean(self, *, run: str = "run", can_untag: bool = False) -> list[StepResult]:
        """Plan, and carry the plan out at once."""
        return await self.sweep(await self.plan(can_untag=can_untag), run=run)

    def clear(self) -> None:
        """Forget what was sent."""
        self._fake.requests.clear()

    def sent(self, *methods: str) -> list[tuple[str, str]]:
        """Return what was sent by these methods, each as method and last part of the path."""
        sent = [
            (method, path.rpartition("/")[2].partition("?")[0]) for method, path, _ in self._fake.requests
        ]
        return [(method, last) for method, last in sent if method in methods]

    def journal(self, run: str = "run") -> list[JournalEntry]:
        return self.store.journal.of_run(REGISTRY, run)

    def states(self, run: str = "run") -> list[State]:
        return [entry.state for entry in self.journal(run)]

    def undoable(self) -> Sequence[JournalEntry]:
        return self.store.journal.undoable(REGISTRY)

    def at(
        self, method: str, do: Callable[[web.Request], web.StreamResponse | None], *, times: int = 1
    ) -> None:
        """Do something when a request of this method arrives, before it is passed on."""
        left = [times]

        async def before(request: web.Request) -> web.StreamResponse | None:
            if request.method != method or not left[0]:
                return None
            left[0] -= 1
            return do(request)

        self.proxy.before = before

    def delete_tag_folder(self, tag: str) -> None:
        """Delete a tag and leave its manifest, which distribution 2.8 cannot."""
        folder = (
            self.server.storage / "docker/registry/v2/repositories" / REPOSITORY / "_manifests/tags" / tag
        )
        shutil.rmtree(folder)


Work = Callable[[Field], Coroutine[Any, Any, Result]]
On = Callable[[Work[Any]], Any]


@pytest.fixture(scope="package")
def shared_server(distribution: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    # Without the cache it notices when a repository is taken away between two tests.
    options = RegistryOptions(descriptor_cache=False)
    with RegistryServer(distribution, tmp_path_factory.mktemp("registry"), options) as server:
        yield server


@pytest.fixture
def server(shared_server: RegistryServer) -> Iterator[RegistryServer]:
    """A registry whose repository is the test's own; it may restart it with other options."""
    options = shared_server.options
    yield shared_server
    if shared_server.options != options or shared_server.pid is None:
        shared_server.stop()
        shared_server.options = options
        shared_server.start()
    shutil.rmtree(shared_server.storage / "docker", ignore_errors=True)


@pytest.fixture
def pusher(server: RegistryServer) -> Pusher:
    return Pusher(server.url)


@pytest.fixture
def store_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/reaper.db"


@pytest.fixture
def on(server: RegistryServer, store_url: str) -> On:
    """Return a function that lets a coroutine work on the `Field`, and returns what it returns."""

    def run(work: Work[Result]) -> Result:
        proxy = Proxy(server.url)

        async def with_client(fake: Fake) -> Result:
            with open_store(store_url) as store:
                async with fake.client() as client:
                    return await work(Field(client, store, fake, proxy, server))

        return with_fake(proxy, with_client)

    return run
