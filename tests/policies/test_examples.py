"""Each example in policies/ does what its comment claims."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from reaper.config.policies import load_policies
from reaper.core.guard import check_matches, check_repository
from reaper.core.manifest import Kind
from reaper.core.plan import build_plan
from reaper.core.policy import Policy
from reaper.core.retention import Decision, Decisions, decide
from reaper.core.snapshot import ManifestEntry, Snapshot
from tests.core.build import entry, image, kept, snapshot
from tests.core.generate import NOW, child, manifest

FOLDER = Path(__file__).parents[2] / "policies"
FILES = sorted(file for file in FOLDER.glob("*.yaml") if ".test" not in file.suffixes)
COMMENT = "# yaml-language-server: $schema=../docs/schema/policy.schema.json\n#\n# For: "


def policies(name: str) -> tuple[Policy, ...]:
    return load_policies([FOLDER / f"{name}.yaml"])


def aged(tags: Mapping[str, str]) -> dict[str, ManifestEntry]:
    """Return an image of its own for each tag, with the tag's age."""
    return {tag: image(tag, age) for tag, age in tags.items()}


def look(repository: str, tags: Mapping[str, ManifestEntry], *untagged: ManifestEntry) -> Snapshot:
    return replace(snapshot(tags, *untagged), repository=repository)


def judged(name: str, of: Snapshot) -> Decisions:
    return decide(policies(name), of, NOW)


def keeps(name: str, repository: str, tags: Mapping[str, str]) -> set[str]:
    """Return the tags that the example keeps, of images with the given ages."""
    return kept(judged(name, look(repository, aged(tags))))


def trips(name: str, of: Snapshot) -> list[str]:
    """Return the guard rails that the example's plan runs into."""
    plan = build_plan(of, judged(name, of), can_untag=False)
    return [trip.guard for trip in check_repository(plan, policies(name))]


def builds(prefix: str, ages: Sequence[int]) -> dict[str, str]:
    """Return a tag ``<prefix>-<commit>`` for each age in days."""
    return {f"{prefix}-{age:07x}": f"{age}d" for age in ages}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_an_example_says_for_whom_it_is_and_can_be_read(file: Path) -> None:
    assert file.read_text().startswith(COMMENT)
    assert load_policies([file])


def test_the_examples_can_stand_together_and_the_table_has_them_all() -> None:
    assert len(load_policies([FOLDER])) >= len(FILES) >= 6
    table = re.findall(r"^\| \[(\S+)\]\((\S+)\) \|", (FOLDER / "README.md").read_text(), re.MULTILINE)
    assert sorted(table) == [(file.name, file.name) for file in FILES]


def test_none_touches_what_it_does_not_name() -> None:
    for file in FILES:
        if file.stem != "starter":
            decisions = judged(file.stem, look("somebody/else", aged({"old": "999d"})))
            assert decisions.tags["old"].decision is Decision.IGNORE


def test_starter_keeps_releases_known_names_three_months_and_twenty() -> None:
    names = {"v1.0.0": "900d", "2.0.0-rc.1": "900d", "main": "900d", "prod-eu": "900d", "latest": "900d"}
    recent = builds("x", range(60, 90))
    assert keeps("starter", "any/thing", {**names, **recent, "old": "91d"}) == {*names, *recent}
    old = builds("y", range(100, 130))
    assert keeps("starter", "any/thing", old) == set(list(old)[:20])


def test_starter_stops_when_more_than_a_tenth_would_go() -> None:
    young = builds("x", range(15, 90))
    assert trips("starter", look("any/thing", aged({**young, **builds("old", range(91, 99))}))) == []
    assert trips("starter", look("any/thing", aged({**young, **builds("old", range(91, 101))}))) == [
        "max_share"
    ]


def test_services_keeps_releases_and_five_builds_of_each_living_branch() -> None:
    releases = {"v1.2.3": "900d", "2.0.0": "400d"}
    living, dormant = builds("feature-a", range(16, 40)), builds("feature-b", range(61, 70))
    main = builds("main", range(20, 100))
    fate = keeps("services", "services/api", {**releases, **living, **dormant, **main, "0.9.0": "900d"})
    assert fate == {*releases, *list(living)[:5], *list(main)[:50]}
    assert keeps("services", "services/api", {**living, "odd": "13d"}) >= {"odd"}
    assert "odd" not in keeps("services", "services/api", {**living, "odd": "15d"})


