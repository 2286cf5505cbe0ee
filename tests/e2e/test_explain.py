"""`explain`: why something is kept or expires, against a real registry."""

from __future__ import annotations

import csv
import io

import pytest

from devtools.images import build_image, build_index
from tests.e2e.conftest import Site

RULES = """[
  {name: releases, tags: {semver: '>=1.0.0'}, keep: all},
  {name: branches, tags: {regex: '(?P<branch>[a-z]+)-[0-9]+'}, group_by: branch, keep: {newest: 1}},
  {name: fresh, keep: {within: 30d}}]"""


@pytest.fixture
def explained(site: Site) -> Site:
    for tag, age in {"v1.2.0": 400, "main-1": 60, "main-2": 50, "latest": 90, "tmp": 3}.items():
        site.push("app", tag, age=age)
    site.rules(RULES)
    return site


def test_every_rule_of_a_tag(explained: Site) -> None:
    seen = len(explained.server.access_log())
    shown = explained.reaper("explain", "app:main-1")
    assert shown.code == 0, shown.err
    assert {access.method for access in explained.server.access_log()[seen:]} <= {"GET", "HEAD"}
    lines = shown.out.splitlines()
    assert lines[0] == "app:main-1 expires"
    assert "releases: not selected: the tag is not in semver >=1.0.0: not a semantic version" in shown.out
    assert "branches: does not keep: rank 2 of 2 in branch=main by pushed" in shown.out
    assert "fresh: does not keep: pushed 60d ago" in shown.out
    assert "(created in config)" in shown.out
    assert "branches: keeps: rank 1 of 2" in explained.reaper("explain", "app:main-2").out
    assert "releases: keeps: version 1.2.0; keeps all" in explained.reaper("explain", "app:v1.2.0").out
    assert "latest: keeps: the tag latest is protected" in explained.reaper("explain", "app:latest").out


def test_json_agrees_with_the_audit(explained: Site) -> None:
    audit = explained.json("--dry-run")["repositories"][0]
    found = explained.json("explain", "app")
    assert found["schema"] == "reaper.explain/v1"
    keys = ("tag", "digest", "decision", "policy", "rule", "reason", "expires_at", "size")
    assert [{key: tag[key] for key in keys} for tag in found["tags"]] == [
        {key: tag[key] for key in keys} for tag in audit["tags"]
    ]
    by_tag = {tag["tag"]: tag for tag in found["tags"]}
    assert by_tag["tmp"]["expires_at"] > by_tag["tmp"]["pushed"]["time"]
    assert by_tag["v1.2.0"]["expires_at"] is None
    assert len(by_tag["tmp"]["verdicts"]) == 3


def test_the_other_formats(explained: Site) -> None:
    rows = list(csv.DictReader(io.StringIO(explained.reaper("explain", "app", "--format", "csv").out)))
    assert {(row["tag"], row["rule"], row["says"]) for row in rows} >= {
        ("main-1", "branches", "does not keep"),
        ("tmp", "fresh", "keeps"),
        ("latest", "latest", "keeps"),
    }
    assert explained.reaper("explain", "app", "--format", "markdown").out.startswith("## why: app\n")
    assert "<!doctype html>" in explained.reaper("explain", "app", "--format", "html").out


def test_a_child_by_its_digest(site: Site) -> None:
    part = build_image(seed="part", platform="linux/amd64")
    site.pusher.push("app", build_index([part]), "v1")
    site.rules("[{keep: all}]")
    lines = site.reaper("explain", f"app@{part.digest}").out.splitlines()
    assert lines[0] == f"app@{part.digest}: keep"
    assert lines[1].startswith("  because    part of sha256:")
    assert "  expires    never by time alone" in lines


def test_without_policies(site: Site) -> None:
    site.push("app", "v1", age=3)
    ended = site.reaper("explain", "app:v1", env={"REAPER_POLICIES": ""})
    assert ended.code == 2
    site.policy("version: 1\npolicies:\n  - name: p\n    repositories: ['other']\n    rules: [{keep: all}]\n")
    assert site.reaper("explain", "app:v1").out.startswith(
        "app:v1 is ignored\n  because    no policy matches this repository\n"
    )
