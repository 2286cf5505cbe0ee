"""What the pages say, that nothing in them is anybody else's markup, and that they stay small."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from html import unescape
from html.parser import HTMLParser

import pytest
from sqlalchemy import insert

from reaper.report.model import Outcome
from reaper.store import Action, NewEntry, State
from reaper.store.tables import journal
from reaper.web.state import Configuration, Job
from tests.report.reports import HOSTILE, done, hostile, report
from tests.web.conftest import Site
from tests.web.site import DAY, EDGE, MAIN, NOW, delete, fill, keep


def text_of(page: str) -> str:
    """Return what a reader sees, on one line."""
    body = re.sub(r"<(style|title|desc)[^>]*>.*?</\1>", " ", page, flags=re.DOTALL)
    body = re.sub(r"</?(time|code|a|span|strong)\b[^>]*>", "", body)
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", body)))


class Balanced(HTMLParser):
    """Fails on tags that do not match, and collects ids, references and headings."""

    VOID = frozenset({"meta", "link"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.used: set[str] = set()
        self.headings: list[int] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            elif name == "aria-labelledby":
                self.used.update((value or "").split())
            elif name == "href" and (value or "").startswith("#"):
                self.used.add((value or "")[1:])

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del tag, attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def check(page: str) -> None:
    """Check the page's structure."""
    parser = Balanced()
    parser.feed(page.removeprefix("<!doctype html>\n"))
    assert parser.open == []
    assert len(parser.ids) == len(set(parser.ids))
    assert parser.used <= set(parser.ids)
    assert parser.headings[0] == 1
    assert parser.headings.count(1) == 1
    assert all(
        after - before <= 1 for before, after in zip(parser.headings, parser.headings[1:], strict=False)
    )
    assert page.startswith('<!doctype html>\n<html lang="en">')
    for table in re.findall("<table.*?</table>", page, re.DOTALL):
        assert "<caption>" in table


def test_an_empty_store_makes_a_page(site: Site) -> None:
    for path in ("/", "/runs"):
        answer = site.get(path)
        assert answer.status_code == 200
        check(answer.text)
    text = text_of(site.get("/").text)
    assert "No run has ended yet." in text
    assert "Nothing was deleted or collected in the last 30 days." in text
    assert "there is no delete that a collection has not swept" in text
    site.state.current = replace(site.state.current, registries={}, jobs=())
    assert "Nothing is scheduled" in site.get("/").text


def test_the_status_page_tells_all_that_there_is(site: Site) -> None:
    fill(site.store)
    answer = site.get("/")
    check(answer.text)
    text = text_of(answer.text)
    for told in (
        "main run services, everything 0 2 * * * (UTC) 2026-07-01 01:30:00Z (8h ago) 2026-07-02 01:30",
        "running since 2026-07-01 09:27:00Z",
        "Last run run0029aaaaa, 2026-07-01 01:30:00Z (8h ago): partial",
        "login-0000001 delete 39d 120 MiB no rule keeps it: last five builds of each branch: rank 7 of 9",
        "36 deletes, until the next collection.",
        "reaper restore --run run0029aaaaa --registry main",
        "reaper restore services/api:login-000000b --registry main",
        "edge: the last run is blocked and waits for a person.",
        "Blocked by 2 guard rails: nothing was deleted",
        "13 of 17 tags (76%) would go; policy services allows 50%",
        "policy old matches 0 of 4 repositories, and its guard demands 1",
        "raise guard.max_share in the policy",
        "gc0026aaaaaa main collection 2026-06-28 05:30:00Z (3d ago) 2m done Freed 12 blobs, 2.6 GiB.",
    ):
        assert told in text, told
    assert "Dry run" not in text
    assert "Standby" not in text
    assert len(re.findall(r"<rect[^>]* fill=\"url\(#registry-1-stripes\)\"[^>]*><title>", answer.text)) == 4
    assert len(re.findall(r"<rect class=\"deleted\" x=[^>]*><title>", answer.text)) == 30


