"""Registries that collect by themselves (zot, Harbor, GitLab, the clouds' own), or are not to be."""

from __future__ import annotations

from reaper.collect.base import Capabilities, Collected, CollectError, Progress


class NoneCollector:
    """No collection. The procedure looks at ``capabilities`` and calls nothing else."""

    via = "none"
    capabilities = Capabilities(collects=False, dry_run=False)

    async def check(self) -> None:
        """Nothing is refused, because nothing is done."""

    async def collect(self, *, dry_run: bool, on_progress: Progress) -> Collected:
        """There is no collector to run."""
        raise CollectError("this registry has no collection configured", hint="set collect.via")

    async def read_only_on(self) -> None:
        """Nothing is made read-only."""

    async def read_only_off(self) -> None:
        """Nothing was made read-only."""

    async def restart(self) -> None:
        """Nothing is restarted."""
