"""How to talk to a registry."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from reaper.registry.address import Address
from reaper.registry.credentials import NO_LOGIN, Logins
from reaper.registry.observer import NOBODY, Observer
from reaper.registry.products.options import ProductOptions
from reaper.registry.tls import TLSOptions
from reaper.registry.transport import Patience

#: The most names to ask for at a time, unless told otherwise.
PAGE_SIZE: Final = 1000


@dataclass(frozen=True, slots=True)
class RegistryOptions:
    """How to talk to a registry. ``concurrency`` is the most requests under way at once.

    ``token_hosts`` are other hosts that are asked for tokens even without TLS. ``product``: None asks no
    product's own API. ``referrers_api``: None asks whether there is one.
    """

    address: Address
    logins: Logins = NO_LOGIN
    tls: TLSOptions = field(default_factory=TLSOptions)
    token_hosts: frozenset[str] = frozenset()
    patience: Patience = field(default_factory=Patience)
    read_only: bool = False
    concurrency: int = 16
    attempts: int = 4
    page_size: int = PAGE_SIZE
    referrers_api: bool | None = None
    observer: Observer = NOBODY
    product: ProductOptions | None = None
