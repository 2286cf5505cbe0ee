"""Asks token servers for tokens, and nobody else for anything.

Source: distribution's specifications of token authentication, and of OAuth 2 for it.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urljoin

import httpx

from reaper.registry.address import Address, is_loopback
from reaper.registry.challenge import Challenge
from reaper.registry.credentials import Credentials
from reaper.registry.errors import AuthenticationError, ProtocolError
from reaper.registry.failures import TRANSPORT_ERRORS, proxy_error, refuse_strain, transport_error
from reaper.registry.transport import Patience, is_named, may_be_posted_to

#: What the specification says where a token does not state its lifetime, in seconds.
DEFAULT_LIFETIME = 60.0
#: A token is renewed when less than this share of its life is left.
_RENEW_BEFORE = 0.2
_MAX_TOKEN_ANSWER = 1024 * 1024
#: A longer one fits into no header that a server reads.
_MAX_TOKEN = 64 * 1024
#: However long a token claims to live, it is renewed after so many seconds.
_LONGEST_LIFETIME = 86400.0
_MAX_REDIRECTS = 3
_REFUSALS = frozenset({400, 401, 403})
#: Answers that say: not this way. GCR has 404, Quay 405.
_NOT_SERVED = frozenset({404, 405})
#: As containerd has it: of those that take a refresh token as a password only, some call the form invalid.
_NOT_AS_FORM = _NOT_SERVED | {400, 401}


@dataclass(frozen=True, slots=True)
class Token:
    """A token. Its ``value`` is never in a repr; ``renew_at`` is a time of the clock that was given."""

    value: str
    renew_at: float

    def __repr__(self) -> str:
        return f"Token(renew_at={self.renew_at})"


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: httpx.Headers
    content: bytes


class TokenServers:
    """The token servers that one registry sends its clients to.

    ``hosts`` are allowed by name to be asked without TLS. ``clock`` returns seconds and never goes back.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        address: Address,
        *,
        clock: Callable[[], float],
        patience: Patience,
        hosts: Collection[str] = (),
    ) -> None:
        self._http = http
        self._address = address
        self._clock = clock
        self._patience = patience
        self._hosts = hosts
        #: What servers gave instead of a refresh token that was shown to them.
        self._renewed: dict[Credentials, str] = {}
        self._turns: dict[Credentials, asyncio.Lock] = {}

    async def fetch(self, challenge: Challenge, scopes: Sequence[str], login: Credentials | None) -> Token:
        """Return a token for ``scopes``, from where ``challenge`` says.

        Raises:
            AuthenticationError: the server refuses the login, or must not be shown it.
            RegistryError: it cannot be asked, or gives no token.
        """
        realm = self._realm(challenge)
        service = challenge.parameters.get("service", "")
        what = f"{self._address}: the token server {realm.host}"
        async with self._turn(login):
            return await self._fetch(realm, service, scopes, login, what)

    def _turn(self, login: Credentials | None) -> AbstractAsyncContextManager[object]:
        """Wait for the others where each refresh token is good for one question."""
        if login is None or login not in self._renewed:
            return nullcontext()
        return self._turns.setdefault(login, asyncio.Lock())

    async def _fetch(
        self, realm: httpx.URL, service: str, scopes: Sequence[str], login: Credentials | None, what: str
    ) -> Token:
        asked = self._clock()
        answer = await self._ask(realm, service, scopes, login, what)
        if answer.status in _REFUSALS:
            raise AuthenticationError(
                f"{what} refuses the login for {', '.join(scopes) or 'the registry'} ({answer.status})",
                hint=login_hint(login),
                status=answer.status,
            )
        refuse_strain(answer.status, answer.headers, what, "it")
        if answer.status != 200:
            raise ProtocolError(f"{what} answers with {answer.status}", status=answer.status)
        return self._read(answer, what, asked, login)

    async def _ask(
        self, realm: httpx.URL, service: str, scopes: Sequence[str], login: Credentials | None, what: str
    ) -> _Answer:
        """Ask the ways that the login allows, the usual one first, until one is served."""
        form = self._form(service, scopes, login) if may_be_posted_to(realm) else None
        if login is not None and login.identity_token and form is not None:
            answer = await self._send("POST", realm, what, form=form)
            if answer.status not in _NOT_AS_FORM:
                return answer
            other = await self._get(realm, service, scopes, login, what)
            # Where the other way is not served at all, what the first one was told says more.
            return answer if other.status in _NOT_SERVED and answer.status in _REFUSALS else other
        answer = await self._get(realm, service, scopes, login, what)
        if answer.status in _NOT_SERVED and form is not None:
            return await self._send("POST", realm, what, form=form)
        return answer

    def _form(self, service: str, scopes: Sequence[str], login: Credentials | None) -> dict[str, str] | None:
        """Return OAuth 2's form (RFC 6749, 4.3 and 6), or None where the login is none for it."""
        if login is None:
            return None
        form = {"service": service, "scope": " ".join(scopes), "client_id": "reaper"}
        if login.identity_token:
            token = self._renewed.get(login, login.identity_token)
            return {"grant_type": "refresh_token", "refresh_token": token, **form}
        if login.username is None or login.password is None:
            return None
        return {"grant_type": "password", "username": login.username, "password": login.password, **form}

    async def _get(
        self, realm: httpx.URL, service: str, scopes: Sequence[str], login: Credentials | None, what: str
    ) -> _Answer:
        basic = self._basic(login)
        query = [("service", service)] if service else []
        query += [("scope", scope) for scope in scopes]
        if basic and login is not None and login.username:
            query.append(("account", login.username))
        url = realm.copy_with(params=httpx.QueryParams([*realm.params.multi_items(), *query]))
        for _ in range(_MAX_REDIRECTS):
            answer = await self._send("GET", url, what, authorization=basic)
            if not 300 <= answer.status < 400 or "Location" not in answer.headers:
                return answer
            url = self._redirected(url, answer.headers["Location"], what)
        raise ProtocolError(f"{what} redirects in circles")

    def _basic(self, login: Credentials | None) -> str | None:
        if login is None:
            return None
        if not login.identity_token:
            return login.basic()
        # Servers without the form take the refresh token as a password.
        token = self._renewed.get(login, login.identity_token)
        return "Basic " + base64.b64encode(f"{login.username or ''}:{token}".encode()).decode()

    async def _send(
        self,
        method: str,
        url: httpx.URL,
        what: str,
        *,
        form: dict[str, str] | None = None,
        authorization: str | None = None,
    ) -> _Answer:
        headers = {"Authorization": authorization} if authorization else {}
        try:
            request = self._http.build_request(method, url, data=form, headers=headers)
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
            raise transport_error(error, str(url), what) from None
        except httpx.InvalidURL:
            # httpx looks at a redirect's address, followed or not.
            raise ProtocolError(f"{what} redirects to no address") from None
        if response.status_code == 407:
            raise proxy_error(407, f"{url.scheme}://{url.netloc.decode()}")
        return _Answer(response.status_code, response.headers, content)

    def _read(self, answer: _Answer, what: str, asked: float, login: Credentials | None) -> Token:
        try:
            document = json.loads(answer.content)
        except (ValueError, RecursionError) as error:
            raise ProtocolError(f"{what} does not answer with JSON") from error
        if not isinstance(document, dict):
            raise ProtocolError(f"{what} answers without a token")
        found = document.get("token") or document.get("access_token")
        if not isinstance(found, str) or not found.isascii() or not found.isprintable():
            raise ProtocolError(f"{what} answers without a token")
        if len(found) > _MAX_TOKEN:
            raise ProtocolError(f"{what} answers with a token of {len(found)} characters")
        renewed = document.get("refresh_token")
        if login is not None and login.identity_token and isinstance(renewed, str) and renewed:
            self._renewed[login] = renewed
        seconds = _lifetime(document) - _age(document, answer.headers)
        return Token(found, asked + max(0.0, seconds) * (1 - _RENEW_BEFORE))

    def _realm(self, challenge: Challenge) -> httpx.URL:
        """Return where to fetch tokens.

        Raises:
            AuthenticationError: the login would go to another host without TLS.
            ProtocolError: the challenge names no address.
        """
        realm = _url(challenge.parameters.get("realm", ""))
        if realm is None:
            raise ProtocolError(f"{self._address} names no valid token server")
        if not self._may_be_shown_to(realm):
            host = realm.netloc.decode()
            raise AuthenticationError(
                f"{self._address} names a token server on another host without TLS ({host}); "
                "the login is not sent there",
                hint=f"where that is meant, name it in the registry's settings: token_hosts: [{host}]",
            )
        return realm

    def _may_be_shown_to(self, url: httpx.URL) -> bool:
        if url.scheme == "https" or is_loopback(url.host) or is_named(url, self._hosts):
            return True
        return self._address.scheme == "http" and url.host == self._address.hostname

    def _redirected(self, url: httpx.URL, location: str, what: str) -> httpx.URL:
        """Return where a redirect leads, on the same host and not away from TLS: the login goes along."""
        try:
            target = _url(urljoin(str(url), location))
        except ValueError:
            target = None
        same = target is not None and (target.scheme, target.host, target.port) == (
            url.scheme,
            url.host,
            url.port,
        )
        upgraded = target is not None and target.host == url.host and target.scheme == "https"
        if target is None or not (same or upgraded):
            raise AuthenticationError(
                f"{what} redirects to another host; the login is not sent there",
                hint="the registry's configuration should name the realm as it is there",
            )
        return target


