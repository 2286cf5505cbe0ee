"""Logins: what a registry is shown, and who knows it."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Credentials:
    """A login, and where it comes from. Its text never shows a secret.

    ``token`` is sent as it is; ``identity_token`` is exchanged for tokens (OAuth 2 refresh token).
    """

    source: str
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    identity_token: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        who = f"user {self.username}" if self.username else "a token"
        return f"{who} from {self.source}"

    def basic(self) -> str | None:
        """Return the value of a Basic ``Authorization`` header (RFC 7617), or None without a password."""
        if self.username is None or self.password is None:
            return None
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()


class Logins(Protocol):
    """Knows the login for each part of one registry."""

    async def find(self, repository: str | None) -> Credentials | None:
        """Return the login for ``repository``, or for the registry itself (None); None means anonymous.

        Raises:
            ReaperError: the login is there, but cannot be read.
        """
        ...


@dataclass(frozen=True, slots=True)
class OneLogin:
    """The same login for the whole registry."""

    credentials: Credentials | None = None

    async def find(self, repository: str | None) -> Credentials | None:
        """Return the login."""
        del repository
        return self.credentials


NO_LOGIN = OneLogin()
