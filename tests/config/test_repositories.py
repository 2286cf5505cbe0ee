"""What the settings say of a registry's repositories, and of what it can do."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from reaper.config.settings import RegistrySettings, load_settings
from tests.config.conftest import ReadSettings, Refused


def registry(keys: str) -> str:
    return f"registries: [{{name: main, url: 'https://registry.example.com', {keys}}}]\n"


def read(read_settings: ReadSettings, keys: str) -> RegistrySettings:
    return read_settings(registry(keys)).registries[0]


def test_repositories_may_be_a_list_a_file_and_a_command(read_settings: ReadSettings, tmp_path: Path) -> None:
    short = read(read_settings, "repositories: [team/app, ' team/worker ']").repositories
    assert short is not None
    assert (short.names, short.file, short.command) == (["team/app", "team/worker"], None, None)
    long = read(
        read_settings, "repositories: {file: list.txt, command: [print, it], command_timeout: 5s}"
    ).repositories
    assert long is not None
    assert (long.names, long.file, long.command) == ([], tmp_path / "list.txt", ["print", "it"])
    assert long.command_timeout == timedelta(seconds=5)
    assert read(read_settings, "untag: auto").repositories is None


def test_a_variable_says_it_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    one = {"name": "main", "url": "https://registry.example.com", "repositories": ["team/app"]}
    monkeypatch.setenv("REAPER_REGISTRIES", json.dumps([one]))
    named = load_settings().registries[0].repositories
    assert named is not None
    assert named.names == ["team/app"]


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        (
            "repositories: ['registry.example.com:5000/a']",
            "'registry.example.com:5000/a' does not name a repository; write it as in REPOSITORY:TAG",
        ),
        ("repositories: ['team/**']", "does not name a repository"),
        ("repositories: []", "names: must not be empty"),
        ("repositories: {}", "this names no repository; add names, file or command"),
        ("repositories: {names: [a], command_timeout: 5s}", "command_timeout has no command; add command"),
        ("repositories: {include: [a]}", "did you mean 'names'?"),
        ("repositories: all", "expected a list of names, or a mapping of names, file and command"),
        ("untag: native", "untag: expected auto, alone, placeholder or never, not this text"),
        ("untag: yes", "untag: expected auto, alone, placeholder or never, not"),
        ("capabilities: {page_size: 0}", "page_size: must be at least 1"),
        ("capabilities: {untag: true}", "unknown key 'untag'; untag stands beside capabilities"),
        ("capabilities: {catalogue: true}", "did you mean 'catalog'?"),
    ],
)
def test_what_is_wrong_is_told(settings_refused: Refused, keys: str, says: str) -> None:
    problems = settings_refused(registry(keys))
    assert any(says in problem for problem in problems), problems


def test_capabilities_are_found_out_unless_told(read_settings: ReadSettings) -> None:
    nothing = read(read_settings, "untag: never")
    assert nothing.untag == "never"
    assert set(nothing.capabilities.model_dump().values()) == {None}
    told = read(read_settings, "capabilities: {referrers: false, page_size: 50}").capabilities
    assert (told.referrers, told.catalog, told.page_size) == (False, None, 50)
