"""Exit codes (DESIGN section 6), and what each error and outcome means in them."""

from __future__ import annotations

from enum import IntEnum

from reaper.core.errors import InvalidInputError, ReaperError


class Exit(IntEnum):
    """What the command's exit code says."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    BLOCKED = 3
    PARTIAL = 4
    WOULD_DELETE = 10


class UsageError(InvalidInputError):
    """The options contradict each other, or one is missing."""


_OUTCOMES = {
    "done": Exit.DONE,
    "partial": Exit.PARTIAL,
    "blocked": Exit.BLOCKED,
    "failed": Exit.FAILED,
    "interrupted": Exit.FAILED,
}


def exit_for_outcome(outcome: str) -> Exit:
    """Return the exit code of a run's outcome."""
    return _OUTCOMES[outcome]


def exit_for_error(error: ReaperError) -> Exit:
    """Return the exit code of an error."""
    return Exit.USAGE if isinstance(error, InvalidInputError) else Exit.FAILED
