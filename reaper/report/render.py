"""Writes a report in the format that was asked for."""

from __future__ import annotations

from enum import StrEnum
from typing import TextIO

from reaper.report.model import RunReport


class Format(StrEnum):
    """How a report or a list is written."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    MARKDOWN = "markdown"
    HTML = "html"


def render(
    report: RunReport,
    format: Format,  # noqa: A002 - the option's name
    out: TextIO,
    *,
    verbose: bool = False,
    colour: bool | None = None,
    width: int | None = None,
) -> None:
    """Write ``report`` to ``out``, one repository in memory at a time.

    JSON and CSV are always complete. The formats for people show what changes, up to a limit that they
    name, unless ``verbose``. ``colour`` and ``width`` matter to the table only; None: as ``out`` suggests.
    """
    # Each renderer brings its library: none is loaded for another's sake.
    match format:
        case Format.TABLE:
            from reaper.report.as_table import write_table

            write_table(report, out, verbose=verbose, colour=colour, width=width)
        case Format.JSON:
            from reaper.report.as_json import write_json

            write_json(report, out)
        case Format.CSV:
            from reaper.report.as_csv import write_csv

            write_csv(report, out)
        case Format.MARKDOWN:
            from reaper.report.as_markdown import write_markdown

            write_markdown(report, out, verbose=verbose)
        case Format.HTML:
            from reaper.report.as_html import write_html

            write_html(report, out, verbose=verbose)
