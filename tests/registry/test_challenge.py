"""``WWW-Authenticate``, friendly and hostile."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from reaper.registry.challenge import Challenge, parse_challenges


def test_bearer_with_quoted_commas_and_any_case() -> None:
    header = (
        'bEaReR Realm="https://auth.example/token?a=1,2",SERVICE="reg\\"istry", '
        'scope="repository:a:pull,push"'
    )
    assert parse_challenges([header]) == [
        Challenge(
            "bearer",
            {
                "realm": "https://auth.example/token?a=1,2",
                "service": 'reg"istry',
                "scope": "repository:a:pull,push",
            },
        )
    ]


def test_several_challenges_in_one_and_in_more_headers() -> None:
    found = parse_challenges(['Negotiate abc==, Basic realm="a", Bearer realm=b', "Digest qop=auth"])
    assert [challenge.scheme for challenge in found] == ["negotiate", "basic", "bearer", "digest"]
    assert found[0].parameters == {}
    assert found[2].parameters == {"realm": "b"}


def test_what_is_no_challenge_is_left_out() -> None:
    assert parse_challenges(['="x"', "", ",,,", "\x00", "a" * 100_000]) == []


@given(st.lists(st.one_of(st.text(), st.from_regex(r'(?:[A-Za-z]+ [a-z]+="[^"]*",? *){1,4}')), max_size=3))
def test_any_text_gives_challenges_or_none(headers: list[str]) -> None:
    for challenge in parse_challenges(headers):
        assert challenge.scheme == challenge.scheme.lower() != ""