def login_hint(login: Credentials | None) -> str:
    """Return what to say of the login that was refused."""
    if login is None:
        return "no login was found for it: set username and password_file, or use --docker-config"
    return f"the login was {login}"


def _url(text: str) -> httpx.URL | None:
    """Return the HTTP URL that ``text`` is, without a login and a fragment, or None."""
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL:
        return None
    if url.scheme not in ("http", "https") or not url.host or url.userinfo:
        return None
    return url.copy_with(fragment=None)


def _lifetime(document: dict[str, Any]) -> float:
    """Return for how many seconds a token is good from when it was made."""
    found = document.get("expires_in")
    if not isinstance(found, (int, float)) or isinstance(found, bool) or not found > 0:
        return DEFAULT_LIFETIME
    return float(min(found, _LONGEST_LIFETIME))


def _age(document: dict[str, Any], headers: httpx.Headers) -> float:
    """Return how many seconds ago a token was made, by the server's own clock: some give one out again."""
    issued, now = document.get("issued_at"), headers.get("Date")
    if not isinstance(issued, str) or now is None:
        return 0.0
    try:
        made = datetime.fromisoformat(issued)
        made = made if made.tzinfo else made.replace(tzinfo=UTC)
        age = (parsedate_to_datetime(now) - made).total_seconds()
    except (ValueError, TypeError, OverflowError):
        return 0.0
    return max(0.0, age)
