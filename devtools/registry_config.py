"""How a distribution registry is set up: the options that tests use, as its configuration file."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenAuth:
    """The token service that a registry sends its clients to, and the certificates it trusts tokens from."""

    realm: str
    service: str
    issuer: str
    rootcertbundle: Path


@dataclass(frozen=True, kw_only=True, slots=True)
class RegistryOptions:
    """How a registry is set up; the defaults are a writable registry without authentication."""

    delete_enabled: bool = True
    readonly: bool = False
    htpasswd: Mapping[str, str] | None = None  # user: password
    token: TokenAuth | None = None
    tls: tuple[Path, Path] | None = None  # certificate, key
    tls_client: tuple[Path, Path] | None = (
        None  # the authority of clients' certificates, one of them with its key
    )
    http_prefix: str | None = None  # "/prefix/"
    relative_urls: bool = False
    descriptor_cache: bool = True  # upstream's example configuration has it
    max_catalog_entries: int | None = None
    schema1: bool = False  # distribution 2 only
    notifications_url: str | None = None
    notifications_headers: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(
        default_factory=dict
    )  # REGISTRY_… overrides the configuration file


def configuration(options: RegistryOptions, storage: Path, address: str, htpasswd: Path) -> dict[str, Any]:
    """The configuration for distribution 2.8 and 3; writes the password file where there are passwords."""
    settings: dict[str, Any] = {
        "version": "0.1",
        "log": {"level": "info", "accesslog": {"disabled": False}},
        "storage": {
            "filesystem": {"rootdirectory": str(storage)},
            "delete": {"enabled": options.delete_enabled},
            "maintenance": {"uploadpurging": {"enabled": False}, "readonly": {"enabled": options.readonly}},
        },
        "http": {"addr": address, "relativeurls": options.relative_urls},
    }
    if options.descriptor_cache:
        settings["storage"]["cache"] = {"blobdescriptor": "inmemory"}
    if options.tls is not None:
        certificate, key = options.tls
        settings["http"]["tls"] = {"certificate": str(certificate), "key": str(key)}
        if options.tls_client is not None:
            settings["http"]["tls"]["clientcas"] = [str(options.tls_client[0])]
    if options.http_prefix is not None:
        settings["http"]["prefix"] = options.http_prefix
    if options.htpasswd is not None:
        hashes = {user: _bcrypt(password) for user, password in options.htpasswd.items()}
        htpasswd.write_text("".join(f"{user}:{hashed}\n" for user, hashed in hashes.items()))
        settings["auth"] = {"htpasswd": {"realm": "devtools", "path": str(htpasswd)}}
    if options.token is not None:
        token = {name: str(value) for name, value in dataclasses.asdict(options.token).items()}
        settings["auth"] = {"token": token}
    if options.max_catalog_entries is not None:
        settings["catalog"] = {"maxentries": options.max_catalog_entries}
    if options.schema1:
        settings["compatibility"] = {"schema1": {"enabled": True}}
    if options.notifications_url is not None:
        settings["notifications"] = {"endpoints": [_endpoint(options)]}
    return settings


def _endpoint(options: RegistryOptions) -> dict[str, Any]:
    return {
        "name": "devtools",
        "url": options.notifications_url,
        "headers": {name: [value] for name, value in options.notifications_headers.items()},
        "timeout": "2s",
        "threshold": 3,
        "backoff": "100ms",
    }


def _bcrypt(password: str) -> str:
    """The one kind of hash that distribution accepts; at the least cost, for every request checks it."""
    import bcrypt

    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(rounds=4)).decode()
