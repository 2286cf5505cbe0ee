"""Names: repositories, tags, digests, references, durations."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reaper.core.duration import describe_age, format_duration, parse_duration
from reaper.core.errors import InvalidInputError
from reaper.core.reference import Reference, digest_of, is_repository, parse_reference, short, subject_of_tag

HEX = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("app", Reference("app")),
        ("team/my-app_x.y:v1.0", Reference("team/my-app_x.y", "v1.0")),
        (f"app@sha256:{HEX}", Reference("app", None, f"sha256:{HEX}")),
        (f"app:v1@sha512:{HEX * 2}", Reference("app", "v1", f"sha512:{HEX * 2}")),
    ],
)
def test_references(text: str, reference: Reference) -> None:
    assert parse_reference(text) == reference
    assert str(reference) == text


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "does not name a repository"),
        ("App", "does not name a repository"),
        ("a//b", "does not name a repository"),
        ("registry.example.com:5000/app", "does not name a repository"),
        ("https://registry.example.com/app", "does not name a repository"),
        ("app:", "is not a tag"),
        ("app:-v1", "is not a tag"),
        ("app:" + "x" * 129, "is not a tag"),
        ("app@", "is not a digest"),
        (f"app@sha256:{HEX[:-1]}", "is not a digest"),
        (f"app@sha256:{HEX.upper()}", "is not a digest"),
        (f"app@md5:{HEX}", "is not a digest"),
    ],
)
def test_what_is_no_reference(text: str, says: str) -> None:
    with pytest.raises(InvalidInputError, match=says) as refused:
        parse_reference(text)
    assert refused.value.hint is None or refused.value.hint == (
        "write REPOSITORY, REPOSITORY:TAG or REPOSITORY@DIGEST, without the registry's host"
    )
    assert (refused.value.hint is not None) == ("repository" in says)


def test_long_names() -> None:
    assert is_repository("a" * 255)
    assert not is_repository("a" * 256)
    assert not is_repository("a\n")


@pytest.mark.parametrize("suffix", ["", ".sig", ".att", ".sbom"])
def test_tags_that_name_a_subject(suffix: str) -> None:
    assert subject_of_tag(f"sha256-{HEX}{suffix}") == f"sha256:{HEX}"
    assert subject_of_tag(f"sha512-{HEX * 2}{suffix}") == f"sha512:{HEX * 2}"


@pytest.mark.parametrize(
    "tag",
    [
        "v1",
        f"sha256-{HEX[:-1]}",
        f"sha256-{HEX}.imgpkg",
        f"sha256-{HEX}-1",
        f"sha256-{HEX * 2}",
        f"sha512-{HEX}",
    ],
)
def test_tags_that_name_none(tag: str) -> None:
    assert subject_of_tag(tag) is None


def test_digests() -> None:
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert digest_of(b"") == f"sha256:{empty}"
    assert digest_of(b"abc") == "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert digest_of(b"abc", "sha512").startswith("sha512:ddaf35a193617abacc417349ae204131")
    assert len(digest_of(b"", "sha512")) == len("sha512:") + 128
    assert short(f"sha256:{empty}") == "sha256:e3b0c44298fc"
    with pytest.raises(InvalidInputError, match="unknown digest algorithm 'md5'"):
        digest_of(b"", "md5")


@given(st.integers(0, 36_600), st.sampled_from("smhd"))
def test_a_duration_comes_back_as_long_as_it_was(number: int, unit: str) -> None:
    duration = parse_duration(f"{number}{unit}")
    assert parse_duration(format_duration(duration)) == duration


@pytest.mark.parametrize(
    "text",
    ["", "14", "d", "1.5h", "-1d", "14 d", "1d12h", "1mo", "99999d9", "36601d", "\N{FULLWIDTH DIGIT ONE}d"],
)
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(InvalidInputError) as refused:
        parse_duration(text)
    if text == "36601d":
        assert refused.value.message == "'36601d' is longer than a hundred years"
    else:
        assert refused.value.message == f"{text!r} is not a duration"
        hint = "write a whole number and a unit, such as 90s, 15m, 36h, 14d or 2w"
        assert refused.value.hint == hint


def test_durations() -> None:
    assert parse_duration(" 36600d ") == timedelta(days=36_600)
    with pytest.raises(InvalidInputError, match="longer than a hundred years"):
        parse_duration(f"{36_600 * 24 * 60 + 1}m")
    shown = {
        "0m": "0s",
        "60s": "1m",
        "90s": "90s",
        "60m": "1h",
        "24h": "1d",
        "7d": "1w",
        "8d": "8d",
        "2w": "2w",
    }
    assert {text: format_duration(parse_duration(text)) for text in shown} == shown


@pytest.mark.parametrize(
    ("duration", "shown"),
    [
        (timedelta(), "0s"),
        (timedelta(seconds=-5), "0s"),
        (timedelta(seconds=59.9), "59s"),
        (timedelta(seconds=60), "1m"),
        (timedelta(minutes=59), "59m"),
        (timedelta(minutes=60), "1h"),
        (timedelta(hours=24), "1d"),
        (timedelta(hours=47), "1d"),
        (timedelta(days=400), "400d"),
    ],
)
def test_ages_for_people(duration: timedelta, shown: str) -> None:
    assert describe_age(duration) == shown
