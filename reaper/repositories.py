"""Which repositories there are to look at: those that the settings name, or else those that are listed.

The registry's own catalog comes last: many registries have none, and some list only a part in it.
"""

from __future__ import annotations

import difflib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from reaper.core.errors import InvalidInputError, ReaperError
from reaper.core.reference import is_repository
from reaper.core.selectors import EVERYTHING, Selector
from reaper.lines import command_lines, file_lines
from reaper.registry import AuthenticationError, DeniedError, RegistryClient, UnsupportedError

HINT: Final = "name the repositories under registries[].repositories: names, a file or a command"
CATALOG: Final = "the catalog"
#: How many repositories are worked on side by side, so that small ones do not wait for each answer in turn.
AT_ONCE: Final = 8
#: So many invalid names are reported one by one.
_SHOWN: Final = 20

#: Lists the repositories through a product's own API; None where it does not.
Lister = Callable[[], Awaitable[Sequence[str] | None]]


@dataclass(frozen=True, slots=True)
class Named:
    """Where the settings name repositories; all of it counts. ``limit`` is the command's, in seconds."""

    names: Sequence[str] = ()
    file: Path | None = None
    command: Sequence[str] = ()
    limit: float = 60.0

    def __bool__(self) -> bool:
        """Tell whether they name any."""
        return bool(self.names or self.file or self.command)

    def __str__(self) -> str:
        """Say where, without a command's arguments, which may hold secrets."""
        parts = ["the settings"] if self.names else []
        parts += [f"file {self.file}"] if self.file else []
        parts += [f"command {self.command[0]}"] if self.command else []
        return " and ".join(parts)


@dataclass(frozen=True, slots=True)
class Listing:
    """What a source lists: ``names`` are sorted, each once; ``invalid`` is what names no repository.

    ``whole``: these are all repositories of the registry, as far as the login may see them.
    """

    names: Sequence[str]
    invalid: Sequence[str]
    source: str
    whole: bool

    @property
    def errors(self) -> dict[str, str]:
        """What is wrong with each invalid name, as far as it can be shown: the first few of them."""
        shown = self.invalid[:_SHOWN]
        found = {_shown(name): f"{self.source} has an invalid name {name[:80]!r}" for name in shown}
        if len(self.invalid) > _SHOWN:
            found["…"] = f"{self.source} has {len(self.invalid) - _SHOWN} more invalid names"
        return found


def check_selected(selected: Selector, names: Sequence[str]) -> None:
    """Refuse a selection of no repository: somebody has mistyped it.

    Raises:
        InvalidInputError: it is one.
    """
    if selected is EVERYTHING or any(selected.select(name) is not None for name in names):
        return
    written = str(selected)
    near = difflib.get_close_matches(written, names, n=1)
    hint = f"did you mean {near[0]!r}?" if near else "`reaper ls` lists the repositories"
    raise InvalidInputError(f"no repository matches {written!r}", hint=hint)


class Repositories:
    """The repositories of one registry, from the first source there is: settings, product, catalog.

    ``product_whole``: the product lists all that there are. ``catalog`` False: the registry has none, and is
    not asked for one.
    """

    def __init__(
        self,
        client: RegistryClient,
        *,
        named: Named | None = None,
        product: Lister | None = None,
        product_whole: bool = True,
        catalog: bool | None = None,
    ) -> None:
        self._client = client
        self._named = named or Named()
        self._product = product
        self._product_whole = product_whole
        self._catalog = catalog

    async def list(self) -> Listing:
        """Return what there is. The settings' file is read, and their command run, anew each time.

        Raises:
            ReaperError: the source could not be read to its end, or names nothing although somebody wrote it.
            UnsupportedError: there is none: no catalog, and nothing in the settings.
        """
        if self._named:
            return await self._from_settings()
        listed = await self._product() if self._product else None
        if listed is not None:
            return _listing(listed, "the registry's own API", whole=self._product_whole)
        return _listing(await self._from_catalog(), CATALOG, whole=True)

    async def _from_settings(self) -> Listing:
        named = self._named
        lines = await file_lines(named.file) if named.file else []
        if named.command:
            lines += await command_lines(named.command, name=named.command[0], limit=named.limit)
        # No name has a space, and some commands print several on a line.
        names = [*named.names, *(name for line in lines for name in line.text.split())]
        if not names:
            # An empty list is more likely a mishap than an empty registry.
            raise ReaperError(f"{named} names no repository", hint="see registries[].repositories")
        return _listing(names, str(named), whole=False)

    async def _from_catalog(self) -> Sequence[str]:
        if self._catalog is False:
            raise UnsupportedError(f"{self._client.url} has no catalog, as the settings say", hint=HINT)
        try:
            return [name async for name in self._client.repositories()]
        except UnsupportedError as error:
            raise UnsupportedError(error.message, hint=HINT, status=error.status) from error
        except (AuthenticationError, DeniedError) as error:
            hint = f"a login that may list repositories is needed; or {HINT}"
            raise type(error)(error.message, hint=hint, status=error.status) from error


def _shown(name: str) -> str:
    """Return so much of a name as fits into a line."""
    printable = "".join(char if char.isprintable() else "?" for char in name[:81])
    return printable if len(name) <= 80 else f"{printable[:80]}…"


def _listing(names: Sequence[str], source: str, *, whole: bool) -> Listing:
    found = set(names)
    valid = {name for name in found if is_repository(name)}
    return Listing(sorted(valid), sorted(found - valid), source, whole)
