"""What can go wrong on the wire: each with one clear line, and what to do about it."""

from __future__ import annotations

from reaper.core.errors import ReaperError


class RegistryError(ReaperError):
    """A registry could not be asked, or gave no usable answer. ``status`` is the HTTP status, if any."""

    def __init__(self, message: str, *, hint: str | None = None, status: int | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status = status


class UnreachableError(RegistryError):
    """No answer came: the name does not resolve, the connection failed, or a time limit ran out."""


class HangUpError(UnreachableError):
    """The connection stood, and was ended without an answer."""


class SilentError(UnreachableError):
    """The registry was not asked: it has not answered for so long that it need not be asked now."""


class TLSError(RegistryError):
    """The connection could not be secured."""


class LoginError(RegistryError):
    """There is a login, but it could not be had: its credential helper fails, say."""


class AuthenticationError(RegistryError):
    """The registry, or its token server, does not accept the login (401)."""


class DeniedError(RegistryError):
    """The login is valid, but may not do this (403)."""


class NotFoundError(RegistryError):
    """What was asked for is not there (404)."""


class ThrottledError(RegistryError):
    """The registry asks for fewer requests (429), and went on doing so. ``retry_after`` is in seconds."""

    def __init__(self, message: str, *, status: int | None = None, retry_after: float | None = None) -> None:
        super().__init__(message, status=status)
        self.retry_after = retry_after


class ServerError(RegistryError):
    """The registry failed (5xx), and went on doing so. ``retry_after`` is in seconds."""

    def __init__(self, message: str, *, status: int | None = None, retry_after: float | None = None) -> None:
        super().__init__(message, status=status)
        self.retry_after = retry_after


class NotARegistryError(RegistryError):
    """The answer is not a registry's: a login page, a proxy's error page, another service."""


class ProtocolError(RegistryError):
    """The answer breaks the distribution specification, so nothing may be concluded from it."""


class TooLargeError(ProtocolError):
    """The answer is longer than any honest one."""


class TruncatedError(RegistryError):
    """The answer ended before its end."""


class UnsupportedError(RegistryError):
    """The registry does not offer this."""


class DeletesDisabledError(RegistryError):
    """The registry's configuration allows no delete."""


class ReadOnlyRegistryError(RegistryError):
    """The registry is in read-only mode."""


class WriteRefusedError(RegistryError):
    """A request that is neither GET nor HEAD, in a dry run: a fault in reaper, stopped before it left."""
