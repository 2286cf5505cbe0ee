"""Which binary is taken, in which order, with nothing downloaded."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from devtools import apt, cache, golang, tools
from devtools.errors import SetupError

DISTRIBUTION_2 = "registry github.com/docker/distribution 2.8.3"
DISTRIBUTION_3 = "registry github.com/distribution/distribution/v3 v3.1.1+unknown"


def program(path: Path, version: str) -> Path:
    """An executable that reports a version."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{version}'\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is all of PATH (but for the shell that the test programs need), an empty cache."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("REAPER_CACHE", str(tmp_path / "cache"))
    return folder


def cached(tmp_path: Path, name: str) -> Path:
    """Where a fetched tool would be."""
    return tmp_path / "cache" / cache.machine() / name


def test_the_variable_comes_first(search: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = program(tmp_path / "mine", DISTRIBUTION_3)
    program(search / "registry", DISTRIBUTION_2)
    monkeypatch.setenv("REAPER_REGISTRY_BINARY", str(chosen))
    assert tools.registry_binary() == chosen


@pytest.mark.parametrize("name", ["absent", "."])
def test_a_wrong_variable_is_an_error(
    search: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    program(search / "registry", DISTRIBUTION_2)
    monkeypatch.setenv("REAPER_REGISTRY_BINARY", str(tmp_path / name))
    with pytest.raises(SetupError, match="REAPER_REGISTRY_BINARY"):
        tools.registry_binary()


def test_path_comes_before_the_cache(search: Path, tmp_path: Path) -> None:
    debian = program(cached(tmp_path, "docker-registry") / "usr/bin/docker-registry", DISTRIBUTION_2)
    assert tools.registry_binary() == debian
    installed = program(search / "docker-registry", DISTRIBUTION_3)
    assert tools.registry_binary() == installed
    preferred = program(search / "registry", DISTRIBUTION_3)
    assert tools.registry_binary() == preferred


def test_a_namesake_is_not_a_registry(search: Path) -> None:
    program(search / "registry", "windows registry viewer 1.0.0")
    installed = program(search / "docker-registry", DISTRIBUTION_2)
    assert tools.registry_binary() == installed


def test_exactly_distribution_2(search: Path, tmp_path: Path) -> None:
    program(search / "registry", DISTRIBUTION_3)
    debian = program(cached(tmp_path, "docker-registry") / "usr/bin/docker-registry", DISTRIBUTION_2)
    assert tools.distribution_2() == debian
    installed = program(search / "docker-registry", DISTRIBUTION_2)
    assert tools.distribution_2() == installed


def test_a_debian_with_another_version_is_an_error(search: Path, tmp_path: Path) -> None:
    program(cached(tmp_path, "docker-registry") / "usr/bin/docker-registry", DISTRIBUTION_3)
    with pytest.raises(SetupError, match=r"3\.1\.1; 2\.8 is needed"):
        tools.distribution_2()


def test_go_is_the_last_resort(search: Path, tmp_path: Path) -> None:
    built = program(cached(tmp_path, "distribution-v3.1.1") / "registry", DISTRIBUTION_3)
    assert tools.registry_binary() == built
    assert golang.distribution_3() == built


@pytest.mark.usefixtures("search")
def test_nothing_to_be_had_names_what_to_install() -> None:
    with pytest.raises(SetupError, match=r"Install docker-registry.*apt-get.*Go is needed") as failure:
        tools.registry_binary()
    assert "docker-registry" in str(failure.value)
    with pytest.raises(SetupError, match="Debian's package skopeo"):
        tools.skopeo_binary()


@pytest.mark.usefixtures("search")
def test_without_fetching_it_says_how_to_fetch() -> None:
    for find in (
        tools.distribution_2,
        golang.distribution_3,
        golang.crane,
        golang.gitea,
        golang.ociregistry,
        tools.skopeo_binary,
        tools.chromium,
        tools.chromedriver,
    ):
        with pytest.raises(SetupError, match="make tools"):
            find(fetch=False)


def test_skopeo_on_path(search: Path) -> None:
    installed = program(search / "skopeo", "skopeo version 1.9.3")
    assert tools.skopeo_binary() == installed


def test_a_browser_on_path_counts_only_with_its_driver(search: Path, tmp_path: Path) -> None:
    fetched = program(cached(tmp_path, "chromium") / "chromium", "Chromium 156")
    browser = program(search / "chromium", "Chromium 150")
    assert tools.chromium() == fetched
    driver = program(search / "chromedriver", "ChromeDriver 150")
    assert (tools.chromium(), tools.chromedriver()) == (browser, driver)


def test_new_packages_are_told_from_replaced_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    simulated = (
        "Inst libgpgme11 (1.18.0-3+b1 Debian:12.15/oldstable [amd64])\n"
        "Inst libc6 [2.36-9] (2.36-9+deb12u1 Debian:12.15/oldstable [amd64])\n"
        "Conf libgpgme11 (1.18.0-3+b1 Debian:12.15/oldstable [amd64])\n"
    )
    monkeypatch.setattr(apt, "_with_lists", lambda _arguments: simulated)
    assert apt._new_packages("skopeo") == ["libgpgme11"]


def test_a_folder_is_provided_whole_or_not_at_all(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "folder"

    def broken(into: Path) -> None:
        (into / "half").touch()
        raise SetupError("no")

    with pytest.raises(SetupError):
        cache.provide(folder, broken)
    assert [path.name for path in folder.parent.iterdir()] == [".folder.lock"]
    cache.provide(folder, lambda into: (into / "whole").touch())
    assert cache.provide(folder, broken) == folder
    assert [path.name for path in folder.iterdir()] == ["whole"]


def test_leftovers_of_a_killed_process_are_removed(tmp_path: Path) -> None:
    (tmp_path / ".folder.partial-killed").mkdir()
    cache.provide(tmp_path / "folder", lambda into: (into / "whole").touch())
    assert sorted(path.name for path in tmp_path.iterdir()) == [".folder.lock", "folder"]


def test_two_at_once_fill_once(tmp_path: Path) -> None:
    fills: list[Path] = []
    together = threading.Barrier(2)

    def ask() -> None:
        together.wait(20)
        cache.provide(tmp_path / "folder", fills.append)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(fills) == 1
    assert (tmp_path / "folder").is_dir()


def test_the_cache_is_where_the_environment_says(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cache.cache_root() == (home / ".cache" / "reaper-dev").resolve()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache.cache_root() == tmp_path / "xdg" / "reaper-dev"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache.cache_root() == (home / ".cache" / "reaper-dev").resolve()
    monkeypatch.setenv("REAPER_CACHE", str(tmp_path / "chosen"))
    assert cache.cache_root() == tmp_path / "chosen"
