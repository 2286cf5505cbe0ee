"""The wire: transport, logins and tokens, and the client of the registry's API."""

from reaper.registry.address import Address, parse_address
from reaper.registry.client import (
    Deleted,
    RawManifest,
    RegistryClient,
    RegistryMode,
    Resolved,
)
from reaper.registry.credentials import NO_LOGIN, Credentials, Finding, Logins, Look, OneLogin
from reaper.registry.errors import (
    AuthenticationError,
    DeletesDisabledError,
    DeniedError,
    LoginError,
    NotARegistryError,
    NotFoundError,
    ProtocolError,
    ReadOnlyRegistryError,
    RegistryError,
    ServerError,
    SilentError,
    ThrottledError,
    TLSError,
    TooLargeError,
    TruncatedError,
    UnreachableError,
    UnsupportedError,
    WriteRefusedError,
)
from reaper.registry.login_sources import Place, SettingsSource, logins_of
from reaper.registry.observer import NOBODY, Observer
from reaper.registry.options import PAGE_SIZE, RegistryOptions
from reaper.registry.tls import TLSOptions
from reaper.registry.transport import Patience

__all__ = [
    "NOBODY",
    "NO_LOGIN",
    "PAGE_SIZE",
    "Address",
    "AuthenticationError",
    "Credentials",
    "Deleted",
    "DeletesDisabledError",
    "DeniedError",
    "Finding",
    "LoginError",
    "Logins",
    "Look",
    "NotARegistryError",
    "NotFoundError",
    "Observer",
    "OneLogin",
    "Patience",
    "Place",
    "ProtocolError",
    "RawManifest",
    "ReadOnlyRegistryError",
    "RegistryClient",
    "RegistryError",
    "RegistryMode",
    "RegistryOptions",
    "Resolved",
    "ServerError",
    "SettingsSource",
    "SilentError",
    "TLSError",
    "TLSOptions",
    "ThrottledError",
    "TooLargeError",
    "TruncatedError",
    "UnreachableError",
    "UnsupportedError",
    "WriteRefusedError",
    "logins_of",
    "parse_address",
]
