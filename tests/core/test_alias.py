"""The names by which images call a registry (how they are applied: tests/protect/test_references.py)."""

from __future__ import annotations

import pytest

from reaper.core.alias import Alias, parse_alias
from reaper.core.errors import InvalidInputError


@pytest.mark.parametrize(
    ("text", "alias", "written"),
    [
        ("registry.example.com:5000", Alias("registry.example.com:5000"), "registry.example.com:5000"),
        (" proxy.example.com/main/ ", Alias("proxy.example.com", "main"), "proxy.example.com/main"),
        ("index.docker.io=hub/", Alias("docker.io", "", "hub"), "docker.io=hub"),
        ("Proxy.EXAMPLEX/a/b=c/d", Alias("proxy.examplex", "a/b", "c/d"), "proxy.examplex/a/b=c/d"),
        ("REGISTRY.EXAMPLEX", Alias("registry.examplex"), "registry.examplex"),
    ],
)
def test_an_alias_is_written_as_it_is_read(text: str, alias: Alias, written: str) -> None:
    assert parse_alias(text) == alias
    assert str(alias) == written
    assert parse_alias(written) == alias


@pytest.mark.parametrize(
    "text", ["", "https://registry.example.com", "a b", "host.example/A", "host.example=", "x=a=b"]
)
def test_what_is_no_alias(text: str) -> None:
    with pytest.raises(InvalidInputError) as refused:
        parse_alias(text)
    assert refused.value.message == f"{text!r} is not a registry's name in image references"
    assert refused.value.hint == (
        "write it as references begin, such as registry.example.com:5000 or proxy.example.com/main"
    )


def test_a_host_that_references_never_take_for_one() -> None:
    with pytest.raises(InvalidInputError) as refused:
        parse_alias("team/app")
    assert refused.value.message == "references never take 'team' for a host: it has no dot and no port"
    assert (
        refused.value.hint
        == "write team:5000 with its port, or docker.io/team/app for that part of Docker Hub"
    )
