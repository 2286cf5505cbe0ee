"""Docker's ``config.json``."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from reaper.core.errors import InvalidInputError
from reaper.registry import Credentials, find_credentials, parse_address


def auth(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def config(folder: Path, content: object) -> Path:
    (folder / "config.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


@pytest.mark.parametrize(
    "key",
    [
        "reg.example:5000",
        "https://reg.example:5000",
        "https://reg.example:5000/v2/",
        "http://reg.example:5000/v1/",
    ],
)
def test_keys_with_and_without_scheme_and_path(tmp_path: Path, key: str) -> None:
    folder = config(tmp_path, {"auths": {"other": {}, key: {"auth": auth("me:pass:word")}}})
    found = find_credentials(parse_address("reg.example:5000"), docker_config=folder)
    assert found is not None
    assert (found.username, found.password) == ("me", "pass:word")
    assert "config.json" in found.source


def test_tokens_and_plain_fields(tmp_path: Path) -> None:
    folder = config(
        tmp_path,
        {
            "auths": {
                "a.example": {"identitytoken": "idt"},
                "b.example": {"registrytoken": "rt"},
                "c.example": {"username": "u", "password": "p"},
                "d.example": {},
            }
        },
    )
    found = {c: find_credentials(parse_address(f"{c}.example"), docker_config=folder) for c in "abcde"}
    assert found["a"] is not None
    assert found["a"].identity_token == "idt"
    assert found["b"] is not None
    assert found["b"].token == "rt"
    assert found["c"] is not None
    assert found["c"].password == "p"
    assert found["d"] is None
    assert found["e"] is None


@pytest.mark.parametrize(
    "content", ["not json hunter2", "[]", '{"auths": []}', '{"auths": {"x": {"auth": "!"}}}']
)
def test_a_broken_file_is_an_error_that_tells_no_secret(tmp_path: Path, content: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        find_credentials(parse_address("x"), docker_config=config(tmp_path, content))
    assert "hunter2" not in str(caught.value)


def test_a_chosen_folder_must_be_there_and_the_usual_one_need_not(tmp_path: Path) -> None:
    assert find_credentials(parse_address("x"), docker_config=None) is None
    with pytest.raises(InvalidInputError):
        find_credentials(parse_address("x"), docker_config=tmp_path / "none")


def test_secrets_do_not_show() -> None:
    shown = Credentials("here", "me", "hunter2", "hunter3", "hunter4")
    assert "hunter" not in f"{shown} {shown!r}"
