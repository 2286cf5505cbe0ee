"""Crontab lines, as cron means them and as APScheduler reads them.

APScheduler 3 counts weekdays from Monday, cron from Sunday (its issue 286), so ``0 4 * * 0`` would run on
Mondays. Here the weekday field is rewritten in names, which both understand alike.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

from reaper.core.errors import InvalidInputError

_FIELDS: Final = 5
_MAX_LENGTH: Final = 200
# cron's order; 7 is Sunday too.
_CRON_DAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat", "sun")
_WEEK: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_PART: Final = re.compile(r"(?:\*|(?P<first>\w+)(?:-(?P<last>\w+))?)(?:/(?P<step>\d{1,2}))?", re.ASCII)
_HINT: Final = 'write minute, hour, day, month and weekday, such as "0 2 * * *"'
# Any eight years have a leap day among them.
_FROM: Final = datetime(2024, 1, 1, tzinfo=UTC)
_TO: Final = datetime(2032, 12, 31, tzinfo=UTC)


def parse_crontab(text: str) -> str:
    """Return the crontab line ``text``, checked, with its weekdays as names.

    Raises:
        InvalidInputError: it is not one, it never comes due, or crons disagree on what it means.
    """
    from apscheduler.triggers.cron import CronTrigger  # type: ignore[import-untyped]

    fields = text.split()
    if len(text) > _MAX_LENGTH:
        raise InvalidInputError("the schedule is too long for a crontab line", hint=_HINT)
    if len(fields) != _FIELDS:
        what = f"a crontab line has {_FIELDS} fields, and this one has {len(fields)}"
        raise InvalidInputError(what, hint=_HINT)
    if fields[2] != "*" and fields[4] != "*":
        raise InvalidInputError(
            "a day of the month and a weekday together mean different things to different crons",
            hint="leave one of them as *",
        )
    fields[4] = _weekdays(fields[4])
    line = " ".join(fields)
    try:
        trigger = CronTrigger.from_crontab(line, timezone="UTC")
        trigger.end_date = _TO
        due = trigger.get_next_fire_time(None, _FROM)
    except (ValueError, OverflowError) as error:
        reason = str(error).rpartition("': ")[2]
        raise InvalidInputError(f"{text!r} is not a crontab line: {reason}", hint=_HINT) from None
    if due is None:
        raise InvalidInputError(f"the schedule {text!r} never comes due", hint="no such day exists")
    return line


def _weekdays(field: str) -> str:
    """Return a crontab's weekday field in names."""
    if field == "*":
        return field
    days: set[str] = set()
    for part in field.split(","):
        found = _PART.fullmatch(part)
        if found is None:
            raise InvalidInputError(f"{part!r} is not a weekday", hint="write 0 to 7, or sun to sat")
        first = 0 if found["first"] is None else _weekday(found["first"])
        last = 6 if found["first"] is None or (found["step"] and not found["last"]) else first
        if found["last"]:
            last = _weekday(found["last"])
        step = int(found["step"] or 1)
        if last < first and _CRON_DAYS[last] == "sun":
            last = 7
        if last < first or step == 0:
            raise InvalidInputError(f"{part!r} is not a range of weekdays", hint="the week begins with sun")
        days.update(_CRON_DAYS[first : last + 1 : step])
    return "*" if len(days) == len(_WEEK) else ",".join(day for day in _WEEK if day in days)


def _weekday(text: str) -> int:
    if text.isdigit() and int(text) < len(_CRON_DAYS):
        return int(text)
    name = text.casefold()
    if name in _CRON_DAYS:
        return _CRON_DAYS.index(name)
    raise InvalidInputError(f"{text!r} is not a weekday", hint="write 0 to 7, or sun to sat")
