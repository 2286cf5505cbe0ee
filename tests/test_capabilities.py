"""What a registry can do: asked only when it is needed, remembered, and asked again after a while."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import pytest
from aiohttp import web

from reaper.capabilities import Capabilities, Wanted
from reaper.core.capabilities import FRESH, UNSAFE, How, Name, Remembered, Untagging
from reaper.core.plan import Untag
from reaper.registry import RegistryClient
from reaper.store import Store, open_store
from reaper.store.capabilities import recall, remember
from tests.registry.fake import Fake, with_fake

NOW = datetime(2026, 3, 1, tzinfo=UTC)
Result = TypeVar("Result")


class Registry:
    """A registry that answers a DELETE of a tag, and one of a digest, with these statuses."""

    def __init__(self, tag: int, digest: int = 404, **headers: str) -> None:
        self.tag, self.digest, self.headers = tag, digest, headers
        self.now = NOW
        self.wanted = Wanted()
        self.fake = Fake()
        self.client: RegistryClient
        self.store: Store

    async def __call__(self, request: web.Request) -> web.Response:
        if request.method == "DELETE":
            by_digest = request.path.rpartition("/")[2].startswith("sha256:")
            return web.Response(status=self.digest if by_digest else self.tag, headers=self.headers)
        if request.path == "/v2/":
            return web.json_response({}, headers=self.headers)
        return web.Response(status=404)

    def deletes(self) -> int:
        """Return how many deletes were asked for since the last time."""
        count = len(self.fake.paths("DELETE"))
        self.fake.requests.clear()
        return count

    def capabilities(self) -> Capabilities:
        """Return what one run has of them."""
        return Capabilities(self.client, self.store, self.wanted, clock=lambda: self.now)

    async def untag(self, *, probe: bool = True) -> Untag:
        return await self.capabilities().untag("app", probe=probe)

    def on(self, work: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        async def run(fake: Fake) -> Result:
            self.fake = fake
            async with fake.client() as client:
                with open_store(f"sqlite:///{self.folder}/reaper.db") as store:
                    self.client, self.store = client, store
                    return await work()

        return with_fake(self, run)

    folder = ""


@pytest.fixture(autouse=True)
def folder(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Registry, "folder", str(tmp_path))


@pytest.mark.parametrize(("status", "how"), [(202, Untag.ALONE), (404, Untag.ALONE), (400, Untag.NO)])
def test_it_is_asked_once_and_remembered_for_a_week(status: int, how: Untag) -> None:
    registry = Registry(status)

    async def work() -> None:
        assert await registry.untag(probe=False) is Untag.NO
        assert registry.deletes() == 0
        one_run = registry.capabilities()
        for _ in range(3):
            assert await one_run.untag("app", probe=True) is how
        assert registry.deletes() == 1
        registry.now += FRESH - timedelta(seconds=1)
        assert await registry.untag() is how
        assert await registry.untag(probe=False) is how
        assert registry.deletes() == 0
        registry.now += timedelta(seconds=1)
        # An audit goes by what is remembered, however old.
        assert await registry.untag(probe=False) is how
        assert registry.deletes() == 0
        assert await registry.untag() is how
        assert registry.deletes() == 1

    registry.on(work)


def test_another_version_is_asked_anew() -> None:
    registry = Registry(400, Server="Nexus/3.68")

    async def work() -> None:
        assert await registry.untag() is Untag.NO
        registry.deletes()
        registry.headers = {"Server": "Nexus/3.69"}
        registry.tag = 202
        await registry.client.ping()
        assert await registry.untag() is Untag.ALONE
        assert registry.deletes() == 1

    registry.on(work)


@pytest.mark.parametrize(
    ("digest", "headers", "remembered"),
    [
        # It deletes, but no tags: Harbor.
        (404, {}, "no"),
        # It deletes nothing now; that says nothing of tags.
        (405, {}, None),
        (405, {"Allow": "GET, HEAD"}, None),
    ],
)
@pytest.mark.parametrize("setting", [Untagging.AUTO, Untagging.PLACEHOLDER])
def test_a_registry_that_allows_no_delete_of_a_tag(
    digest: int, headers: dict[str, str], remembered: str | None, setting: Untagging
) -> None:
    registry = Registry(405, digest, **headers)
    registry.wanted = Wanted(untag=setting)

    async def work() -> None:
        by_placeholder = remembered == "no" and setting is Untagging.PLACEHOLDER
        assert await registry.untag() is (Untag.PLACEHOLDER if by_placeholder else Untag.NO)
        known = recall(registry.store.observations, registry.client.url, Name.UNTAG)
        assert (known.value if known else None) == remembered

    registry.on(work)


def test_what_was_seen_to_delete_manifests_is_never_asked_again() -> None:
    registry = Registry(202)
    registry.wanted = Wanted(untag=Untagging.ALONE)

    async def work() -> None:
        seen = Remembered(UNSAFE, NOW - timedelta(days=1000), "another")
        remember(registry.store.observations, registry.client.url, Name.UNTAG, seen)
        assert await registry.untag() is Untag.NO
        assert registry.deletes() == 0

    registry.on(work)


def test_a_look_changes_nothing_and_does_without_a_store() -> None:
    registry = Registry(202)

    async def work() -> None:
        capabilities = Capabilities(registry.client, None, Wanted(), clock=lambda: NOW)
        found = {known.name: (known.value, known.how) for known in await capabilities.look(None)}
        assert registry.deletes() == 0
        assert found[Name.CATALOG] == ("no", How.PROBED)
        assert found[Name.UNTAG] == found[Name.REFERRERS] == found[Name.DELETES] == (None, How.UNKNOWN)
        assert await capabilities.untag("app", probe=True) is Untag.ALONE

    registry.on(work)
