"""YAML files of which every key and value knows its line and column.

Files are read through ruamel.yaml's parser (events only: nothing is ever constructed), within bounds on
size, depth and alias expansion. Values have the types of YAML 1.2's core schema; keys are text.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from reaper.config.building import Builder, FatalError
from reaper.config.errors import Problem
from reaper.config.nodes import Document

#: Bytes. A thousand policies are a tenth of it.
MAX_FILE_SIZE: Final = 1024 * 1024

# YAML 1.2.2, production 1, c-printable.
_UNPRINTABLE: Final = re.compile(
    "[^\\t\\n\\r\\x20-\\x7e\\x85\\xa0-\\ud7ff\\ue000-\\ufffd\\U00010000-\\U0010ffff]"
)


def load_document(file: Path) -> Document | Problem:
    """Return the content of ``file``, or the one problem that keeps it from being read."""
    name = os.fspath(file)
    text = _read(file, name)
    return text if isinstance(text, Problem) else parse_document(text, name)


def parse_document(text: str, name: str) -> Document | Problem:
    """Return the content of the YAML ``text``, or the one problem that keeps it from being understood."""
    unprintable = _UNPRINTABLE.search(text)
    if unprintable:
        line, column = _position_in(text, unprintable.start())
        what = f"the character U+{ord(unprintable[0]):04X} cannot stand in a YAML file"
        return Problem(name, line, column, what, "is it a text file, in UTF-8?")
    builder = Builder(text, name)
    try:
        root = builder.build()
    except FatalError as error:
        return error.problem
    return Document(name, root, tuple(builder.problems))


def _read(file: Path, name: str) -> str | Problem:
    try:
        with file.open("rb") as opened:
            content = opened.read(MAX_FILE_SIZE + 1)
    except FileNotFoundError:
        return Problem(name, None, None, "there is no such file")
    except IsADirectoryError:
        return Problem(name, None, None, "this is a folder, and a file is expected")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "its name is not possible"
        return Problem(name, None, None, f"the file cannot be read: {reason}")
    if len(content) > MAX_FILE_SIZE:
        return Problem(name, None, None, "the file is larger than 1 MiB", "split it into several files")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start].decode("utf-8-sig", errors="replace")
        line, column = _position_in(before, len(before))
        return Problem(name, line, column, "the file is not UTF-8 text", "save it as UTF-8")


def _position_in(text: str, offset: int) -> tuple[int, int]:
    before = text[:offset]
    return before.count("\n") + 1, offset - (before.rfind("\n") + 1) + 1
