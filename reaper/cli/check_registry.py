"""What ``reaper check --registry`` says of the registry itself: its logins, and what it answers to them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from reaper.cli.options import Common

if TYPE_CHECKING:
    from reaper.config.settings import Settings


@dataclass(frozen=True, slots=True)
class RegistryCheck:
    """What was found out. ``login`` is None for anonymous."""

    url: str
    login: str | None
    repositories: int

    def lines(self) -> Iterator[str]:
        """Yield what a person reads."""
        from reaper.report.text import count, safe

        repositories = count(self.repositories, "repository", "repositories")
        yield safe(f"registry {self.url}: {repositories}, login {self.login or 'anonymous'}")

    def document(self) -> dict[str, Any]:
        """Return the same for a program."""
        return {"url": self.url, "login": self.login or "anonymous", "repositories": self.repositories}


def check_registry(common: Common, settings: Settings) -> RegistryCheck:
    """Return what the chosen registry says to the login.

    Raises:
        ReaperError: it cannot be read.
    """
    from reaper.cli.session import run_async
    from reaper.compose import registry_options
    from reaper.registry import RegistryClient

    registry = settings.registry(common.registry)
    options = registry_options(registry, read_only=True, docker_config=common.docker_config)

    async def work() -> RegistryCheck:
        async with RegistryClient(options) as client:
            await client.ping()
            names = [name async for name in client.repositories()]
            login = await options.logins.find(None)
            return RegistryCheck(client.url, str(login) if login else None, len(names))

    return run_async(work())
