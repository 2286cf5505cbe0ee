"""Answers challenges: Basic, and the Bearer token flow of Docker registries.

Source: distribution's token authentication specification; RFC 7617; RFC 6750.
"""

from __future__ import annotations

import asyncio
import copy
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import structlog

from reaper.core.errors import ReaperError
from reaper.registry import scopes
from reaper.registry.address import Address, is_loopback
from reaper.registry.challenge import Challenge, parse_challenges
from reaper.registry.credentials import Credentials, Logins
from reaper.registry.errors import (
    AuthenticationError,
    DeniedError,
    LoginError,
    ProtocolError,
    RegistryError,
)
from reaper.registry.observer import NOBODY, Observer
from reaper.registry.tokens import Token, TokenServers, login_hint

_log = structlog.get_logger(__name__)

#: For how many scopes tokens are kept: repositories come one after the other, and tokens do not live long.
_MOST_KEPT = 512
#: A token is asked for so many characters of scopes at the most, whatever a registry names.
_LONGEST_SCOPES = 4096


@dataclass(slots=True)
class _Pass:
    """What is known of one scope for one login: its challenge, what to ask for, and the token."""

    challenge: Challenge | None
    asked: tuple[str, ...]
    token: Token | None = None
    #: The last time that no token could be had, and why.
    failed: tuple[float, RegistryError] | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Authenticator:
    """Logs in to one registry, as its challenges ask for it.

    Tokens are kept for each scope and login, and fetched once however many requests wait for one. ``clock``
    returns seconds and never goes back.
    """

    def __init__(
        self,
        tokens: TokenServers,
        address: Address,
        logins: Logins,
        *,
        clock: Callable[[], float],
        observer: Observer = NOBODY,
    ) -> None:
        self._tokens = tokens
        self._address = address
        self._logins = logins
        self._clock = clock
        self._observer = observer
        #: The latest challenge, for scopes that have had none of their own.
        self._challenge: Challenge | None = None
        self._passes: OrderedDict[tuple[str, Credentials | None], _Pass] = OrderedDict()
        #: The actions that this registry wants besides, for each kind of request.
        self._wanted: dict[str, list[str]] = {}
        self._warned = is_loopback(address.hostname) or address.scheme == "https"

    @property
    def service(self) -> str | None:
        """What the registry calls itself in its latest challenge, where it has made one that says so."""
        return self._challenge.parameters.get("service") if self._challenge else None

    async def header(self, scope: str) -> str | None:
        """Return the ``Authorization`` to send with a request that needs ``scope``, as far as is known.

        Raises:
            AuthenticationError: the token server refuses the login.
            RegistryError: the token server cannot be asked.
        """
        login = await self._find(scope)
        try:
            return await self._header(scope, login)
        except AuthenticationError as error:
            # Passwords are changed, and those that helpers give end: it may be another one by now.
            changed = await self._find(scope, refused=login) if error.status and login else login
            if changed == login:
                raise
            return await self._header(scope, changed)

    async def _header(self, scope: str, login: Credentials | None) -> str | None:
        held = self._pass(scope, login)
        bearer = held.challenge is None or held.challenge.scheme == "bearer"
        if login is not None and login.token and bearer:
            return self._shown(f"Bearer {login.token}")
        if held.challenge is None:
            return None
        if not bearer:
            return self._shown(login.basic() if login else None)
        return self._shown(f"Bearer {await self._token(held, held.challenge, login)}")

    async def learn(self, headers: Iterable[str], scope: str, sent: str | None) -> bool:
        """Take note of the challenges of a 401; tell whether asking again can help.

        ``sent`` is the Authorization that was refused. A refused password is final unless it was changed
        meanwhile, and so is a token given to reaper. How often that goes on is the caller's to bound.

        Raises:
            ProtocolError: the registry asks for a kind of login that reaper does not know.
        """
        challenge = self._known(parse_challenges(headers))
        login = await self._find(scope)
        held = self._pass(scope, login)
        held.challenge = self._challenge = challenge
        if login is not None and (challenge.scheme == "basic" or login.token):
            own = login.basic() if challenge.scheme == "basic" else f"Bearer {login.token}"
            if sent is not None and sent == own:
                return await self._find(scope, refused=login) != login
            return own is not None
        if challenge.scheme == "basic":
            return False
        if held.token is not None and sent == f"Bearer {held.token.value}":
            # Requests side by side are refused one after the other: only the first may drop the token.
            held.token = None
            self._widen(held, scope, challenge)
        return True

    async def learn_denied(self, headers: Iterable[str], scope: str, sent: str | None) -> bool:
        """Take note of a 403; tell whether a token for more would help (RFC 6750, 3.1)."""
        found = [each for each in parse_challenges(headers) if each.scheme == "bearer"]
        login = await self._find(scope)
        held = self._pass(scope, login)
        if sent is None or not found or held.challenge is None or (login is not None and login.token):
            return False
        if held.token is None or sent != f"Bearer {held.token.value}":
            return held.token is not None
        if not self._widen(held, scope, found[0]):
            return False
        held.token = None
        return True

    def _known(self, offered: list[Challenge]) -> Challenge:
        found = {challenge.scheme: challenge for challenge in reversed(offered)}
        # A token is worth less to a thief than a password.
        challenge = found.get("bearer") or found.get("basic")
        if challenge is None:
            schemes = ", ".join(sorted(scheme[:20] for scheme in found)[:5]) or "none"
            raise ProtocolError(
                f"{self._address} refuses the request (401) and offers no login that reaper knows",
                hint=f"reaper knows Basic and Bearer; it offers: {schemes}",
            )
        return challenge

    async def _find(self, scope: str, *, refused: Credentials | None = None) -> Credentials | None:
        try:
            return await self._logins.find(scopes.repository_of(scope), refused=refused)
        except RegistryError:
            raise
        except ReaperError as error:
            # A file that was replaced in mid-run: what was asked fails, and is looked after as such.
            raise LoginError(error.message, hint=error.hint) from error

    def _pass(self, scope: str, login: Credentials | None) -> _Pass:
        key = (scope, login)
        held = self._passes.get(key)
        if held is None:
            asked: tuple[str, ...] = (scope,) if scope else ()
            more = self._wanted.get(scopes.kind_of(scope)) if scope else None
            if more:
                asked = scopes.union(asked, [f"{scope.rpartition(':')[0]}:{','.join(more)}"])
            held = self._passes[key] = _Pass(self._challenge, asked)
            while len(self._passes) > _MOST_KEPT:
                self._passes.popitem(last=False)
        elif held.challenge is None:
            held.challenge = self._challenge
        self._passes.move_to_end(key)
        return held

    def _widen(self, held: _Pass, scope: str, challenge: Challenge) -> bool:
        """Ask for what the registry names and was not asked for, from now on; tell whether there is any.

        The actions that it wants of this repository, it will want of the others.
        """
        named = scopes.valid(challenge.parameters.get("scope", ""))
        new = [each for each in named if not scopes.covers(held.asked, each)]
        wider = scopes.union(held.asked, new)
        if not new or sum(map(len, wider)) > _LONGEST_SCOPES:
            return False
        held.asked = wider
        if scope:
            self._wanted[scopes.kind_of(scope)] = scopes.actions_beyond(scope, held.asked)
        return True

    async def _token(self, held: _Pass, challenge: Challenge, login: Credentials | None) -> str:
        came = self._clock()
        async with held.lock:
            if held.token is None or self._clock() >= held.token.renew_at:
                if held.failed is not None and held.failed[0] > came:
                    # It was asked while this request waited: fifty need not ask, one after the other.
                    raise copy.copy(held.failed[1])
                held.token = await self._fetch(held, challenge, login)
            return held.token.value

    async def _fetch(self, held: _Pass, challenge: Challenge, login: Credentials | None) -> Token:
        try:
            token = await self._tokens.fetch(challenge, held.asked, login)
        except RegistryError as error:
            held.failed = (self._clock(), error)
            self._observer.token_fetched("refused" if isinstance(error, AuthenticationError) else "failed")
            raise
        self._observer.token_fetched("done")
        return token

    def _shown(self, authorization: str | None) -> str | None:
        """Return a secret that is about to be sent, and say once where it goes in the clear."""
        if authorization is not None and not self._warned:
            self._warned = True
            _log.warning("login_sent_without_tls", registry=str(self._address))
        return authorization

    async def refused(self, what: str, scope: str, headers: Iterable[str]) -> AuthenticationError:
        """Return the error for a 401 that stays, with these challenges."""
        login = await self._find(scope)
        return AuthenticationError(
            f"{what}: the login is refused (401), for {self._needed(scope, headers)}",
            hint=login_hint(login),
            status=401,
        )

    async def denied(self, what: str, scope: str, headers: Iterable[str]) -> DeniedError:
        """Return the error for a 403, with these challenges."""
        login = await self._find(scope)
        return DeniedError(
            f"{what}: access is denied (403), for {self._needed(scope, headers)}",
            hint=login_hint(login),
            status=403,
        )

    def _needed(self, scope: str, headers: Iterable[str]) -> str:
        """Return the scope that was missing: what reaper asked for, and what the registry says it lacks."""
        named = [
            each
            for challenge in parse_challenges(headers)
            for each in scopes.valid(challenge.parameters.get("scope", ""))
        ]
        lacking = ", ".join(dict.fromkeys(each[:200] for each in named if each != scope))
        said = f" (the registry asks for {lacking})" if lacking else ""
        return f"{scope or 'the registry'}{said}"
