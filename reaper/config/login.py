"""Logins that settings name: a user's name and password, or a token, each written out or in a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from pydantic import SecretStr

from reaper.config.model import Fault
from reaper.config.secrets import read_secret


@dataclass(frozen=True, slots=True)
class Login:
    """What to show a registry: a user's name and password, or a token. Never in a repr."""

    username: str | None = None
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)


class LoginFields(Protocol):
    """Settings that name a login."""

    @property
    def username(self) -> str | None: ...
    @property
    def password(self) -> SecretStr | None: ...
    @property
    def password_file(self) -> Path | None: ...
    @property
    def token(self) -> SecretStr | None: ...
    @property
    def token_file(self) -> Path | None: ...


def login_faults(data: Mapping[str, Any]) -> Iterator[Fault]:
    """Yield logins in ``data`` that contradict each other or lack a half."""
    for first, second in (("password", "password_file"), ("token", "token_file")):
        if first in data and second in data:
            yield Fault(f"{first} stands beside {second}", "keep one of them", (first,), of_key=True)
    password = next((key for key in ("password", "password_file") if key in data), None)
    token = next((key for key in ("token", "token_file") if key in data), None)
    if token and (password or "username" in data):
        hint = "a login is a name with a password, or a token"
        yield Fault(f"{token} stands beside {password or 'username'}", hint, (token,), of_key=True)
    elif "username" in data and not password:
        yield Fault("username has no password", "add password_file", ("username",), of_key=True)
    elif password and "username" not in data:
        yield Fault(f"{password} has no username", "add username", (password,), of_key=True)


def read_login(fields: LoginFields) -> Login | None:
    """Return the login that ``fields`` name, or None. Files are read anew each time.

    Raises:
        ReaperError: a file cannot be read, or holds no secret.
    """
    if fields.username is not None:
        return Login(username=fields.username, password=read_secret(fields.password, fields.password_file))
    if fields.token is not None or fields.token_file is not None:
        return Login(token=read_secret(fields.token, fields.token_file))
    return None
