"""A real registry behind a proxy that breaks requests, and runs against it."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from devtools.fault_proxy import FaultProxy
from devtools.images import Image, build_image
from devtools.pusher import Pusher
from devtools.registry import RegistryServer
from devtools.registry_config import RegistryOptions as ServerOptions
from reaper.core.policy import Guard, KeepNewest, Policy, Rule
from reaper.core.selectors import Glob, Selector
from reaper.planning import Scope
from reaper.registry import Credentials, OneLogin, Patience, RegistryClient, RegistryOptions, parse_address
from reaper.report.model import RepositoryReport, RunReport
from reaper.run import Run, RunOptions, utc_now
from reaper.store import open_store

_HERE = Path(__file__).parent
NO_GUARD = Guard(None, None, 0, 0, 0)
#: What a run may take at the most, in seconds, with the patience of these tests.
LONGEST = 60.0
PATIENCE = Patience(connect=1.0, answer=1.0)
POLICY = Policy(
    "two",
    Selector((Glob("**"),)),
    (Rule("two newest", KeepNewest(2)),),
    untagged_keep_within=timedelta(0),
    minimum_age=timedelta(0),
    guard=NO_GUARD,
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(_HERE):
            item.add_marker(pytest.mark.integration)


@dataclass
class Ground:
    """A registry, the proxy before it, and a store. Runs go through the proxy, `pusher` around it."""

    server: RegistryServer
    proxy: FaultProxy
    store_url: str
    pusher: Pusher = field(init=False)
    policy: Policy = POLICY
    guard: Guard = NO_GUARD
    credentials: Credentials | None = None
    patience: Patience = PATIENCE
    concurrency: int = 16
    images: dict[str, list[Image]] = field(default_factory=dict)
    #: How long the last run took, in seconds.
    took: float = 0.0

    def __post_init__(self) -> None:
        self.pusher = Pusher(self.server.url)

    def push(self, *repositories: str) -> None:
        """Push ``v1`` (the oldest) to ``v3`` into each; the last two are to stay."""
        for repository in repositories:
            made = [
                build_image(
                    seed=repository, layers=(), created=datetime.now(UTC) - timedelta(days=100 - number)
                )
                for number in range(1, 4)
            ]
            for number, image in enumerate(made, start=1):
                self.pusher.push(repository, image, f"v{number}")
            self.images[repository] = made

    def run(
        self,
        *,
        dry_run: bool = False,
        after: timedelta = timedelta(0),
        accept: str | None = None,
    ) -> RunReport:
        """Carry a run out, ``after`` so long, and return its report."""
        return asyncio.run(self._run(dry_run, after, accept))

    async def _run(self, dry_run: bool, after: timedelta, accept: str | None) -> RunReport:
        options = RegistryOptions(
            parse_address(self.proxy.url),
            logins=OneLogin(self.credentials),
            patience=self.patience,
            concurrency=self.concurrency,
            read_only=dry_run,
        )
        began = time.monotonic()
        with open_store(self.store_url) as store:
            async with RegistryClient(options) as client:
                what = RunOptions(
                    client.url,
                    Scope([self.policy]),
                    dry_run=dry_run,
                    guard=self.guard,
                    concurrency=self.concurrency,
                    accept=accept,
                )
                with closing(Run(client, store, what, clock=lambda: utc_now() + after)) as run:
                    report = await run.execute()
                    kept = replace(report, repositories=list(report))
        self.took = time.monotonic() - began
        assert self.took < LONGEST
        return kept

    def whole(self, repository: str) -> bool:
        """Tell whether nothing is missing in a repository: every tag can be pulled, whole."""
        expected = ["v1", "v2", "v3"]
        if self.pusher.tags(repository) != expected:
            return False
        return all(
            self.pusher.pull(repository, tag).digest == image.digest
            for tag, image in zip(expected, self.images[repository], strict=True)
        )

    def swept(self, repository: str) -> bool:
        """Tell whether just what the policy says is gone from a repository."""
        assert all(self.pusher.pull(repository, tag) for tag in ("v2", "v3"))
        return self.pusher.tags(repository) == ["v2", "v3"]

    def deleted(self) -> int:
        """Return how many manifests a DELETE was sent for, however often where no answer came in time."""
        return len({request.path for request in self.proxy.requests("DELETE")})

    def sent(self, method: str = ".*", path: str = ".*") -> int:
        """Return how many requests have come to the proxy."""
        return len(self.proxy.requests(method, path))


def by_name(report: RunReport) -> Mapping[str, RepositoryReport]:
    """Return the report's repositories by their names, each of which stands there once."""
    found = {entry.name: entry for entry in report}
    assert len(found) == len(list(report))
    return found


@pytest.fixture(scope="module")
def server(distribution: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    """One registry for all tests of a module; each empties it. It caches nothing, so that it can be."""
    root = tmp_path_factory.mktemp("registry")
    with RegistryServer(distribution, root, ServerOptions(descriptor_cache=False)) as running:
        yield running
    shutil.rmtree(root / "storage", ignore_errors=True)


@pytest.fixture
def ground(server: RegistryServer, tmp_path: Path) -> Iterator[Ground]:
    """An empty registry behind a proxy, and an empty store."""
    for each in server.storage.iterdir():
        shutil.rmtree(each)
    with FaultProxy(server.url) as proxy:
        yield Ground(server, proxy, f"sqlite:///{tmp_path}/reaper.db")
