"""One push against one sweep, at every moment: before each request that the sweep sends, and after the last.

The push happens at once, or spread out: one of its requests before each of the sweep's. A registry knows no
moment in between, so this is all that can happen with one pusher.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
import shutil
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest
from aiohttp import web

from devtools.images import (
    Image,
    build_image,
    build_index,
    build_referrer,
    build_signature,
    fallback_tag,
    signature_tag,
)
from devtools.pusher import AnswerError, Pusher
from devtools.registry import RegistryServer
from reaper.core.plan import RepositoryPlan, build_plan
from reaper.core.policy import KeepAll, Policy, Rule
from reaper.core.retention import decide
from reaper.core.selectors import Glob, Selector
from reaper.inventory import Inventory
from reaper.registry import RegistryClient
from reaper.run import utc_now
from reaper.store import EventKind, ManifestEvent, State, Store, open_store
from reaper.sweep import Sweeper, restore, with_parts
from tests.registry.fake import Fake, with_fake
from tests.registry.proxy import Proxy
from tests.safety.conftest import steps_of

POLICY = Policy(
    "tidy",
    Selector((Glob("**"),)),
    (Rule("kept", KeepAll(), Selector((Glob("keep*"),))),),
    minimum_age=timedelta(),
)
CHILD, SHARED, NEW, OTHER = (
    build_image(seed=seed, layers=()) for seed in ("child", "shared", "new", "other")
)
OLD = build_index([CHILD, SHARED])
KEPT = build_index([SHARED, NEW])
LATE = build_referrer(OLD, content=b"late")
BEFORE = {"keep": NEW, "keep-index": KEPT, "old": OLD}
DOOMED = {image.digest: image for image in (OLD, CHILD)}

DEEP = "a new index far around the part"
PUSHES: dict[str, tuple[str, Image]] = {
    "a kept tag moves": ("keep", OTHER),
    "a kept tag moves onto what is deleted": ("keep", OLD),
    "a kept tag moves onto a part": ("keep-index", CHILD),
    "an expired tag moves to an index with the part": ("old", build_index([CHILD, OTHER])),
    "an expired tag is pushed again": ("old", OLD),
    "a new tag on what is deleted": ("fresh", OLD),
    "a new tag on a part": ("fresh", CHILD),
    "a new index with the part": ("fresh", build_index([CHILD, OTHER])),
    "a new index around it": ("fresh", build_index([OLD, OTHER])),
    DEEP: ("fresh", build_index([build_index([build_index([CHILD])])])),
    "a kept tag moves to an index with the part": ("keep-index", build_index([CHILD, NEW])),
    "a kept tag moves to an index around it": ("keep-index", build_index([OLD])),
    "a signature": (signature_tag(OLD), build_signature(OLD)),
    "a signature of the part": (signature_tag(CHILD), build_signature(CHILD)),
    "an attestation": ("attestation", LATE),
    "an attestation as registries without the API have it": (fallback_tag(OLD.digest), build_index([LATE])),
}
#: What the listings of a registry cannot show. Without its events, the delete takes these along.
UNSEEN = {"an expired tag is pushed again", "a new tag on what is deleted", "a new tag on a part"}
PART_IS_MISSING = (400, 404)
Result = TypeVar("Result")


@dataclass
class Push:
    """One image under one tag, pushed before the sweep's request ``at``, or from there on bit by bit."""

    pusher: Pusher
    repository: str
    tag: str
    image: Image
    at: int
    gradual: bool
    #: Before which request its last part arrived, and whether a registry refused one.
    landed: int | None = None
    refused: bool = False
    tell: Callable[[str, str], None] = lambda _tag, _digest: None
    _left: list[Callable[[], object]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._left = steps_of(self.pusher, self.repository, self.image, self.tag)

    def before(self, number: int) -> None:
        """Do what is to be done before the request of this number."""
        if number < self.at or self.landed is not None or self.refused:
            return
        self._advance(number, 1 if self.gradual else len(self._left))

    def end(self, number: int) -> None:
        """Do what is left; a push that was refused is begun anew, as a pipeline that failed would."""
        self._advance(number, len(self._left))
        if self.refused:
            self.pusher.push(self.repository, self.image, self.tag)
            self.landed = number

    def _advance(self, number: int, count: int) -> None:
        try:
            for _ in range(count):
                self._left.pop(0)()
        except AnswerError as error:
            if error.status not in PART_IS_MISSING:
                raise
            self.refused = True
            self._left.clear()
            return
        if not self._left and not self.refused and self.landed is None:
            self.landed = number
            self.tell(self.tag, self.image.digest)


@dataclass(frozen=True)
class Prepared:
    """What the plan for a repository relies on."""

    plan: RepositoryPlan
    tags: dict[str, str]
    at: datetime


class Sweeping:
    """Repositories that are all alike, and are swept one by one through a proxy that counts."""

    def __init__(self, client: RegistryClient, store: Store, proxy: Proxy, server: RegistryServer) -> None:
        self.client, self.store, self.proxy = client, store, proxy
        self.pusher = Pusher(server.url)
        self.sent: list[tuple[str, str]] = []
        self._folder = server.storage / "docker/registry/v2/repositories"
        self._prefix = secrets.token_hex(4)
        self._numbers = itertools.count()
        self._prepared: Prepared | None = None

    async def prepare(self) -> tuple[str, Prepared]:
        """Make one more repository, and plan for it."""
        name = f"{self._prefix}-{next(self._numbers)}"
        if self._prepared is None:
            self._prepared = await self._first(f"{self._prefix}-first")
        # Far less work than pushing it all again.
        shutil.copytree(self._folder / f"{self._prefix}-first", self._folder / name)
        plan = replace(self._prepared.plan, repository=name)
        return name, replace(self._prepared, plan=plan, at=datetime.now(UTC))

    async def _first(self, repository: str) -> Prepared:
        for tag, image in BEFORE.items():
            self.pusher.push(repository, image, tag)
        self.proxy.before = passes
        at = datetime.now(UTC)
        snapshot = await Inventory(self.client, self.store, registry="registry", now=at).read(repository)
        plan = build_plan(snapshot, decide([POLICY], snapshot, at), can_untag=False)
        assert {step.digest for step in plan.steps} == set(DOOMED)
        return Prepared(plan, {tag.name: tag.digest for tag in snapshot.tags.values()}, at)

    async def sweep(self, push: Push | None, prepared: Prepared) -> None:
        """Carry the plan out while ``push`` comes between."""
        self.sent = []

        async def before(request: web.Request) -> None:
            self.sent.append((request.method, request.path.rpartition("/")[2]))
            if push is not None:
                await asyncio.to_thread(push.before, len(self.sent))

        self.proxy.before = before
        sweeper = Sweeper(
            self.client,
            self.store,
            registry="registry",
            run_id=prepared.plan.repository,
            clock=utc_now,
            may_write=lambda: None,
            concurrency=1,
            freshness=60.0,
            planned_at=prepared.at,
        )
        async with aclosing(sweeper.sweep(prepared.plan, prepared.tags)) as sweeping:
            async for _ in sweeping:
                pass
        if push is not None:
            push.end(len(self.sent) + 1)

    def window(self, digest: str) -> range:
        """Return before which requests a tag on ``digest`` comes too late to be seen."""
        deleted = self.sent.index(("DELETE", digest)) + 1
        listed = max(number for number, sent in enumerate(self.sent[:deleted], 1) if sent == ("GET", "list"))
        return range(listed + 1, deleted + 1)


async def passes(_request: web.Request) -> None:
    return None


def on(
    server: RegistryServer, folder: Path, work: Callable[[Sweeping], Coroutine[Any, Any, Result]]
) -> Result:
    proxy = Proxy(server.url)

    async def with_client(fake: Fake) -> Result:
        with open_store(f"sqlite:///{folder}/reaper.db") as store:
            async with fake.client() as client:
                return await work(Sweeping(client, store, proxy, server))

    return with_fake(proxy, with_client)


def explained(store: Store, pusher: Pusher, repository: str) -> None:
    """Everything that is gone stands in the journal, with its bytes, and was in the plan."""
    entries = store.journal.of_run("registry", repository)
    assert {entry.digest for entry in entries} <= set(DOOMED)
    assert {entry.state for entry in entries} <= {State.DELETED, State.CANCELLED, State.RESTORED}
    gone = {digest for digest in DOOMED if pusher.get_manifest(repository, digest) is None}
    deleted = {entry.digest: entry.content for entry in entries if entry.state is State.DELETED}
    assert gone <= set(deleted)
    assert all(deleted[digest] == DOOMED[digest].body for digest in gone)


CASES = [
    *((kind, False, False) for kind in PUSHES),
    *((kind, True, False) for kind, (_, image) in PUSHES.items() if image.children),
    *((kind, False, True) for kind in sorted(UNSEEN)),
]


@pytest.mark.parametrize(
    ("kind", "gradual", "told"),
    CASES,
    ids=[f"{kind}{', bit by bit' * gradual}{', with events' * told}" for kind, gradual, told in CASES],
)
def test_no_tag_is_lost(
    shared_registry: RegistryServer, tmp_path: Path, kind: str, gradual: bool, told: bool
) -> None:
    tag, image = PUSHES[kind]

    async def work(sweeping: Sweeping) -> None:
        pusher, store = sweeping.pusher, sweeping.store
        await sweeping.sweep(None, (await sweeping.prepare())[1])
        calm = len(sweeping.sent)
        assert calm > 14
        lost = []
        for at in range(1, calm + 2):
            repository, prepared = await sweeping.prepare()
            push = Push(pusher, repository, tag, image, at, gradual)
            if told:
                push.tell = partial(tell, store, repository)
            await sweeping.sweep(push, prepared)
            explained(store, pusher, repository)
            if gradual and kind == DEEP:
                await mend(sweeping, push, repository)
            for kept in ("keep", "keep-index"):
                expected = image if kept == tag else BEFORE[kept]
                assert pusher.pull(repository, kept) == expected, (at, sweeping.sent)
            if pusher.get_manifest(repository, tag) is not None:
                assert pusher.pull(repository, tag) == image, (at, sweeping.sent)
                continue
            lost.append(at)
            assert push.landed is not None
            window = sweeping.window(image.digest)
            # Pushed again on the same digest, a tag looks as it did, from the plan to the delete.
            assert push.landed <= window[-1] if tag in BEFORE else push.landed in window, (at, sweeping.sent)
            undoable = store.journal.undoable("registry", repository=repository)
            wanted = [entry for entry in undoable if entry.digest == image.digest]
            await restore(sweeping.client, store, with_parts(wanted, undoable), clock=utc_now)
            assert pusher.pull(repository, image.digest) == image
        assert bool(lost) == (kind in UNSEEN and not told), lost

    on(shared_registry, tmp_path, work)


async def mend(sweeping: Sweeping, push: Push, repository: str) -> None:
    """Restore the part, where it went between the push of an index that no tag led to, and that tag's."""
    if sweeping.pusher.get_manifest(repository, CHILD.digest) is None:
        assert push.landed is not None
        # The last listing was before, or the part would be there.
        assert push.landed > len(sweeping.sent) - sweeping.sent[::-1].index(("GET", "list"))
        undoable = sweeping.store.journal.undoable("registry", repository=repository)
        wanted = [entry for entry in undoable if entry.digest == CHILD.digest]
        await restore(sweeping.client, sweeping.store, wanted, clock=utc_now)


def tell(store: Store, repository: str, tag: str, digest: str) -> None:
    """Note a push as `reaper serve` does when the registry tells of it."""
    now = utc_now()
    store.events.record("registry", [ManifestEvent(EventKind.PUSH, repository, digest, now, tag)], now)
