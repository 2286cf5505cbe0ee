"""Versions and flags of distribution's collector."""

from __future__ import annotations

import pytest

from reaper.collect.distribution import (
    Version,
    deletes_untagged,
    dry_run_command,
    is_dry_run,
    version_command,
    version_in,
)


@pytest.mark.parametrize(
    ("printed", "version", "breaks"),
    [
        ("docker-registry github.com/docker/distribution 2.8.2+ds1\n", Version(2, 8, 2), True),
        ("registry github.com/docker/distribution v2.8.3\n", Version(2, 8, 3), True),
        (
            "registry github.com/distribution/distribution/v3 v3.0.0-alpha.1\n",
            Version(3, 0, 0, prerelease=True),
            True,
        ),
        ("registry github.com/distribution/distribution/v3 v3.0.0\n", Version(3, 0, 0), False),
        ("v3/registry github.com/distribution/distribution/v3 v3.1.1+unknown\n", Version(3, 1, 1), False),
    ],
)
def test_versions(printed: str, version: Version, breaks: bool) -> None:
    assert version_in(printed) == version
    assert version.breaks_indexes is breaks


@pytest.mark.parametrize("printed", ["", "registry 3.1.1", "Docker version 28.0.1", "error: unknown flag"])
def test_no_version_is_guessed(printed: str) -> None:
    assert version_in(printed) is None


@pytest.mark.parametrize(
    "command",
    [
        ["registry", "garbage-collect", "-m", "c.yml"],
        ["registry", "garbage-collect", "c.yml", "--delete-untagged"],
        ["registry", "garbage-collect", "c.yml", "--delete-untagged=true"],
        ["registry", "garbage-collect", "c.yml", "-qm"],
        ["registry", "-m", "garbage-collect", "c.yml"],
        ["sh", "-c", "registry garbage-collect -m c.yml"],
        ["sh", "-c", "exec registry garbage-collect c.yml '--delete-untagged'"],
    ],
)
def test_deleting_untagged_is_found(command: list[str]) -> None:
    assert deletes_untagged(command)


@pytest.mark.parametrize(
    "command",
    [
        ["registry", "garbage-collect", "c.yml"],
        ["registry", "garbage-collect", "-d", "--delete-untagged=false", "/etc/my-m.yml"],
        ["registry", "garbage-collect", "--no-m", "c-m.yml"],
    ],
)
def test_nothing_else_is_taken_for_it(command: list[str]) -> None:
    assert not deletes_untagged(command)


def test_a_dry_run_s_flag_stands_where_the_collector_reads_it() -> None:
    command = ["docker", "exec", "c", "registry", "garbage-collect", "c.yml"]
    assert dry_run_command(command) == [*command[:5], "--dry-run", "c.yml"]
    assert dry_run_command(["sh", "-c", "registry garbage-collect c.yml"]) is None
    assert dry_run_command(["/usr/local/bin/collect"]) is None


def test_the_version_is_asked_of_the_same_binary() -> None:
    command = ["docker", "exec", "c", "registry", "garbage-collect", "c.yml"]
    assert version_command(command) == ["docker", "exec", "c", "registry", "--version"]
    assert version_command(["sh", "-c", "registry garbage-collect c.yml"]) is None


def test_a_command_that_is_always_a_dry_run() -> None:
    assert is_dry_run(["registry", "garbage-collect", "c.yml", "-d"])
    assert not is_dry_run(["docker", "exec", "-d", "c", "registry", "garbage-collect", "c.yml"])
