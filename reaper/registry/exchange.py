"""Requests and their answers: paced, logged in, tried again where that does no harm, and bounded.

What an answer means is for those who asked.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from urllib.parse import urljoin

import httpx
import stamina
import structlog

from reaper.registry.address import origin_of
from reaper.registry.auth import Authenticator
from reaper.registry.errors import (
    ProtocolError,
    ServerError,
    SilentError,
    ThrottledError,
    TooLargeError,
    TruncatedError,
    UnreachableError,
)
from reaper.registry.failures import (
    TRANSPORT_ERRORS,
    proxy_error,
    refuse_strain,
    retry_after,
    transport_error,
)
from reaper.registry.limiter import Limiter
from reaper.registry.options import RegistryOptions
from reaper.registry.tokens import TokenServers
from reaper.registry.transport import build_http, build_token_http

_log = structlog.get_logger(__name__)

#: What is read of an answer that is an error, in bytes.
MAX_ERROR = 64 * 1024
_MAX_REDIRECTS = 5
#: A longer pause than this, in seconds, is for the next run to wait, not for this request.
_LONGEST_PAUSE = 60.0
#: Once so many requests in a row for each that may be under way had no answer, the next ones fail at once,
#: until none was sent for so many seconds: a registry that is down must not hold a run up for days.
_SILENT_ROUNDS = 4
_SILENCE = 10.0
#: Methods whose requests may be sent again after any failure of the server.
_READS = frozenset({"GET", "HEAD"})


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; ``next_page`` is the URL of the listing's next page, where there is one."""

    status: int
    headers: httpx.Headers
    body: bytes
    next_page: str | None = None


