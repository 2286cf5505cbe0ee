"""The one error that setting up raises."""

from __future__ import annotations


class SetupError(Exception):
    """Something the project needs is missing; the message says what, and what to install."""
