from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping

import pytest
from rich.cells import cell_len

from reaper.report.listing import Column, render_rows
from reaper.report.render import Format
from reaper.report.text import safe
from tests.report.reports import HOSTILE, MIB, NOW

COLUMNS = (
    Column("tag", "Tag", style="bold"),
    Column("size", "Size", justify="right", unit="bytes"),
    Column("pushed_at", "Pushed"),
    Column("platforms", "Platforms"),
    Column("whole", "Whole"),
)
ROW = {
    "tag": "v1",
    "size": 120 * MIB,
    "pushed_at": NOW,
    "platforms": ["linux/amd64", "linux/arm64"],
    "whole": True,
    "digest": "sha256:00",
}


def rendered(format: Format, *rows: Mapping[str, object]) -> str:  # noqa: A002
    out = io.StringIO()
    render_rows("Tags of [b]app[/b]", COLUMNS, rows, format, out, width=80)
    return out.getvalue()


def test_table() -> None:
    lines = [line.rstrip() for line in rendered(Format.TABLE, ROW, {"tag": "v2"}).splitlines()]
    assert lines == [
        "Tags of [b]app[/b]",
        "Tag     Size  Pushed                Platforms                 Whole",
        "v1   120 MiB  2026-07-01 02:00:00Z  linux/amd64, linux/arm64  yes",
        "v2",
    ]
    assert rendered(Format.TABLE) == "Tags of [b]app[/b]\n  None.\n"


def test_what_cannot_be_folded_keeps_its_width_while_there_is_room() -> None:
    columns = [
        Column("tag", "tag"),
        Column("digest", "digest", unit="digest"),
        Column("created", "created", unit="day"),
        Column("size", "size", "right", unit="bytes"),
        Column("referrers", "referrers", "right"),
    ]
    row = {"tag": "long-" * 20, "digest": "sha256:" + "1" * 64, "created": NOW, "size": MIB, "referrers": 2}

    def table(width: int) -> str:
        out = io.StringIO()
        render_rows("Tags", columns, [row], Format.TABLE, out, width=width)
        assert max(map(cell_len, out.getvalue().splitlines())) <= width
        return out.getvalue()

    assert "  sha256:111111111111  2026-07-01  1.0 MiB          2" in table(80)
    # Where there is none everything is folded, and nothing cut.
    narrow = table(40)
    assert (narrow.count("1"), narrow.count("o")) == (12 + 2, 20)


def test_json_has_every_key_and_exact_values() -> None:
    assert json.loads(rendered(Format.JSON, ROW)) == [ROW | {"pushed_at": "2026-07-01T02:00:00Z"}]
    assert json.loads(rendered(Format.JSON)) == []


def test_csv() -> None:
    assert rendered(Format.CSV, ROW).splitlines() == [
        "tag,size,pushed_at,platforms,whole",
        "v1,125829120,2026-07-01T02:00:00Z,linux/amd64 linux/arm64,true",
    ]


def test_markdown() -> None:
    assert rendered(Format.MARKDOWN, ROW, {"tag": "a|b"}).splitlines() == [
        "## Tags of \\[b\\]app\\[/b\\]",
        "",
        "| Tag | Size | Pushed | Platforms | Whole |",
        "| --- | ---: | --- | --- | --- |",
        "| `v1` | `120 MiB` | `2026-07-01 02:00:00Z` | `linux/amd64, linux/arm64` | `yes` |",
        "| `a\\|b` |  |  |  |  |",
    ]


def test_html() -> None:
    text = rendered(Format.HTML, ROW, {"tag": "<script>"})
    assert '<tr><td>v1</td><td class="number">120 MiB</td>' in text
    assert "<td>&lt;script&gt;</td>" in text
    assert "<caption>Tags of [b]app[/b]</caption>" in text


@pytest.mark.parametrize("format", Format)
def test_hostile_values(format: Format) -> None:  # noqa: A002
    text = rendered(format, *({"tag": name, "platforms": [name]} for name in HOSTILE))
    assert all(char.isprintable() or char in "\r\n" for char in text)
    if format is Format.TABLE:
        assert max(map(cell_len, text.splitlines())) <= 80
        assert "[red]markup[/red]" in text
    if format is Format.CSV:
        found = [row["tag"].removeprefix("'") for row in csv.DictReader(io.StringIO(text, newline=""))]
        assert found == [safe(name) for name in HOSTILE]


@pytest.mark.parametrize("format", [Format.JSON, Format.CSV, Format.MARKDOWN, Format.HTML])
def test_rows_are_written_as_they_come(format: Format) -> None:  # noqa: A002
    out = io.StringIO()
    written = []

    def rows() -> Iterator[Mapping[str, object]]:
        for number in range(100):
            written.append(out.tell())
            yield {"tag": f"v{number}"}

    render_rows("Tags", COLUMNS, rows(), format, out)
    assert written[0] < written[50] < written[99]
