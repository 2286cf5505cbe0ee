"""No real registry is taken for a product that it is not, whatever it answers to what products are asked."""

from __future__ import annotations

import asyncio

import pytest

from reaper.registry import (
    NO_LOGIN,
    Credentials,
    OneLogin,
    ProtocolError,
    RegistryClient,
    RegistryOptions,
    TLSOptions,
    parse_address,
)
from reaper.registry.products import AUTO, ProductOptions
from tests.compat.conftest import PASSWORD, USER, Scenario, each


def product_of(scenario: Scenario, name: str) -> str | None:
    """Return which product the registry is found to be, by a client that sends GET and HEAD alone."""
    known = "username" in scenario.target.settings

    async def ask() -> str | None:
        options = RegistryOptions(
            parse_address(scenario.target.url),
            OneLogin(Credentials("the test", USER, PASSWORD)) if known else NO_LOGIN,
            TLSOptions(ca_file=scenario.target.authority),
            read_only=True,
            product=ProductOptions(name),
        )
        async with RegistryClient(options) as client:
            product = await client.product()
            return product.name if product else None

    return asyncio.run(ask())


@each("plain", "htpasswd", "token", "tls")
def test_none_of_these_is_a_product(scenario: Scenario) -> None:
    assert product_of(scenario, AUTO) is None


@each("plain", "htpasswd")
@pytest.mark.parametrize("name", ["zot", "harbor", "quay", "gitlab", "acr"])
def test_none_of_these_is_what_the_settings_may_say(scenario: Scenario, name: str) -> None:
    with pytest.raises(ProtocolError, match=f"is not the {name} that the settings say it is"):
        product_of(scenario, name)
