"""Durations, schedules and time zones as people write them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from reaper.config.schedule import parse_crontab
from reaper.core.errors import InvalidInputError
from reaper.core.policy import KeepWithin
from tests.config.conftest import Read, Refused, file_of, rule_of


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("15m", 900), ("36h", 129600), ("14d", 1209600), ("2w", 1209600), ('" 1d "', 86400)],
)
def test_durations(text: str, seconds: int, read: Read) -> None:
    assert read(rule_of(f"keep: {{within: {text}}}"))[0].rules[0].keep == KeepWithin(
        timedelta(seconds=seconds)
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("14", "expected a duration, such as 36h or 14d, not a number; add a unit, such as 14d or 14s"),
        ("0", "expected a duration, such as 36h or 14d, not a number"),
        ("1.5", "expected a duration, such as 36h or 14d, not a decimal number"),
        ("1e3", "expected a duration, such as 36h or 14d, not a decimal number"),
        ("true", "expected a duration, such as 36h or 14d, not true"),
        ("[14d]", "expected a duration, such as 36h or 14d, not a list"),
        ("14 days", "'14 days' is not a duration; write 2w"),
        ("1d12h", "'1d12h' is not a duration; write 36h"),
        ("1 month", "'1 month' is not a duration; write 30d"),
        ("2 years", "'2 years' is not a duration; write 730d"),
        ("36H", "'36H' is not a duration; write 36h"),
        ("1:30", "'1:30' is not a duration; write a whole number and a unit, such as 90s, 15m, 36h"),
        ("P14D", "'P14D' is not a duration; write a whole number and a unit"),
        ("-3d", "'-3d' is not a duration"),
        ("forever", "'forever' is not a duration"),
        ("٣d", "'٣d' is not a duration"),
        ("200000d", "'200000d' is longer than a hundred years"),
        ("999999999w", "'999999999w' is longer than a hundred years"),
        ("0s", "0s keeps nothing; give at least 1s, or leave the key out"),
        ("''", "'' is not a duration"),
    ],
)
def test_impossible_durations(text: str, says: str, refused: Refused) -> None:
    [problem] = refused(rule_of(f"keep: {{within: {text}}}"))
    assert problem.startswith("4:29: ")
    assert says in problem


def test_a_minimum_age_may_be_none(read: Read) -> None:
    [policy] = read(file_of("rules: [{keep: all}]\nminimum_age: 0s\nuntagged: {keep_within: 0s}"))
    assert policy.minimum_age == policy.untagged_keep_within == timedelta()


@pytest.mark.parametrize(
    ("line", "read"),
    [
        ("0 2 * * *", "0 2 * * *"),
        ("  */15  8-18 * * mon-fri ", "*/15 8-18 * * mon,tue,wed,thu,fri"),
        # cron counts weekdays from Sunday, and calls it 7 too; APScheduler counts from Monday.
        ("0 4 * * 0", "0 4 * * sun"),
        ("0 4 * * 7", "0 4 * * sun"),
        ("0 4 * * 1-5", "0 4 * * mon,tue,wed,thu,fri"),
        ("0 4 * * 5-7", "0 4 * * fri,sat,sun"),
        ("0 4 * * FRI-sun", "0 4 * * fri,sat,sun"),
        ("0 4 * * 0-6", "0 4 * * *"),
        ("0 4 * * */2", "0 4 * * tue,thu,sat,sun"),
        ("0 4 * * 1,3", "0 4 * * mon,wed"),
        ("0 0 29 2 *", "0 0 29 2 *"),
        ("0 0 1 jan *", "0 0 1 jan *"),
    ],
)
def test_crontab_lines(line: str, read: str) -> None:
    assert parse_crontab(line) == read


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("daily", "a crontab line has 5 fields, and this one has 1"),
        ("@daily", "a crontab line has 5 fields, and this one has 1"),
        ("0 0 2 * * *", "a crontab line has 5 fields, and this one has 6"),
        ("61 2 * * *", "the last value (61) is higher than the maximum value (59)"),
        ("x 2 * * *", "is not a crontab line"),
        ("0 0 31 2 *", "the schedule '0 0 31 2 *' never comes due"),
        ("0 0 13 * 5", "a day of the month and a weekday together mean different things"),
        ("0 0 * * 8", "'8' is not a weekday"),
        ("0 0 * * fr", "'fr' is not a weekday"),
        ("0 0 * * 5-1", "'5-1' is not a range of weekdays; the week begins with sun"),
        ("0 0 * * 1/0", "'1/0' is not a range of weekdays"),
        ("0 0 * * 1-2-3", "'1-2-3' is not a weekday"),
        ("*/0 * * * *", "is not a crontab line"),
        ("0 " * 200, "too long"),
    ],
)
def test_impossible_crontab_lines(line: str, says: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse_crontab(line)
    assert says in f"{caught.value.message}; {caught.value.hint}"


def test_a_crontab_line_is_refused_in_its_place(refused: Refused) -> None:
    assert refused(file_of("schedule: 2\nrules: [{keep: all}]")) == [
        '4:15: expected a crontab line, such as "0 2 * * *", not a number'
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("Berlin", "there is no time zone 'Berlin'; did you mean 'Europe/Berlin'?"),
        ("europe/berlin", "did you mean 'Europe/Berlin'?"),
        ("Europe/Belin", "did you mean 'Europe/Berlin'?"),
        ("+02:00", "write an IANA name such as Europe/Berlin or UTC"),
        ("../../etc/passwd", "there is no time zone"),
        ("/etc/localtime", "there is no time zone"),
        ("2", "expected an IANA time zone, such as Europe/Berlin, not a number"),
        ("''", "there is no time zone"),
    ],
)
def test_time_zones_that_are_none(text: str, says: str, refused: Refused) -> None:
    [problem] = refused(file_of(f"timezone: {text}\nrules: [{{keep: all}}]"))
    assert problem.startswith("4:15: ")
    assert says in problem


def test_a_time_zone(read: Read) -> None:
    [policy] = read(file_of("timezone: America/Argentina/Ushuaia\nrules: [{keep: all}]"))
    assert policy.timezone.key == "America/Argentina/Ushuaia"
