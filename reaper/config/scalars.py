"""What a plain YAML scalar means: YAML 1.2.2, section 10.3, the core schema.

Not ruamel's own resolver, which still makes dates of ``2024-01-01``: a tag may be called that.
"""

from __future__ import annotations

import re
from typing import Final

Scalar = str | int | float | bool | None

_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEANS: Final = {
    "true": True,
    "True": True,
    "TRUE": True,
    "false": False,
    "False": False,
    "FALSE": False,
}
_INTEGERS: Final = (
    (re.compile(r"[-+]?[0-9]+"), 10, 0),
    (re.compile(r"0o[0-7]+"), 8, 2),
    (re.compile(r"0x[0-9a-fA-F]+"), 16, 2),
)
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_INFINITY: Final = re.compile(r"([-+]?)\.(?:inf|Inf|INF)")
_NAN: Final = frozenset({".nan", ".NaN", ".NAN"})
# Python itself refuses to read far longer numbers; nothing here has a use for these.
_MAX_DIGITS: Final = 100


def resolve(text: str) -> Scalar:
    """Return the value of the plain (unquoted) scalar ``text``; absurdly long numbers stay text."""
    if text in _NULLS:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if len(text) > _MAX_DIGITS:
        return text
    for pattern, base, skip in _INTEGERS:
        if pattern.fullmatch(text):
            return int(text[skip:], base)
    if _FLOAT.fullmatch(text):
        return float(text)
    infinity = _INFINITY.fullmatch(text)
    if infinity:
        return float(f"{infinity[1]}inf")
    return float("nan") if text in _NAN else text
