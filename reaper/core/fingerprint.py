"""Names for plans and for sets of policies that change whenever what they mean changes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence

from reaper.core.guard import Trip
from reaper.core.plan import RepositoryPlan
from reaper.core.policy import Policy

_SHORT = 12


def policies_digest(policies: Sequence[Policy]) -> str:
    """Return a digest of what the policies say; their order, and comments in files, do not count."""
    said = sorted(repr(policy) for policy in policies)
    return hashlib.sha256("\0".join(said).encode()).hexdigest()


class PlanId:
    """The name of a plan that is made repository by repository.

    Two plans with the same name change the same things, and run into the same guard rails: reasons and
    ages, which change by the second, do not count.
    """

    def __init__(self, registry: str) -> None:
        self._lines: list[str] = []
        self._registry = registry

    def add(self, plan: RepositoryPlan) -> None:
        """Add what is to be done in one repository."""
        steps = sorted((step.action.value, step.digest, *step.tags) for step in plan.steps)
        # A line's digest in the line's place: a name for a million steps has to fit into memory.
        content = json.dumps([plan.repository, steps]).encode()
        self._lines.append(hashlib.sha256(content).hexdigest())

    def name(self, trips: Iterable[Trip]) -> str:
        """Return the name of the plan with these guard rails."""
        rails = sorted((trip.guard, trip.repository or "") for trip in trips)
        content = json.dumps([self._registry, sorted(self._lines), rails]).encode()
        return hashlib.sha256(content).hexdigest()[:_SHORT]
