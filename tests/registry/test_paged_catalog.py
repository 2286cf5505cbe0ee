"""Distribution's catalog in pages: it leaves out what has others below it, and reaper finds that."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from devtools import golang
from devtools.images import build_image
from devtools.pusher import Pusher
from devtools.registry_config import RegistryOptions as ServerOptions
from reaper.registry import RegistryClient, RegistryOptions, parse_address
from reaper.registry.listing import left_out_by_pages
from tests.conftest import MakeRegistry

NESTED = ["app", "app/0-base", "app/1-base", "app/base", "team/tool", "team/tool/0/1", "zoo"]


@pytest.fixture(scope="session")
def distribution_3() -> Path:
    """The distribution 3 binary."""
    return golang.distribution_3(fetch=False)


def listed(url: str, page_size: int) -> list[str]:
    async def look() -> list[str]:
        async with RegistryClient(RegistryOptions(parse_address(url), page_size=page_size)) as client:
            return [name async for name in client.repositories()]

    return asyncio.run(look())


@pytest.mark.integration
@pytest.mark.parametrize("version", [2, 3])
def test_no_repository_is_lost_between_pages(
    make_registry: MakeRegistry, distribution_3: Path, version: int
) -> None:
    options = ServerOptions(max_catalog_entries=100)
    server = make_registry(options, binary=distribution_3 if version == 3 else None)
    pusher = Pusher(server.url)
    for name in NESTED:
        pusher.push(name, build_image(seed="one", layers=()), "v1")
    lacking: set[str] = set()
    hung_up: list[int] = []
    for size in range(1, len(NESTED) + 2):
        try:
            lacking.update(set(NESTED).difference(pages(pusher, size)))
        except OSError:
            # 3.1 hangs up where 2.8 only forgets that there is more.
            hung_up.append(size)
        # Pages of one or two names cannot end elsewhere.
        if size > 2 or not hung_up:
            assert sorted(listed(server.url, size)) == NESTED, size
    # Should a version name them all, none of this is needed any more.
    assert hung_up == ([1, 2, 5] if version == 3 else [])
    if version == 2:
        assert lacking == {"app", "app/base", "team/tool", "team/tool/0/1", "zoo"}


def pages(pusher: Pusher, size: int) -> list[str]:
    """Return what the registry's own pages list."""
    names: list[str] = []
    path = f"/v2/_catalog?n={size}"
    while path:
        answer = pusher.request("GET", path, {200})
        names += json.loads(answer.body)["repositories"] or []
        # distribution's links are relative.
        path = answer.headers.get("link", "").partition("<")[2].partition(">")[0]
    return names


def test_what_a_page_may_have_left_out() -> None:
    assert left_out_by_pages(["a/b/c", "x", "A/b"], {"a"}) == ["a/b"]
    assert left_out_by_pages([], ()) == []
