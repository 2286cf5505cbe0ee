"""What each test of the core starts with."""

from __future__ import annotations

import pytest

from reaper.core import selectors


@pytest.fixture(autouse=True)
def empty_caches() -> None:
    """Nothing that another test has compiled: it would hide a fault from this one, or a mutant."""
    for function in vars(selectors).values():
        if hasattr(function, "cache_clear"):
            function.cache_clear()
