"""Answers challenges: Basic, and the Bearer token flow of Docker registries.

Source: distribution's token authentication specification; RFC 7617; RFC 6750.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx

from reaper.registry import scopes
from reaper.registry.address import Address, is_loopback, origin_of
from reaper.registry.challenge import Challenge, parse_challenges
from reaper.registry.credentials import Credentials, Logins
from reaper.registry.errors import AuthenticationError, ProtocolError, RegistryError, ServerError
from reaper.registry.observer import NOBODY, Observer
from reaper.registry.transport import TRANSPORT_ERRORS, Patience, transport_error

#: What the specification says where a token does not state its lifetime, in seconds.
DEFAULT_LIFETIME = 60.0
#: A token is renewed when less than this share of its life is left.
_RENEW_BEFORE = 0.2
_MAX_TOKEN_ANSWER = 1024 * 1024
#: However long a token claims to live, it is renewed after so many seconds.
_LONGEST_LIFETIME = 86400.0
_PATIENCE = Patience()


@dataclass(frozen=True, slots=True)
class _Token:
    value: str
    renew_at: float


class Authenticator:
    """Logs in to one registry, as its challenges ask for it.

    Tokens are kept for each scope, and fetched once however many requests wait for one. ``clock`` returns
    seconds and never goes back.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        address: Address,
        logins: Logins,
        *,
        read_only: bool,
        clock: Callable[[], float],
        patience: Patience = _PATIENCE,
        observer: Observer = NOBODY,
    ) -> None:
        self._http = http
        self._address = address
        self._logins = logins
        self._read_only = read_only
        self._clock = clock
        self._patience = patience
        self._observer = observer
        self._challenge: Challenge | None = None
        self._tokens: dict[str, _Token] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def header(self, scope: str) -> str | None:
        """Return the ``Authorization`` to send with a request that needs ``scope``, as far as is known.

        Raises:
            AuthenticationError: the token server refuses the login.
            RegistryError: the token server cannot be asked.
        """
        challenge = self._challenge
        login = await self._logins.find(scopes.repository_of(scope))
        if login is not None and login.token and (challenge is None or challenge.scheme == "bearer"):
            return f"Bearer {login.token}"
        if challenge is None:
            return None
        if challenge.scheme == "basic":
            return login.basic() if login else None
        return f"Bearer {await self._token(challenge, scope, login)}"

    async def learn(self, headers: Iterable[str], scope: str, sent: str | None) -> bool:
        """Take note of the challenges of a 401; tell whether asking again can help.

        ``sent`` is the Authorization that was refused. A refused password is final. How often a token is
        renewed is the caller's to bound.

        Raises:
            ProtocolError: the registry asks for a kind of login that reaper does not know.
        """
        offered = parse_challenges(headers)
        known = {challenge.scheme: challenge for challenge in reversed(offered)}
        # A token is worth less to a thief than a password.
        challenge = known.get("bearer") or known.get("basic")
        if challenge is None:
            raise ProtocolError(
                f"{self._address} refuses the request (401) and offers no login that reaper knows"
            )
        self._challenge = challenge
        if challenge.scheme == "basic":
            login = await self._logins.find(scopes.repository_of(scope))
            return sent is None and login is not None and login.basic() is not None
        held = self._tokens.get(scope)
        if held is not None and sent == f"Bearer {held.value}":
            # Requests side by side are refused one after the other: only the first may drop the token.
            del self._tokens[scope]
        return True

    async def _token(self, challenge: Challenge, scope: str, login: Credentials | None) -> str:
        async with self._locks.setdefault(scope, asyncio.Lock()):
            held = self._tokens.get(scope)
            if held is None or self._clock() >= held.renew_at:
                held = await self._observed(self._fetch(challenge, scope, login))
                self._tokens[scope] = held
            return held.value

    async def _observed(self, fetch: Awaitable[_Token]) -> _Token:
        try:
            token = await fetch
        except RegistryError as error:
            self._observer.token_fetched("refused" if isinstance(error, AuthenticationError) else "failed")
            raise
        self._observer.token_fetched("done")
        return token

    async def _fetch(self, challenge: Challenge, scope: str, credentials: Credentials | None) -> _Token:
        realm = self._realm(challenge)
        wanted = {"service": challenge.parameters.get("service", ""), "scope": scope}
        parameters = {key: value for key, value in wanted.items() if value}
        what = f"the token server {urlsplit(realm).hostname}"
        asked = self._clock()
        try:
            if credentials is not None and credentials.identity_token and not self._read_only:
                form = {"grant_type": "refresh_token", "refresh_token": credentials.identity_token}
                request = self._http.build_request(
                    "POST", realm, data={**form, **parameters, "client_id": "reaper"}
                )
            else:
                headers = {}
                basic = credentials.basic() if credentials else None
                if basic is not None and credentials is not None and credentials.username is not None:
                    headers["Authorization"] = basic
                    parameters["account"] = credentials.username
                request = self._http.build_request("GET", realm, params=parameters, headers=headers)
            async with asyncio.timeout(self._patience.connect + self._patience.answer):
                response = await self._http.send(request, stream=True)
                try:
                    content = b""
                    async for chunk in response.aiter_bytes():
                        content += chunk
                        if len(content) > _MAX_TOKEN_ANSWER:
                            raise ProtocolError(f"{what} answers with far too much")
                finally:
                    await response.aclose()
        except TRANSPORT_ERRORS as error:
            raise transport_error(error, self._address, what) from error
        status = response.status_code
        if status in (400, 401, 403):
            raise AuthenticationError(
                f"{what} refuses the login for {scope or 'the registry'} ({status})",
                hint=_login_hint(credentials),
                status=status,
            )
        if status != 200:
            raise ServerError(f"{what} answers with {status}", status=status)
        return self._read(content, what, asked)

    def _read(self, content: bytes, what: str, asked: float) -> _Token:
        try:
            answer = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise ProtocolError(f"{what} does not answer with JSON") from error
        found = answer.get("token") or answer.get("access_token") if isinstance(answer, dict) else None
        if not isinstance(found, str) or not found.isascii() or not found.isprintable():
            raise ProtocolError(f"{what} answers without a token")
        lifetime = answer.get("expires_in")
        valid = isinstance(lifetime, (int, float)) and not isinstance(lifetime, bool) and lifetime > 0
        seconds = min(lifetime, _LONGEST_LIFETIME) if valid else DEFAULT_LIFETIME
        return _Token(found, asked + seconds * (1 - _RENEW_BEFORE))

    def _realm(self, challenge: Challenge) -> str:
        """Return where to fetch tokens: over TLS, on loopback, or at the registry's own origin."""
        realm = challenge.parameters.get("realm", "")
        try:
            parts, origin = urlsplit(realm), origin_of(realm)
            httpx.URL(realm)
        except (ValueError, httpx.InvalidURL) as error:
            raise ProtocolError(f"{self._address} names no valid token server") from error
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
            raise ProtocolError(f"{self._address} names no valid token server")
        private = parts.scheme == "https" or is_loopback(parts.hostname)
        if not private and origin != self._address.origin:
            raise AuthenticationError(
                f"{self._address} names a token server on another host without TLS ({parts.hostname}); "
                "the login is not sent there"
            )
        return realm

    async def refused(self, what: str, scope: str) -> AuthenticationError:
        """Return the error for a 401 that stays."""
        login = await self._logins.find(scopes.repository_of(scope))
        return AuthenticationError(
            f"{what}: the login is refused (401), for {scope or 'the registry'}",
            hint=_login_hint(login),
            status=401,
        )


def _login_hint(login: Credentials | None) -> str:
    if login is None:
        return "no login was found for it: set username and password_file, or use --docker-config"
    return f"the login was {login}"
