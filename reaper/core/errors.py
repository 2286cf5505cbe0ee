"""The root of every error that reaper raises on purpose."""

from __future__ import annotations


class ReaperError(Exception):
    """An error with one clear line for the user and, where it helps, what to do about it.

    ``hint`` is a second sentence: the setting, command or check that resolves the error.
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class InvalidInputError(ReaperError):
    """The user's input cannot be understood: a name, an option, a file. Nothing was attempted."""
