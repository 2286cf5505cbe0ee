"""The drawing: everything in it is inside, in proportion, and readable."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reaper.web.plot import HEIGHT, WIDTH, Day, draw
from tests.report.reports import MIB

FIRST = date(2026, 6, 2)


def days(*sizes: tuple[int, int]) -> list[Day]:
    return [Day(FIRST + timedelta(days=n), *size) for n, size in enumerate(sizes)]


def test_nothing_to_see() -> None:
    assert draw([]) is None
    assert draw(days((0, 0), (0, 0))) is None


def test_bars_are_in_proportion() -> None:
    plot = draw(days((100 * MIB, 0), (0, 400 * MIB), (0, 0)))
    assert plot is not None
    low, high = plot.bars
    assert (low.series, high.series) == ("deleted", "collected")
    assert high.height == pytest.approx(4 * low.height, abs=0.5)
    assert low.title == "2026-06-02: 100 MiB deleted"
    assert [line.text for line in plot.lines] == ["0 B", "128 MiB", "256 MiB", "384 MiB", "512 MiB"] or [
        line.text for line in plot.lines
    ] == ["0 B", "100 MiB", "200 MiB", "300 MiB", "400 MiB"]
    assert plot.summary == "100 MiB deleted and 400 MiB collected in 3 days."


SIZES = st.integers(0, 2**62)


@given(st.lists(st.tuples(SIZES, SIZES), min_size=1, max_size=60))
def test_everything_is_inside_and_visible(sizes: list[tuple[int, int]]) -> None:
    plot = draw(days(*sizes))
    if plot is None:
        assert not any(map(any, sizes))
        return
    assert len(plot.bars) == sum(size > 0 for day in sizes for size in day)
    for bar in plot.bars:
        assert plot.left <= bar.x <= bar.x + bar.width <= plot.right + 0.2
        assert 0 <= bar.y < plot.bottom
        assert bar.height >= 2
        assert bar.y + bar.height == pytest.approx(plot.bottom, abs=0.2)
    assert all(0 <= line.at <= HEIGHT for line in plot.lines)
    assert all(0 <= label.at <= WIDTH for label in plot.dates)
    assert 1 <= len(plot.dates) <= 12
    texts = [line.text for line in plot.lines]
    assert len(set(texts)) == len(texts), "grid lines can be told apart"
    assert max(len(text) for text in texts) <= 8
