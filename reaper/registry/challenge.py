"""Reads ``WWW-Authenticate`` (RFC 9110, section 11)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

_MAX_LENGTH = 16 * 1024
_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"  # noqa: S105 - a grammar's name
_PARAMETER = re.compile(rf'({_TOKEN})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|({_TOKEN}))', re.ASCII)
_SCHEME = re.compile(rf"({_TOKEN})(?=\s|,|$)", re.ASCII)
_TOKEN68 = re.compile(r"[A-Za-z0-9\-._~+/]+=*(?=\s*(?:,|$))", re.ASCII)
_GAP = re.compile(r"[\s,]*")
_SPACE = re.compile(r"\s*")


@dataclass(frozen=True, slots=True)
class Challenge:
    """One way to log in that a server offers; the scheme and the parameters' names are in lower case."""

    scheme: str
    parameters: dict[str, str] = field(default_factory=dict)


def parse_challenges(headers: Iterable[str]) -> list[Challenge]:
    """Return the challenges of one or more header lines, in their order.

    What is no challenge ends its line: the rest of it is left out, never guessed at.
    """
    found: list[Challenge] = []
    for header in headers:
        if len(header) <= _MAX_LENGTH:
            found.extend(_parse(header))
    return found


def _parse(header: str) -> Iterable[Challenge]:
    position = _end(_GAP.match(header))
    while position < len(header):
        scheme = _SCHEME.match(header, position)
        if scheme is None:
            return
        position = _end(_SPACE.match(header, scheme.end()))
        parameters: dict[str, str] = {}
        while parameter := _PARAMETER.match(header, position):
            quoted = parameter[2]
            value = parameter[3] if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
            parameters.setdefault(parameter[1].lower(), value)
            position = _end(_GAP.match(header, parameter.end()))
        if not parameters and (single := _TOKEN68.match(header, position)):
            position = single.end()
        yield Challenge(scheme[1].lower(), parameters)
        position = _end(_GAP.match(header, position))


def _end(match: re.Match[str] | None) -> int:
    return match.end() if match is not None else 0
