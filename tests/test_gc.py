"""A collection on its own: who may start it, and change anything before it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiohttp import web

from reaper.collect import NoneCollector
from reaper.collection import Collection
from reaper.core.errors import ReaperError
from reaper.gc import collect
from reaper.store import State, Store, open_store
from tests.registry.fake import Fake, with_fake
from tests.store.helpers import AT, new_entry


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(f"sqlite:///{tmp_path}/reaper.db") as opened:
        yield opened


def test_who_is_no_longer_the_leader_puts_nothing_back(store: Store) -> None:
    checks: list[str] = []

    def leads() -> None:
        checks.append("asked")
        if len(checks) > 1:
            raise ReaperError("another replica leads now")

    async def work(fake: Fake) -> None:
        async with fake.client() as client:
            entry = store.journal.begin(replace(new_entry("run"), registry=client.url))
            for state in (State.DELETED, State.RESTORING):
                store.journal.mark(entry, state, AT)
            collection = Collection(
                client,
                store,
                NoneCollector(),
                registry=client.url,
                undo_window=datetime.resolution,
                clock=lambda: datetime.now(UTC),
            )
            with pytest.raises(ReaperError, match="another replica leads now"):
                await collect(client, store, collection, clock=lambda: datetime.now(UTC), may_write=leads)
            assert [each.id for each in store.journal.restoring(client.url)] == [entry]
        assert {method for method, _, _ in fake.requests} == {"GET"}

    async def answer(_: web.Request) -> web.Response:
        return web.json_response({})

    with_fake(answer, work)
