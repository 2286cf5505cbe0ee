"""Who is told of what happens on the wire: the daemon's metrics."""

from __future__ import annotations

from typing import Final, Protocol


class Observer(Protocol):
    """Is told of requests as they happen, from within the event loop; it must not raise, nor block."""

    def response(self, method: str, status: int, seconds: float) -> None:
        """The registry answered after ``seconds``; ``status`` 0: no answer came."""

    def retried(self, cause: str) -> None:
        """A request is sent again: ``throttled``, ``server_error``, ``unreachable`` or ``truncated``."""

    def throttled(self, seconds: float) -> None:
        """An answer asks for fewer requests, and for a pause of so many ``seconds``; 0: it names none."""

    def token_fetched(self, outcome: str) -> None:
        """The token server was asked for a token: ``done``, ``refused`` or ``failed``."""


class _Nobody:
    """Takes no notice."""

    def response(self, method: str, status: int, seconds: float) -> None:
        pass

    def retried(self, cause: str) -> None:
        pass

    def throttled(self, seconds: float) -> None:
        pass

    def token_fetched(self, outcome: str) -> None:
        pass


NOBODY: Final[Observer] = _Nobody()
