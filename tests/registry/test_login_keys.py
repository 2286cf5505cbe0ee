"""Keys of Docker's logins: which stand for a registry, and which of them counts for a repository."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reaper.registry import parse_address
from reaper.registry.login_keys import covering, of_registry, parse_key, path_of, server_of, server_of_key


def counts(keys: list[str], url: str, repository: str | None = None) -> str | None:
    """Return the key that counts."""
    address = parse_address(url)
    found: dict[str, str] = {}
    for key, value in of_registry(((key, key) for key in keys), address):
        found.setdefault(key.path, value)
    path = covering(found, path_of(address, repository))
    return None if path is None else found[path]


@pytest.mark.parametrize(
    ("key", "url"),
    [
        ("reg.example:5000", "https://reg.example:5000"),
        ("https://reg.example:5000", "https://reg.example:5000"),
        ("https://reg.example:5000/v2/", "https://reg.example:5000"),
        ("http://reg.example:5000/v1/", "https://reg.example:5000"),
        ("REG.example", "https://reg.example"),
        ("reg.example:443", "https://reg.example"),
        ("reg.example", "https://reg.example:443"),
        ("reg.example:80", "http://reg.example"),
        ("http://reg.example", "https://reg.example"),
        ("reg.example/v2", "https://reg.example"),
        ("reg.example/", "https://reg.example"),
        ("[::1]:5000", "http://[::1]:5000"),
        ("docker.io", "https://registry-1.docker.io"),
        ("https://index.docker.io/v1/", "https://registry-1.docker.io"),
        ("https://index.docker.io/v1/", "docker.io"),
        ("registry-1.docker.io", "index.docker.io"),
        ("*.example", "https://reg.example"),
        ("reg.example/prefix", "https://reg.example/prefix"),
        ("https://reg.example/prefix/v2/", "https://reg.example/prefix"),
        ("reg.example", "https://reg.example/prefix"),
        ("user:pass@reg.example", "https://reg.example"),
    ],
)
def test_a_key_of_the_registry(key: str, url: str) -> None:
    assert counts(["other.example", key], url) == key
    assert counts([key], url, "team/app") == key


@pytest.mark.parametrize(
    ("key", "url"),
    [
        ("reg.example", "https://reg.example:5000"),
        ("reg.example:5000", "https://reg.example"),
        ("reg.example:80", "https://reg.example"),
        ("evil-reg.example", "https://reg.example"),
        ("reg.example.evil", "https://reg.example"),
        ("example", "https://reg.example"),
        ("*", "https://reg.example"),
        ("*.example", "https://a.reg.example"),
        ("reg.example/prefix", "https://reg.example"),
        ("reg.example/team", "https://reg.example"),
        ("hub.docker.io", "https://registry-1.docker.io"),
        ("reg.example:port", "https://reg.example"),
        ("[::1", "http://[::1]"),
        ("", "https://reg.example"),
        ("https://", "https://reg.example"),
    ],
)
def test_a_key_of_something_else(key: str, url: str) -> None:
    assert counts([key], url) is None


def test_the_longest_path_counts() -> None:
    keys = ["reg.example", "reg.example/team", "reg.example/team/app", "https://reg.example/v2/team/other"]
    for repository, key in {
        None: keys[0],
        "library": keys[0],
        "teams": keys[0],
        "team": keys[1],
        "team/lib": keys[1],
        "team/app": keys[2],
        "team/app/debug": keys[2],
        "team/application": keys[1],
        "team/other": keys[3],
    }.items():
        for order in (keys, keys[::-1]):
            assert counts(order, "https://reg.example", repository) == key


def test_a_hosts_own_key_counts_before_one_for_many_and_the_first_of_equals() -> None:
    assert counts(["*.example", "reg.example"], "https://reg.example") == "reg.example"
    assert counts(["https://reg.example", "reg.example"], "https://reg.example") == "https://reg.example"


def test_what_helpers_are_asked_for() -> None:
    assert server_of(parse_address("https://reg.example:5000/prefix")) == "reg.example:5000"
    assert server_of(parse_address("https://reg.example:443")) == "reg.example"
    assert server_of(parse_address("https://registry-1.docker.io")) == "https://index.docker.io/v1/"
    for text, server in {
        "reg.example:5000": "reg.example:5000",
        "https://reg.example/v2/": "reg.example",
        "https://user:pass@reg.example/team": "reg.example/team",
        "docker.io": "https://index.docker.io/v1/",
    }.items():
        key = parse_key(text)
        assert key is not None
        assert server_of_key(key) == server


_LABEL = st.text("abz09-", min_size=1, max_size=6)
_HOST = st.lists(_LABEL, min_size=1, max_size=3).map(".".join)
_SEGMENTS = st.lists(st.text("abc1._-", min_size=1, max_size=3).filter(lambda s: s.strip(".")), max_size=3)


@given(text=st.text(max_size=40))
def test_any_text_is_a_key_or_none(text: str) -> None:
    key = parse_key(text)
    assert key is None or key.host


@given(
    host=_HOST,
    port=st.none() | st.integers(1, 65535),
    scheme=st.sampled_from(["", "http://", "https://"]),
    end=st.sampled_from(["", "/", "/v1/", "/v2/", "/v2"]),
    path=_SEGMENTS,
    below=_SEGMENTS,
)
def test_a_key_covers_what_is_below_it_and_nothing_beside_it(
    host: str, port: int | None, scheme: str, end: str, path: list[str], below: list[str]
) -> None:
    key = parse_key(scheme + host + (f":{port}" if port else "") + "".join(f"/{s}" for s in path) + end)
    assert key is not None
    assert (key.host, key.port, key.path) == (host, port, "/".join(path))
    paths = {key.path, "of/another"}
    assert covering(paths, "/".join([*path, *below])) == key.path
    if path:
        assert covering(paths, "/".join([*path[:-1], f"{path[-1]}x", *below])) is None
        assert covering(paths, "/".join(path[:-1])) is None
