"""Who may read and who may send events, and the headers that every answer carries."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Mapping
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: What probes ask, without a token.
HEALTH: Final = frozenset({"/healthz", "/livez", "/readyz"})
EVENTS: Final = "/events"

_CHALLENGE: Final = 'Basic realm="reaper", charset="UTF-8", Bearer realm="reaper"'


class Access:
    """Lets in who shows the secret that the path asks for. None asks for nothing.

    ``token`` is for readers, ``events_secret`` for registries; without it they need the token.
    """

    def __init__(self, app: ASGIApp, *, token: str | None, events_secret: str | None) -> None:
        self._app = app
        self._token = token
        self._events_secret = events_secret or token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 401, or pass the request on."""
        if scope["type"] != "http" or self._is_let_in(scope):
            await self._app(scope, receive, send)
            return
        refused = PlainTextResponse(
            "401: show the token, as Authorization: Bearer TOKEN, or as a password\n",
            401,
            {"WWW-Authenticate": _CHALLENGE},
        )
        await refused(scope, receive, send)

    def _is_let_in(self, scope: Scope) -> bool:
        path = scope["path"]
        if path in HEALTH:
            return True
        events = path == EVENTS or path.startswith(f"{EVENTS}/")
        secret = self._events_secret if events else self._token
        return secret is None or shows(Headers(scope=scope), secret)


def shows(headers: Mapping[str, str], secret: str) -> bool:
    """Tell whether the headers carry the secret: as a bearer token, or as the password of whatever user.

    Browsers ask people for a password; zot can be given a user and a password.
    """
    # A header is bytes, which come here as Latin-1; what people type into them is UTF-8.
    scheme, _, value = headers.get("authorization", "").encode("latin-1").partition(b" ")
    shown = value.strip()
    if scheme.lower() == b"basic":
        try:
            shown = base64.b64decode(shown, validate=True).partition(b":")[2]
        except binascii.Error:
            return False
    elif scheme.lower() != b"bearer":
        return False
    # In a time that does not depend on how much of it is right.
    return hmac.compare_digest(shown, secret.encode())


class Hardened:
    """Adds the headers that keep a browser from doing more with an answer than showing it."""

    def __init__(self, app: ASGIApp, *, content_security_policy: str) -> None:
        self._app = app
        self._headers = {
            "Content-Security-Policy": content_security_policy,
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Cache-Control": "no-store",
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and add to the answer."""

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, with_headers if scope["type"] == "http" else send)
