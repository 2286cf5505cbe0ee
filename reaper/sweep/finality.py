"""Whether what is deleted can be put back: whether the registry keeps what a manifest needs without it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime

import structlog

from reaper.core.capabilities import NO, YES, Name, Remembered
from reaper.core.manifest import IMAGE_CONFIGS, ManifestError, parse_manifest
from reaper.registry import RawManifest, RegistryClient, RegistryError
from reaper.store import Store
from reaper.store.capabilities import remember

_log = structlog.get_logger(__name__)


class Finality:
    """Looks, in each run, for what the first image that is deleted needed.

    Gitea, Forgejo and some clouds free it at once. There a restore is refused by the registry; but whoever
    relies on it has to learn that before.
    """

    def __init__(
        self, client: RegistryClient, store: Store, registry: str, clock: Callable[[], datetime]
    ) -> None:
        self._client = client
        self._store = store
        self._registry = registry
        self._clock = clock
        self._looked = False

    async def look(self, repository: str, deleted: RawManifest) -> None:
        """Find out about a manifest that has just been deleted, or leave it to the next where that fails."""
        if self._looked:
            return
        try:
            config = parse_manifest(deleted.content, deleted.media_type, deleted.digest).config
            # Other images may have the same layers, and artifacts have the same empty config; not images.
            if config is None or config.media_type not in IMAGE_CONFIGS:
                return
            kept = await self._client.head_blob(repository, config.digest) is not None
        except (RegistryError, ManifestError) as error:
            _log.debug("finality_unknown", repository=repository, reason=error.message)
            return
        self._looked = True
        found = Remembered(YES if kept else NO, self._clock())
        await asyncio.to_thread(remember, self._store.observations, self._registry, Name.UNDO, found)
        if not kept:
            _log.warning(
                "deletes_are_final",
                repository=repository,
                digest=deleted.digest,
                reason="the registry has freed what the image needed: no delete can be undone here",
            )
