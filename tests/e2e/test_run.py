"""Audit, run, restore: the installed command against a real registry."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema  # type: ignore[import-untyped]  # it ships no types
import pytest

from devtools.images import Image, build_image, build_index, signature_tag
from devtools.skopeo import Skopeo
from tests.e2e.conftest import Site, run_reaper

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "schema" / "report.schema.json").read_text())


def five_builds(site: Site) -> dict[str, Image]:
    return {f"b{n}": site.push("team/app", f"b{n}", age=60 - n) for n in range(1, 6)}


def test_an_audit_changes_nothing_and_says_what_would_go(site: Site) -> None:
    five_builds(site)
    site.rules("[{keep: {newest: 2}}]")
    seen = len(site.server.access_log())
    report = site.json("--dry-run")
    jsonschema.validate(report, SCHEMA)
    assert report["schema"] == "reaper.report/v1"
    assert report["dry_run"] is True
    assert report["outcome"] == "done"
    assert report["registry"] == site.server.url
    summary = report["summary"]
    assert (summary["repositories"], summary["tags"], summary["kept_tags"], summary["expired_tags"]) == (
        1,
        5,
        2,
        3,
    )
    assert (summary["manifests_to_delete"], summary["deleted_manifests"]) == (3, 0)
    assert {a.method for a in site.server.access_log()[seen:]} <= {"GET", "HEAD"}
    assert sorted(site.pusher.tags("team/app")) == ["b1", "b2", "b3", "b4", "b5"]
    tag = next(t for t in report["repositories"][0]["tags"] if t["tag"] == "b1")
    assert tag["decision"] == "expire"
    assert "rank 5 of 5" in tag["reason"]
    assert "created in config" in tag["reason"]


def test_dry_run_exit_code_says_whether_something_would_go(site: Site) -> None:
    five_builds(site)
    site.rules("[{keep: {newest: 2}}]")
    assert site.reaper("--dry-run", "--exit-code").code == 10
    assert site.reaper("run", "--dry-run").code == 0
    site.rules("[{keep: all}]")
    assert site.reaper("--dry-run", "--exit-code").code == 0


def test_a_run_deletes_and_a_second_run_finds_nothing_left(site: Site, skopeo: Skopeo) -> None:
    images = five_builds(site)
    site.rules("[{keep: {newest: 2}}]")
    report = site.json("run")
    assert report["summary"]["deleted_manifests"] == 3
    assert sorted(site.pusher.tags("team/app")) == ["b4", "b5"]
    for tag in ("b4", "b5"):
        site.pusher.pull("team/app", tag)
        host = site.server.url.removeprefix("http://")
        skopeo.inspect(f"docker://{host}/team/app:{tag}")
    for tag in ("b1", "b2", "b3"):
        assert site.pusher.get_manifest("team/app", images[tag].digest) is None
    again = site.json("run")
    assert again["summary"]["manifests_to_delete"] == 0


def test_restore_by_run_brings_everything_back(site: Site) -> None:
    images = five_builds(site)
    site.rules("[{keep: {newest: 2}}]")
    run = site.json("run")["run_id"]
    restored = site.reaper("restore", "--run", run, "--format", "json")
    assert restored.code == 0, restored.err
    assert sorted(site.pusher.tags("team/app")) == ["b1", "b2", "b3", "b4", "b5"]
    for tag, image in images.items():
        assert site.pusher.pull("team/app", tag).digest == image.digest


def test_an_index_goes_with_its_children_and_comes_back_whole(site: Site) -> None:
    parts = [build_image(seed=n, platform=p) for n, p in enumerate(("linux/amd64", "linux/arm64"))]
    shared = parts[0]
    old = build_index(parts, annotations={"org.opencontainers.image.created": "2020-01-01T00:00:00Z"})
    new = build_index(
        [shared, build_image(seed=9, platform="linux/s390x")],
        annotations={"org.opencontainers.image.created": "2024-01-01T00:00:00Z"},
    )
    site.pusher.push("multi", old, "v1")
    site.pusher.push("multi", new, "v2")
    site.pusher.push_signature("multi", old)
    site.rules("[{keep: {newest: 1}}]")
    report = site.json("run")
    assert report["summary"]["deleted_manifests"] == 3
    assert site.pusher.tags("multi") == ["v2"]
    site.pusher.pull("multi", "v2")
    assert site.pusher.get_manifest("multi", parts[1].digest) is None
    assert site.reaper("restore", "multi:v1").code == 0
    assert set(site.pusher.tags("multi")) == {"v1", "v2", signature_tag(old)}
    site.pusher.pull("multi", "v1")
    site.pusher.pull("multi", signature_tag(old))


def test_an_expired_tag_on_a_kept_digest_is_left_and_reported(site: Site) -> None:
    image = site.push("app", "release", "temp", age=60)
    site.rules("[{tags: {glob: 'release'}, keep: all}]")
    report = site.json("run")
    assert set(site.pusher.tags("app")) == {"release", "temp"}
    repository = report["repositories"][0]
    temp = next(t for t in repository["tags"] if t["tag"] == "temp")
    assert temp["decision"] == "expire"
    assert "shared-digest" in temp["reason"]
    assert [(m["digest"], m["action"]) for m in repository["manifests"]] == [(image.digest, "keep")]
    assert "shared-digest" in repository["manifests"][0]["reason"]


def test_a_repository_without_policy_is_never_touched(site: Site) -> None:
    site.push("mine/app", "old", age=400)
    site.push("mine/app", "new", age=300)
    site.push("theirs/app", "old", age=400, seed=7)
    site.policy(
        "version: 1\npolicies:\n  - name: mine\n    repositories: {include: ['mine/*']}\n"
        "    rules: [{keep: {newest: 1}}]\n"
    )
    report = site.json("run")
    assert site.pusher.tags("mine/app") == ["new"]
    assert site.pusher.tags("theirs/app") == ["old"]
    assert report["summary"]["ignored_tags"] == 1


def test_reclaimable_bytes_leave_out_what_another_repository_needs(site: Site) -> None:
    doomed = site.push("a", "old", age=50)
    site.push("a", "new", age=10)
    site.rules("[{keep: {newest: 1}}]")
    first = site.json("--dry-run")["summary"]["reclaimable_bytes"]
    assert first > 0
    site.pusher.push("b", doomed, "keep")
    assert site.json("--dry-run")["summary"]["reclaimable_bytes"] == 0


@pytest.mark.parametrize(
    ("guard", "name"),
    [
        ("{max_deletions: 2}", "max_deletions"),
        ("{max_share: 0.5}", "max_share"),
        ("{min_tags: 3}", "min_tags"),
    ],
)
def test_guard_rails_block_before_the_first_delete(site: Site, guard: str, name: str) -> None:
    five_builds(site)
    site.rules("[{keep: {newest: 2}}]", guard=guard)
    report = site.json("run", code=3)
    assert report["outcome"] == "blocked"
    assert name in {trip["guard"] for trip in report["guards"]}
    assert report["summary"]["deleted_manifests"] == 0
    assert len(site.pusher.tags("team/app")) == 5


def test_a_policy_that_matches_nothing_blocks(site: Site) -> None:
    five_builds(site)
    site.policy(
        "version: 1\npolicies:\n  - name: typo\n    repositories: {include: ['taem/*']}\n"
        "    rules: [{keep: all}]\n"
    )
    report = site.json("run", code=3)
    assert [trip["guard"] for trip in report["guards"]] == ["empty_match"]


def test_only_one_policy_or_repository(site: Site) -> None:
    for repository in ("a", "b"):
        site.push(repository, "old", age=50)
        site.push(repository, "new", age=10)
    site.rules("[{keep: {newest: 1}}]")
    site.json("run", "--repository", "a")
    assert site.pusher.tags("a") == ["new"]
    assert set(site.pusher.tags("b")) == {"old", "new"}
    assert site.reaper("run", "--policy", "nope").code == 2


def test_runs_are_listed_with_what_can_be_undone(site: Site) -> None:
    five_builds(site)
    site.rules("[{keep: {newest: 2}}]")
    run = site.json("run")["run_id"]
    listed = site.reaper("runs", "--format", "json").rows
    assert [(r["run"], r["outcome"], r["deleted"], r["undoable"]) for r in listed] == [(run, "done", 3, 3)]
    shown = site.reaper("runs", "show", run, "--format", "json").rows
    assert {row["state"] for row in shown} == {"deleted"}


def test_without_any_settings_file(site: Site, tmp_path: Path) -> None:
    five_builds(site)
    site.rules("[{keep: {newest: 2}}]")
    policies = str(site.folder / "policies")
    # A user's default is not taken: root's is one for the whole machine.
    store = {"REAPER_STORE__URL": f"sqlite:///{tmp_path}/reaper.db"}
    arguments = ("--dry-run", "--registry", site.server.url, "--policies", policies, "--format", "json")
    ended = run_reaper(*arguments, env=store)
    assert ended.code == 0, ended.err
    assert ended.report["summary"]["expired_tags"] == 3
