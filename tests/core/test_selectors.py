"""Patterns over names, as the core matches them."""

from __future__ import annotations

import fnmatch
import re
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reaper.core.errors import InvalidInputError
from reaper.core.selectors import Glob, Regex, Selector, Semver, parse_version

names = st.text("ab/-.", max_size=12)


@pytest.mark.parametrize(
    ("pattern", "matches", "not_these"),
    [
        ("*", ["a", "a-b", ""], ["a/b"]),
        ("a/*", ["a/b", "a/"], ["a", "a/b/c"]),
        ("a/**", ["a/b", "a/b/c"], ["a", "b/a/c"]),
        ("**/c", ["c", "a/c", "a/b/c"], ["ac", "c/a"]),
        ("a/**/c", ["a/c", "a/b/c", "a/b/b/c"], ["a/bc", "ac"]),
        ("v?.[0-9]", ["v1.0", "vx.9"], ["v10.0", "v/.0"]),
        ("[!a]*", ["b", "ba"], ["a", "ab"]),
        ("{main,dev-*}-x", ["main-x", "dev-1-x"], ["dev-x", "main"]),
        ("a.b+c", ["a.b+c"], ["aXbc"]),
    ],
)
def test_globs(pattern: str, matches: list[str], not_these: list[str]) -> None:
    assert all(Glob(pattern).match(name) is not None for name in matches)
    assert not [name for name in not_these if Glob(pattern).match(name) is not None]


@given(st.text("ab*?-.", max_size=8).filter(lambda text: "**" not in text), names)
@example("a*", "a/b")
def test_a_glob_is_the_shells_where_there_is_no_slash(pattern: str, name: str) -> None:
    matched = Glob(pattern).match(name) is not None
    assert matched == ("/" not in name and fnmatch.fnmatchcase(name, pattern))


@given(st.text("ab*/-[]{},!?\\^$.|()", max_size=10), names)
def test_any_glob_is_refused_or_matches_without_an_error(pattern: str, name: str) -> None:
    try:
        glob = Glob(pattern)
    except InvalidInputError:
        return
    glob.match(name)


@given(st.text("ab/-.", min_size=1, max_size=12), names)
def test_a_plain_name_matches_itself_alone(pattern: str, name: str) -> None:
    assert (Glob(pattern).match(name) is not None) == (pattern == name)
    assert (Regex(re.escape(pattern)).match(name) is not None) == (pattern == name)


def test_a_regex_is_anchored_and_says_its_groups() -> None:
    branch = Regex("(?P<branch>[a-z]+)-(?P<sha>[0-9a-f]{7})?")
    assert branch.groups == {"branch", "sha"}
    assert branch.match("main-0000000") == {"branch": "main", "sha": "0000000"}
    assert branch.match("main-") == {"branch": "main"}
    assert branch.match("main-0000000-x") is None
    assert Regex("a|ab").match("ab") == {}


def test_no_pattern_can_hang_a_run() -> None:
    began = time.process_time()
    assert Regex("(a+)+b").match("a" * 128) is None
    assert Regex("(a|a)*b").match("a" * 128) is None
    assert Glob("*a" * 50).match("a" * 128 + "b") is None
    assert time.process_time() - began < 1


@pytest.mark.parametrize("pattern", ["(", "(?=a)b", r"(a)\1", "a{2000}{2000}", "x" * 2001])
def test_what_is_no_pattern(pattern: str) -> None:
    with pytest.raises(InvalidInputError):
        Regex(pattern)


@pytest.mark.parametrize(
    ("semver", "matches", "not_these"),
    [
        (Semver(">=1.0.0"), ["1.0.0", "v2.3.4", "V9.0.0"], ["0.9.9", "1.0.0-rc.1", "2.0.0-rc.1", "1.0", "x"]),
        (Semver("^1.2"), ["1.2.0", "1.9.9"], ["1.1.9", "2.0.0"]),
        (Semver("1.x || 3.x"), ["1.5.0", "3.0.1"], ["2.0.0"]),
        (Semver(">=1.0.0-rc.1 <2.0.0"), ["1.0.0-rc.2", "1.5.0"], ["1.1.0-rc.1", "1.0.0-beta"]),
        (Semver(">=1.0.0", prerelease=True), ["2.0.0-rc.1", "1.0.0"], ["1.0.0-rc.1"]),
    ],
)
def test_semver(semver: Semver, matches: list[str], not_these: list[str]) -> None:
    assert all(semver.match(name) is not None for name in matches)
    assert not [name for name in not_these if semver.match(name) is not None]


@pytest.mark.parametrize(
    ("text", "matches", "not_these"),
    [
        (">=1.2.0 <3.0.0", ["1.2.0", "2.0.0-rc.1", "3.0.0-rc.1"], ["1.2.0-rc.1", "3.0.0"]),
        ("<1.0.0 || ^4.1", ["0.9.0-a", "1.0.0-a", "4.2.0-b"], ["1.0.0", "4.1.0-a", "5.0.0"]),
        ("*", ["0.0.1", "9.0.0"], ["nightly"]),
    ],
)
def test_with_pre_releases_plain_precedence_decides(
    text: str, matches: list[str], not_these: list[str]
) -> None:
    semver = Semver(text, prerelease=True)
    assert [name for name in (*matches, *not_these) if semver.match(name) is not None] == matches


def test_versions() -> None:
    tags = ["1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-beta.2", "1.0.0-beta.11", "1.0.0-rc.1", "1.0.0", "v1.10.0"]
    versions = [parse_version(tag) for tag in tags]
    assert versions == sorted(versions, key=lambda version: version)  # type: ignore[arg-type, return-value]  # none is None
    for text in ("1.0", "01.0.0", "1.0.0-", "vv1.0.0", "1.0.0-01", "", "latest"):
        assert parse_version(text) is None


def test_a_selector_takes_include_without_exclude() -> None:
    selector = Selector((Regex("(?P<a>x).*"), Glob("y*")), (Glob("*z"),))
    assert selector.select("xb") == {"a": "x"}
    assert selector.select("yb") == {}
    assert selector.select("xz") is None
    assert selector.select("b") is None
    assert Selector().select("anything") == {}
    assert Selector(exclude=(Glob("a"),)).select("a") is None
    assert str(selector) == "/(?P<a>x).*/, y* but not *z"
    assert not selector.reads_versions
    assert Selector((), (Semver("*"),)).reads_versions
