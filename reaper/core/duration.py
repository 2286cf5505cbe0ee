"""Durations as policies and settings write them: ``90s 15m 36h 14d 2w``."""

from __future__ import annotations

import re
from datetime import timedelta

from reaper.core.errors import InvalidInputError

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_DURATION = re.compile(r"(\d{1,9})([smhdw])", re.ASCII)
_NAMES = ((604800, "w"), (86400, "d"), (3600, "h"), (60, "m"), (1, "s"))


def parse_duration(text: str) -> timedelta:
    """Return the duration that ``text`` (a whole number and one unit) stands for.

    Raises:
        InvalidInputError: the text is not of that form, or is longer than a century.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise InvalidInputError(
            f"{text!r} is not a duration",
            hint="write a whole number and a unit, such as 90s, 15m, 36h, 14d or 2w",
        )
    seconds = int(match[1]) * _UNITS[match[2]]
    if seconds > 100 * 366 * 86400:
        raise InvalidInputError(f"{text!r} is longer than a hundred years")
    return timedelta(seconds=seconds)


def format_duration(duration: timedelta) -> str:
    """Return ``duration`` in the largest unit that divides it: the inverse of `parse_duration`."""
    seconds = int(duration.total_seconds())
    for size, name in _NAMES:
        if seconds and seconds % size == 0:
            return f"{seconds // size}{name}"
    return "0s"


def describe_age(duration: timedelta) -> str:
    """Return ``duration`` for people, in one rounded-down unit: ``3d``, ``5h``, ``12m``."""
    seconds = max(0, int(duration.total_seconds()))
    for size, name in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds // size}{name}"
    return f"{seconds}s"
