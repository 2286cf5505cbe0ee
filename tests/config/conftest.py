"""Short ways to read a policy file, and to see everything that is wrong with one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from reaper.config.errors import ConfigurationError
from reaper.config.policies import load_policies
from reaper.config.settings import Settings, load_settings
from reaper.core.policy import Policy

#: Reads the text of a policy file.
Read = Callable[[str], tuple[Policy, ...]]
#: Reads it, and returns all its problems as ``line:column: message; suggestion``.
Refused = Callable[[str], list[str]]
#: The same of settings, which read a file's text.
ReadSettings = Callable[[str], Settings]


def file_of(policy: str) -> str:
    """Return a policy file of one policy ``p`` on all repositories, with the YAML lines of ``policy``."""
    keys = "".join(f"    {line}\n" for line in policy.splitlines())
    repositories = "" if "\nrepositories:" in f"\n{policy}" else "    repositories: ['**']\n"
    return f"version: 1\npolicies:\n  - name: p\n{keys}{repositories}"


def rule_of(rule: str) -> str:
    """Return a policy file of one rule, written in flow style without its braces."""
    return file_of(f"rules: [{{{rule}}}]")


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def read(text: str) -> tuple[Policy, ...]:
        file = tmp_path / "p.yaml"
        file.write_text(text)
        return load_policies([file])

    return read


@pytest.fixture
def refused(read: Read, tmp_path: Path) -> Refused:
    def refused(text: str) -> list[str]:
        with pytest.raises(ConfigurationError) as caught:
            read(text)
        return _problems(caught.value, tmp_path / "p.yaml")

    return refused


@pytest.fixture
def read_settings(tmp_path: Path) -> ReadSettings:
    def read(text: str) -> Settings:
        file = tmp_path / "reaper.yaml"
        file.write_text(text)
        return load_settings(file)

    return read


@pytest.fixture
def settings_refused(read_settings: ReadSettings, tmp_path: Path) -> Refused:
    def refused(text: str) -> list[str]:
        with pytest.raises(ConfigurationError) as caught:
            read_settings(text)
        return _problems(caught.value, tmp_path / "reaper.yaml")

    return refused


def _problems(error: ConfigurationError, file: Path) -> list[str]:
    return [str(problem).removeprefix(f"{file}:").lstrip() for problem in error.problems]