def test_the_banners(site: Site) -> None:
    error = "policies.yaml:3:5: unknown key '<b>ruels'\n  did you mean 'rules'?"
    configuration = Configuration(NOW - DAY, error, NOW - DAY / 2, ("/etc/reaper/reaper.yaml",))
    site.state.current = replace(site.state.current, dry_run=True, leader=False, configuration=configuration)
    site.state.reason = "the event loop hangs"
    page = site.get("/").text
    check(page)
    text = text_of(page)
    for told in (
        "Dry run: nothing is deleted.",
        "Standby.",
        "The settings or policies on disk are not valid",
        "What was loaded on 2026-06-30 09:30:00Z stays in force. Refused on 2026-06-30 21:30:00Z:",
        "policies.yaml:3:5: unknown key '<b>ruels'",
        "Not well: the event loop hangs",
    ):
        assert told in text, told
    assert "<b>ruels" not in page


def test_a_run_has_a_page(site: Site) -> None:
    fill(site.store)
    page = site.get("/runs/edge0000aaaa").text
    check(page)
    text = text_of(page)
    for told in (
        "Registry edge https://edge.example.com:5000",
        "Nothing was deleted. The plan: 13 tags to expire, 13 manifests to delete",
        "Collection first (command): postponed",
        "Blocked by 2 guard rails",
        "Reclaimable 1.5 GiB",
        "services/broken: tag v2: the registry lists it and answers 404",
        "untagged for 9d (first seen by reaper), older than 24h",
    ):
        assert told in text, told
    page = site.get("/runs/run0029aaaaa").text
    check(page)
    assert "Undo all that can be undone: reaper restore --run run0029aaaaa --registry main" in text_of(page)
    for other in ("/runs/edge0001aaaa", "/runs/gc0026aaaaaa"):
        check(site.get(other).text)
    assert "not yet" in text_of(site.get("/runs/edge0001aaaa").text)
    assert "Freed 12 blobs, 2.6 GiB." in text_of(site.get("/runs/gc0026aaaaaa").text)
    assert site.get("/runs/run0029").status_code == 200, "the beginning of an id is enough"
    assert site.get("/runs/run00").status_code == 404, "where it is the beginning of one"


def test_what_was_undone_or_collected_offers_no_undo(site: Site) -> None:
    fill(site.store)
    site.store.journal.mark_collected(MAIN, NOW, NOW)
    page = site.get("/runs/run0029aaaaa").text
    assert "12 collected." in text_of(page)
    assert "reaper restore" not in page
    assert "reaper restore" not in site.get("/").text


def test_one_registry_needs_no_option(site: Site) -> None:
    fill(site.store)
    site.state.current = replace(site.state.current, registries={"main": MAIN})
    text = text_of(site.get("/").text)
    assert "reaper restore --run run0029aaaaa" in text
    assert "--registry" not in text


def test_a_run_of_another_version_is_shown_without_its_changes(site: Site) -> None:
    site.store.runs.begin("old", MAIN, "run", False, NOW - DAY)
    site.store.runs.finish("old", NOW, "done", {"tags": "many", "new_figure": 3}, b'{"schema": "other"}')
    check(site.get("/runs/old").text)
    assert "What it changed was not kept." in site.get("/runs/old").text
    site.store.runs.begin("new", MAIN, "run", False, NOW - DAY / 2)
    site.store.runs.finish("new", NOW, "an outcome of the future", {})
    for path in ("/", "/runs", "/runs/new"):
        assert site.get(path).status_code == 200


@pytest.mark.parametrize("path", ["/", "/runs", "/runs/evil"])
def test_hostile_text_is_text(site: Site, path: str) -> None:
    names = {name.replace("\ud800", ""): MAIN for name in HOSTILE}
    first = next(iter(names))
    site.state.current = replace(
        site.state.current,
        registries=names,
        jobs=tuple(Job(name, "run", (name,), name) for name in names),
        configuration=Configuration(NOW, "".join(names), NOW, tuple(names)),
        version=first,
    )
    site.state.reasons = list(names)
    told = replace(
        report(),
        run_id="evil",
        registry=MAIN,
        dry_run=False,
        outcome=Outcome.FAILED,
        error="".join(names),
        notes=list(names),
        repositories=[hostile()],
    )
    keep(site.store, told)
    for number, name in enumerate(names):
        entry = NewEntry(
            registry=MAIN,
            repository=name,
            digest=f"sha256:{number:064x}",
            action=Action.DELETE,
            media_type=name,
            content=b"",
            tags=(name,) * 7,
            policy=name,
            rule=name,
            reason=name,
            run_id="evil",
            created_at=NOW,
        )
        site.store.journal.mark(site.store.journal.begin(entry), State.DELETED, NOW)
    page = site.get(path).text
    check(page)
    assert not re.search(r"<script|<img|javascript:", page)
    assert not [char for char in page if not char.isprintable() and char != "\n"]
    assert "\u202e" not in page
    if path != "/runs":
        assert "gpj.\\u202eexe" in page
        assert "\\x1b[31mred" in page


