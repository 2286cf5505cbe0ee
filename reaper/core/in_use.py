"""Images that somebody uses, as they are remembered after they were last seen in use."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Sighting:
    """An image in use: its normalised reference, where that was seen, who used it, and when last (UTC)."""

    source: str
    image: str
    user: str
    seen_at: datetime
