"""Sends notices to their receivers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import httpx
import stamina
import structlog

from reaper.notify.notice import Notice

_log = structlog.get_logger(__name__)

_TIMEOUT: Final = 10.0
_ATTEMPTS: Final = 3


@dataclass(frozen=True, slots=True)
class Receiver:
    """Who is told of what. ``url`` is a secret: it is never logged."""

    name: str
    url: str = field(repr=False)
    format: Literal["json", "slack"]
    occasions: frozenset[str]


class _Refused(Exception):  # noqa: N818 - internal
    """An answer that may be another one at the next try."""


class Notifier:
    """Tells each receiver what it asked for. A receiver that cannot be reached never holds up anything.

    ``on_sent`` is told each receiver's name and ``sent`` or ``failed``.
    """

    def __init__(
        self,
        receivers: Sequence[Receiver],
        *,
        on_sent: Callable[[str, str], None] = lambda _receiver, _outcome: None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._receivers = receivers
        self._on_sent = on_sent
        self._transport = transport

    async def tell(self, notice: Notice) -> None:
        """Send ``notice`` to every receiver that asked for it; failures are logged and counted."""
        wanted = [each for each in self._receivers if each.occasions & notice.occasions]
        if not wanted:
            return
        async with httpx.AsyncClient(
            timeout=_TIMEOUT, follow_redirects=False, transport=self._transport
        ) as client:
            await asyncio.gather(*(self._send(client, receiver, notice) for receiver in wanted))

    async def _send(self, client: httpx.AsyncClient, receiver: Receiver, notice: Notice) -> None:
        body = notice.as_slack() if receiver.format == "slack" else notice.as_json()
        try:
            async for attempt in stamina.retry_context(
                on=(httpx.TransportError, _Refused), attempts=_ATTEMPTS, wait_initial=0.5, wait_max=5.0
            ):
                with attempt:
                    answer = _answered(await client.post(receiver.url, json=body))
        except (httpx.TransportError, httpx.InvalidURL, _Refused) as error:
            # The error's text may hold the URL; its kind does not.
            reason = str(error) if isinstance(error, _Refused) else type(error).__name__
        else:
            reason = "" if answer.is_success else f"it answered {answer.status_code}"
        if reason:
            _log.error("notification_failed", receiver=receiver.name, registry=notice.registry, reason=reason)
        else:
            _log.info("notification_sent", receiver=receiver.name, registry=notice.registry)
        self._on_sent(receiver.name, "failed" if reason else "sent")


def _answered(answer: httpx.Response) -> httpx.Response:
    if answer.status_code == httpx.codes.TOO_MANY_REQUESTS or answer.is_server_error:
        raise _Refused(f"it answered {answer.status_code}")
    return answer
