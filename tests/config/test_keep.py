"""What a rule keeps: every key, their combinations, and what makes no sense."""

from __future__ import annotations

from datetime import timedelta

import pytest

from reaper.core.policy import (
    AllOf,
    AnyOf,
    Clock,
    Condition,
    KeepAll,
    KeepNewest,
    KeepPeriods,
    KeepPulledWithin,
    KeepWithin,
    Order,
    Origin,
    Period,
)
from tests.config.conftest import Read, Refused, rule_of

DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("written", "condition"),
    [
        ("all", KeepAll()),
        ("{newest: 5}", KeepNewest(5, Order.PUSHED)),
        ("{newest: 5, by: pushed}", KeepNewest(5, Order.PUSHED)),
        ("{newest: 5, by: created}", KeepNewest(5, Order.CREATED)),
        ("{newest: 5, by: semver}", KeepNewest(5, Order.SEMVER)),
        ("{newest: 5, by: name}", KeepNewest(5, Order.NAME)),
        ("{newest: 0o17}", KeepNewest(15)),
        ("{within: 14d}", KeepWithin(14 * DAY, Clock.PUSHED, Origin.NOW)),
        ("{within: 14d, since: pushed, from: now}", KeepWithin(14 * DAY, Clock.PUSHED, Origin.NOW)),
        ("{within: 14d, since: created}", KeepWithin(14 * DAY, Clock.CREATED, Origin.NOW)),
        ("{within: 14d, from: newest}", KeepWithin(14 * DAY, Clock.PUSHED, Origin.NEWEST)),
        ("{pulled_within: 30d}", KeepPulledWithin(30 * DAY)),
        ("{daily: 7}", KeepPeriods(Period.DAILY, 7)),
        ("{weekly: 4}", KeepPeriods(Period.WEEKLY, 4)),
        ("{monthly: 12, by: created}", KeepPeriods(Period.MONTHLY, 12, Clock.CREATED)),
        ("{yearly: 3}", KeepPeriods(Period.YEARLY, 3)),
        (
            "{daily: 7, weekly: 4, monthly: 12, yearly: 3}",
            AnyOf(
                (
                    KeepPeriods(Period.DAILY, 7),
                    KeepPeriods(Period.WEEKLY, 4),
                    KeepPeriods(Period.MONTHLY, 12),
                    KeepPeriods(Period.YEARLY, 3),
                )
            ),
        ),
        ("{newest: 5, within: 7d}", AnyOf((KeepNewest(5), KeepWithin(7 * DAY)))),
        (
            "{newest: 5, daily: 2, by: semver}",
            AnyOf((KeepNewest(5, Order.SEMVER), KeepPeriods(Period.DAILY, 2, Clock.PUSHED))),
        ),
        ("{all_of: [{newest: 5}, {within: 60d}]}", AllOf((KeepNewest(5), KeepWithin(60 * DAY)))),
        (
            "{newest: 1, all_of: [{newest: 5, pulled_within: 1d}, {all_of: [{daily: 3}]}]}",
            AnyOf(
                (
                    KeepNewest(1),
                    AllOf(
                        (
                            AnyOf((KeepNewest(5), KeepPulledWithin(DAY))),
                            AllOf((KeepPeriods(Period.DAILY, 3),)),
                        )
                    ),
                )
            ),
        ),
    ],
)
def test_keep(written: str, condition: Condition, read: Read) -> None:
    assert read(rule_of(f"keep: {written}"))[0].rules[0].keep == condition


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("{}", "4:20: this keeps nothing; write `keep: all`, or a mapping such as {newest: 5}"),
        ("", "4:14: keep is empty; give it a value, or leave the key out"),
        ("none", "4:20: a rule says what is kept, so `keep: none` means nothing; leave the rule out"),
        ("ALL", "expected `all`, or a mapping such as {newest: 5}, not this text; did you mean `all`?"),
        ("newest", "not this text; write keep: {newest: …}"),
        ("Daily", "not this text; write keep: {daily: …}"),
        ("5", "4:20: expected `all`, or a mapping such as {newest: 5}, not a number"),
        ("true", "not true"),
        ("[{newest: 5}]", "not a list"),
        ("{newest: 0}", "4:29: newest: must be at least 1"),
        ("{newest: -1}", "newest: must be at least 1"),
        ("{newest: 2000000}", "newest: must be at most 1000000"),
        ("{newest: 1e3}", "4:29: newest: expected a whole number, not a decimal number"),
        ("{newest: '5'}", "newest: expected a whole number, not this text"),
        ("{newest: true}", "newest: expected a whole number, not true"),
        ("{newest: all}", "newest: expected a whole number, not this text"),
        ("{newest: }", "newest is empty"),
        (
            "{newest: 5, by: Semver}",
            ("by: expected pushed, created, semver or name, not this text; did you mean 'semver'?"),
        ),
        ("{newest: 5, by: [name]}", "by: expected pushed, created, semver or name, not a list"),
        ("{by: pushed, within: 7d}", "4:21: by says nothing without newest or a calendar key; add newest: 5"),
        ("{daily: 7, by: semver}", "4:35: the calendar cannot go by semver; write by: pushed or by: created"),
        ("{since: created}", "4:21: since says nothing without within; add within: 14d"),
        ("{from: newest}", "4:21: from says nothing without within"),
        ("{within: 7d, since: pulled}", "since: expected pushed or created, not this text"),
        ("{within: 7d, from: oldest}", "from: expected now or newest, not this text"),
        ("{within: 7d, origin: newest}", "4:33: unknown key 'origin'"),
        ("{all_of: []}", "4:29: all_of: must not be empty"),
        ("{all_of: {newest: 5}}", "all_of: expected a list, not a mapping; begin each item with `- `"),
        ("{all_of: [all, {newest: 5}]}", "4:30: expected a mapping (`key: value`), not this text"),
        ("{all_of: [{}]}", "4:30: this keeps nothing"),
        ("{all_of: [{newst: 5}]}", "4:31: unknown key 'newst'; did you mean 'newest'?"),
        ("{any_of: [{newest: 5}]}", "unknown key 'any_of'; several keys in one keep mean any of them"),
        ("{all: true}", "unknown key 'all'; write `keep: all`, without a mapping"),
        ("{last: 5}", "unknown key 'last'; did you mean 'newest'?"),
        ("{age: 5d}", "unknown key 'age'; did you mean 'within'?"),
        ("{pulledWithin: 5d}", "unknown key 'pulledWithin'; did you mean 'pulled_within'?"),
        ("{NEWEST: 5}", "unknown key 'NEWEST'; did you mean 'newest'?"),
        (
            "{frobnicate: 5}",
            (
                "unknown key 'frobnicate'; the keys here are newest, by, within, since, from, "
                "pulled_within, daily, weekly, monthly, yearly, all_of"
            ),
        ),
    ],
)
def test_what_makes_no_sense(written: str, says: str, refused: Refused) -> None:
    [problem] = refused(rule_of(f"keep: {written}"))
    assert says in problem


def test_a_key_without_its_space(refused: Refused) -> None:
    problems = refused("version: 1\npolicies:\n  - name: p\n    repositories: x\n    rules: [{keep:all}]\n")
    assert problems == ["5:14: unknown key 'keep'; write a space after the ':'"]
