"""`ls` and `runs`: look around, and back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from devtools.images import build_image, build_index, build_referrer
from tests.e2e.conftest import Site

BUILT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
def furnished(site: Site) -> Site:
    """A site with an image, a nested index and what refers to them."""
    amd, arm = (build_image(seed=p, created=BUILT, platform=p) for p in ("linux/amd64", "linux/arm64/v8"))
    inner = build_index([amd, arm])
    s390 = build_image(seed="s390x", created=BUILT + timedelta(days=1), platform="linux/s390x")
    site.pusher.push("team/app", build_index([inner, s390]), "multi")
    site.pusher.push("team/app", amd, "single")
    site.pusher.push_referrer("team/app", build_referrer(amd))
    site.pusher.push_signature("team/app", amd)
    site.pusher.push("other", amd, "v1")
    return site


def test_repositories(furnished: Site) -> None:
    rows = furnished.reaper("ls", "--format", "json").rows
    assert [row["repository"] for row in rows] == ["other", "team/app"]
    furnished.reaper("ls", "other")
    rows = furnished.reaper("ls", "--format", "json").rows
    assert rows[0]["tags"] == 1
    assert rows[0]["last_inventory"]
    assert rows[1]["tags"] is None


def test_tags(furnished: Site) -> None:
    rows = {row["tag"]: row for row in furnished.reaper("ls", "team/app", "--format", "json").rows}
    assert len(rows) == 4
    multi, single = rows["multi"], rows["single"]
    assert multi["platforms"] == ["linux/amd64", "linux/arm64/v8", "linux/s390x"]
    assert multi["created"] == "2026-01-03T03:04:05Z"
    assert single["platforms"] == ["linux/amd64"]
    assert single["created"] == "2026-01-02T03:04:05Z"
    assert single["size"] == furnished.pusher.pull("team/app", "single").size
    assert (multi["referrers"], single["referrers"]) == (0, 2)
    shown = furnished.reaper("ls", "team/app").out
    assert max(map(len, shown.splitlines())) <= 80
    assert f"{single['digest'][:19]}  2026-01-02" in shown
    assert single["digest"] not in shown
    assert single["digest"][:40] in furnished.reaper("ls", "-v", "team/app", "--format", "csv").out


def test_one_image(furnished: Site) -> None:
    rows = furnished.reaper("ls", "team/app:multi", "--format", "json").rows
    digest = rows[0]["digest"]
    assert furnished.reaper("ls", f"team/app@{digest}", "--format", "json").rows == rows
    assert furnished.reaper("ls", f"team/app:multi@{digest}", "--format", "json").rows == rows
    assert [row["part"] for row in rows].count("image") == 3
    assert [row["part"] for row in rows].count("referrer") == 2
    shown = furnished.reaper("ls", "team/app:multi").out
    assert "\n    image" in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_what_is_not_there(furnished: Site) -> None:
    furnished.rules("[{keep: all}]")
    for command, reference, code, says in (
        ("ls", "nobody/here", 1, "there is no repository nobody/here"),
        ("explain", "nobody/here", 1, "there is no repository nobody/here"),
        ("ls", "team/app:v9", 1, "team/app:v9 is not there"),
        ("explain", f"team/app@sha256:{'0' * 64}", 1, "is not known"),
        ("ls", f"team/app:single@sha256:{'0' * 64}", 1, "the tag is on sha256:"),
        ("ls", "team/App", 2, "does not name a repository"),
        ("explain", "https://registry.example.com/team/app", 2, "does not name a repository"),
    ):
        ended = furnished.reaper(command, reference)
        assert (ended.code, ended.out) == (code, ""), reference
        assert ended.err.startswith("reaper: ")
        assert says in ended.err


def test_an_emptied_repository_is_there(site: Site) -> None:
    image = site.push("app", "v1", age=3)
    site.pusher.delete("app", image.digest)
    site.rules("[{keep: all}]")
    assert site.reaper("ls", "app").out == "tags of app\n  None.\n"
    assert site.reaper("explain", "app").out == "app has no tags, and no manifests that reaper knows of\n"


def test_past_runs(site: Site) -> None:
    for age in (9, 8, 7):
        site.push("app", f"b{age}", age=age)
    site.rules("[{keep: {newest: 1}}]")
    run = site.json("run")["run_id"]
    site.json("--dry-run")
    site.reaper("restore", "app:b9")
    rows = site.reaper("runs", "--format", "json").rows
    assert [(row["command"], row["outcome"], row["deleted"], row["undoable"]) for row in rows] == [
        ("run --dry-run", "done", 0, 0),
        ("run", "done", 2, 1),
    ]
    shown = site.reaper("runs").out.splitlines()
    assert shown[0] == f"runs of {site.server.url}"
    assert shown[3].startswith(f"{run}  run")
    assert max(map(len, shown)) <= 80
    found = site.reaper("runs", "show", run[:6])
    assert "2 manifests deleted" in " ".join(found.out.split())
    assert max(map(len, found.out.splitlines())) <= 80
    states = {tuple(row["tags"]): row["state"] for row in site.reaper("runs", "show", run, "-f", "json").rows}
    assert states == {("b8",): "deleted", ("b9",): "restored"}
    assert site.reaper("runs", "--limit", "1", "-f", "json").rows == rows[:1]
    for name in ("main", site.server.url, site.server.host, site.server.url.replace("http", "HTTP")):
        assert site.reaper("runs", "--registry", name, "-f", "json").rows == rows, name
    assert site.reaper("runs", "--registry", "http://127.0.0.1:1", "-f", "json").rows == []
    assert site.reaper("runs", "show", "nope").code == 2
    assert site.reaper("runs", "delete").code == 2
