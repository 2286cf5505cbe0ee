"""How long work tells how far it is."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Is told how far a phase is: ``done`` out of ``total``, None where that is not known."""

    def __call__(self, phase: str, done: int, total: int | None, /) -> None:
        """Take note of it."""


def silent(_phase: str, _done: int, _total: int | None, /) -> None:
    """Tell nobody."""
