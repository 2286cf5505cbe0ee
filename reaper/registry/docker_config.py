"""Files of logins: Docker's ``config.json``, containers' ``auth.json``, and Kubernetes' secrets."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from reaper.core.errors import InvalidInputError
from reaper.registry.address import Address
from reaper.registry.credentials import Credentials
from reaper.registry.helper import is_helper
from reaper.registry.login_keys import Key, covering, of_registry, server_of, server_of_key

_MAX_FILE: Final = 1024 * 1024
#: Before there was ``auths``, the file was what is in it now.
_LEGACY: Final = ".dockercfg"
#: What a folder of such files holds: Docker's, or a Kubernetes secret mounted as it is.
_NAMES: Final = ("config.json", ".dockerconfigjson", _LEGACY)


@dataclass(frozen=True, slots=True)
class Helper:
    """A credential helper to ask, and what to ask it for."""

    name: str
    server: str


@dataclass(slots=True)
class LoginFile:
    """What one file has for one registry: by the path of the key, and for everything else."""

    helpers: dict[str, Helper | None] = field(default_factory=dict)
    store: Helper | None = None
    logins: dict[str, Credentials] = field(default_factory=dict)

    def helper(self, path: str) -> Helper | None:
        """Return the helper to ask about what keys call ``path``: its own, else the one for all."""
        found = covering(self.helpers, path)
        # One without a name says that this registry's login is not with the helper for all.
        return self.store if found is None else self.helpers[found]

    def login(self, path: str) -> Credentials | None:
        """Return the login that is written in the file."""
        found = covering(self.logins, path)
        return None if found is None else self.logins[found]

    def below(self, path: str) -> tuple[str, ...]:
        """Return the paths below ``path`` that have a login, or a helper, of their own."""
        start = f"{path}/" if path else ""
        return tuple(
            sorted(each for each in {*self.helpers, *self.logins} - {path} if each.startswith(start))
        )


def file_of(place: Path) -> Path:
    """Return the file that ``place`` stands for: itself, or the one of logins in it.

    Raises:
        OSError: it cannot be looked at.
    """
    if not place.is_dir():
        return place
    return next((place / name for name in _NAMES if (place / name).exists()), place / _NAMES[0])


def read_login_file(file: Path, address: Address) -> LoginFile:
    """Return what ``file`` has for ``address``.

    Raises:
        OSError: it cannot be read.
        InvalidInputError: it is no such file, or what it has for the registry is wrong. Never with a secret.
    """
    with file.open("rb") as opened:
        content = opened.read(_MAX_FILE + 1)
    if len(content) > _MAX_FILE:
        raise InvalidInputError(f"{file} is too large for a Docker configuration")
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        # Without the parser's words: they may quote a secret.
        raise InvalidInputError(f"{file} is not JSON") from None
    if not isinstance(document, dict):
        raise InvalidInputError(f"{file} is not a Docker configuration")
    if file.name == _LEGACY:
        document = {"auths": document}
    store = document.get("credsStore")
    found = LoginFile(store=_helper(store, server_of(address), file, "credsStore"))
    for key, name in of_registry(_object(document, "credHelpers", file).items(), address):
        found.helpers.setdefault(key.path, _helper(name, server_of_key(key), file, "credHelpers"))
    for key, entry in of_registry(_object(document, "auths", file).items(), address):
        if login := _login(entry, key, file):
            found.logins.setdefault(key.path, login)
    return found


def _object(document: Mapping[str, Any], name: str, file: Path) -> Mapping[str, Any]:
    value = document.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidInputError(f"{file}: {name} is not an object")
    return value


def _helper(name: object, server: str, file: Path, where: str) -> Helper | None:
    if name is None or name == "":
        return None
    if not isinstance(name, str) or not is_helper(name):
        hint = "write NAME where the program is docker-credential-NAME"
        raise InvalidInputError(f"{file}: {where} names no credential helper", hint=hint)
    return Helper(name, server)


def _login(entry: object, key: Key, file: Path) -> Credentials | None:
    if not isinstance(entry, dict):
        raise InvalidInputError(f"{file}: the entry for {key.text} is not an object")
    username, password = _text(entry, "username"), _text(entry, "password")
    encoded = _text(entry, "auth")
    if encoded:
        wrong = InvalidInputError(f"{file}: auth of {key.text} is not base64 of user:password")
        try:
            decoded = base64.b64decode("".join(encoded.split()), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise wrong from None
        username, colon, password = decoded.partition(":")
        if not colon:
            raise wrong
        password = password.rstrip("\x00")
    identity, token = _text(entry, "identitytoken"), _text(entry, "registrytoken")
    if not (identity or token or (username and password)):
        # Docker leaves an empty entry behind where a helper has the login.
        return None
    return Credentials(f"{file}, {key.text}", username or None, password or None, token, identity)


def _text(entry: Mapping[str, Any], key: str) -> str | None:
    value = entry.get(key)
    return value if isinstance(value, str) and value else None
