"""What ``reaper check --registry`` says of the registry itself: its logins, and what it answers to them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from reaper.cli.options import Common

if TYPE_CHECKING:
    from reaper.config.settings import RegistrySettings, Settings
    from reaper.core.capabilities import Capability
    from reaper.core.errors import ReaperError
    from reaper.registry import Look, RegistryClient, RegistryOptions
    from reaper.store import Store

#: How many paths are named to a person.
_SHOWN: Final = 10


@dataclass(slots=True)
class RegistryCheck:
    """What was found out. ``source`` says which repositories there are; ``error`` is why there is no more."""

    url: str
    logins: list[Look]
    repositories: int | None = None
    source: str = ""
    capabilities: list[Capability] = field(default_factory=list)
    error: ReaperError | None = None

    @property
    def login(self) -> str:
        """Who reaper is for the registry itself."""
        return next((str(look.login) for look in self.logins if look.login), "anonymous")

    def lines(self) -> Iterator[str]:
        """Yield what a person reads."""
        from reaper.report.text import count, safe

        for look in self.logins:
            what = f"{look.login.who}, used" if look.login else look.finding.value
            below = f"; others for {_some(look.below)}" if look.below else ""
            yield safe(f"login: {look.source}: {what}{below}")
        if self.repositories is not None:
            repositories = count(self.repositories, "repository", "repositories")
            yield safe(f"registry {self.url}: {repositories} in {self.source}, login {self.login}")
        for capability in self.capabilities:
            yield safe(f"  {capability.name.value:<14} {_said(capability)}")

    def document(self) -> dict[str, Any]:
        """Return the same for a program."""
        return {
            "url": self.url,
            "login": self.login,
            "login_sources": [
                {
                    "source": look.source,
                    "found": look.finding.value,
                    "username": look.login.username if look.login else None,
                    "used": look.login is not None,
                    "below": list(look.below),
                }
                for look in self.logins
            ],
            "repositories": self.repositories,
            "repositories_from": self.source or None,
            "capabilities": {
                capability.name.name.lower(): {
                    "value": capability.value,
                    "how": capability.how.value,
                    "found_at": capability.at.isoformat() if capability.at else None,
                }
                for capability in self.capabilities
            },
            "error": self.error.message if self.error else None,
        }


def _said(capability: Capability) -> str:
    """Return what is known of a capability, and how."""
    from reaper.core.capabilities import How, Name

    if capability.value is None:
        first_run = capability.name in (Name.DELETES, Name.UNTAG, Name.UNDO)
        return "unknown until the first real run" if first_run else "unknown"
    how = "the product" if capability.how is How.PRODUCT else capability.how.value
    if capability.how is How.UNKNOWN:
        return capability.value
    at = f", {capability.at:%Y-%m-%d %H:%MZ}" if capability.at else ""
    return f"{capability.value} ({how}{at})"


def _some(paths: Sequence[str]) -> str:
    """Return the first few of ``paths``, and how many more there are."""
    more = f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
    return ", ".join(paths[:_SHOWN]) + more


def check_registry(common: Common, settings: Settings) -> RegistryCheck:
    """Return what the chosen registry says to the login.

    Raises:
        ReaperError: there is no such registry, or its address is not valid.
    """
    from reaper.cli.session import run_async
    from reaper.compose import registry_options

    registry = settings.registry(common.registry)
    options = registry_options(registry, read_only=True, docker_config=common.docker_config)
    with _memory(settings.store.url) as store:
        return run_async(_examine(options, registry, store))


@contextmanager
def _memory(url: str) -> Iterator[Store | None]:
    """Open the store, where there is one: a check makes none, and does without."""
    from reaper.store import StoreError, open_store

    try:
        open_store(url, read_only=True).close()
        store = open_store(url)
    except StoreError:
        yield None
        return
    with store:
        yield store


async def _examine(
    options: RegistryOptions, registry: RegistrySettings, store: Store | None
) -> RegistryCheck:
    from reaper.core.errors import ReaperError
    from reaper.registry import RegistryClient

    logins = await options.logins.looks(None)
    found = RegistryCheck(options.address.url, logins, error=next((x.error for x in logins if x.error), None))
    if found.error is None:
        try:
            async with RegistryClient(options) as client:
                await _ask(client, found, registry, store)
        except ReaperError as error:
            # Where the login is from helps most when it is refused.
            found.error = error
    return found


async def _ask(
    client: RegistryClient, found: RegistryCheck, registry: RegistrySettings, store: Store | None
) -> None:
    from reaper.compose import capabilities_for, repositories_for
    from reaper.core.errors import ReaperError

    await client.ping()
    names: Sequence[str] = ()
    try:
        listing = await repositories_for(registry, client).list()
        names, found.source, found.repositories = listing.names, listing.source, len(listing.names)
    except ReaperError as error:
        # What the registry can do tells what to do about it.
        found.error = error
    capabilities = capabilities_for(registry, client, store)
    found.capabilities = await capabilities.look(names[0] if names else None)
