"""What ``reaper check --registry`` says of the registry itself: its logins, and what it answers to them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from reaper.cli.options import Common

if TYPE_CHECKING:
    from reaper.config.settings import Settings
    from reaper.core.errors import ReaperError
    from reaper.registry import Look, RegistryClient, RegistryOptions

#: How many paths are named to a person.
_SHOWN: Final = 10


@dataclass(slots=True)
class RegistryCheck:
    """What was found out. ``error`` is why there is no more."""

    url: str
    logins: list[Look]
    repositories: int | None = None
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
            yield safe(f"registry {self.url}: {repositories}, login {self.login}")

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
            "error": self.error.message if self.error else None,
        }


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
    return run_async(_examine(options))


async def _examine(options: RegistryOptions) -> RegistryCheck:
    from reaper.core.errors import ReaperError
    from reaper.registry import RegistryClient

    logins = await options.logins.looks(None)
    found = RegistryCheck(options.address.url, logins, error=next((x.error for x in logins if x.error), None))
    if found.error is None:
        try:
            async with RegistryClient(options) as client:
                await _ask(client, found)
        except ReaperError as error:
            # Where the login is from helps most when it is refused.
            found.error = error
    return found


async def _ask(client: RegistryClient, found: RegistryCheck) -> None:
    await client.ping()
    found.repositories = len([name async for name in client.repositories()])