def test_runs_come_in_pages(site: Site) -> None:
    for number in range(120):
        begun = NOW - timedelta(hours=number, microseconds=123)
        of = (MAIN, EDGE)[number % 2]
        keep(
            site.store,
            replace(done(), run_id=f"r{number:03}", registry=of, started_at=begun, finished_at=NOW),
        )
    seen: list[str] = []
    path: str | None = "/runs"
    pages = 0
    while path:
        page = site.get(path).text
        check(page)
        seen += re.findall(r'href="/runs/(r\d+)"', page)
        older = re.search(r'rel="next" href="([^"]+)"', page)
        path = unescape(older[1]) if older else None
        pages += 1
    assert seen == [f"r{number:03}" for number in range(120)]
    assert pages == 3
    only = site.get("/runs?registry=edge").text
    assert re.findall(r'href="/runs/(r\d+)"', only) == [f"r{number:03}" for number in range(1, 101, 2)]
    older = re.search(r'rel="next" href="([^"]+)"', only)
    assert older is not None
    assert len(re.findall(r'href="/runs/(r\d+)"', site.get(unescape(older[1])).text)) == 10


def test_a_journal_comes_in_pages(site: Site) -> None:
    keep(site.store, replace(done(), run_id="big", registry=MAIN))
    for number in range(250):
        delete(site.store, number, "big", NOW, tags=(f"t{number}",))
    seen: list[int] = []
    path: str | None = "/runs/big"
    while path:
        page = site.get(path).text
        seen += [int(number) for number in re.findall(r"reaper restore services/api:t(\d+)", page)]
        older = re.search(r'rel="next" href="([^"#]+)#journal"', page)
        path = unescape(older[1]) if older else None
    assert seen == list(range(249, -1, -1))


@pytest.mark.parametrize(
    "path",
    [
        "/runs?before=x",
        "/runs?before=2026-07-01T00:00:00",
        "/runs/run0029aaaaa?before=-1",
        "/runs/a?before=²",
        f"/runs/a?before={10**30}",
    ],
)
def test_a_wrong_page_is_said(site: Site, path: str) -> None:
    assert site.get(path).status_code == 400


@pytest.mark.parametrize("path", ["/?registry=other", "/runs?registry=other"])
def test_an_unknown_registry_is_not_found(site: Site, path: str) -> None:
    assert site.get(path).status_code == 404


def test_many_registries_are_listed_and_shown_one_by_one(site: Site) -> None:
    names = {f"registry {number}/&": f"https://r{number}.example.com" for number in range(40)}
    site.state.current = replace(site.state.current, registries=names)
    keep(site.store, replace(done(), run_id="last", registry="https://r39.example.com"))
    page = site.get("/").text
    check(page)
    assert len(page) < 100_000
    (link,) = re.findall(r'href="(/\?registry=registry%2039[^"]*)"', page)
    one = site.get(unescape(link)).text
    check(one)
    assert "last" in text_of(one)


def test_a_large_store_makes_no_large_page(site: Site) -> None:
    rows = [replace(repository, name=f"app-{number}") for number in range(300) for repository in done()]
    keep(site.store, replace(done(), run_id="large", registry=MAIN, repositories=rows))
    columns = {
        "registry": MAIN,
        "repository": "app",
        "action": "delete",
        "media_type": "m",
        "content": b"x" * 10_000,
        "tags": [],
        "policy": "p",
        "rule": "r",
        "reason": "r" * 5000,
        "run_id": "large",
        "plan": {},
        "reclaimable_bytes": 0,
        "state": "deleted",
        "created_at": NOW,
        "updated_at": NOW,
        "deleted_at": NOW,
    }
    with site.store._database.writing() as connection:
        rows_of = [{**columns, "digest": f"sha256:{number:064x}"} for number in range(2000)]
        connection.execute(insert(journal), rows_of)
    page = site.get("/").text
    check(page)
    assert len(page) < 150_000
    text = text_of(page)
    assert "2,000 deletes, until the next collection." in text
    assert "at least 1,000" in text
    assert "more: run large lists more of them" in text
    run = site.get("/runs/large").text
    check(run)
    assert len(run) < 2_000_000
