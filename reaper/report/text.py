"""Text for people: sizes, ages, times, and names that cannot do harm where they are shown."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from reaper.core.duration import describe_age

_UNITS: Final = ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def safe(text: str) -> str:
    r"""Return ``text`` on one line, with each character that is not visible as ``\x1b`` or ``\u202e``.

    What a registry sends may hold escape sequences, line breaks, invisible or direction-changing
    characters; shown as they are, a name could pass for another one, or drive the terminal.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escaped(ord(char)) for char in text)


def _escaped(code: int) -> str:
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def human_bytes(size: int | None) -> str:
    """Return ``size`` in binary units, such as ``1.5 GiB``; ``?`` where it is unknown."""
    if size is None:
        return "?"
    if abs(size) < 1024:
        return f"{size} B"
    value = float(size)
    for unit in _UNITS:
        value /= 1024
        # What rounds to 1024 belongs to the next unit.
        if abs(value) < 1023.5 or unit == _UNITS[-1]:
            break
    # Three figures are as many as anybody compares.
    return f"{value:.1f} {unit}" if abs(value) < 99.95 else f"{value:.0f} {unit}"


def age(moment: datetime | None, now: datetime) -> str:
    """Return how long before ``now`` ``moment`` was, such as ``40d``; ``?`` where it is unknown."""
    return "?" if moment is None else describe_age(now - moment)


def timestamp(moment: datetime) -> str:
    """Return ``moment`` to the second in UTC, for people: ``2026-07-01 02:00:00Z``."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}"


def day(moment: datetime) -> str:
    """Return the day of ``moment`` in UTC: ``2026-07-01``."""
    return f"{moment.astimezone(UTC):%Y-%m-%d}"


def rfc3339(moment: datetime) -> str:
    """Return ``moment`` in UTC, for machines: ``2026-07-01T02:00:00Z``."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def count(number: int, noun: str, plural: str | None = None) -> str:
    """Return a number with its noun: ``1 tag``, ``3 tags``, ``1,200 tags``."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
