"""What an exchange that failed means: one clear line, and what to set."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import urlsplit

import aiohttp
import httpx

from reaper.registry.errors import (
    HangUpError,
    RegistryError,
    ServerError,
    ThrottledError,
    TLSError,
    TruncatedError,
    UnreachableError,
)

#: Whatever the transport can raise for a failed exchange; some of aiohttp's errors come through as they are.
TRANSPORT_ERRORS = (httpx.TransportError, aiohttp.ClientError, TimeoutError, ConnectionError, ssl.SSLError)

_TRUST: Final = "name its authority's certificate with ca_file, or put it into the host's certs.d folder"
#: What OpenSSL found wrong with a certificate (its verify(1)), and what to do about it.
_CERTIFICATE_HINTS: Final = {
    9: "its time has not begun: is this machine's clock right?",
    10: "it has to be renewed at the server; is this machine's clock right?",
    18: _TRUST,
    19: _TRUST,
    20: _TRUST,
    21: _TRUST,
    62: "write the URL with a name that the certificate is for",
    64: "write the URL with a name that the certificate is for",
}
_OTHER_PORT: Final = "is that the registry's own port? Where it speaks TLS, write its URL with https://"
_SHOW: Final = "set client_cert_file and client_key_file, or put both into the host's certs.d folder"
#: Parts of what OpenSSL says when a server turns away a client for its certificate, or for having none.
_CLIENT_CERTIFICATE: Final = ("CERTIFICATE_REQUIRED", "BAD_CERTIFICATE", "UNKNOWN_CA", "CERTIFICATE_UNKNOWN")
#: What OpenSSL says when what comes back is not TLS.
_NOT_TLS: Final = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "UNKNOWN_PROTOCOL", "HTTP_REQUEST")


def transport_error(error: BaseException, url: str, what: str) -> RegistryError:
    """Return the clear error for what the transport raised at ``url`` while it did ``what``.

    Raise it ``from None``: aiohttp's own words hold whole URLs, with the signatures of a storage in them.
    """
    parts = urlsplit(url)
    server = f"{parts.scheme}://{parts.netloc}"
    cause = error.__cause__ if isinstance(error.__cause__, (aiohttp.ClientError, OSError)) else error
    if isinstance(cause, aiohttp.ClientConnectorCertificateError):
        own = cause.host == parts.hostname
        return _untrusted(cause.certificate_error, server if own else f"the proxy {cause.host}:{cause.port}")
    if isinstance(cause, aiohttp.ClientHttpProxyError):
        return proxy_error(cause.status, server)
    if isinstance(cause, aiohttp.ClientProxyConnectionError):
        proxy = f"{cause.host}:{cause.port}"
        hint = f"{parts.scheme.upper()}_PROXY names it; NO_PROXY can take {parts.hostname} out"
        return UnreachableError(f"the proxy {proxy} cannot be reached: {_reason(cause)}", hint=hint)
    if (found := _tls_error(cause)) is not None:
        return _tls_failed(found, server)
    if isinstance(cause, aiohttp.ClientPayloadError):
        return TruncatedError(f"{what}: the answer ended too early")
    if isinstance(cause, aiohttp.ConnectionTimeoutError):
        return UnreachableError(f"{server} cannot be reached: no connection in time")
    if isinstance(error, (httpx.ReadTimeout, TimeoutError)):
        return UnreachableError(f"{what}: no answer in time")
    if isinstance(cause, aiohttp.ClientResponseError):
        # Not the parser's words: they repeat what came, which may be anything.
        return UnreachableError(f"{server} does not answer with HTTP", hint=_OTHER_PORT)
    # A server that misses a client's certificate may reset the connection before its alert arrives.
    system = getattr(cause, "os_error", None) or cause
    reset = isinstance(system, (aiohttp.ServerDisconnectedError, ConnectionResetError, BrokenPipeError))
    maybe = f"does it ask for a client certificate? {_SHOW}" if parts.scheme == "https" else _OTHER_PORT
    message = f"{server} cannot be reached: {_reason(cause)}"
    return HangUpError(message, hint=maybe) if reset else UnreachableError(message)


def proxy_error(status: int, server: str) -> RegistryError:
    """Return the error for a proxy that does not connect to ``server``, or wants a login for it (407)."""
    variable = f"{urlsplit(server).scheme.upper()}_PROXY"
    if status == 407:
        return RegistryError(
            f"the proxy refuses the way to {server}: it asks for another login (407)",
            hint=f"write {variable} as http://USER:PASSWORD@HOST:PORT",
            status=status,
        )
    message = f"the proxy does not connect to {server} ({status})"
    hint = f"{variable} names the proxy; NO_PROXY can take the host out"
    if status >= 500:
        return ServerError(message, status=status)
    return RegistryError(message, hint=hint, status=status)


def refuse_strain(status: int, headers: httpx.Headers, what: str, whose: str) -> None:
    """Raise where an answer asks for patience, or says that the server failed.

    Raises:
        ThrottledError, ServerError: with the pause that it asks for.
    """
    if status == 429:
        raise ThrottledError(f"{what}: too many requests (429)", status=429, retry_after=retry_after(headers))
    if status >= 500 and status != 501:
        raise ServerError(
            f"{what}: {whose} failed ({status})", status=status, retry_after=retry_after(headers)
        )


def retry_after(headers: httpx.Headers) -> float | None:
    """Return the seconds that ``Retry-After`` asks for (RFC 9110, 10.2.3), or None."""
    value = headers.get("Retry-After", "").strip()
    if value.isdecimal():
        return float(min(int(value[:9]), 86400))
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def _untrusted(error: Exception, server: str) -> TLSError:
    code = getattr(error, "verify_code", 0)
    said = getattr(error, "verify_message", "") or str(error)
    return TLSError(
        f"{server}: its certificate is not trusted: {said}", hint=_CERTIFICATE_HINTS.get(code, _TRUST)
    )


def _tls_error(error: BaseException) -> ssl.SSLError | None:
    """Return what OpenSSL said, wherever aiohttp put it."""
    seen: set[int] = set()
    found: BaseException | None = error
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        # aiohttp's own class is an SSLError too, without what OpenSSL said.
        for each in (getattr(found, "os_error", None), found):
            if isinstance(each, ssl.SSLError) and not isinstance(each, aiohttp.ClientError):
                return each
        found = found.__cause__ or found.__context__
    return None


def _tls_failed(error: ssl.SSLError, server: str) -> TLSError:
    if isinstance(error, ssl.SSLCertVerificationError):
        return _untrusted(error, server)
    reason = error.reason or ""
    if any(part in reason for part in _CLIENT_CERTIFICATE):
        return TLSError(
            f"{server} asks for another client certificate ({reason})",
            hint=_SHOW,
        )
    if any(part in reason for part in _NOT_TLS):
        return TLSError(f"{server} does not speak TLS", hint=f"write its URL with http:// ({reason})")
    hint = f"does it ask for a client certificate? {_SHOW}" if "HANDSHAKE_FAILURE" in reason else None
    return TLSError(f"{server}: TLS failed: {reason or _reason(error)}", hint=hint)


def _reason(error: BaseException) -> str:
    system = getattr(error, "os_error", None) or error
    if isinstance(system, ConnectionResetError):
        return "the connection was reset"
    return str(getattr(system, "strerror", None) or str(error) or type(error).__name__)
