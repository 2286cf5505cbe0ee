"""Finds out which product a registry is."""

from __future__ import annotations

import asyncio
import copy
import time
from dataclasses import replace
from typing import Final

from reaper.registry.credentials import NO_LOGIN, Logins
from reaper.registry.errors import ProtocolError, RegistryError
from reaper.registry.exchange import Exchange
from reaper.registry.options import RegistryOptions
from reaper.registry.products.acr import ACR, DOMAINS
from reaper.registry.products.base import Product
from reaper.registry.products.gitlab import GitLab
from reaper.registry.products.harbor import Harbor
from reaper.registry.products.options import AUTO, WITHOUT, ProductOptions
from reaper.registry.products.quay import Quay
from reaper.registry.products.zot import Zot

#: How long a failure to find out the product stands, in seconds.
PAUSE: Final = 60.0
#: What the products' registries call themselves in the challenges for their token servers.
_SERVICES: Final = {"harbor-registry": Harbor.name, "container_registry": GitLab.name}


class ProductFinder:
    """Knows the product of one registry, once it has been found out; ``exchange`` is the registry's."""

    def __init__(self, options: RegistryOptions, exchange: Exchange) -> None:
        self._options = options
        self._exchange = exchange
        self._lock = asyncio.Lock()
        self._found: Product | None = None
        self._known = options.product is None
        self._own: list[Exchange] = []
        self._failed: RegistryError | None = None
        self._failed_at = 0.0

    async def find(self) -> Product | None:
        """Return the product, or None where it is none that reaper knows.

        It is asked once; where that fails, again after a minute: not for each of ten thousand repositories.

        Raises:
            RegistryError: it cannot be found out now, or is not what the settings say.
        """
        async with self._lock:
            if not self._known:
                if self._failed is not None and time.monotonic() - self._failed_at < PAUSE:
                    raise copy.copy(self._failed)
                try:
                    self._found = await self._ask()
                except RegistryError as error:
                    self._failed, self._failed_at = error, time.monotonic()
                    raise
                self._known = True
        return self._found

    async def aclose(self) -> None:
        """Close the connections to APIs."""
        for exchange in self._own:
            await exchange.aclose()

    async def _ask(self) -> Product | None:
        chosen = self._options.product or ProductOptions()
        product = self._make(await self._guess() if chosen.name == AUTO else chosen.name, chosen)
        try:
            recognised = await product.recognise()
        except RegistryError as error:
            error.hint = error.hint or f"it is asked whether it is {product.name}; {WITHOUT}"
            raise
        if recognised:
            return product
        if chosen.name == AUTO:
            return None
        raise ProtocolError(
            f"{self._exchange.url} is not the {chosen.name} that the settings say it is: it has no such API",
            hint="set registries[].product to what it is, with the url of its API where that is another",
        )

    async def _guess(self) -> str:
        """Return the name of the only product that the registry can be, of those that need no settings."""
        if self._options.address.host.partition(":")[0].endswith(DOMAINS):
            return ACR.name
        # Its challenge, if any, is known once it has answered.
        await self._exchange.ask("GET", "/v2/", scope="", accept="application/json", probe=True)
        return _SERVICES.get(self._exchange.service or "", Zot.name)

    def _make(self, name: str, chosen: ProductOptions) -> Product:
        if name == Harbor.name:
            elsewhere = chosen.address is not None and chosen.address.origin != self._options.address.origin
            logins = chosen.logins or (NO_LOGIN if elsewhere else self._options.logins)
            return Harbor(self._another(chosen, NO_LOGIN), logins)
        if name == Quay.name:
            return Quay(self._another(chosen, chosen.logins or NO_LOGIN))
        if name == GitLab.name:
            rails = self._another(chosen, chosen.logins or NO_LOGIN) if chosen.groups else None
            return GitLab(self._exchange, rails, chosen.groups)
        return ACR(self._exchange) if name == ACR.name else Zot(self._exchange)

    def _another(self, chosen: ProductOptions, logins: Logins) -> Exchange:
        """Return an exchange with the API: it takes other logins than the registry, or is another host."""
        address = chosen.address or self._options.address
        exchange = Exchange(replace(self._options, address=address, logins=logins, product=None))
        self._own.append(exchange)
        return exchange
