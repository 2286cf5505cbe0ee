"""The HTTP clients under everything: httpx over aiohttp's transport, and the promise of a dry run."""

from __future__ import annotations

import ssl
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

from reaper import __version__
from reaper.core.errors import InvalidInputError
from reaper.registry.address import Address
from reaper.registry.errors import WriteRefusedError
from reaper.registry.proxies import AUTHORIZATION, proxy_for
from reaper.registry.tls import TLSOptions, certs_folder, tls_context

USER_AGENT = f"reaper/{__version__}"
_SAFE = frozenset({"GET", "HEAD"})
_FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait, in seconds: for a connection to stand, and for each piece of an answer."""

    connect: float = 10.0
    answer: float = 60.0


class _Transport(AiohttpTransport):
    """Sends each request once: whether to send it again is for those who know what it does."""

    def get_client(self) -> aiohttp.ClientSession:
        """Return a session that does not repeat requests by itself, as aiohttp's do (RFC 9112, 9.3.1).

        A DELETE that is sent again was not looked at again before.
        """
        session = super().get_client()
        session._retry_connection = False  # noqa: SLF001 - there is no public way; a test watches it
        return session

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request. A proxy that passes on what it reads is shown its login with each of them."""
        shown = self.proxy.headers.get(AUTHORIZATION) if self.proxy is not None else None
        if shown is not None and request.url.scheme == "http":
            request.headers[AUTHORIZATION] = shown
        return await super().handle_async_request(request)


class _Hosts(httpx.AsyncBaseTransport):
    """Reaches each host its own way: with the TLS and the proxy that are right for it.

    Where ``unchecked`` is None, ``insecure`` holds for every host, else for the registry's own and for these.
    """

    def __init__(
        self, address: Address, tls: TLSOptions, *, connections: int, unchecked: Collection[str] | None
    ) -> None:
        self._address = address
        self._tls = tls
        self._unchecked = unchecked
        self._limits = httpx.Limits(max_connections=connections, keepalive_expiry=30.0)
        self._ways: dict[tuple[str, str, int | None], _Transport] = {}
        self._contexts: dict[tuple[Path | None, bool, bool], ssl.SSLContext] = {}

    def prepare(self) -> None:
        """Read what the registry itself needs, so that what cannot be used is found before a run begins.

        Raises:
            InvalidInputError: a certificate, a key or the proxy cannot be used.
        """
        self._way(httpx.URL(self._address.url))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request."""
        return await self._way(request.url).handle_async_request(request)

    def _way(self, url: httpx.URL) -> _Transport:
        key = (url.scheme, url.host, url.port)
        if key not in self._ways:
            proxy = proxy_for(url.scheme, url.host, url.port)
            context = self._context(url)
            if proxy is not None and proxy.url.scheme == "https" and context.verify_mode != ssl.CERT_REQUIRED:
                raise InvalidInputError(
                    "insecure would also hold for the proxy, which is reached by TLS",
                    hint="name the registry's authority with ca_file instead",
                )
            self._ways[key] = _Transport(verify=context, limits=self._limits, proxy=proxy)
        return self._ways[key]

    def _context(self, url: httpx.URL) -> ssl.SSLContext:
        """Return how to speak TLS with a host, or with the proxy before it; most hosts share one."""
        secure = url.scheme == "https"
        own = secure and url.host == self._address.hostname
        trusting = own or self._unchecked is None or is_named(url, self._unchecked)
        folder = certs_folder(self._tls, url.netloc.decode()) if secure else None
        key = (folder, own, secure and trusting and self._tls.insecure)
        if key not in self._contexts:
            self._contexts[key] = tls_context(self._tls, folder, own=own, insecure=key[2])
        return self._contexts[key]

    async def aclose(self) -> None:
        """Close the connections."""
        for way in self._ways.values():
            await way.aclose()


def is_named(url: httpx.URL, hosts: Collection[str]) -> bool:
    """Tell whether ``hosts`` name the URL's host, with its port or without."""
    return url.host in hosts or url.netloc.decode() in hosts


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


class TokenTransport(httpx.AsyncBaseTransport):
    """Lets out what asks for a token, and nothing that could change a registry: GET, and OAuth 2's form.

    That form is POSTed by dry runs too (decision 19), so never to what may be a registry's API.
    """

    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self._inner = inner

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a question for a token.

        Raises:
            WriteRefusedError: it is something else; nothing was sent.
        """
        form = request.headers.get("Content-Type", "") == _FORM and may_be_posted_to(request.url)
        if request.method != "GET" and not (request.method == "POST" and form):
            raise WriteRefusedError(f"{request.method} {request.url.path} does not ask for a token")
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()


def may_be_posted_to(realm: httpx.URL) -> bool:
    """Tell whether POST may ask for a token: nowhere under ``/v2/``, where registries are written."""
    return "/v2/" not in f"{realm.path}/"


def build_http(
    address: Address, tls: TLSOptions, patience: Patience, *, read_only: bool, connections: int
) -> httpx.AsyncClient:
    """Return the HTTP client for one registry. It follows no redirect by itself.

    Raises:
        InvalidInputError: a certificate, a key or the proxy cannot be used.
    """
    # What a redirect leads to is asked for without a login, and believed for its digest alone.
    reach = _Hosts(address, tls, connections=connections, unchecked=None)
    reach.prepare()
    return _client(ReadOnlyTransport(reach) if read_only else reach, patience)


def build_token_http(
    address: Address, tls: TLSOptions, patience: Patience, *, connections: int, hosts: Collection[str]
) -> httpx.AsyncClient:
    """Return the HTTP client for the token servers of a registry; ``hosts`` are those allowed by name."""
    reach = _Hosts(address, tls, connections=connections, unchecked=hosts)
    return _client(TokenTransport(reach), patience)


def _client(transport: httpx.AsyncBaseTransport, patience: Patience) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=transport,
        # Encoded answers would hide how long they are.
        headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity"},
        timeout=httpx.Timeout(patience.answer, connect=patience.connect, pool=None),
        follow_redirects=False,
        trust_env=False,
    )
