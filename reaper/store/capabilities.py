"""What was found out about each registry, and when."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Final

from reaper.core.capabilities import Name, Remembered
from reaper.store.observations import Observations

_KEY: Final = "capability "


def recall(facts: Observations, registry: str, name: Name) -> Remembered | None:
    """Return what was last found out, or None where nothing was."""
    text = facts.fact(registry, f"{_KEY}{name.value}")
    if text is None:
        return None
    noted = json.loads(text)
    return Remembered(noted["value"], datetime.fromisoformat(noted["at"]), noted["product"])


def remember(facts: Observations, registry: str, name: Name, found: Remembered) -> None:
    """Note what was found out, durably."""
    at = found.at.astimezone(UTC).isoformat()
    noted = {"value": found.value, "at": at, "product": found.product}
    facts.set_fact(registry, f"{_KEY}{name.value}", json.dumps(noted))
