"""Logins of Docker's ``config.json``."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from reaper.core.errors import InvalidInputError
from reaper.registry.address import Address
from reaper.registry.credentials import Credentials

_MAX_CONFIG = 1024 * 1024


def find_credentials(address: Address, *, docker_config: Path | None) -> Credentials | None:
    """Return the login for ``address`` in ``docker_config`` (a folder as for ``docker --config``, or a file).

    None stands for ``~/.docker``, which need not exist.

    Raises:
        InvalidInputError: a chosen file is not there, or a file is no Docker configuration.
    """
    file = (docker_config or Path.home() / ".docker").expanduser()
    if file.is_dir() or docker_config is None:
        file /= "config.json"
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        if docker_config is None:
            return None
        raise InvalidInputError(f"{file} is not there", hint="--docker-config names a folder") from None
    except OSError as error:
        raise InvalidInputError(f"cannot read {file}: {error.strerror}") from error
    return _login_in(_document(content, file), address, file)


def _document(content: bytes, file: Path) -> Mapping[str, Any]:
    if len(content) > _MAX_CONFIG:
        raise InvalidInputError(f"{file} is too large for a Docker configuration")
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        # Without the parser's words: they may quote a secret.
        raise InvalidInputError(f"{file} is not JSON") from error
    if not isinstance(document, dict):
        raise InvalidInputError(f"{file} is not a Docker configuration")
    return document


def _login_in(document: Mapping[str, Any], address: Address, file: Path) -> Credentials | None:
    auths = document.get("auths")
    if auths is None:
        return None
    if not isinstance(auths, dict):
        raise InvalidInputError(f"{file}: auths is not an object")
    wanted = _key(address.host)
    for key, entry in auths.items():
        if _key(key) == wanted:
            if not isinstance(entry, dict):
                raise InvalidInputError(f"{file}: the entry for {key} is not an object")
            return _credentials(entry, f"{file}, {key}", file)
    return None


def _key(text: str) -> str:
    """Return the host and port that a key of ``auths`` stands for: with or without scheme and path."""
    parts = urlsplit(text if "://" in text else f"//{text}")
    return parts.netloc.rpartition("@")[2].lower()


def _credentials(entry: Mapping[str, Any], source: str, file: Path) -> Credentials | None:
    username, password = _text(entry, "username"), _text(entry, "password")
    encoded = _text(entry, "auth")
    if encoded:
        try:
            username, colon, password = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError) as error:
            raise InvalidInputError(f"{file}: an auth entry is not base64 of user:password") from error
        if not colon:
            raise InvalidInputError(f"{file}: an auth entry is not base64 of user:password")
        password = password.rstrip("\x00")
    identity, registry_token = _text(entry, "identitytoken"), _text(entry, "registrytoken")
    if not (identity or registry_token or (username and password)):
        return None
    return Credentials(source, username or None, password or None, registry_token, identity)


def _text(entry: Mapping[str, Any], key: str) -> str | None:
    value = entry.get(key)
    return value if isinstance(value, str) and value else None
