"""Logins: what a registry is shown, and who knows it."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from reaper.core.errors import InvalidInputError, ReaperError


@dataclass(frozen=True, slots=True)
class Credentials:
    """A login, and where it comes from. Its text never shows a secret.

    ``token`` is sent as it is; ``identity_token`` is exchanged for tokens (OAuth 2 refresh token).

    Raises:
        InvalidInputError: the token, or the user's name, cannot be sent in a header.
    """

    source: str
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    identity_token: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        token = self.token
        if token is not None and not (token.isascii() and token.isprintable() and " " not in token):
            raise InvalidInputError(f"the token from {self.source} has characters that no token has")
        if self.username is not None and ":" in self.username:
            # RFC 7617, 2: the password would begin there.
            raise InvalidInputError(f"the user's name from {self.source} has a colon in it")

    @property
    def who(self) -> str:
        """Whose login it is."""
        return f"user {self.username}" if self.username else "a token"

    def __str__(self) -> str:
        return f"{self.who} from {self.source}"

    def basic(self) -> str | None:
        """Return the value of a Basic ``Authorization`` header (RFC 7617), or None without a password."""
        if self.username is None or self.password is None:
            return None
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()


class Finding(StrEnum):
    """What a source of logins had for a registry."""

    LOGIN = "login"
    NO_LOGIN = "no login"
    ABSENT = "absent"
    UNREADABLE = "unreadable"
    FAILED = "failed"
    NOT_ASKED = "not looked at"


@dataclass(frozen=True, slots=True)
class Look:
    """A look at one source.

    ``login`` is there with Finding.LOGIN, and then it is the one that is used; ``error`` with Finding.FAILED.
    ``below`` are the paths whose repositories have logins of their own in the source.
    """

    source: str
    finding: Finding
    login: Credentials | None = None
    error: ReaperError | None = None
    below: tuple[str, ...] = ()


class Logins(Protocol):
    """Knows the login for each part of one registry."""

    async def find(self, repository: str | None, *, refused: Credentials | None = None) -> Credentials | None:
        """Return the login for ``repository``, or for the registry itself (None); None means anonymous.

        With ``refused``, a login that was refused just now, where logins come from is looked at anew, since
        it may have changed; the same login is returned where it has not.

        Raises:
            ReaperError: the login is there, but cannot be read.
        """
        ...

    async def looks(self, repository: str | None) -> list[Look]:
        """Return what each source has, in order, up to where `find` returns a login or raises an error."""
        ...


@dataclass(frozen=True, slots=True)
class OneLogin:
    """The same login for the whole registry."""

    credentials: Credentials | None = None

    async def find(self, repository: str | None, *, refused: Credentials | None = None) -> Credentials | None:
        """Return the login."""
        del repository, refused
        return self.credentials

    async def looks(self, repository: str | None) -> list[Look]:
        """Return the login's source."""
        del repository
        login = self.credentials
        return [Look(login.source, Finding.LOGIN, login)] if login else []


NO_LOGIN = OneLogin()
