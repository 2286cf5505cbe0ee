"""The console that tables are written to: plain unless it is a terminal that wants colours."""

from __future__ import annotations

import os
import shutil
from typing import Final, TextIO

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from reaper.report.text import safe

_DEFAULT_WIDTH: Final = 80
_LEAST_WIDTH: Final = 40


def make_console(out: TextIO, *, colour: bool | None, width: int | None) -> Console:
    """Return a console on ``out``; ``colour`` and ``width`` as it suggests where they are None.

    See https://no-color.org: the variable NO_COLOR switches colours off unless ``colour`` asks for them.
    """
    terminal = out.isatty()
    if colour is None:
        colour = terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    if width is None:
        width = shutil.get_terminal_size().columns if terminal else _DEFAULT_WIDTH
    return Console(
        file=out,
        width=max(width, _LEAST_WIDTH),
        height=25,
        force_terminal=colour,
        force_jupyter=False,
        # The terminal's own sixteen colours: readable on light and dark alike.
        color_system="standard" if colour else None,
        no_color=not colour,
        legacy_windows=False,
        highlight=False,
        markup=False,
        emoji=False,
    )


class Printer:
    """Writes lines of text, folded to the width and never cut; a name is never taken for markup."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self.width = console.width

    def line(self, text: str = "", style: str = "", *, indent: int = 0, hang: int = 0) -> None:
        """Write ``text``, its lines after the first indented by ``hang`` more."""
        lines = self.fold(Text(safe(text), style), self.width - indent - hang)
        first, *rest = lines or [Text()]
        self.write(Text(" " * indent) + first, *(Text(" " * (indent + hang)) + line for line in rest))

    def fold(self, text: Text, width: int) -> list[Text]:
        """Return ``text`` in lines of at most ``width`` cells; a word that is too long is broken."""
        if cell_len(text.plain) <= width:
            return [text]
        folded = list(text.wrap(self._console, width, overflow="fold"))
        for line in folded:
            line.rstrip()
        return folded

    def write(self, *lines: Text) -> None:
        """Write lines that fit."""
        self._console.print(Text("\n").join(lines), soft_wrap=True)
