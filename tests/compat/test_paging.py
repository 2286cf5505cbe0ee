"""Listings of several pages, in each registry's own way of making them."""

from __future__ import annotations

import asyncio

from devtools.images import build_image
from reaper.registry import NO_LOGIN, Credentials, OneLogin, RegistryClient, RegistryOptions, parse_address
from tests.compat.conftest import PASSWORD, USER, Scenario, each

#: Larger than what some allow for the catalog (30, set for distribution; 100, Gitea's own), smaller for tags.
PAGE = 40


@each("plain", "cloud")
def test_every_repository_and_every_tag_is_listed_once(scenario: Scenario) -> None:
    image = build_image(seed="many")
    tags = [f"t{number:03}" for number in range(PAGE * 2 + 5)]
    scenario.pusher.push(scenario.repository, image, *tags)
    # Beside each other: below one of them, distribution's pages can lack that one.
    repositories = [f"{scenario.repository}-{number:03}" for number in range(PAGE * 2 + 5)]
    for repository in repositories:
        scenario.target.pusher(repository).push(repository, image, "v1")

    async def look(page_size: int) -> tuple[list[str], list[str]]:
        known = "username" in scenario.target.settings
        logins = OneLogin(Credentials("the test", USER, PASSWORD)) if known else NO_LOGIN
        options = RegistryOptions(parse_address(scenario.target.url), logins, page_size=page_size)
        async with RegistryClient(options) as client:
            return [name async for name in client.repositories()], await client.tags(scenario.repository)

    for page_size in (PAGE, 2000):
        catalog, listed = asyncio.run(look(page_size))
        assert len(set(catalog)) == len(catalog)
        assert set(catalog) >= {scenario.repository, *repositories}
        assert sorted(catalog) == sorted(scenario.pusher.repositories())
        assert sorted(listed) == tags
        assert sorted(scenario.crane.tags(scenario.repository)) == tags
