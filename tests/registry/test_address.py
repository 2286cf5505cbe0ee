"""Addresses of registries."""

from __future__ import annotations

import pytest

from reaper.core.errors import InvalidInputError
from reaper.registry.address import parse_address


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("registry.example.com", "https://registry.example.com"),
        ("registry.example.com:5000", "https://registry.example.com:5000"),
        ("localhost:5000", "http://localhost:5000"),
        ("127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("[::1]:5000", "http://[::1]:5000"),
        ("http://registry.example.com/", "http://registry.example.com"),
        ("https://example.com/registry/", "https://example.com/registry"),
        ("HTTPS://Registry.Example.com", "https://registry.example.com"),
    ],
)
def test_valid(text: str, url: str) -> None:
    assert parse_address(text).url == url


@pytest.mark.parametrize(
    "text",
    ["", "http://", "ftp://x", "a b", "::", "http://x:port", "x:99999", "http://x?a=1", "http://x#y", "x:"],
)
def test_invalid(text: str) -> None:
    with pytest.raises(InvalidInputError):
        parse_address(text)


def test_a_password_is_never_repeated() -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse_address("https://me:hunter2@registry.example.com")
    assert "hunter2" not in str(caught.value)
