"""Products' own APIs before a real registry: what they tell decides, what they do not deletes nothing.

The registry is distribution; the APIs before it answer in the shapes of the products' documentation.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from aiohttp import web

from reaper.core.snapshot import ProductView
from reaper.store import open_store
from tests.e2e.conftest import Site
from tests.registry.fake import Fake, with_fake
from tests.registry.products.server import USER, answer, is_user, shape
from tests.registry.proxy import Proxy

DAY = timedelta(days=1)
SEARCH = "/v2/_zot/ext/search"
EPOCH = "1970-01-01T00:00:00Z"
RECENTLY = "[{keep: {within: 14d, since: pushed}}]"
PULLED = "[{keep: {pulled_within: 30d}}]"


def ago(days: int) -> str:
    """Return the time so many days ago, as the products write it."""
    return f"{datetime.now(UTC) - days * DAY:%Y-%m-%dT%H:%M:%SZ}"


class Zot:
    """zot's search extension, which knows what it is told of each repository."""

    def __init__(self) -> None:
        self.images: dict[str, list[dict[str, Any]]] = {}
        self.broken: set[str] = set()
        self.is_off = False

    def add(self, repository: str, tag: str, digest: str, *, pushed: int, pulled: int | None = None) -> None:
        """Know the tag, pushed and pulled so many days ago."""
        image = {
            "Tag": tag,
            "Digest": digest,
            "PushTimestamp": ago(pushed),
            "TaggedTimestamp": ago(pushed),
            "LastPullTimestamp": EPOCH if pulled is None else ago(pulled),
        }
        self.images.setdefault(repository, []).append(image)

    async def __call__(self, request: web.Request) -> web.StreamResponse | None:
        if request.path != SEARCH or self.is_off:
            return None
        query = request.query["query"]
        if "__type" in query:
            return answer(shape("zot_fields"))
        repository = json.loads(query.partition("repo:")[2].partition(",")[0])
        if repository in self.broken:
            return answer({"errors": [{"message": "internal"}], "data": None})
        found = self.images.get(repository, [])
        return answer({"data": {"ImageList": {"Page": {"TotalCount": len(found)}, "Results": found}}})


def before_the_registry(
    site: Site, api: Callable[[web.Request], Any], work: Callable[[], None], **product: str
) -> None:
    """Do the ``work`` while ``api`` answers before the site's registry does."""
    proxy = Proxy(site.server.url)
    proxy.before = api

    async def run(fake: Fake) -> None:
        site.settings["registries"] = [{"name": "main", "url": fake.url}]
        if product:
            site.settings["registries"][0]["product"] = product
        await asyncio.to_thread(work)

    with_fake(proxy, run)


def tags(report: dict[str, Any], repository: str) -> dict[str, tuple[str, str]]:
    """Return the decision on each tag, and its reason."""
    found = {each["name"]: each["tags"] for each in report["repositories"]}
    return {tag["tag"]: (tag["decision"], tag["reason"]) for tag in found[repository]}


def watched(site: Site, days: int) -> None:
    """Let a run of so many days ago have asked zot for pulls."""
    url = site.settings["registries"][0]["url"]
    at = datetime.now(UTC) - days * DAY
    with open_store(f"sqlite:///{site.folder}/reaper.db") as store:
        store.products.look(url, ProductView("zot", tells_pushes=True, pulls_since=at))


def test_zots_push_times_decide_not_the_builds(site: Site) -> None:
    zot = Zot()
    for tag, pushed in (("new", 3), ("old", 40)):
        image = site.push("app", tag, age=90, seed=pushed)
        zot.add("app", tag, image.digest, pushed=pushed)
    site.rules(RECENTLY)

    def work() -> None:
        decided = tags(site.json("--dry-run"), "app")
        assert decided["new"][0] == "keep"
        assert "pushed 3d ago" in decided["new"][1]
        assert "(zot's API), within 2w" in decided["new"][1]
        assert decided["old"][0] == "expire"
        [explained] = site.json("explain", "app:new")["tags"]
        assert explained["pushed"]["source"] == "zot's API"
        assert site.json("run")["summary"]["deleted_manifests"] == 1

    before_the_registry(site, zot, work)
    assert site.pusher.tags("app") == ["new"]


def test_zots_pull_times_decide_once_they_were_read_for_long_enough(site: Site) -> None:
    zot = Zot()
    for tag, pulled in (("used", 3), ("unused", 40), ("never", None)):
        image = site.push("app", tag, age=90, seed=pulled or 1)
        zot.add("app", tag, image.digest, pushed=60, pulled=pulled)
    site.rules(PULLED)

    def work() -> None:
        first = tags(site.json("--dry-run"), "app")
        assert {tag: decision for tag, (decision, _) in first.items()} == dict.fromkeys(first, "keep")
        assert "(zot's API), within 30d" in first["used"][1]
        assert "pulls are known only since" in first["never"][1]
        watched(site, days=60)
        decided = tags(site.json("run"), "app")
        assert decided["used"][0] == "keep"
        assert decided["unused"][0] == "expire"
        assert "pulled 40d ago (zot's API), beyond 30d" in decided["unused"][1]
        assert "no pull in 30d" in decided["never"][1]

    before_the_registry(site, zot, work)
    assert site.pusher.tags("app") == ["used"]


