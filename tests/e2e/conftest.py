"""The installed ``reaper`` command, and a site for it: a registry, policies, a store."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from devtools.images import Image, build_image
from devtools.pusher import Pusher
from devtools.registry import RegistryServer
from tests.forks import POOL

REAPER = Path(sys.executable).with_name("reaper")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "e2e" in item.path.parts:
            item.add_marker("e2e")


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def report(self) -> dict[str, Any]:
        """Standard output, as JSON."""
        found: dict[str, Any] = json.loads(self.out)
        return found

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Standard output of a listing, as JSON."""
        found: list[dict[str, Any]] = json.loads(self.out)
        return found


class Folder:
    """The settings, the policies and the store of one test, and who pushes to its registry."""

    def __init__(self, folder: Path, pusher: Pusher, registry: Mapping[str, Any]) -> None:
        """``registry`` is what the settings say of it."""
        self.pusher = pusher
        self.folder = folder
        self.settings: dict[str, Any] = {"registries": [{"name": "main", **registry}]}

    def policy(self, text: str, name: str = "policy.yaml") -> None:
        """Write a policy file."""
        (self.folder / "policies").mkdir(exist_ok=True)
        (self.folder / "policies" / name).write_text(text)

    def rules(self, rules: str, **more: str) -> None:
        """Write a policy on every repository: ``rules`` is a YAML flow list, ``more`` are further keys."""
        keys = {"repositories": "{include: ['**']}", "minimum_age": "0s", **more}
        lines = "".join(f"    {key}: {value}\n" for key, value in keys.items())
        self.policy(f"version: 1\npolicies:\n  - name: all\n    rules: {rules}\n{lines}")

    def push(self, repository: str, tag: str, *tags: str, age: int, seed: int | None = None) -> Image:
        """Push an image built ``age`` days ago under the tags."""
        created = datetime.now(UTC) - timedelta(days=age)
        image = build_image(seed=age if seed is None else seed, created=created)
        self.pusher.push(repository, image, tag, *tags)
        return image

    def reaper(self, *arguments: str, env: Mapping[str, str] | None = None, timeout: float = 120) -> Ended:
        """Run ``reaper`` in the folder, with the settings as they are now."""
        return run_reaper("--config", str(self.write_settings()), *arguments, env=env, timeout=timeout)

    def write_settings(self) -> Path:
        """Write the settings as they are now, and return the file."""
        settings = {
            "policies": ["policies"],
            "store": {"url": f"sqlite:///{self.folder}/reaper.db"},
            **self.settings,
        }
        file = self.folder / "reaper.yaml"
        file.write_text(json.dumps(settings))
        return file

    def json(self, *arguments: str, code: int = 0) -> dict[str, Any]:
        """Run ``reaper`` and return its JSON report."""
        ended = self.reaper(*arguments, "--format", "json")
        assert ended.code == code, ended.err
        return ended.report


class Site(Folder):
    """A registry of the test's own, and the folder for it."""

    def __init__(self, server: RegistryServer, folder: Path) -> None:
        super().__init__(folder, Pusher(server.url), {"url": server.url})
        self.server = server


def run_reaper(*arguments: str, env: Mapping[str, str] | None = None, timeout: float = 120) -> Ended:
    """Run ``reaper`` in a fork: what the installed command does, without the interpreter's start."""
    with POOL.one() as forks:
        code = forks.run(arguments, {**os.environ, **(env or {})}, timeout=timeout)
        ended = Ended(code, *(file.read_text(encoding="utf-8") for file in (forks.output, forks.errors)))
    assert "Traceback" not in ended.err, ended.err
    return ended


def run_installed(*arguments: str, env: Mapping[str, str] | None = None, timeout: float = 120) -> Ended:
    """Run the installed command."""
    ended = subprocess.run(
        [str(REAPER), *arguments],
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert "Traceback" not in ended.stderr, ended.stderr
    return Ended(ended.returncode, ended.stdout, ended.stderr)


@pytest.fixture
def site(registry: RegistryServer, tmp_path: Path) -> Site:
    """A site around a fresh registry."""
    return Site(registry, tmp_path)


@pytest.fixture
def make_site(tmp_path: Path) -> Callable[[RegistryServer], Site]:
    """Return a function that makes a site around a registry."""
    return lambda server: Site(server, tmp_path)
