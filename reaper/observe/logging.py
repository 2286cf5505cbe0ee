"""Structured logging to standard error: readable on a terminal, JSON in a container."""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from datetime import datetime
from typing import Any

import stamina.instrumentation
import structlog

#: Log fields that could carry a secret are never written, whoever logs them.
_SECRET_KEYS = ("password", "secret", "token", "authorization", "identitytoken", "registrytoken")

#: The fields that have several lines.
_LINES = frozenset({"exception", "stack"})


def configure_logging(log_format: str, level: str) -> None:
    """Send all log lines to standard error; ``log_format`` is auto, console or json.

    What libraries log on their own becomes lines like all others, from warnings on.
    """
    as_json = log_format == "json" or (log_format == "auto" and not sys.stderr.isatty())
    # The client says itself what it could not get; each attempt is told on level debug.
    stamina.instrumentation.set_on_retry_hooks([])
    renderer: Any = (
        structlog.processors.JSONRenderer(default=_as_json)
        if as_json
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _redact,
            structlog.processors.format_exc_info,
            *([] if as_json else [_escape]),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    if not any(isinstance(handler, _Forward) for handler in root.handlers):
        root.addHandler(_Forward(logging.WARNING))


class _Forward(logging.Handler):
    """Writes what libraries log through the standard library as lines of ours."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log the record, its error included."""
        logger = structlog.get_logger(record.name)
        logger.log(
            record.levelno,
            "library_log",
            library=record.name,
            message=record.getMessage(),
            exc_info=record.exc_info,
        )


def _as_json(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _escape(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Escape what does not print: a name from a registry must not speak to the terminal."""
    del logger, method
    for key, value in event.items():
        if isinstance(value, str) and not value.isprintable():
            # A trace has lines of its own; in a name, a line break would forge a line of the log.
            kept = "\n" if key in _LINES else ""
            event[key] = "".join(
                c if c.isprintable() or c in kept else c.encode("unicode_escape").decode() for c in value
            )
    return event


def _redact(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    del logger, method
    for key in event:
        if any(secret in key.lower() for secret in _SECRET_KEYS):
            event[key] = "(hidden)"
    return event
