"""Finds out what a registry can do, remembers it, and heeds what the settings say of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from reaper.core.capabilities import (
    NO,
    YES,
    Capability,
    How,
    Name,
    Recognised,
    Remembered,
    Untagging,
    untag,
)
from reaper.core.plan import Untag
from reaper.registry import RegistryClient, RegistryError
from reaper.store import Store
from reaper.store.capabilities import recall, remember

_ALLOWED: Final = "allowed"
_DISABLED: Final = "disabled"
_ITSELF: Final = "by itself"
_OFFLINE: Final = "offline"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the settings say of a registry; None: it is found out. ``collects`` is ``collect.via``."""

    untag: Untagging = Untagging.AUTO
    referrers: bool | None = None
    catalog: bool | None = None
    page_size: int | None = None
    collects: str = "none"


class Capabilities:
    """The capabilities of one registry; without a ``store`` nothing is remembered."""

    def __init__(
        self,
        client: RegistryClient,
        store: Store | None,
        wanted: Wanted,
        *,
        clock: Callable[[], datetime],
    ) -> None:
        self._client = client
        self._store = store
        self._wanted = wanted
        self._clock = clock
        self._product: Recognised | None = None
        self._recognised = False
        self._untag: Untag | None = None
        self._asking = asyncio.Lock()

    async def product(self) -> Recognised | None:
        """Return the product that the registry is, where it can be told. GET alone.

        Raises:
            RegistryError: it could not be asked.
        """
        if not self._recognised:
            own = await self._client.product()
            if self._client.recognised is None:
                await self._client.ping()
            self._product = self._client.recognised
            if own is not None and (self._product is None or self._product.name != own.name):
                self._product = Recognised(own.name)
            self._recognised = True
        return self._product

    async def untag(self, repository: str, *, probe: bool) -> Untag:
        """Return how expired tags are taken off manifests that stay.

        With ``probe`` the registry is asked, if need be, with a DELETE of a tag that nobody has.

        Raises:
            RegistryError: it could not be asked.
        """
        async with self._asking:
            if self._untag is not None:
                return self._untag
            known = await self._recall(Name.UNTAG)
            found, how = untag(self._wanted.untag, await self.product(), known)
            fresh = known is not None and known.is_fresh(self._clock(), await self._named())
            if probe and (how is How.UNKNOWN or (how is How.REMEMBERED and not fresh)):
                found = await self._probe_untagging(repository, found)
            self._untag = found
            return found

    async def remembered_untag(self) -> Untag:
        """Return how expired tags are taken off, by what is known without asking the registry."""
        return untag(self._wanted.untag, None, await self._recall(Name.UNTAG))[0]

    async def _probe_untagging(self, repository: str, otherwise: Untag) -> Untag:
        known = await self._recall(Name.UNTAG)
        if known is not None and known.value not in (YES, NO):
            return otherwise
        can = await self._client.can_untag(repository)
        if can is None:
            # Nothing can be deleted now, and a placeholder could not be either.
            return Untag.NO
        known = await self._remember(Name.UNTAG, YES if can else NO)
        return untag(self._wanted.untag, await self.product(), known)[0]

    async def deletes(self, allowed: bool) -> None:
        """Note whether the registry has deleted something, or has refused to."""
        await self._remember(Name.DELETES, _ALLOWED if allowed else _DISABLED)

    async def look(self, repository: str | None) -> list[Capability]:
        """Return all that is known, with what GET and HEAD can find out; ``repository`` is any to ask about.

        Raises:
            RegistryError: it could not be asked.
        """
        return [
            await self._look_product(),
            await self._remembered(Name.DELETES),
            await self._look_untag(),
            await self._remembered(Name.UNDO),
            await self._look_referrers(repository),
            await self._look_catalog(),
            self._look_page_size(),
            await self._look_collects(),
            *await self._look_times(),
        ]

    async def _look_product(self) -> Capability:
        product = await self.product()
        return Capability(Name.PRODUCT, str(product), How.PROBED) if product else _unknown(Name.PRODUCT)

    async def _look_untag(self) -> Capability:
        known = await self._recall(Name.UNTAG)
        found, how = untag(self._wanted.untag, await self.product(), known)
        value = {Untag.NO: "no", Untag.ALONE: "yes", Untag.PLACEHOLDER: "no: a placeholder is used"}[found]
        if how is How.UNKNOWN:
            value = "a placeholder is used where it cannot" if found is Untag.PLACEHOLDER else ""
        return Capability(
            Name.UNTAG, value or None, how, known.at if known and how is How.REMEMBERED else None
        )

    async def _look_referrers(self, repository: str | None) -> Capability:
        if self._wanted.referrers is not None:
            return Capability(Name.REFERRERS, _yes(self._wanted.referrers), How.SETTING)
        if repository is None:
            return await self._remembered(Name.REFERRERS)
        try:
            found = await self._client.has_referrers_api(repository)
        except RegistryError:
            return _unknown(Name.REFERRERS)
        await self._remember(Name.REFERRERS, _yes(found))
        return Capability(Name.REFERRERS, _yes(found), How.PROBED)

    async def _look_catalog(self) -> Capability:
        if self._wanted.catalog is not None:
            return Capability(Name.CATALOG, _yes(self._wanted.catalog), How.SETTING)
        known = await self._recall(Name.CATALOG)
        if known is not None and known.is_fresh(self._clock(), await self._named()):
            return Capability(Name.CATALOG, known.value, How.REMEMBERED, known.at)
        found = _yes(await self._client.has_catalog())
        await self._remember(Name.CATALOG, found)
        return Capability(Name.CATALOG, found, How.PROBED)

    def _look_page_size(self) -> Capability:
        size = self._client.page_size
        if self._wanted.page_size is not None:
            return Capability(Name.PAGE_SIZE, str(self._wanted.page_size), How.SETTING)
        return Capability(Name.PAGE_SIZE, str(size), How.PROBED) if size else _unknown(Name.PAGE_SIZE)

    async def _look_collects(self) -> Capability:
        if self._wanted.collects != "none":
            return Capability(Name.COLLECTS, f"via {self._wanted.collects}", How.SETTING)
        product = await self.product()
        collects = product.facts.collects if product else None
        if collects is None:
            return _unknown(Name.COLLECTS)
        return Capability(Name.COLLECTS, _ITSELF if collects else _OFFLINE, How.PRODUCT)

    async def _look_times(self) -> list[Capability]:
        product = await self._client.product()
        reads = product.reads if product else frozenset()
        return [
            Capability(name, _yes(name.value in {fact.value for fact in reads}), How.PROBED)
            for name in (Name.PUSHED, Name.PULLED)
        ]

    async def _remembered(self, name: Name) -> Capability:
        known = await self._recall(name)
        return Capability(name, known.value, How.REMEMBERED, known.at) if known else _unknown(name)

    async def _recall(self, name: Name) -> Remembered | None:
        if self._store is None:
            return None
        return await asyncio.to_thread(recall, self._store.observations, self._client.url, name)

    async def _remember(self, name: Name, value: str) -> Remembered:
        known = Remembered(value, self._clock(), await self._named())
        if self._store is not None:
            await asyncio.to_thread(remember, self._store.observations, self._client.url, name, known)
        return known

    async def _named(self) -> str:
        """Return the product and its version; what another one could do says nothing of this one."""
        return str(await self.product() or "")


def _unknown(name: Name) -> Capability:
    return Capability(name, None, How.UNKNOWN)


def _yes(value: bool) -> str:
    return YES if value else NO
