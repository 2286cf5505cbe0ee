"""Which product a registry is, as the settings have it, and how its API is reached."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from reaper.registry.address import Address
from reaper.registry.credentials import Logins

#: The product is found out, where it needs nothing but the registry's own address and login.
AUTO: Final = "auto"
#: What to do where no product's API is to be asked.
WITHOUT: Final = "`product: none` in the registry's settings does without"


@dataclass(frozen=True, slots=True)
class ProductOptions:
    """``name`` is a product's, or AUTO. ``address`` and ``logins`` are the API's; None: the registry's own.

    ``groups`` are those whose repositories GitLab is to list.
    """

    name: str = AUTO
    address: Address | None = None
    logins: Logins | None = None
    groups: tuple[str, ...] = ()
