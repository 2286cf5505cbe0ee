"""The plot of reclaimed space: a drawing in SVG, which says what it shows in words as well."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

from reaper.report.text import human_bytes

WIDTH: Final = 560
HEIGHT: Final = 210
_LEFT, _RIGHT, _TOP, _BOTTOM = 74, 18, 10, 24
_GRID_LINES: Final = 4
_DATES: Final = 6
#: What there is must be seen, however little it is.
_LEAST: Final = 2.0


@dataclass(frozen=True, slots=True)
class Day:
    """What the deletes of a day left for a collection to free, and what collections freed, in bytes."""

    date: date
    deleted: int = 0
    collected: int = 0


@dataclass(frozen=True, slots=True)
class Bar:
    """A rectangle in the drawing, and what it stands for."""

    series: str
    x: float
    y: float
    width: float
    height: float
    title: str


@dataclass(frozen=True, slots=True)
class Label:
    """A text in the drawing, at the grid line or the day that it belongs to."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Plot:
    """The drawing's parts, in its own coordinates."""

    bars: list[Bar]
    lines: list[Label]
    dates: list[Label]
    summary: str
    width: int = WIDTH
    height: int = HEIGHT
    left: int = _LEFT
    right: int = WIDTH - _RIGHT
    bottom: int = HEIGHT - _BOTTOM


def draw(days: Sequence[Day]) -> Plot | None:
    """Return the plot of consecutive days, or None where there is nothing to see."""
    highest = max((max(day.deleted, day.collected) for day in days), default=0)
    if highest <= 0:
        return None
    top = _round_up(highest)
    bottom = HEIGHT - _BOTTOM
    scale = (bottom - _TOP) / top
    slot = (WIDTH - _LEFT - _RIGHT) / len(days)
    width = slot * 0.36
    bars = []
    for number, day in enumerate(days):
        middle = _LEFT + slot * (number + 0.5)
        for series, size, x in (
            ("deleted", day.deleted, middle - width - slot * 0.02),
            ("collected", day.collected, middle + slot * 0.02),
        ):
            if size > 0:
                height = max(_LEAST, size * scale)
                title = f"{day.date}: {human_bytes(size)} {series}"
                bars.append(
                    Bar(series, _short(x), _short(bottom - height), _short(width), _short(height), title)
                )
    step = max(1, len(days) // _DATES)
    return Plot(
        bars,
        [
            Label(_short(bottom - top * scale * line / _GRID_LINES), human_bytes(top * line // _GRID_LINES))
            for line in range(_GRID_LINES + 1)
        ],
        [
            Label(_short(_LEFT + slot * (number + 0.5)), f"{day.date.day} {day.date:%b}")
            for number, day in enumerate(days)
            if (len(days) - 1 - number) % step == 0
        ],
        f"{human_bytes(sum(day.deleted for day in days))} deleted and "
        f"{human_bytes(sum(day.collected for day in days))} collected in {len(days)} days.",
    )


def _round_up(size: int) -> int:
    """Return the least number from ``size`` on whose quarters are round in binary units."""
    unit = _GRID_LINES
    while size > 256 * unit:
        unit *= 1024
    for factor in (1, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 40, 50, 60, 80, 100, 150, 200):
        if size <= factor * unit:
            return int(factor * unit)
    return 256 * unit


def _short(number: float) -> float:
    return round(number, 1)
