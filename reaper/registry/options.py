"""How to talk to a registry."""

from __future__ import annotations

from dataclasses import dataclass, field

from reaper.registry.address import Address
from reaper.registry.credentials import NO_LOGIN, Logins
from reaper.registry.observer import NOBODY, Observer
from reaper.registry.products.options import ProductOptions
from reaper.registry.tls import TLSOptions
from reaper.registry.transport import Patience


@dataclass(frozen=True, slots=True)
class RegistryOptions:
    """How to talk to a registry. ``concurrency`` is the most requests under way at once.

    ``token_hosts`` are other hosts that are asked for tokens even without TLS. ``product``: None asks no
    product's own API.
    """

    address: Address
    logins: Logins = NO_LOGIN
    tls: TLSOptions = field(default_factory=TLSOptions)
    token_hosts: frozenset[str] = frozenset()
    patience: Patience = field(default_factory=Patience)
    read_only: bool = False
    concurrency: int = 16
    attempts: int = 4
    page_size: int = 1000
    observer: Observer = NOBODY
    product: ProductOptions | None = None
