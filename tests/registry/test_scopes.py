"""Scopes: what a token was asked for, what a challenge names, and both together."""

from __future__ import annotations

import pytest

from reaper.registry import scopes

PULL = scopes.pull("team/app")


def test_each_kind_of_request_asks_for_no_more_than_it_needs() -> None:
    assert scopes.pull("team/app") == "repository:team/app:pull"
    assert scopes.delete("team/app") == "repository:team/app:pull,delete"
    assert scopes.push("team/app") == "repository:team/app:pull,push"
    assert scopes.repository_of(PULL) == "team/app"
    assert scopes.repository_of(scopes.CATALOG) is None
    assert scopes.repository_of("") is None


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", []),
        ("repository:a:pull", ["repository:a:pull"]),
        ("repository:a:pull,push registry:catalog:*", ["repository:a:pull,push", "registry:catalog:*"]),
        ("repository:host:5000/a:metadata_read", ["repository:host:5000/a:metadata_read"]),
        ("repository(plugin):a:*", ["repository(plugin):a:*"]),
        ("*", []),  # Gitea's; it looks at none
        ('repository:a"b:pull', []),
        ("repository:a\x00b:pull", []),
        ("repository::pull", []),
        (" ".join(f"repository:r{n}:pull" for n in range(99)), [f"repository:r{n}:pull" for n in range(8)]),
    ],
)
def test_what_a_challenge_names(text: str, found: list[str]) -> None:
    assert scopes.valid(text) == found


@pytest.mark.parametrize(
    ("asked", "named", "together"),
    [
        ([PULL], [PULL], (PULL,)),
        ([PULL], ["repository:team/app:metadata_read"], ("repository:team/app:pull,metadata_read",)),
        (["repository:a:pull,delete"], ["repository:a:*"], ("repository:a:pull,delete,*",)),
        (["repository:a:pull,delete"], ["repository:a:delete"], ("repository:a:pull,delete",)),
        ([PULL], ["repository:app:pull"], ("repository:app:pull", PULL)),
        ([], ["repository:user/image:pull"], ("repository:user/image:pull",)),
    ],
)
def test_together(asked: list[str], named: list[str], together: tuple[str, ...]) -> None:
    assert scopes.union(asked, named) == together
    assert all(scopes.covers(together, each) for each in [*asked, *named])


def test_what_is_wanted_besides() -> None:
    assert scopes.actions_beyond(PULL, ["repository:team/app:pull,metadata_read", "repository:b:push"]) == [
        "metadata_read"
    ]
    assert scopes.kind_of(PULL) == scopes.kind_of(scopes.pull("b")) != scopes.kind_of(scopes.delete("b"))
    assert not scopes.covers([PULL], "repository:team/app:delete")
    assert not scopes.covers([PULL], "repository:b:pull")