def test_services_leaves_the_legacy_ones_alone() -> None:
    decisions = judged("services", look("services/legacy/x", aged({"old": "900d"})))
    assert decisions.tags["old"].decision is Decision.IGNORE


def test_releases_keeps_versions_and_channels_for_good_and_the_latest_prereleases() -> None:
    for_good = {"v1.0.0": "3000d", "0.1.0": "3000d", "1": "900d", "v1.2": "900d", "stable": "900d"}
    candidates = {f"v2.0.0-rc.{n}": f"{500 - n}d" for n in range(1, 16)}
    rest = {"nightly-x": "31d", "sha-abc": "90d"}
    fate = keeps("releases", "products/db", {**for_good, **candidates, **rest, "sha-new": "29d"})
    assert fate == {*for_good, *list(candidates)[5:], "sha-new"}


def test_nightly_keeps_what_the_calendar_of_berlin_says() -> None:
    """Built at 22:30 UTC: in Berlin's summer that is the next day already."""
    times = [datetime(2026, 6, 14, 22, 30, tzinfo=UTC) - timedelta(days=n) for n in range(1300)]
    tags = {f"n-{time:%Y%m%d}": image(f"n{n}", time) for n, time in enumerate(times)}
    berlin = [time.astimezone(ZoneInfo("Europe/Berlin")) for time in times]

    def latest_of(form: str, count: int) -> set[str]:
        """Return the last build of each of the ``count`` latest periods, the newest first."""
        last: dict[str, str] = {}
        for tag, time in zip(tags, berlin, strict=True):
            last.setdefault(time.strftime(form), tag)
        return set(list(last.values())[:count])

    wanted = latest_of("%Y-%m-%d", 7) | latest_of("%G-%V", 4) | latest_of("%Y-%m", 12) | latest_of("%Y", 3)
    assert berlin[0].day == 15
    assert kept(judged("nightly", look("nightly/app", tags))) == wanted
    utc = decide([replace(policies("nightly")[0], timezone=ZoneInfo("UTC"))], look("nightly/app", tags), NOW)
    assert kept(utc) != wanted


def test_nightly_keeps_failed_builds_for_three_days() -> None:
    failed = {f"n-{n}-failed": f"{n}d" for n in range(1, 10)}
    assert keeps("nightly", "firmware/nightly/a/b", failed) == {"n-1-failed", "n-2-failed"}


def test_pull_requests_count_from_the_last_build_of_each() -> None:
    waiting = {"pr-7-aaaaaaa": "40d", "pr-7-bbbbbbb": "42d", "pr-7-ccccccc": "44d"}
    busy = {f"pr-8-{n:07x}": f"{n}d" for n in range(1, 9)}
    forgotten = {"pr-9-ddddddd": "61d"}
    other = {"test": "25h", "test-2": "23h"}
    fate = keeps("pull-requests", "previews/web", {**waiting, **busy, **forgotten, **other})
    assert fate == {"pr-7-aaaaaaa", "pr-7-bbbbbbb", *list(busy)[:4], "test-2"}


def test_mirror_goes_by_pulls_and_keeps_all_while_they_are_unknown() -> None:
    tags = aged(
        {"1.0.0": "400d", "1.1.0": "390d", "2.0.0": "300d", "2.1.0": "200d", "used": "400d", "x": "400d"}
    )
    assert kept(judged("mirror", look("mirror/nginx", tags))) == set(tags)
    known = snapshot(tags, pulls_tracked="90d", pulled={"used": "59d", "x": "61d", "1.0.0": "89d"})
    fate = judged("mirror", replace(known, repository="mirror/nginx"))
    assert kept(fate) == {"used", "1.1.0", "2.0.0", "2.1.0"}


def test_mirror_leaves_what_has_no_tag_alone() -> None:
    loose = image("loose", "900d", seen="900d")
    assert loose.digest in judged("mirror", look("mirror/nginx", aged({"a": "1d"}), loose)).kept


def test_monorepo_has_rules_for_each_kind() -> None:
    apps = {f"web-v1.0.{n}": f"{300 - n}d" for n in range(30)} | {"api-v0.1.0": "900d"}
    branches = {f"main.{n}": f"{60 - n}d" for n in range(1, 31)}
    fate = keeps("monorepo", "acme/apps/shop", {**apps, **branches, "prod-eu": "900d", "junk": "30d"})
    assert fate == {*list(apps)[10:30], "api-v0.1.0", *list(branches)[20:], "prod-eu"}
    assert keeps("monorepo", "acme/ci/lint", {"a": "2d", "b": "4d"}) == {"a"}
    assert keeps("monorepo", "acme/ci/toolchain", {"a": "900d"}) == set()  # ignored, which is not kept


