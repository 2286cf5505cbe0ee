"""Plans that are saved and applied, and blocked plans that a person lets pass."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from devtools.images import Image
from tests.e2e.conftest import Site

pytestmark = pytest.mark.integration


def builds(site: Site, count: int = 5) -> list[Image]:
    return [site.push("team/app", f"b{number}", age=10 + number) for number in range(count)]


def planned(site: Site, *, code: int = 0) -> tuple[Path, dict[str, Any]]:
    file = site.folder / "plan.json"
    report = site.reaper("plan", "-o", str(file), "--format", "json")
    assert report.code == code, report.err
    assert report.report["dry_run"] is True
    return file, json.loads(file.read_text())


def tags(site: Site) -> list[str]:
    return sorted(site.pusher.tags("team/app"))


def test_a_plan_is_done_exactly_as_it_was_saved(site: Site) -> None:
    images = builds(site)
    site.rules("[{name: two, keep: {newest: 2}}]")
    file, plan = planned(site)
    assert plan["schema"] == "reaper.plan/v1"
    assert plan["registry"] == site.server.url
    steps = plan["repositories"][0]["plan"]["steps"]
    assert {step["tags"][0] for step in steps} == {"b2", "b3", "b4"}
    assert all(step["rule"] == "two" and step["reason"].startswith("no rule keeps it") for step in steps)
    # Since then: a doomed image was tagged as well, another one was replaced, and a new one came.
    site.pusher.push("team/app", images[2], "precious")
    site.push("team/app", "b3", age=1, seed=99)
    site.push("team/app", "new", age=0)
    ended = site.reaper("apply", str(file), "--format", "json")
    assert ended.code == 0, ended.err
    assert tags(site) == ["b0", "b1", "b2", "b3", "new", "precious"]
    report = ended.report
    assert report["plan_id"] == plan["plan_id"]
    assert report["summary"]["deleted_manifests"] == 1
    assert report["summary"]["skipped_manifests"] == 2
    assert site.reaper("restore", "--run", report["run_id"]).code == 0
    assert "b4" in tags(site)


def test_a_plan_that_does_not_fit_is_refused(site: Site, tmp_path: Path) -> None:
    builds(site)
    site.rules("[{keep: {newest: 2}}]")
    file, plan = planned(site)
    original = file.read_text()
    plan["repositories"][0]["plan"]["steps"][0]["digest"] = "sha256:" + "0" * 64
    for content, said in [
        (json.dumps(plan), "was changed after it was written"),
        (original.replace("reaper.plan/v1", "reaper.plan/v2"), "is no plan"),
        ("version: 1", "is no plan"),
        ("[" * 100_000, "is no plan"),
    ]:
        file.write_text(content)
        ended = site.reaper("apply", str(file))
        assert (ended.code, said in ended.err) == (2, True), ended.err
    file.write_text(original)
    ended = site.reaper("apply", str(file), "--max-age", "0s")
    assert (ended.code, "may be 0s old" in ended.err) == (2, True), ended.err
    ended = site.reaper("apply", str(file), "--registry", "http://127.0.0.1:1")
    assert (ended.code, "the plan is for" in ended.err) == (2, True), ended.err
    site.rules("[{keep: {newest: 1}}]")
    ended = site.reaper("apply", str(file))
    assert (ended.code, "policies have changed" in ended.err) == (2, True), ended.err
    assert site.reaper("apply", str(tmp_path / "nowhere")).code == 2
    assert len(tags(site)) == 5


def test_a_blocked_plan_passes_once_when_a_person_says_so(site: Site) -> None:
    builds(site)
    site.rules("[{keep: {newest: 2}}]", guard="{max_deletions: 1}")
    blocked = site.json("run", code=3)
    plan = blocked["plan_id"]
    assert [trip["guard"] for trip in blocked["guards"]] == ["max_deletions"]
    assert f"reaper run --accept {plan}" in site.reaper("run").out
    # For another plan it counts nothing.
    site.push("team/app", "b9", age=30)
    other = site.json("run", "--accept", plan, code=3)
    assert other["plan_id"] != plan
    assert any("is for another plan" in note for note in other["notes"])
    assert len(tags(site)) == 6
    done = site.json("run", "--accept", other["plan_id"])
    assert done["summary"]["deleted_manifests"] == 4
    assert any("passed by --accept" in note and "max_deletions" in note for note in done["notes"])
    # And for the same plan once more, not either.
    assert site.reaper("restore", "--run", done["run_id"]).code == 0
    again = site.json("run", "--accept", other["plan_id"], code=3)
    assert again["plan_id"] == other["plan_id"]
    assert any("was used before" in note for note in again["notes"])


def test_a_saved_plan_that_ran_into_a_guard_rail_needs_its_name(site: Site) -> None:
    builds(site)
    site.rules("[{keep: {newest: 2}}]", guard="{max_deletions: 1}")
    file, plan = planned(site, code=3)
    refused = site.reaper("apply", str(file))
    assert refused.code == 2
    assert f"--accept {plan['plan_id']}" in refused.err
    assert site.reaper("apply", str(file), "--accept", plan["plan_id"]).code == 0
    assert tags(site) == ["b0", "b1"]


def test_a_changed_policy_that_expires_much_of_what_was_kept_waits(site: Site) -> None:
    builds(site, 24)
    site.rules("[{keep: {newest: 20}}]")
    site.json("run")
    assert len(tags(site)) == 20
    # The same policy, and time that passes, surprise nobody; nor does an edit that says the same.
    assert site.json("run")["outcome"] == "done"
    site.rules("[{keep: {newest: 9}}]", guard="{max_share: null}")
    report = site.json("run", code=3)
    (trip,) = report["guards"]
    assert trip["guard"] == "max_newly_expired"
    assert "11 of 20 tags (55%)" in trip["message"]
    assert len(tags(site)) == 20
    # An audit does not count as having seen it.
    assert site.json("--dry-run", code=3)["guards"]
    assert site.json("run", code=3)["guards"]
    site.rules("[{keep: {newest: 9}}]", guard="{max_share: null, max_newly_expired: 0.6}")
    assert site.json("run")["summary"]["deleted_manifests"] == 11
