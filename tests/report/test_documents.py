"""Markdown and HTML."""

from __future__ import annotations

import io
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from reaper.report.model import Outcome, RunReport, Summary
from reaper.report.render import Format, render
from reaper.report.templating import code
from reaper.report.text import safe
from tests.report.reports import HOSTILE, api, blocked, done, hostile, report


def rendered(run: RunReport, format: Format, *, verbose: bool = False) -> str:  # noqa: A002
    out = io.StringIO()
    render(run, format, out, verbose=verbose)
    return out.getvalue()


def tokens(text: str) -> list[Token]:
    found = MarkdownIt("commonmark").enable("table").parse(text)
    return [inner for token in found for inner in (token, *(token.children or ()))]


def everything_hostile() -> RunReport:
    return report(
        repositories=[hostile()],
        notes=list(HOSTILE),
        error=HOSTILE[5],
        guards=[replace(blocked().guards[0], repository=HOSTILE[4], message=name) for name in HOSTILE],
    )


def test_markdown_has_the_summary_and_the_expired_tags() -> None:
    text = rendered(report(), Format.MARKDOWN)
    kinds = Counter(token.type for token in tokens(text))
    assert kinds["table_open"] == 4  # summary, errors, two repositories
    assert "| Expired tags | 13 |" in text
    assert "### `services/api`" in text
    assert "infra/proxy" not in text
    assert "| `login-0000001` | delete | 40d | 120 MiB | `no rule keeps it: " in text
    assert "`reaper run`" in text
    assert "\n\n\n" not in text
    assert text.endswith("\n")
    assert not any(line != line.rstrip() for line in text.splitlines())


@pytest.mark.parametrize("run", [report(), blocked(), done()])
def test_markdown_tables_are_whole(run: RunReport) -> None:
    found = tokens(rendered(run, Format.MARKDOWN))
    assert not [token.content for token in found if token.type == "text" and "|" in token.content]


def test_markdown_fits_a_comment() -> None:
    run = report(repositories=[replace(api(), name=f"services/{number}") for number in range(1000)])
    text = rendered(run, Format.MARKDOWN)
    assert len(text) < 65_536
    assert "... and 985 repositories more" in text
    assert "services/999" in rendered(run, Format.MARKDOWN, verbose=True)


def test_hostile_names_are_code_and_nothing_else_in_markdown() -> None:
    text = rendered(everything_hostile(), Format.MARKDOWN)
    assert all(char.isprintable() or char == "\n" for char in text)
    found = tokens(text)
    kinds = Counter(token.type for token in found)
    assert not kinds.keys() & {"link_open", "image", "html_inline", "html_block", "em_open"}
    assert kinds["strong_open"] == 1  # the result
    assert not [
        t.content for t in found if t.type == "text" and ("@team" in t.content or "evil" in t.content)
    ]
    spans = [token.content for token in found if token.type == "code_inline"]
    for name in HOSTILE:
        shown = safe(name).replace("\\|", "\\\\x7c")
        assert shown in spans


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("v1", "`v1`"),
        ("", ""),
        ("a`b", "``a`b``"),
        ("`a``", "``` `a`` ```"),
        ("a|b", "`a\\|b`"),
        ("a\\|b", "`a\\\\x7cb`"),
        ("a\\", "`a\\`"),
        ("a\nb", "`a\\x0ab`"),
    ],
)
def test_code_spans(text: str, expected: str) -> None:
    assert code(text) == expected


class Page(HTMLParser):
    """Collects a page's elements and its text, and checks that they nest."""

    VOID = frozenset({"meta", "link", "img", "br", "hr"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.elements)


@pytest.mark.parametrize("run", [report(), blocked(), done(), everything_hostile(), report(repositories=[])])
@pytest.mark.parametrize("verbose", [False, True])
def test_html_is_self_contained_and_accessible(run: RunReport, verbose: bool) -> None:
    text = rendered(run, Format.HTML, verbose=verbose)
    page = Page(text)
    assert text.startswith("<!doctype html>\n")
    assert ("html", {"lang": "en"}) in page.elements
    assert page.count("h1") == page.count("main") == page.count("title") == 1
    assert page.count("caption") == page.count("table")
    assert all("scope" in attributes for name, attributes in page.elements if name == "th")
    assert not {"script", "img", "link", "iframe", "a"} & {name for name, _ in page.elements}
    assert not any(key.startswith("on") or key in ("src", "href") for _, a in page.elements for key in a)
    assert "url(" not in text


def test_html_has_a_section_for_each_repository_with_changes() -> None:
    page = Page(rendered(report(), Format.HTML))
    assert page.count("details") == 2
    assert {"services/api", "login-0000001", "reaper run"} <= set(page.texts)
    assert Page(rendered(report(), Format.HTML, verbose=True)).count("details") == 4


def test_hostile_names_are_text_in_html() -> None:
    text = rendered(everything_hostile(), Format.HTML)
    assert all(char.isprintable() or char == "\n" for char in text)
    page = Page(text)
    for name in HOSTILE:
        assert safe(name) in page.texts


@pytest.mark.parametrize("format", [Format.TABLE, Format.MARKDOWN, Format.HTML])
def test_a_run_that_failed_before_it_read_anything_has_no_figures(format: Format) -> None:  # noqa: A002
    failed = replace(
        report(), outcome=Outcome.FAILED, error="it cannot be reached", summary=Summary(), repositories=()
    )
    text = rendered(failed, format)
    assert "Error: " in text
    assert "it cannot be reached" in text
    assert "Expired tags" not in text
    assert "<table>" not in text
