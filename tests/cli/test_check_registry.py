"""What ``reaper check --registry`` says of logins."""

from __future__ import annotations

from reaper.cli.check_registry import RegistryCheck
from reaper.registry import Credentials, Finding, Look

MANY = tuple(f"team{number:02}" for number in range(12))
LOGIN = Credentials("c", "me", "hunter2")
LOOKS = [
    Look("a\x1b[2J", Finding.ABSENT),
    Look("b", Finding.NO_LOGIN, below=MANY),
    Look("c", Finding.LOGIN, LOGIN, below=("team/app",)),
    Look("d", Finding.NOT_ASKED),
]


def test_each_source_is_a_line() -> None:
    assert list(RegistryCheck("https://reg.example", LOOKS, 1, "the catalog").lines()) == [
        "login: a\\x1b[2J: absent",
        f"login: b: no login; others for {', '.join(MANY[:10])} and 2 more",
        "login: c: user me, used; others for team/app",
        "login: d: not looked at",
        "registry https://reg.example: 1 repository in the catalog, login user me from c",
    ]
    assert list(RegistryCheck("https://reg.example", []).lines()) == []


def test_and_an_entry() -> None:
    document = RegistryCheck("https://reg.example", LOOKS, 1).document()
    assert document["login"] == "user me from c"
    assert document["login_sources"][1:3] == [
        {"source": "b", "found": "no login", "username": None, "used": False, "below": list(MANY)},
        {"source": "c", "found": "login", "username": "me", "used": True, "below": ["team/app"]},
    ]
    assert "hunter2" not in str(document)
    assert RegistryCheck("https://reg.example", LOOKS[:1]).document()["login"] == "anonymous"
