"""Settings and policies, loaded together or not at all."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from reaper.config.errors import ConfigurationError
from reaper.core.errors import InvalidInputError
from reaper.daemon.configuration import ConfigurationFiles
from tests.e2e.daemon import swap_config_map

NOW = datetime(2026, 3, 1, tzinfo=UTC)
POLICY = """\
version: 1
policies:
  - name: {name}
    repositories: {{include: ['**']}}
    rules: [{{keep: all}}]
"""


def write(folder: Path, **keys: Any) -> Path:
    file = folder / "reaper.yaml"
    registries = [{"name": "main", "url": "https://registry.example.com"}]
    file.write_text(json.dumps({"registries": registries, "policies": ["policies"], **keys}))
    (folder / "policies").mkdir(exist_ok=True)
    (folder / "policies" / "a.yaml").write_text(POLICY.format(name="a"))
    return file


def test_a_registry_may_have_policies_of_its_own(tmp_path: Path) -> None:
    registries = [
        {"name": "main", "url": "https://registry.example.com"},
        {"name": "other", "url": "https://other.example.com", "policies": ["own.yaml"]},
    ]
    file = write(tmp_path, registries=registries)
    (tmp_path / "own.yaml").write_text(POLICY.format(name="own"))
    loaded = ConfigurationFiles(file, {}).load(NOW)
    assert {name: [p.name for p in policies] for name, policies in loaded.policies.items()} == {
        "main": ["a"],
        "other": ["own"],
    }
    chosen = ConfigurationFiles(file, {}, "other").load(NOW)
    assert list(chosen.policies) == ["other"]
    overridden = ConfigurationFiles(file, {"policies": [tmp_path / "policies"]}).load(NOW)
    assert [policy.name for policy in overridden.policies["other"]] == ["a"]


def test_one_wrong_policy_file_keeps_everything_out(tmp_path: Path) -> None:
    file = write(tmp_path)
    (tmp_path / "policies" / "b.yaml").write_text("version: 2\n")
    with pytest.raises(ConfigurationError, match=r"b\.yaml:1"):
        ConfigurationFiles(file, {}).load(NOW)


@pytest.mark.parametrize(
    ("keys", "said"),
    [({"registries": []}, "no registry is configured"), ({"policies": []}, "registry main has no policies")],
)
def test_a_daemon_needs_something_to_do(tmp_path: Path, keys: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        ConfigurationFiles(write(tmp_path, **keys), {}).load(NOW)


def test_the_fingerprint_follows_content_and_swapped_links(tmp_path: Path) -> None:
    file = write(tmp_path, policies=["mounted"])
    folder = tmp_path / "mounted"
    swap_config_map(folder, {"a.yaml": POLICY.format(name="a")})
    files = ConfigurationFiles(file, {})
    loaded = files.load(NOW)
    first = files.fingerprint(loaded)
    swap_config_map(folder, {"a.yaml": POLICY.format(name="a")})
    assert files.fingerprint(loaded) == first, "the same content is no change"
    swap_config_map(folder, {"a.yaml": POLICY.format(name="b")})
    second = files.fingerprint(loaded)
    assert second != first
    (folder / "more.yaml").write_text(POLICY.format(name="more"))
    third = files.fingerprint(loaded)
    assert third not in (first, second)
    file.unlink()
    assert files.fingerprint(loaded) not in (first, second, third)
