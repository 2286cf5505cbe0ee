"""Values that are text in a file and something better afterwards: durations, schedules, time zones."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from functools import lru_cache
from typing import Annotated, Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic_core import core_schema

from reaper.config.errors import nearest
from reaper.config.model import Fault, what_is
from reaper.config.schedule import parse_crontab
from reaper.core.duration import format_duration, parse_duration
from reaper.core.errors import InvalidInputError

_SPOKEN: Final = re.compile(
    r"(\d{1,6})\s*(s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?|w|weeks?|months?|years?)(?![a-z])[\s,]*"
)
_TITLE: Final = re.compile(r"^an? ([^,:]+).*$")
_DAYS: Final = {"month": 30, "year": 365}


@dataclass(frozen=True)
class TextField:
    """Annotates a type that files write as text, which ``parse`` reads.

    ``parse`` raises InvalidInputError; its hint is the suggestion. ``expected`` is what to write ("a
    duration, such as 14d"); up to its comma or colon it is the schema's title too.
    """

    parse: Callable[[str], Any]
    expected: str
    kind: type
    schema: dict[str, Any] = field(default_factory=dict, hash=False)

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        """Replace the type's own validation."""
        del source, handler
        return core_schema.no_info_plain_validator_function(self._read)

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        """Describe the text."""
        del schema, handler
        return {"title": _TITLE.sub(r"\1", self.expected), "type": "string", **self.schema}

    def _read(self, value: Any) -> Any:
        if isinstance(value, self.kind) and not isinstance(value, str):
            return value
        if not isinstance(value, str):
            number = isinstance(value, int) and not isinstance(value, bool)
            unit = number and self.kind is timedelta and value > 0
            hint = f"add a unit, such as {value}d or {value}s" if unit else None
            quote = isinstance(value, (bool, int, float)) and self._reads(str(value))
            raise Fault(f"expected {self.expected}, not {what_is(value)}", hint, quote=quote).error()
        fault: Fault
        try:
            return self.parse(value)
        except InvalidInputError as error:
            fault = Fault(error.message, error.hint)
        raise fault.error()

    def _reads(self, text: str) -> bool:
        try:
            self.parse(text)
        except InvalidInputError:
            return False
        return True


def _duration(text: str) -> timedelta:
    try:
        return parse_duration(text)
    except InvalidInputError as error:
        written = _respell(text)
        raise InvalidInputError(error.message, hint=f"write {written}" if written else error.hint) from None


def _some_duration(text: str) -> timedelta:
    found = _duration(text)
    if not found:
        raise InvalidInputError("0s keeps nothing", hint="give at least 1s, or leave the key out")
    return found


def _respell(text: str) -> str | None:
    """Return what people mean by ``14 days`` or ``1d12h`` as a duration, or None."""
    text = text.strip().casefold()
    parts = _SPOKEN.findall(text)
    if not parts or _SPOKEN.sub("", text):
        return None
    total = timedelta()
    for number, unit in parts:
        days = _DAYS.get(unit.rstrip("s"))
        total += timedelta(days=int(number) * days) if days else parse_duration(f"{number}{unit[0]}")
    return format_duration(total)


def _timezone(text: str) -> ZoneInfo:
    try:
        return ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        found = nearest(text, _timezones()) or nearest(text, _cities())
        known = _cities().get(found, found) if found else None
        hint = f"did you mean {known!r}?" if known else "write an IANA name such as Europe/Berlin or UTC"
        raise InvalidInputError(f"there is no time zone {text[:60]!r}", hint=hint) from None


@lru_cache(maxsize=1)
def _timezones() -> frozenset[str]:
    from zoneinfo import available_timezones

    return frozenset(available_timezones())


@lru_cache(maxsize=1)
def _cities() -> dict[str, str]:
    return {name.rpartition("/")[2]: name for name in sorted(_timezones()) if name.count("/") == 1}


_DURATION_SCHEMA: Final = {"pattern": r"^\s*[0-9]{1,9}[smhdw]\s*$", "examples": ["24h", "14d"]}
_SOME_DURATION_SCHEMA: Final = {**_DURATION_SCHEMA, "pattern": r"^\s*0*[1-9][0-9]{0,8}[smhdw]\s*$"}
_EXPECTED_DURATION: Final = "a duration, such as 36h or 14d"

#: A duration, 0s included.
Duration = Annotated[timedelta, TextField(_duration, _EXPECTED_DURATION, timedelta, _DURATION_SCHEMA)]
#: A duration of at least a second.
SomeDuration = Annotated[
    timedelta, TextField(_some_duration, _EXPECTED_DURATION, timedelta, _SOME_DURATION_SCHEMA)
]
#: A crontab line whose weekdays are names (see `reaper.config.schedule`).
Crontab = Annotated[
    str,
    TextField(
        parse_crontab,
        'a crontab line, such as "0 2 * * *"',
        str,
        {"pattern": r"^\s*\S+(\s+\S+){4}\s*$", "examples": ["0 2 * * *"]},
    ),
]
#: An IANA time zone.
Timezone = Annotated[
    ZoneInfo,
    TextField(_timezone, "an IANA time zone, such as Europe/Berlin", ZoneInfo, {"minLength": 1}),
]
