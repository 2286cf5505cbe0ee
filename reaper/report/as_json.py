"""The JSON report: the contract of DESIGN section 6, complete and exact."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime
from functools import cache
from typing import TextIO

from reaper.report.model import SCHEMA, RunReport
from reaper.report.text import rfc3339


def write_json(report: RunReport, out: TextIO) -> None:
    """Write ``report``, one top-level member and one repository a line."""
    out.write(f'{{\n"schema": {_dump(SCHEMA)},\n')
    for name in _field_names(RunReport):
        # Last, however the model grows: a reader has everything else when the long part begins.
        if name != "repositories":
            out.write(f'"{name}": {_dump(getattr(report, name))},\n')
    out.write('"repositories": ')
    _write_array(report, out)
    out.write("}\n")


def write_json_rows(rows: Iterable[Mapping[str, object]], out: TextIO) -> None:
    """Write ``rows`` as an array of objects, one a line."""
    _write_array(rows, out)


def _write_array(items: Iterable[object], out: TextIO) -> None:
    separator = "[\n"
    empty = True
    for item in items:
        out.write(separator)
        out.write(_dump(item))
        separator = ",\n"
        empty = False
    out.write("[]\n" if empty else "\n]\n")


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return rfc3339(value)
    if is_dataclass(value) and not isinstance(value, type):
        return {name: getattr(value, name) for name in _field_names(type(value))}
    if isinstance(value, Iterator | set | frozenset):
        return list(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON")


@cache
def _field_names(kind: type) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


# ASCII alone: a name's control and direction-changing characters stay exact, and do nothing on a terminal.
_dump = json.JSONEncoder(ensure_ascii=True, allow_nan=False, default=_plain).encode
