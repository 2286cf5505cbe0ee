"""`diff`: what a change of policies would do, on the registry or on what is remembered of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from devtools.images import build_image, build_index
from tests.e2e.conftest import Site


@pytest.fixture
def changed(site: Site) -> Site:
    """A site with two repositories, a policy, and the policy as it would be."""
    for number in range(4):
        site.push("team/app", f"t{number}", age=10 * number + 1)
    site.pusher.push("team/app", build_index([build_image(seed="part")]), "index")
    site.push("other", "t9", age=91)
    policy = (
        "version: 1\npolicies:\n  - name: p\n    repositories: ['team/*']\n    minimum_age: 0s\n    rules: "
    )
    (site.folder / "old.yaml").write_text(f"{policy}[{{keep: {{newest: 3}}}}, {{tags: t3, keep: all}}]\n")
    (site.folder / "new.yaml").write_text(f"{policy}[{{keep: {{newest: 2}}}}]\n")
    return site


def files(site: Site) -> tuple[str, str]:
    return str(site.folder / "old.yaml"), str(site.folder / "new.yaml")


def test_what_would_newly_be_deleted_or_kept(changed: Site) -> None:
    seen = len(changed.server.access_log())
    found = changed.json("diff", *files(changed))
    assert {access.method for access in changed.server.access_log()[seen:]} <= {"GET", "HEAD"}
    assert found["schema"] == "reaper.diff/v1"
    assert [(change["tag"], change["turn"]) for change in found["changes"]] == [
        ("t2", "newly-expired"),
        ("t3", "newly-expired"),
    ]
    assert "keeps 3" in found["changes"][0]["reason_before"]
    assert "keeps 2" in found["changes"][0]["reason_after"]
    summary = found["summary"]
    assert (summary["repositories"], summary["newly_expired_tags"]) == (1, 2)
    assert (summary["newly_deleted_manifests"], summary["newly_kept_manifests"]) == (2, 0)
    assert summary["reclaimable_before"] == 0 < summary["reclaimable_after"]
    old, new = files(changed)
    back = changed.json("diff", new, old)
    assert {change["turn"] for change in back["changes"]} == {"newly-kept"}
    assert changed.reaper("diff", old, old).out == "Nothing changes in 1 repository.\n"


def test_people_read_what_was_and_what_would_be(changed: Site) -> None:
    ended = changed.reaper("diff", *files(changed), "--exit-code")
    assert (ended.code, ended.err) == (10, "")
    lines = ended.out.splitlines()
    assert lines[0] == "team/app"
    assert lines[1].startswith("  - t2 (")
    assert lines[2].startswith("      before: rule 1: rank 3 of 5 ")
    assert lines[3].startswith("      after:  no rule keeps it: rule 1: rank 3 of 5 ")
    assert lines[-3] == "  - 2 tags newly expired, 2 manifests newly deleted"
    assert changed.reaper("diff", *files(changed), "--exit-code", "--repository", "other").code == 0


def test_on_the_last_inventory_the_registry_is_not_asked(changed: Site) -> None:
    assert changed.json("diff", *files(changed), "--last-inventory")["summary"]["repositories"] == 0
    live = changed.json("diff", *files(changed))
    seen = len(changed.server.access_log())
    remembered = changed.json("diff", *files(changed), "--last-inventory")
    assert len(changed.server.access_log()) == seen
    assert remembered["summary"] == live["summary"]
    strip = {"reason_before", "reason_after"}
    assert [{k: v for k, v in change.items() if k not in strip} for change in remembered["changes"]] == [
        {k: v for k, v in change.items() if k not in strip} for change in live["changes"]
    ]


def test_a_repository_that_cannot_be_read_is_said(changed: Site, tmp_path: Path) -> None:
    image = changed.push("team/broken", "v1", age=3)
    value = image.digest.removeprefix("sha256:")
    blobs = changed.server.storage / "docker/registry/v2/blobs/sha256"
    (blobs / value[:2] / value / "data").unlink()
    changed.server.restart()
    ended = changed.reaper("diff", *files(changed), "--format", "csv")
    assert ended.code == 4
    assert "reaper: team/broken: tag v1 is listed, but its manifest is not found" in ended.err
    assert ended.out.count("newly-expired") == 2


def test_policies_that_are_not_valid(changed: Site) -> None:
    ended = changed.reaper("diff", str(changed.folder / "old.yaml"), str(changed.folder / "nowhere.yaml"))
    assert ended.code == 2
    assert "nowhere.yaml: there is no such file" in ended.err
