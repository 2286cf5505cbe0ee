"""Lists of records, such as repositories or past runs, in every format of the report."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, TextIO

from reaper.report.render import Format
from reaper.report.text import day, human_bytes, safe, timestamp

_GAP: Final = 2
#: A column that is folded is still readable with so many cells.
_LEAST_WIDTH: Final = 6


@dataclass(frozen=True, slots=True)
class Column:
    """A column: the rows' key, its heading, and how people see it.

    ``unit`` bytes: sizes in binary units. ``unit`` digest and day: people see as much of a digest as tells
    two apart, and of a time its day; machines get all of it. In a table, columns with a unit and those to the
    right keep their width as long as another one can be folded.
    """

    key: str
    header: str
    justify: Literal["left", "right"] = "left"
    style: str = ""
    unit: Literal["", "bytes", "digest", "day", "second", "id"] = ""

    @property
    def rigid(self) -> bool:
        """Whether it is unreadable when it is folded."""
        return bool(self.unit) or self.justify == "right"

    def shown(self, row: Mapping[str, object]) -> str:
        """Return the row's value as people see it; not yet escaped."""
        value = row.get(self.key)
        match value:
            case None:
                return ""
            case bool():
                return "yes" if value else "no"
            case int() if self.unit == "bytes":
                return human_bytes(value)
            case int():
                return f"{value:,}"
            case datetime() if self.unit == "day":
                return day(value)
            case datetime():
                return timestamp(value)
            case str() if self.unit == "digest":
                return value[: len("sha256:") + 12]
            case str():
                return value
            case Iterable():
                return ", ".join(str(item) for item in value)
        return str(value)


def render_rows(
    title: str,
    columns: Sequence[Column],
    rows: Iterable[Mapping[str, object]],
    format: Format,  # noqa: A002 - the option's name
    out: TextIO,
    *,
    colour: bool | None = None,
    width: int | None = None,
) -> None:
    """Write ``rows`` to ``out``. JSON has every key of each row; the others have the columns.

    All but the table write each row as it comes; the table needs them all for its columns' widths.
    """
    match format:
        case Format.TABLE:
            _write_table(title, columns, rows, out, colour=colour, width=width)
        case Format.JSON:
            from reaper.report.as_json import write_json_rows

            write_json_rows(rows, out)
        case Format.CSV:
            from reaper.report.as_csv import write_csv_rows

            values = ([row.get(column.key) for column in columns] for row in rows)
            write_csv_rows([column.key for column in columns], values, out)
        case Format.MARKDOWN:
            from reaper.report.templating import write_template

            cells: Iterator[object] = ([column.shown(row) for column in columns] for row in rows)
            write_template("listing.md.j2", {"title": title, "columns": columns, "rows": cells}, out)
        case Format.HTML:
            from reaper.report.templating import write_template

            cells = ([(column, column.shown(row)) for column in columns] for row in rows)
            write_template("listing.html.j2", {"title": title, "columns": columns, "rows": cells}, out)


def _rigid(columns: Sequence[Column], cells: Sequence[Sequence[str]], width: int) -> list[Column]:
    """Return the columns that keep their width: none where that leaves too little: nothing is ever cut."""
    from rich.cells import cell_len

    rigid = [column for column in columns if column.rigid]
    needed = _LEAST_WIDTH * (len(columns) - len(rigid)) + _GAP * (len(columns) - 1)
    for number, column in enumerate(columns):
        if column in rigid:
            needed += max(map(cell_len, (safe(column.header), *(line[number] for line in cells))))
    return rigid if needed <= width else []


def _write_table(
    title: str,
    columns: Sequence[Column],
    rows: Iterable[Mapping[str, object]],
    out: TextIO,
    *,
    colour: bool | None,
    width: int | None,
) -> None:
    from rich.table import Table
    from rich.text import Text

    from reaper.report.console import Printer, make_console

    console = make_console(out, colour=colour, width=width)
    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="dim")
    cells = [[safe(column.shown(row)) for column in columns] for row in rows]
    rigid = _rigid(columns, cells, console.width)
    for column in columns:
        table.add_column(
            Text(safe(column.header)),
            justify=column.justify,
            style=column.style,
            overflow="fold",
            no_wrap=column in rigid,
        )
    for line in cells:
        table.add_row(*map(Text, line))
    printer = Printer(console)
    printer.line(title, "bold")
    if table.row_count:
        console.print(table)
    else:
        printer.line("None.", indent=2)
