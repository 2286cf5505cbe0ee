"""Settings of the product behind a registry."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from reaper.compose import registry_options
from reaper.config.product import ProductSettings
from reaper.registry import Credentials
from reaper.registry.products import AUTO, ProductOptions
from tests.config.conftest import ReadSettings, Refused

SECRET = "hunter2-do-not-tell"


def registry(product: str) -> str:
    """Return settings of one registry with a ``product``."""
    return f"registries:\n  - name: main\n    url: https://registry.example.com\n    product: {product}\n"


def test_the_product_is_found_out_unless_the_settings_say_otherwise(read_settings: ReadSettings) -> None:
    main = read_settings(registry("auto")).registries[0]
    assert registry_options(main, read_only=True).product == ProductOptions(AUTO)
    assert main.product == ProductSettings()
    for text in ("none", "{name: none}"):
        main = read_settings(registry(text)).registries[0]
        assert registry_options(main, read_only=True).product is None
    main = read_settings(registry("zot")).registries[0]
    assert registry_options(main, read_only=True).product == ProductOptions("zot")


def test_an_api_has_an_address_and_a_login_of_its_own(read_settings: ReadSettings, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{SECRET}\n")
    text = "{name: gitlab, url: https://gitlab.example.com, token_file: token, groups: [team/a, team/b]}"
    product = registry_options(read_settings(registry(text)).registries[0], read_only=True).product
    assert product is not None
    assert product.address is not None
    assert product.address.url == "https://gitlab.example.com"
    assert product.groups == ("team/a", "team/b")
    assert product.logins is not None
    login = asyncio.run(product.logins.find(None))
    assert login == Credentials("the product of registry main", token=SECRET)
    assert SECRET not in repr(product)


@pytest.mark.parametrize(
    ("product", "message"),
    [
        ("nexus", "expected auto, none, zot, harbor, quay, gitlab or acr"),
        ("{name: habor}", "did you mean 'harbor'?"),
        ("[zot]", "expected a product's name, or a mapping with name, not a list"),
        ("{name: zot, url: https://zot.example.com}", "url is not for product zot"),
        ("{token_file: x}", "token_file is not for product auto; write name: gitlab or quay"),
        ("{name: quay, username: a, password_file: b}", "username is not for product quay"),
        ("{name: harbor, token: x}", "token is not for product harbor"),
        ("{name: harbor, username: robot}", "username has no password"),
        ("{name: harbor, groups: [a]}", "groups is not for product harbor"),
        ("{name: gitlab, groups: [a]}", "groups have no url"),
        ("{name: gitlab, url: https://gitlab.example.com}", "url has no groups"),
        ("{name: quay, url: 'https://u:p@quay.example.com'}", "must not carry a login"),
        ("{name: quay, host: quay.io}", "did you mean 'url'?"),
    ],
)
def test_what_makes_no_sense_is_refused(settings_refused: Refused, product: str, message: str) -> None:
    assert message in str(settings_refused(registry(product)))
