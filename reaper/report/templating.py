"""Templates that stream, in which every value is escaped unless it is marked as harmless."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final, TextIO

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from reaper.report.text import human_bytes, rfc3339, safe, timestamp

_TEMPLATES: Final = Path(__file__).parent / "templates"
_PROSE: Final = re.compile(r"([\\`*_\[\]<>|#~$&!])")
_PIPE: Final = re.compile(r"(\\+)?\|")


class Escaped(str):
    """Markdown that needs no more escaping."""

    __slots__ = ()


def code(text: str) -> Escaped:
    """Return ``text`` as a code span: Markdown, links and mentions in it stay what they are, text.

    It holds in a table as well, where a bar would end the cell: a bar after a backslash cannot be
    written there, so it is shown as ``\\x7c``.
    """
    shown = safe(text).strip()
    if not shown:
        return Escaped()
    shown = _PIPE.sub(lambda bar: f"{bar[1]}\\x7c" if bar[1] else "\\|", shown)
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", shown)), default=0))
    pad = " " if "`" in (shown[0], shown[-1]) else ""
    return Escaped(f"{fence}{pad}{shown}{pad}{fence}")


def prose(text: str) -> Escaped:
    """Return reaper's own words with Markdown's punctuation escaped."""
    return Escaped(_PROSE.sub(r"\\\1", safe(text)))


def write_template(name: str, context: Mapping[str, object], out: TextIO) -> None:
    """Write the template ``name`` to ``out``, piece by piece."""
    stream = environment(_TEMPLATES, html=name.endswith(".html.j2")).get_template(name).stream(context)
    stream.enable_buffering(64)
    out.writelines(stream)


@cache
def environment(folder: Path, *, html: bool) -> Environment:
    """Return the templates of a folder: of web pages, or of Markdown."""
    found = Environment(
        loader=FileSystemLoader(folder),
        autoescape=select_autoescape(["html.j2"]),
        finalize=_for_html if html else _for_markdown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    found.filters |= {"bytes": human_bytes, "time": timestamp, "rfc3339": rfc3339, "prose": prose}
    return found


def _for_html(value: object) -> object:
    return safe(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _for_markdown(value: object) -> object:
    return code(value) if isinstance(value, str) and not isinstance(value, Escaped) else value
