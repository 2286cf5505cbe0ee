"""Collections: freeing the storage of what the sweep deleted, by the registry's own garbage-collect.

One module for each way to reach the collector, all behind ``Collector`` in ``base``:

- ``none``: the registry collects by itself, nothing is to be done;
- ``command``: any commands on this machine;
- ``docker``: in the registry's container, through the engine's socket;
- ``kubernetes_job``: a job beside the registry's workload; ``kubernetes_exec``: in the workload's own pod;
- ``webhook``: somebody else, on request.

What must happen around a collection, in which order, and what happens when a step fails is the same
for all of them, and stands in ``procedure``.
"""

from reaper.collect.base import (
    Capabilities,
    Collected,
    CollectError,
    CollectionResult,
    Collector,
    Mode,
    Outcome,
    Phase,
    StuckReadOnlyError,
    Tally,
)
from reaper.collect.command import CommandCollector
from reaper.collect.none import NoneCollector
from reaper.collect.procedure import Waits, recover, run_procedure
from reaper.collect.sizes import stored_sizes

__all__ = [
    "Capabilities",
    "CollectError",
    "Collected",
    "CollectionResult",
    "Collector",
    "CommandCollector",
    "Mode",
    "NoneCollector",
    "Outcome",
    "Phase",
    "StuckReadOnlyError",
    "Tally",
    "Waits",
    "recover",
    "run_procedure",
    "stored_sizes",
]
