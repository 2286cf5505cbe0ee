"""The policy language of DESIGN section 5, every form of it, in one audit of a real registry.

Each case has a repository and a policy of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from devtools.images import build_image
from devtools.registry import RegistryServer
from tests.e2e.conftest import Site

NOW = datetime.now(UTC)

# Tags, each with its image's build time: days ago, or a date. Branches of one age share an image.
BRANCHES = {f"{branch}-000000{n}": 30 - n for branch in ("main", "fix") for n in range(4)}
VERSIONS = dict.fromkeys(("v1.2.3", "1.9.0", "1.10.0", "2.0.0-rc.1", "2.0.0", "1.2", "latest", "edge"), 50)
DAYS = {
    "mon": "2025-12-29T00:30:00Z",
    "wed": "2025-12-31T10:00:00Z",
    "thu": "2026-01-01T10:00:00Z",
    "next": "2026-01-05T10:00:00Z",
    "late": "2026-03-01T23:30:00Z",
    "early": "2026-03-02T00:30:00Z",
}
AGES = {"a1": 1, "a5": 5, "a10": 10, "a20": 20}
ODD: dict[str, int | str] = {
    "epoch": "1970-01-01T00:00:00Z",
    "nix": "1980-01-01T00:00:01Z",
    "2012": "2012-12-31T23:59:59Z",
    "future": "2999-01-01T00:00:00Z",
    "old": 40,
    "new": 4,
}


@dataclass(frozen=True)
class Case:
    """Rules, and the tags that they keep; ``more`` are further keys of the policy."""

    tags: Mapping[str, int | str]
    rules: str
    kept: str
    more: Mapping[str, str] = field(default_factory=dict)


BARE = {"protections": "{latest: false}"}
CASES = {
    "glob": Case(VERSIONS, "[{tags: 'v*', keep: all}]", "v1.2.3", BARE),
    "regex": Case(VERSIONS, "[{tags: {regex: '[a-z]+'}, keep: all}]", "latest edge", BARE),
    "include-exclude": Case(
        VERSIONS,
        "[{tags: {include: ['1.*', {regex: 'e.*'}], exclude: ['*.0']}, keep: all}]",
        "1.2 edge",
        BARE,
    ),
    "semver": Case(VERSIONS, "[{tags: {semver: '>=1.0.0 <2.0.0'}, keep: all}]", "v1.2.3 1.9.0 1.10.0", BARE),
    "prerelease": Case(
        VERSIONS, "[{tags: {semver: '>=2.0.0-0', prerelease: true}, keep: all}]", "2.0.0-rc.1 2.0.0", BARE
    ),
    "latest": Case(VERSIONS, "[{tags: {semver: '2.x'}, keep: all}]", "2.0.0 latest"),
    "by-semver": Case(VERSIONS, "[{keep: {newest: 2, by: semver}}]", "2.0.0 2.0.0-rc.1", BARE),
    "by-name": Case(VERSIONS, "[{keep: {newest: 1, by: name}}]", "v1.2.3", BARE),
    "immutable": Case(
        VERSIONS,
        "[{tags: edge, keep: all}]",
        "edge v1.2.3",
        {"protections": "{latest: false, immutable: 'v*'}"},
    ),
    "newest": Case(BRANCHES, "[{keep: {newest: 1}}]", "main-0000003 fix-0000003"),
    "group-by": Case(
        BRANCHES,
        "[{tags: {regex: '^(?P<branch>[a-z0-9-]+)-[0-9a-f]{7,40}$'}, group_by: branch, keep: {newest: 1}}]",
        "main-0000003 fix-0000003",
    ),
    "within": Case(AGES, "[{keep: {within: 14d}}]", "a1 a5 a10"),
    "within-from-newest": Case(AGES, "[{keep: {within: 5d, from: newest}}]", "a1 a5"),
    "within-since-created": Case(AGES, "[{keep: {within: 36h, since: created}}]", "a1"),
    "pulled-within": Case(AGES, "[{keep: {pulled_within: 30d}}]", "a1 a5 a10 a20"),
    "any": Case(AGES, "[{keep: {newest: 1, within: 7d}}]", "a1 a5"),
    "all-of": Case(AGES, "[{keep: {all_of: [{newest: 3}, {within: 7d}]}}]", "a1 a5"),
    "minimum-age": Case(AGES, "[{tags: none, keep: all}]", "a1 a5", {"minimum_age": "7d"}),
    "daily": Case(DAYS, "[{keep: {daily: 2}}]", "late early"),
    "daily-elsewhere": Case(DAYS, "[{keep: {daily: 2}}]", "early next", {"timezone": "Europe/Berlin"}),
    "weekly": Case(DAYS, "[{keep: {weekly: 9}}]", "thu next late early"),
    "weekly-elsewhere": Case(
        DAYS, "[{keep: {weekly: 9}}]", "mon thu next early", {"timezone": "America/New_York"}
    ),
    "monthly": Case(DAYS, "[{keep: {monthly: 2}}]", "early next"),
    "yearly": Case(DAYS, "[{keep: {yearly: 2}}]", "early wed"),
    "odd-dates": Case(ODD, "[{keep: {newest: 1, by: created}}]", "epoch nix 2012 future new"),
}


def built(when: int | str) -> datetime:
    return NOW - timedelta(days=when) if isinstance(when, int) else datetime.fromisoformat(when)


@pytest.fixture(scope="module")
def server(distribution: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    with RegistryServer(distribution, tmp_path_factory.mktemp("registry")) as server:
        yield server


@pytest.fixture
def audit(server: RegistryServer, tmp_path: Path) -> dict[str, Any]:
    """The audit of all cases."""
    site = Site(server, tmp_path)
    policies = ["version: 1", "policies:"]
    for name, case in CASES.items():
        for tag, when in case.tags.items():
            shared = case.tags is BRANCHES
            image = build_image(seed=f"{when}" if shared else tag, layers=[8], created=built(when))
            site.pusher.push(name, image, tag)
        keys = {"minimum_age": "0s", "guard": "{max_share: null, min_tags: 0}", **case.more}
        policies += [f"- name: {name}", f"  repositories: [{name}]", f"  rules: {case.rules}"]
        policies += [f"  {key}: {value}" for key, value in keys.items()]
    site.policy("\n".join(policies))
    return site.json("--dry-run")


def test_every_form_of_a_rule(audit: dict[str, Any]) -> None:
    assert audit["outcome"] == "done"
    repositories = {repository["name"]: repository for repository in audit["repositories"]}
    assert repositories.keys() == CASES.keys()
    for name, case in CASES.items():
        tags = {tag["tag"]: tag for tag in repositories[name]["tags"]}
        kept = {tag for tag, found in tags.items() if found["decision"] == "keep"}
        assert kept == set(case.kept.split()), name
        assert repositories[name]["policies"] == [name]
    found = {tag["tag"]: tag for tag in repositories["odd-dates"]["tags"]}
    assert {tag for tag in found if found[tag]["created_at"] is None} == {"epoch", "nix", "2012", "future"}
    assert all("(first inventory)" in found[tag]["reason"] for tag in ("epoch", "nix", "2012", "future"))
    assert "(created in config)" in found["old"]["reason"]
    ends = {tag["tag"]: tag["expires_at"] for tag in repositories["within"]["tags"]}
    assert ends["a20"] is None
    left = datetime.fromisoformat(ends["a10"]) - NOW
    assert timedelta(days=4) - left < timedelta(seconds=1)
    assert all(tag["expires_at"] is None for tag in repositories["newest"]["tags"])
