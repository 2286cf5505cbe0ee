"""Registries without a catalog: which repositories there are is said by the settings, a file or a command."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devtools import fault_proxy as faults
from devtools.fault_proxy import FaultProxy
from devtools.pusher import Pusher
from devtools.registry import RegistryServer
from tests.e2e.conftest import Ended, Site

CATALOG = "/v2/_catalog"


@pytest.fixture(scope="module")
def server(distribution: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    """One registry; a test may delete in repositories of its own."""
    with RegistryServer(distribution, tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture
def site(server: RegistryServer, tmp_path: Path) -> Iterator[Site]:
    """A site around the registry, which has no catalog for whoever comes through the proxy."""
    with FaultProxy(server.url) as proxy:
        proxy.inject(faults.answer(404), "GET", CATALOG)
        made = Site(server, tmp_path)
        made.settings = {"registries": [{"name": "main", "url": proxy.url}]}
        made.rules("[{tags: 'v*', keep: {newest: 1}}]")
        yield made


def named(site: Site, value: Any) -> None:
    site.settings["registries"][0]["repositories"] = value


def push(site: Site, *repositories: str) -> None:
    for repository in repositories:
        for age, tag in ((9, "v1"), (5, "v2")):
            site.push(repository, tag, age=age)


def looked_at(site: Site, *arguments: str, code: int = 0) -> list[str]:
    report = site.json("run", "--dry-run", *arguments, code=code)
    return [entry["name"] for entry in report["repositories"]]


def said(ended: Ended) -> str:
    return " ".join(ended.err.split())


def test_without_a_catalog_the_error_names_the_setting(site: Site) -> None:
    for command in (["--dry-run"], ["verify"]):
        ended = site.reaper(*command)
        assert ended.code == 1, ended.err
        assert "has no catalog of repositories (404)" in said(ended)
        assert "registries[].repositories" in said(ended)


def test_all_that_is_named_is_looked_at_once(site: Site) -> None:
    push(site, "team/a", "team/b", "team/c")
    file = site.folder / "lists" / "repositories.txt"
    file.parent.mkdir()
    file.write_text("# ours\nteam/a\n\nteam/b   # and this one\nteam/a\n")
    command = ["echo", "team/c"]
    named(site, {"names": ["team/a"], "file": "lists/repositories.txt", "command": command})
    expected = ["team/a", "team/b", "team/c"]
    assert looked_at(site) == expected
    assert [row["repository"] for row in site.reaper("ls", "--format", "json").rows] == expected
    verified = site.reaper("verify")
    assert verified.code == 0, verified.err
    assert "in 3 repositories" in verified.err


def test_a_run_deletes_in_what_is_named_alone_and_restores_it(site: Site) -> None:
    push(site, "own/a", "own/other")
    named(site, ["own/a"])
    report = site.json("run")
    assert report["summary"]["deleted_manifests"] == 1
    assert any("an estimate: the settings says" in note for note in report["notes"])
    pusher = Pusher(site.server.url)
    assert pusher.tags("own/a") == ["v2"]
    assert pusher.tags("own/other") == ["v1", "v2"]
    explained = site.reaper("explain", "own/a:v2", "--format", "json")
    assert explained.report["repository"] == "own/a"
    assert site.reaper("restore", "--run", report["run_id"]).code == 0
    assert pusher.tags("own/a") == ["v1", "v2"]


def test_a_name_that_leads_nowhere_is_an_error_and_the_others_go_on(site: Site) -> None:
    push(site, "known/a")
    named(site, {"names": ["known/a", "known/misspelt"], "command": ["echo", "known/A"]})
    report = site.json("--dry-run", code=4)
    errors = {entry["name"]: entry["errors"] for entry in report["repositories"]}
    assert errors["known/a"] == []
    assert "may misspell it" in errors["known/misspelt"][0]
    assert errors["known/A"] == ["the settings and command echo has an invalid name 'known/A'"]


def test_an_emptied_repository_that_is_named_is_no_error(site: Site) -> None:
    push(site, "emptied/a")
    named(site, ["emptied/a"])
    assert looked_at(site) == ["emptied/a"]
    pusher = Pusher(site.server.url)
    for tag in ("v1", "v2"):
        held = pusher.get_manifest("emptied/a", tag)
        assert held is not None
        assert pusher.delete("emptied/a", held.digest)
    assert looked_at(site) == ["emptied/a"]


def test_a_list_that_cannot_be_had_ends_the_run(site: Site) -> None:
    named(site, {"command": ["sh", "-c", "echo team/a; exit 3"]})
    ended = site.reaper("--dry-run")
    assert ended.code == 1
    assert "command sh ended with exit code 3" in said(ended)


def test_a_list_that_was_cut_short_stops_the_run(site: Site) -> None:
    """Or else what was in the others would be unknown to those that share blobs with them."""
    names = [f"many/r{number:02}" for number in range(20)]
    for name in names:
        site.push(name, "v1", age=3, seed=1)
    file = site.folder / "repositories.txt"
    file.write_text("\n".join(names))
    named(site, {"file": "repositories.txt"})
    assert looked_at(site) == names
    file.write_text("\n".join(names[:3]))
    report = site.json("run", code=3)
    assert [guard["guard"] for guard in report["guards"]] == ["short_listing"]


def test_a_repository_that_nobody_has_is_a_mistake_of_the_command_line(site: Site) -> None:
    push(site, "here/app")
    named(site, ["here/app"])
    ended = site.reaper("run", "--dry-run", "--repository", "here/ap")
    assert ended.code == 2
    assert "no repository matches 'here/ap' (did you mean 'here/app'?)" in said(ended)
    assert site.reaper("diff", "policies", "policies", "--repository", "nowhere/**").code == 2
    assert looked_at(site, "--repository", "here/*") == ["here/app"]
