"""All that changes a registry's manifests: sweeping a plan, undoing it, closing what a crash left open."""

from reaper.sweep.restore import RestoreResult, restore, with_parts
from reaper.sweep.settle import settle
from reaper.sweep.sweeper import Outcome, StepResult, Sweeper

__all__ = [
    "Outcome",
    "RestoreResult",
    "StepResult",
    "Sweeper",
    "restore",
    "settle",
    "with_parts",
]
