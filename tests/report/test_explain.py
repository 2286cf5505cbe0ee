"""`explain`: every rule, what it saw, what it said, and until when."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from reaper.core.manifest import Kind
from reaper.core.plan import build_plan, explain_shared
from reaper.core.policy import KeepAll, KeepNewest, KeepWithin, Order, Policy, Rule
from reaper.core.reference import Reference
from reaper.core.selectors import Glob, Regex, Selector, Semver
from reaper.core.snapshot import ManifestEntry, Snapshot
from reaper.report.explain import explanation, render_json, render_text, verdict_rows
from tests.core.build import DAY, entry, image, judge, policy, snapshot
from tests.core.generate import REPOSITORY, child, digest, manifest

POLICIES = (
    policy(
        Rule("releases", KeepAll(), Selector((Semver(">=1.0.0"),))),
        Rule("branches", KeepNewest(1), Selector((Regex("(?P<branch>[a-z]+)-[0-9]+"),)), "branch"),
        name="services",
    ),
    policy(Rule("fresh", KeepWithin(7 * DAY)), name="others"),
)
BUILDS = {
    "v1.2.0": image("v1.2.0", "90d"),
    "v2.0.0-rc.1": image("rc", "80d"),
    "main-1": image("main-1", "60d"),
    "main-2": image("main-2", "50d"),
    "dev-1": image("dev-1", "3d"),
    "latest": image("latest", "70d"),
}


def explained(
    look: Snapshot, tag: str | None = None, at: str | None = None, *policies: Policy
) -> dict[str, Any]:
    decisions = judge(look, *(policies or POLICIES))
    plan = build_plan(look, decisions, can_untag=False)
    tags = explain_shared(decisions.tags, plan, can_untag=False)
    found = explanation(look, decisions, plan, tags, Reference(REPOSITORY, tag, at))
    out = io.StringIO()
    render_json(found, out)
    return json.loads(out.getvalue())  # type: ignore[no-any-return]  # what JSON makes of it


def text(found: dict[str, Any]) -> list[str]:
    return list(render_text(found))


def test_each_rule_says_what_it_saw() -> None:
    lines = text(explained(snapshot(BUILDS), "main-1"))
    pushed = "2026-04-16 12:00:00Z (created in config)"
    assert lines[0] == "team/app:main-1 expires"
    assert f"  created    {pushed}" in lines
    assert "  pulled     unknown" in lines
    assert lines[lines.index("  policy others") : lines.index("")] == [
        "  policy others",
        f"    fresh: does not keep: pushed 60d ago, {pushed}, beyond 1w",
        "  policy services",
        "    releases: not selected: the tag is not in semver >=1.0.0: not a semantic version",
        f"    branches: does not keep: rank 2 of 2 in branch=main by pushed {pushed}, keeps 1",
    ]


def test_a_semver_rule_says_which_version_it_read() -> None:
    look = snapshot(BUILDS)
    assert "    releases: keeps: version 1.2.0; keeps all" in text(explained(look, "v1.2.0"))
    (line,) = (line for line in text(explained(look, "v2.0.0-rc.1")) if "releases" in line)
    assert line.endswith("not selected: the tag is not in semver >=1.0.0: version 2.0.0-rc.1")
    by_version = policy(Rule("top", KeepNewest(1, Order.SEMVER)))
    found = explained(look, "v1.2.0", None, by_version)
    assert any("rank 2 of 2 by semver 1.2.0, keeps 1" in line for line in text(found))


def test_a_kept_tag_says_until_when_and_what_protects_it() -> None:
    look = snapshot(BUILDS)
    assert "  expires    2026-06-19 12:00:00Z" in text(explained(look, "dev-1", None, POLICIES[1]))
    assert "  expires    never by time alone" in text(explained(look, "v1.2.0"))
    lines = text(explained(look, "latest"))
    assert lines[lines.index("  built-in") + 1] == "    latest: keeps: the tag latest is protected"


@pytest.fixture
def index() -> tuple[Snapshot, ManifestEntry, ManifestEntry]:
    part = entry(manifest("part"), "9d")
    whole = entry(manifest("whole", Kind.INDEX, children=(child(part.manifest),)), "3d")
    signature = entry(manifest("signature", subject=part.digest))
    loose = image("loose", "90d")
    return snapshot({"v0": whole}, part, signature, loose, first_inventory="10d"), whole, part


def test_a_manifest_says_what_it_belongs_to(index: tuple[Snapshot, ManifestEntry, ManifestEntry]) -> None:
    look, whole, part = index
    lines = text(explained(look, None, part.digest, POLICIES[1]))
    assert lines[0] == f"team/app@{part.digest}: keep"
    assert lines[1] == f"  because    part of {whole.digest[:19]}, which is kept"
    assert "  expires    2026-06-19 12:00:00Z" in lines
    assert f"  part of    {whole.digest}" in lines
    assert f"  referrer   {digest('signature')}" in lines
    assert not any("untagged" in line for line in lines)


def test_a_repository_is_explained_whole(index: tuple[Snapshot, ManifestEntry, ManifestEntry]) -> None:
    found = explained(index[0])
    assert [tag["tag"] for tag in found["tags"]] == ["v0"]
    assert len(found["manifests"]) == 3
    assert "  untagged   since 2026-06-15 11:00:00Z" in text(found)
    assert text(explained(snapshot({}))) == ["team/app has no tags, and no manifests that reaper knows of"]


def test_a_digest_shows_the_tags_on_it() -> None:
    look = snapshot({"a": BUILDS["main-1"], "b": BUILDS["main-1"], "c": BUILDS["main-2"]})
    found = explained(look, None, BUILDS["main-1"].digest)
    assert [tag["tag"] for tag in found["tags"]] == ["a", "b"]
    assert [m["digest"] for m in found["manifests"]] == [BUILDS["main-1"].digest]


def test_json_has_exact_times() -> None:
    (tag,) = explained(snapshot(BUILDS), "dev-1", None, POLICIES[1])["tags"]
    assert tag["decision"] == "keep"
    assert tag["expires_at"] == "2026-06-19T12:00:00Z"
    assert tag["pushed"] == {"time": "2026-06-12T12:00:00Z", "source": "created in config"}
    (verdict,) = tag["verdicts"]
    assert verdict["keeps"] is True
    assert verdict["version"] is None


def test_rows_for_the_other_formats(index: tuple[Snapshot, ManifestEntry, ManifestEntry]) -> None:
    elsewhere = policy(KeepAll(), name="elsewhere")
    rows = list(verdict_rows(explained(index[0], None, None, *POLICIES)))
    assert [(row.get("tag"), row["fate"], row.get("policy"), row.get("says")) for row in rows[:3]] == [
        ("v0", "keep", "others", "keeps"),
        ("v0", "keep", "services", "not selected"),
        ("v0", "keep", "services", "not selected"),
    ]
    assert len(rows) == 6
    nowhere = Policy(elsewhere.name, Selector((Glob("x"),)), elsewhere.rules)
    (row, *_) = verdict_rows(explained(index[0], "v0", None, nowhere))
    assert (row["fate"], row["saw"]) == ("ignore", "no policy matches this repository")


def test_a_shared_digest_is_named() -> None:
    look = snapshot({"v1.0.0": BUILDS["main-1"], "tmp": BUILDS["main-1"]})
    assert any("shared-digest" in line for line in text(explained(look, "tmp", None, POLICIES[0])))