class Exchange:
    """Everything that one registry is asked goes through here.

    Its methods raise RegistryError when the registry cannot be asked.
    """

    def __init__(self, options: RegistryOptions) -> None:
        self._options = options
        self._address = options.address
        self._observer = options.observer
        self._http = build_http(
            options.address,
            options.tls,
            options.patience,
            read_only=options.read_only,
            connections=options.concurrency,
        )
        self._token_http = build_token_http(
            options.address,
            options.tls,
            options.patience,
            connections=options.concurrency,
            hosts=options.token_hosts,
        )
        tokens = TokenServers(
            self._token_http,
            options.address,
            clock=time.monotonic,
            patience=options.patience,
            hosts=options.token_hosts,
        )
        self._auth = Authenticator(
            tokens, options.address, options.logins, clock=time.monotonic, observer=options.observer
        )
        self._limiter = Limiter(options.concurrency, time.monotonic, longest_pause=_LONGEST_PAUSE)
        self._unanswered = 0
        self._unanswered_at = 0.0

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()
        await self._token_http.aclose()

    @property
    def url(self) -> str:
        """The registry's address."""
        return self._address.url

    @property
    def service(self) -> str | None:
        """What the registry calls itself where it asks for a login, as far as it has."""
        return self._auth.service

    def slot(self) -> AbstractAsyncContextManager[None]:
        """Wait for a place among the requests that may be under way."""
        return self._limiter.slot()

    async def log_in(self, scope: str) -> None:
        """Fetch the token that requests of ``scope`` need, as far as is known, before they are sent."""
        async for attempt in self.attempts("GET"):
            with attempt:
                await self._auth.header(scope)

    async def ask(
        self,
        method: str,
        target: str,
        *,
        scope: str,
        accept: str | None = None,
        limit: int = MAX_ERROR,
        content: bytes | None = None,
        headers: dict[str, str] | None = None,
        anywhere: bool = False,
        probe: bool = False,
        once: bool = False,
    ) -> Answer:
        """Send a request and read its answer; again where that may help and does no harm, a DELETE never.

        ``anywhere``: the answer is checked against its digest, so another host may give it. ``probe``: it is
        sent however long the registry has not answered. ``once``: it is not sent again, as a DELETE is not.
        """
        url = target if "://" in target else self.url + target
        sent = {**({"Accept": accept} if accept else {}), **(headers or {})}
        async for attempt in self.attempts("DELETE" if once else method):
            with attempt:
                async with self._limiter.slot():
                    if not probe:
                        self._refuse_silence()
                    return await self._once(
                        method,
                        url,
                        scope=scope,
                        headers=sent,
                        content=content,
                        limit=limit,
                        anywhere=anywhere,
                    )
        raise UnreachableError(f"{self.url} cannot be reached")

    def _refuse_silence(self) -> None:
        """Raise where the registry has answered nothing for so long that it need not be asked now."""
        silent = self._unanswered >= _SILENT_ROUNDS * self._options.concurrency
        if silent and time.monotonic() - self._unanswered_at < _SILENCE:
            raise SilentError(
                f"{self.url} has stopped answering: {self._unanswered} requests in a row failed"
            )

    def attempts(self, method: str) -> AsyncIterator[stamina.Attempt]:
        left = attempts = 1 if method == "DELETE" else self._options.attempts

        def again(error: Exception) -> bool | float:
            nonlocal left
            left -= 1
            answer = _worth_another_try(error, method)
            if answer is not False and left > 0:
                self._observer.retried(_cause(error))
            return answer

        return stamina.retry_context(
            on=again,
            attempts=attempts,
            timeout=180.0,
            wait_initial=0.2,
            wait_max=10.0,
            wait_jitter=0.3,
        ).__aiter__()

    def refuse_strain(self, response: httpx.Response, what: str) -> None:
        """Raise where an answer asks for patience, or says that the registry failed.

        Raises:
            ThrottledError, ServerError: with the pause that it asks for.
        """
        if response.status_code in (429, 503):
            pause = retry_after(response.headers)
            self._limiter.strained(pause)
            self._observer.throttled(pause or 0.0)
        refuse_strain(response.status_code, response.headers, what, "the registry")

    async def _once(
        self,
        method: str,
        url: str,
        *,
        scope: str,
        headers: dict[str, str],
        content: bytes | None,
        limit: int,
        anywhere: bool,
    ) -> Answer:
        began = time.monotonic()
        response = await self.open(
            method, url, scope=scope, headers=headers, content=content, anywhere=anywhere
        )
        what = _without_query(url)
        try:
            # Each piece has its time limit; so has the whole, lest it comes byte by byte.
            async with asyncio.timeout(self._options.patience.answer):
                body = b"" if method == "HEAD" else await self._body(response, limit, what)
        except TRANSPORT_ERRORS as error:
            raise transport_error(error, str(response.url), what) from None
        finally:
            await response.aclose()
        self.refuse_strain(response, what)
        status = response.status_code
        if status == 403:
            raise await self._auth.denied(what, scope, response.headers.get_list("WWW-Authenticate"))
        self._limiter.succeeded(time.monotonic() - began)
        return Answer(status, response.headers, body, self._next_page(response, url))

    async def open(
        self,
        method: str,
        url: str,
        *,
        scope: str,
        headers: dict[str, str],
        content: bytes | None = None,
        anywhere: bool = False,
    ) -> httpx.Response:
        """Send a request, logged in as far as the registry asks for it; the answer's body is not read yet."""
        refused = 0
        for _ in range(_MAX_REDIRECTS + 3):
            # Credentials belong to the registry's origin; a redirect to a storage host gets none.
            own = origin_of(url) == self._address.origin
            authorization = await self._auth.header(scope) if own else None
            sent = {name: value for name, value in headers.items() if own or name != "Authorization"}
            if authorization:
                sent["Authorization"] = authorization
            response = await self._send(method, url, sent, content)
            challenges = response.headers.get_list("WWW-Authenticate")
            if response.status_code == 401 and own:
                await response.aclose()
                refused += authorization is not None
                # A token may have been revoked, have run out, or have to allow more: it is renewed, once.
                if not await self._auth.learn(challenges, scope, authorization) or refused > 1:
                    raise await self._auth.refused(_without_query(url), scope, challenges)
                continue
            if response.status_code == 403 and own and not refused:
                refused += 1
                if await self._auth.learn_denied(challenges, scope, authorization):
                    await response.aclose()
                    continue
            if response.is_redirect and method in _READS:
                await response.aclose()
                url = self._redirected(url, response.headers.get("Location", ""), anywhere=anywhere)
                continue
            return response
        raise ProtocolError(f"{self.url} redirects in circles, or refuses every login")

    def _redirected(self, url: str, location: str, *, anywhere: bool) -> str:
        """Return where a redirect leads: on the registry, or ``anywhere`` for what its digest proves."""
        target = self._target(url, location)
        if origin_of(target) != self._address.origin and not anywhere:
            raise ProtocolError(
                f"{self.url}: {httpx.URL(url).path} redirects to another host ({origin_of(target)[:200]})",
                hint="write the registry's URL as it is there, if that is the registry",
            )
        return target

    async def _send(
        self, method: str, url: str, headers: dict[str, str], content: bytes | None
    ) -> httpx.Response:
        began = time.monotonic()
        what = _without_query(url)
        try:
            request = self._http.build_request(method, url, headers=headers, content=content)
            patience = self._options.patience
            async with asyncio.timeout(patience.connect + patience.answer):
                response = await self._http.send(request, stream=True)
        except TRANSPORT_ERRORS as error:
            self._limiter.strained()
            self._unanswered += 1
            self._unanswered_at = time.monotonic()
            self._observer.response(method, 0, time.monotonic() - began)
            raise transport_error(error, url, what) from None
        except httpx.InvalidURL as error:
            raise ProtocolError(f"{self.url} names an address that is none") from error
        seconds = time.monotonic() - began
        self._unanswered = 0
        _log.debug(
            "request",
            method=method,
            path=request.url.path,
            status=response.status_code,
            seconds=round(seconds, 4),
        )
        self._observer.response(method, response.status_code, seconds)
        if response.status_code == 407:
            await response.aclose()
            raise proxy_error(407, url)
        return response

    async def _body(self, response: httpx.Response, limit: int, what: str) -> bytes:
        length = response.headers.get("Content-Length", "")
        if length.isdecimal() and int(length) > limit and response.status_code < 400:
            raise TooLargeError(f"{what}: the answer has {length} bytes; the limit is {limit}")
        chunks: list[bytes] = []
        total = 0
        async for chunk in response.aiter_bytes():
            total += len(chunk)
            if total > limit:
                if response.status_code >= 400:
                    break
                raise TooLargeError(f"{what}: the answer has more than {limit} bytes")
            chunks.append(chunk)
        return b"".join(chunks)

    def _next_page(self, response: httpx.Response, url: str) -> str | None:
        """Return the next page's URL from ``Link`` (RFC 8288), which has to stay on the registry."""
        link = response.links.get("next", {}).get("url")
        if link is None:
            return None
        following = self._target(url, link)
        if origin_of(following) != self._address.origin:
            raise ProtocolError(f"{self.url}: the next page is on another host")
        return following

    def own(self, path: str, reference: str) -> str:
        """Return the URL that an answer from ``path`` names, which has to be the registry's own.

        Raises:
            ProtocolError: it is not, or is none.
        """
        target = self._target(self.url + path, reference)
        if origin_of(target) != self._address.origin:
            raise ProtocolError(f"{self.url}: {path} leads to another host ({origin_of(target)[:200]})")
        return target

    def _target(self, url: str, reference: str) -> str:
        """Return the URL that ``reference``, in an answer from ``url``, names: a valid one, of HTTP.

        Raises:
            ProtocolError: it names none.
        """
        try:
            target = urljoin(url, reference)
            origin_of(target)
            found = httpx.URL(target)
            # httpx would make a login of a user name in it.
            valid = found.scheme in ("http", "https") and found.host != "" and not found.userinfo
        except (ValueError, httpx.InvalidURL) as error:
            raise ProtocolError(f"{self.url} names an address that is none") from error
        if not valid or not reference:
            raise ProtocolError(f"{self.url} names an address that is none")
        return target


def _cause(error: Exception) -> str:
    """Return what the observer calls the reason of another try."""
    if isinstance(error, ThrottledError):
        return "throttled"
    if isinstance(error, ServerError):
        return "server_error"
    return "truncated" if isinstance(error, TruncatedError) else "unreachable"


def _worth_another_try(error: Exception, method: str) -> bool | float:
    if isinstance(error, (ThrottledError, ServerError)):
        if method not in _READS and error.status not in (429, 503):
            return False
        if error.retry_after is not None:
            return error.retry_after if error.retry_after <= _LONGEST_PAUSE else False
        return True
    return isinstance(error, (UnreachableError, TruncatedError)) and not isinstance(error, SilentError)


def _without_query(url: str) -> str:
    """Return a URL as errors name it: a query may hold a signature, and says little."""
    return url.partition("?")[0]