def test_a_repository_whose_times_cannot_be_read_is_left_alone(site: Site) -> None:
    zot = Zot()
    for repository in ("whole", "broken"):
        image = site.push(repository, "old", age=90)
        zot.add(repository, "old", image.digest, pushed=40)
    zot.broken.add("broken")
    site.rules(RECENTLY, guard="{min_tags: 0}")

    def work() -> None:
        report = site.json("run", code=4)
        [error] = next(each["errors"] for each in report["repositories"] if each["name"] == "broken")
        assert "push and pull times: zot's API" in error
        assert "`product: none` in the registry's settings does without" in error

    before_the_registry(site, zot, work)
    assert site.pusher.tags("broken") == ["old"]
    assert site.pusher.tags("whole") == []


def test_what_is_pushed_again_after_the_plan_is_not_deleted(site: Site) -> None:
    zot = Zot()
    for tag in ("again", "old"):
        image = site.push("app", tag, age=90, seed=len(tag))
        zot.add("app", tag, image.digest, pushed=40)
    site.rules(RECENTLY, guard="{min_tags: 0}")

    def work() -> None:
        plan = str(site.folder / "plan.json")
        assert site.reaper("plan", "-o", plan).code == 0
        # The same image under the same tag: no listing shows it.
        zot.images["app"][0]["TaggedTimestamp"] = f"{datetime.now(UTC).isoformat()}"
        manifests = site.json("apply", plan)["repositories"][0]["manifests"]
        skipped = [manifest["reason"] for manifest in manifests if manifest["action"] == "skip"]
        assert len(skipped) == 1
        assert "tag again has been pushed since the plan was made" in skipped[0]

    before_the_registry(site, zot, work)
    assert site.pusher.tags("app") == ["again"]


def test_a_product_that_is_there_no_more_holds_everything_up_until_a_person_says_so(site: Site) -> None:
    zot = Zot()
    image = site.push("app", "old", age=90)
    zot.add("app", "old", image.digest, pushed=3)
    site.rules(RECENTLY, guard="{min_tags: 0}")

    def work() -> None:
        assert tags(site.json("--dry-run"), "app")["old"][0] == "keep"
        zot.is_off = True
        [error] = site.json("--dry-run", code=4)["repositories"][0]["errors"]
        assert "told push times as zot, and does not any more" in error
        site.settings["registries"][0]["product"] = "none"
        # What it has told once is remembered: nothing is as old as its build all of a sudden.
        decided = tags(site.json("--dry-run"), "app")["old"]
        assert decided[0] == "keep"
        assert "(registry API)" in decided[1]

    before_the_registry(site, zot, work)


def test_harbor_lists_the_repositories_and_its_password_is_shown_to_nobody(
    site: Site, tmp_path: Path
) -> None:
    image = site.push("team/services/api", "1.0", age=90)
    site.push("hidden", "1.0", age=90)
    pushed, never = ago(40), "0001-01-01T00:00:00.000Z"
    artifact = {
        "digest": image.digest,
        "push_time": pushed,
        "pull_time": never,
        "tags": [{"name": "1.0", "push_time": pushed, "pull_time": never}],
    }
    routes = {
        "/api/v2.0/systeminfo": shape("harbor_systeminfo"),
        "/api/v2.0/repositories": [{"name": "team/services/api"}],
        "/api/v2.0/projects/team/repositories/services%252Fapi/artifacts": [artifact],
    }
    catalog: list[str] = []

    async def api(request: web.Request) -> web.StreamResponse | None:
        raw = request.raw_path.partition("?")[0]
        if raw == "/v2/_catalog":
            catalog.append(raw)
        if raw not in routes:
            return None
        if raw != "/api/v2.0/systeminfo" and not is_user(request):
            return web.Response(status=401)
        return answer(routes[raw])

    (tmp_path / "password").write_text("geheim\n")
    site.rules(RECENTLY, guard="{min_tags: 0}")

    def work() -> None:
        ended = site.reaper("--dry-run", "--format", "json", "-vv")
        assert ended.code == 0, ended.err
        assert tags(ended.report, "team/services/api")["1.0"][0] == "expire"
        assert len(ended.report["repositories"]) == 1
        seen = (
            ended.out
            + ended.err
            + "".join(file.read_bytes().decode("latin-1") for file in tmp_path.glob("reaper.db*"))
        )
        assert "geheim" not in seen

    assert USER.username is not None
    before_the_registry(
        site, api, work, name="harbor", username=USER.username, password_file=str(tmp_path / "password")
    )
    assert catalog == []
