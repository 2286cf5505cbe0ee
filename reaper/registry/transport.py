"""The HTTP client under everything: httpx over aiohttp's transport, and the promise of a dry run."""

from __future__ import annotations

import ssl
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

from reaper import __version__
from reaper.core.errors import InvalidInputError
from reaper.registry.address import Address, is_loopback
from reaper.registry.errors import (
    RegistryError,
    TLSError,
    TruncatedError,
    UnreachableError,
    WriteRefusedError,
)

USER_AGENT = f"reaper/{__version__}"
_SAFE = frozenset({"GET", "HEAD"})

#: Whatever the transport can raise for a failed exchange; some of aiohttp's errors come through as they are.
TRANSPORT_ERRORS = (httpx.TransportError, aiohttp.ClientError, TimeoutError, ConnectionError)


@dataclass(frozen=True, slots=True)
class TLSOptions:
    """How the registry proves who it is. ``insecure`` takes anybody's word for it."""

    ca_file: Path | None = None
    insecure: bool = False


class _Transport(AiohttpTransport):
    """Sends each request once: whether to send it again is for those who know what it does."""

    def get_client(self) -> aiohttp.ClientSession:
        """Return a session that does not repeat requests by itself, as aiohttp's do (RFC 9112, 9.3.1).

        A DELETE that is sent again was not looked at again before.
        """
        session = super().get_client()
        session._retry_connection = False  # noqa: SLF001 - there is no public way; a test watches it
        return session


class ReadOnlyTransport(httpx.AsyncBaseTransport):
    """Lets nothing but GET and HEAD out, whatever the layers above ask for: the promise of ``--dry-run``."""

    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self._inner = inner

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a GET or a HEAD.

        Raises:
            WriteRefusedError: it is another method; nothing was sent.
        """
        if request.method not in _SAFE:
            raise WriteRefusedError(f"a dry run does not send {request.method} {request.url.path}")
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait, in seconds: for a connection to stand, and for each piece of an answer."""

    connect: float = 10.0
    answer: float = 60.0


def build_http(
    address: Address, tls: TLSOptions, patience: Patience, *, read_only: bool, connections: int
) -> httpx.AsyncClient:
    """Return the HTTP client for one registry. It follows no redirect by itself.

    Raises:
        InvalidInputError: the CA file cannot be read.
    """
    transport: httpx.AsyncBaseTransport = _Transport(
        verify=_ssl_context(tls),
        limits=httpx.Limits(max_connections=connections, keepalive_expiry=30.0),
        proxy=_proxy(address),
    )
    if read_only:
        transport = ReadOnlyTransport(transport)
    return httpx.AsyncClient(
        transport=transport,
        # Encoded answers would hide how long they are.
        headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity"},
        timeout=httpx.Timeout(patience.answer, connect=patience.connect, pool=None),
        follow_redirects=False,
        trust_env=False,
    )


def _ssl_context(tls: TLSOptions) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if tls.ca_file is not None:
        try:
            context.load_verify_locations(tls.ca_file)
        except (OSError, ssl.SSLError) as error:
            raise InvalidInputError(f"cannot use the CA file {tls.ca_file}: {error}") from error
    if tls.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _proxy(address: Address) -> httpx.Proxy | None:
    """Return the proxy that the environment names for the registry, never one for loopback."""
    host = address.host.rpartition(":")[0] or address.host
    if is_loopback(host) or urllib.request.proxy_bypass(address.host):
        return None
    found = urllib.request.getproxies().get(address.scheme)
    return httpx.Proxy(found) if found else None


def transport_error(error: BaseException, address: Address, what: str) -> RegistryError:
    """Return the clear error for what the transport raised while it did ``what``."""
    cause = error.__cause__ if isinstance(error.__cause__, aiohttp.ClientError) else error
    if isinstance(cause, aiohttp.ClientConnectorCertificateError):
        return TLSError(
            f"{address}: its certificate is not trusted: {cause.certificate_error}",
            hint="name the authority's certificate with ca_file, in the registry's settings",
        )
    if isinstance(cause, aiohttp.ClientSSLError) or "SSL" in str(cause):
        return TLSError(
            f"{address}: TLS failed: {_reason(cause)}",
            hint="does it speak plain HTTP? Then write its URL with http://",
        )
    if isinstance(cause, aiohttp.ClientPayloadError):
        return TruncatedError(f"{what}: the answer ended too early")
    if isinstance(cause, aiohttp.ConnectionTimeoutError):
        return UnreachableError(f"{address} cannot be reached: no connection in time")
    if isinstance(error, (httpx.ReadTimeout, TimeoutError)):
        return UnreachableError(f"{what}: no answer in time")
    return UnreachableError(f"{address} cannot be reached: {_reason(cause)}")


def _reason(error: BaseException) -> str:
    system = getattr(error, "os_error", None)
    return str(getattr(system, "strerror", None) or str(error) or type(error).__name__)
