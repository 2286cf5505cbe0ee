"""Where logins come from: one source after the other, until one has a login for the registry."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Protocol

import structlog

from reaper.core.errors import InvalidInputError, ReaperError
from reaper.registry.address import Address
from reaper.registry.credentials import Credentials, Finding, Look
from reaper.registry.docker_config import LoginFile, file_of, read_login_file
from reaper.registry.helper import Helpers
from reaper.registry.login_keys import path_of

_log = structlog.get_logger(__name__)

#: A refused login is not looked up again within so many seconds: requests are refused side by side.
_PAUSE: Final = 1.0


class Source(Protocol):
    """One place that may know logins."""

    @property
    def name(self) -> str:
        """What people are told of it."""
        ...

    async def look(self, repository: str | None) -> Look:
        """Return what the place has for ``repository``, or for the registry itself (None).

        What was read is remembered until `forget`.

        Raises:
            ReaperError: what is there cannot be read, or is wrong.
        """
        ...

    def forget(self) -> None:
        """Read anew from now on."""
        ...


class SettingsSource:
    """A login that the settings name; ``read`` returns it, reading a secret's file where there is one."""

    def __init__(self, name: str, read: Callable[[], Credentials | None]) -> None:
        self._name = name
        self._read = read
        self._known: Look | None = None

    @property
    def name(self) -> str:
        """Whose settings they are."""
        return self._name

    async def look(self, repository: str | None) -> Look:
        """Return the login, which is for the whole registry."""
        del repository
        if self._known is None:
            login = await asyncio.to_thread(self._read)
            finding = Finding.LOGIN if login else Finding.NO_LOGIN
            self._known = Look(self._name, finding, login)
        return self._known

    def forget(self) -> None:
        """Read the secret's file anew."""
        self._known = None


@dataclass(frozen=True, slots=True)
class Place:
    """A file of logins, or a folder that holds one. ``why`` says who names it.

    ``chosen``: it has to be there. ``usual``: it is nobody's choice, so what may not be read is passed over.
    """

    path: Path
    why: str
    chosen: bool = False
    usual: bool = False


class FileSource:
    """A file of logins, and the credential helpers that it names."""

    def __init__(self, place: Place, address: Address, helpers: Helpers) -> None:
        self._place = place
        self._address = address
        self._helpers = helpers
        self._file = place.path
        self._known: LoginFile | Finding | None = None
        self._below: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The file, and who names it."""
        return f"{self._file} ({self._place.why})"

    async def look(self, repository: str | None) -> Look:
        """Return what the file has, or the helper that it names."""
        if self._known is None:
            self._known = await asyncio.to_thread(self._read)
            _log.debug("logins", file=str(self._file), named_by=self._place.why, found=self._finding())
            if isinstance(self._known, LoginFile):
                self._below = self._known.below(path_of(self._address, None))
        if isinstance(self._known, Finding):
            return Look(self.name, self._known)
        path = path_of(self._address, repository)
        login = None
        if helper := self._known.helper(path):
            login = await self._helpers.ask(helper.name, helper.server, self._file)
        login = login or self._known.login(path)
        finding = Finding.LOGIN if login else Finding.NO_LOGIN
        return Look(self.name, finding, login, below=self._below)

    def forget(self) -> None:
        """Read the file anew."""
        self._known = None

    def _finding(self) -> str:
        return self._known.value if isinstance(self._known, Finding) else "read"

    def _read(self) -> LoginFile | Finding:
        place = self._place
        self._file = place.path
        try:
            self._file = file_of(place.path)
            return read_login_file(self._file, self._address)
        except (FileNotFoundError, NotADirectoryError):
            if not place.chosen:
                return Finding.ABSENT
            hint = f"{place.why} names a folder with Docker's config.json, or such a file"
            raise InvalidInputError(f"{self._file} is not there", hint=hint) from None
        except OSError as error:
            if place.usual and isinstance(error, PermissionError):
                return Finding.UNREADABLE
            hint = f"it is named by {place.why}"
            raise InvalidInputError(f"cannot read {self._file}: {error.strerror}", hint=hint) from error


class LoginSources:
    """Logins of one registry: of the first source that has one for the repository.

    Files are read, and helpers are asked, when a login is first needed, and again when one is refused.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        helpers: Helpers | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sources = tuple(sources)
        self._helpers = helpers
        self._clock = clock
        self._looked_at: float | None = None
        self._lock = asyncio.Lock()

    async def find(self, repository: str | None, *, refused: Credentials | None = None) -> Credentials | None:
        """Return the login of the first source that has one."""
        async with self._lock:
            login = await self._find(repository)
            if refused is None or login != refused or not self._is_old():
                return login
            for source in self._sources:
                source.forget()
            if self._helpers:
                self._helpers.forget()
            self._looked_at = None
            found = await self._find(repository)
            _log.info("a refused login was looked up again", source=refused.source, changed=found != refused)
            return found

    async def looks(self, repository: str | None) -> list[Look]:
        """Return what each source has; those behind a login or an error are not looked at."""
        async with self._lock:
            looks: list[Look] = []
            over = False
            for source in self._sources:
                look = Look(source.name, Finding.NOT_ASKED) if over else await _look(source, repository)
                looks.append(look)
                over = over or look.finding in (Finding.LOGIN, Finding.FAILED)
            return looks

    async def _find(self, repository: str | None) -> Credentials | None:
        if self._looked_at is None:
            self._looked_at = self._clock()
        for source in self._sources:
            look = await source.look(repository)
            if look.login is not None:
                return look.login
        return None

    def _is_old(self) -> bool:
        return self._looked_at is not None and self._clock() - self._looked_at >= _PAUSE


async def _look(source: Source, repository: str | None) -> Look:
    try:
        return await source.look(repository)
    except ReaperError as error:
        return Look(source.name, Finding.FAILED, error=error)


def logins_of(address: Address, own: Source, chosen: Place | None) -> LoginSources:
    """Return the logins of the registry at ``address``: its ``own``, those ``chosen``, and the usual places'.

    Nothing is read yet.
    """
    helpers = Helpers()
    sources, seen = [own], set[Path]()
    for place in (*([chosen] if chosen else ()), *_named_places(), *_usual_places()):
        path = place.path.absolute()
        if path not in seen:
            sources.append(FileSource(replace(place, path=path), address, helpers))
            seen |= {path, path / "config.json"}
    return LoginSources(sources, helpers)


def _named_places() -> Iterator[Place]:
    """Yield what the environment names for container tools."""
    for name in ("REGISTRY_AUTH_FILE", "DOCKER_CONFIG"):
        if named := os.environ.get(name):
            yield Place(Path(named), f"${name}")


def _usual_places() -> Iterator[Place]:
    """Yield where container tools keep logins, unless told otherwise (containers-auth.json(5))."""
    try:
        home = Path.home()
    except RuntimeError:
        home = None  # A container's user need not have one.
    if home:
        yield Place(home / ".docker" / "config.json", "Docker's own", usual=True)
    runtime, own = os.environ.get("XDG_RUNTIME_DIR"), os.environ.get("XDG_CONFIG_HOME")
    running = Path(runtime, "containers") if runtime else Path("/run/containers", str(os.getuid()))
    configuration = Path(own) if own else home / ".config" if home else None
    for folder in (running, configuration / "containers" if configuration else None):
        if folder:
            yield Place(folder / "auth.json", "containers' own", usual=True)