def test_monorepo_keeps_what_is_deployed_whatever_else_is_said_and_in_any_order() -> None:
    tags = aged({f"b-{n}": f"{n * 31}d" for n in range(1, 30)} | {"prod-1": "950d", "staging-1": "950d"})
    of = look("acme/base/debian", tags)
    forwards = decide(policies("monorepo"), of, NOW)
    backwards = decide(policies("monorepo")[::-1], of, NOW)
    assert kept(forwards) == kept(backwards) >= {"prod-1", "staging-1"}
    assert len(kept(forwards)) == 8  # six months (five of them are the newest five), and the two
    without = [policy for policy in policies("monorepo") if policy.name != "monorepo safety net"]
    assert kept(decide(without, of, NOW)).isdisjoint({"prod-1", "staging-1"})


def test_multi_arch_keeps_an_index_whole_and_what_refers_to_it() -> None:
    tags: dict[str, ManifestEntry] = {}
    parts: list[ManifestEntry] = []
    for minor in (1, 2):
        for patch in range(8):
            name = f"v1.{minor}.{patch}"
            platforms = [image(f"{name}-{platform}", "500d", seen="500d") for platform in ("amd64", "arm64")]
            children = tuple(child(part.manifest) for part in platforms)
            index = manifest(name, Kind.INDEX, children=children)
            tags[name] = entry(index, "500d", seen="500d")
            signature = manifest(f"{name} sig", subject=index.digest)
            tags[index.digest.replace(":", "-") + ".sig"] = entry(signature, "499d", seen="499d")
            parts += platforms
    decisions = judged("multi-arch", look("images/tool", tags, *parts))
    stays = {f"v1.{minor}.{patch}" for minor in (1, 2) for patch in range(3, 8)}
    signatures = {tags[name].digest.replace(":", "-") + ".sig" for name in stays}
    assert kept(decisions) == stays | signatures
    wanted = {part.digest for name in stays for part in parts if _is_child(tags[name], part)}
    assert len(wanted) == 2 * len(stays)
    assert wanted <= decisions.kept
    assert not ({part.digest for part in parts} - wanted) & decisions.kept


def _is_child(index: ManifestEntry, part: ManifestEntry) -> bool:
    return part.digest in {each.digest for each in index.manifest.children}


def test_multi_arch_counts_from_the_push_where_builds_are_reproducible() -> None:
    """Built reproducibly, dated 1970; reaper saw each of them come."""
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    seen = {"v1.0.0-rc.1": "365d", "v2.0.0-rc.1": "363d", "v3.0.0-rc.1": "10d"}
    seen |= {f"edge-{n}": f"{n}d" for n in range(31, 50)}
    tags = {name: image(name, epoch, seen=age) for name, age in seen.items()}
    of = replace(snapshot(tags, first_inventory="400d", tag_seen=seen), repository="images/tool")
    fate = kept(judged("multi-arch", of))
    assert fate == {"v2.0.0-rc.1", "v3.0.0-rc.1", *(f"edge-{n}" for n in range(31, 41))}


def test_multi_arch_never_deletes_what_has_support_for_long() -> None:
    assert keeps("multi-arch", "images/tool", {"v1-lts": "3000d", "fips-1": "3000d", "other": "60d"}) == {
        "v1-lts",
        "fips-1",
    }


def test_build_cache_goes_after_a_week_and_nothing_stops_it() -> None:
    for repository in ("team/app/cache", "cache", "team/app-cache", "cache/team/app"):
        assert keeps("build-cache", repository, {"main": "6d", "latest": "8d", "pr-1": "8d"}) == {"main"}
    of = look("cache/app", aged({f"t-{n}": "30d" for n in range(200)}))
    assert kept(judged("build-cache", of)) == set()
    assert trips("build-cache", of) == []
    assert list(check_matches(policies("build-cache"), {}, 10)) == []


def test_build_cache_lets_go_of_what_a_newer_one_replaced() -> None:
    old = image("old", "3h", seen="3h")
    decisions = judged("build-cache", look("cache/app", aged({"main": "1m"}), old))
    assert decisions.untagged[old.digest].decision is Decision.EXPIRE
