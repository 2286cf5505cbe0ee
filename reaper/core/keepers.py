"""What each kind of rule says about the tags of one group.

A time of source "first inventory" is only an upper bound: the image is at least that old. Such a time
can keep an image, but never makes another one look older: it does not count as newer than anything.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from reaper.core.duration import describe_age, format_duration
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
from reaper.core.selectors import parse_version
from reaper.core.snapshot import ProductView
from reaper.core.times import Moment, Source


@dataclass(frozen=True, slots=True)
class Candidate:
    """A tag that a rule selected. A referrer is judged, but never ranked."""

    tag: str
    digest: str
    pushed: Moment | None
    created: Moment | None
    pulled: Moment | None = None
    referrer: bool = False

    def moment(self, clock: Clock) -> Moment | None:
        """The time that ``clock`` asks for; ``pushed`` stands in for an unknown ``created``."""
        return self.created or self.pushed if clock is Clock.CREATED else self.pushed


@dataclass(frozen=True, slots=True)
class Finding:
    """What a condition says of one tag, and what it saw.

    ``expires_at`` is when time alone will end a keep; None: time alone never will.
    """

    keeps: bool
    saw: str
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Context:
    """What conditions need beside the group: ``now``, the policy's time zone, the group's name, who tells."""

    now: datetime
    timezone: Any
    group: str = ""
    pulls_tracked_since: datetime | None = None
    product: ProductView | None = None


Findings = Mapping[str, Finding]


def judge(condition: Condition, group: Sequence[Candidate], context: Context) -> Findings:
    """Return what ``condition`` says of each tag of ``group``."""
    match condition:
        case KeepAll():
            return {candidate.tag: Finding(keeps=True, saw="keeps all") for candidate in group}
        case KeepNewest():
            return _newest(condition, group, context)
        case KeepWithin():
            return _within(condition, group, context)
        case KeepPulledWithin():
            return {candidate.tag: _pulled(condition, candidate, context) for candidate in group}
        case KeepPeriods():
            return _periods(condition, group, context)
        case AnyOf(conditions):
            return _combine([judge(part, group, context) for part in conditions], group, _any)
        case AllOf(conditions):
            return _combine([judge(part, group, context) for part in conditions], group, _all)


def latest_expiry(expiries: Iterable[datetime | None]) -> datetime | None:
    """Return the last of several expiries; None, never, is later than any."""
    found = list(expiries)
    return None if None in found else max(expiry for expiry in found if expiry is not None)


def _combine(
    parts: Sequence[Findings], group: Sequence[Candidate], join: Callable[[Sequence[Finding]], Finding]
) -> Findings:
    return {candidate.tag: join([part[candidate.tag] for part in parts]) for candidate in group}


def _any(findings: Sequence[Finding]) -> Finding:
    keeping = [finding for finding in findings if finding.keeps]
    if not keeping:
        return Finding(keeps=False, saw="; ".join(finding.saw for finding in findings))
    expiry = latest_expiry(finding.expires_at for finding in keeping)
    return Finding(keeps=True, saw="; ".join(finding.saw for finding in keeping), expires_at=expiry)


def _all(findings: Sequence[Finding]) -> Finding:
    failing = [finding for finding in findings if not finding.keeps]
    if failing:
        return Finding(keeps=False, saw="; ".join(finding.saw for finding in failing))
    ends = [finding.expires_at for finding in findings if finding.expires_at is not None]
    saw = " and ".join(finding.saw for finding in findings)
    return Finding(keeps=True, saw=saw, expires_at=min(ends, default=None))


_REFERRER = Finding(keeps=False, saw="a referrer is never counted")


@dataclass(frozen=True, slots=True)
class _Place:
    """A digest's place in an order: its value, how to show it, and whether it can outrank others."""

    value: Any
    shown: str
    certain: bool


def _newest(condition: KeepNewest, group: Sequence[Candidate], context: Context) -> Findings:
    places = _places(condition.by, group)
    # Only a certain place counts against others, so equal and uncertain ones are never told apart.
    ladder = sorted((place.value for place in places.values() if place.certain), reverse=True)
    found: dict[str, Finding] = {}
    for candidate in group:
        if candidate.referrer:
            found[candidate.tag] = _REFERRER
            continue
        place = places.get(candidate.digest)
        if place is None:
            semver = condition.by is Order.SEMVER
            saw = "not a semantic version, not ranked" if semver else f"{condition.by} time unknown"
            found[candidate.tag] = Finding(keeps=not semver, saw=saw)
            continue
        newer = _count_above(ladder, place.value)
        rank = f"rank {newer + 1} of {len(places)}" + (f" in {context.group}" if context.group else "")
        saw = f"{rank} by {condition.by} {place.shown}, keeps {condition.count}"
        found[candidate.tag] = Finding(keeps=newer < condition.count, saw=saw)
    return found


def _count_above(ladder: Sequence[Any], value: Any) -> int:
    """Return how many of the descending ``ladder`` are greater than ``value``."""
    low, high = 0, len(ladder)
    while low < high:
        middle = (low + high) // 2
        if ladder[middle] > value:
            low = middle + 1
        else:
            high = middle
    return low


def _places(by: Order, group: Sequence[Candidate]) -> Mapping[str, _Place]:
    """Return the place of each digest that can be ranked: that of its best tag in the group."""
    best: dict[str, _Place] = {}
    for candidate in group:
        place = None if candidate.referrer else _place(by, candidate)
        held = best.get(candidate.digest)
        if place is not None and (held is None or place.value > held.value):
            best[candidate.digest] = place
    return best


def _place(by: Order, candidate: Candidate) -> _Place | None:
    match by:
        case Order.SEMVER:
            version = parse_version(candidate.tag)
            return None if version is None else _Place(version, str(version), certain=True)
        case Order.NAME:
            return _Place(_natural(candidate.tag), candidate.tag, certain=True)
        case Order.PUSHED | Order.CREATED:
            moment = candidate.moment(Clock(by.value))
            return None if moment is None else _Place(moment.time, str(moment), _certain(moment))


def _certain(moment: Moment) -> bool:
    return moment.source is not Source.FIRST_INVENTORY


def _natural(name: str) -> list[str | int]:
    """Return a sort key that puts build-10 after build-9: text and numbers in turn, text first."""
    return [int(part) if index % 2 else part for index, part in enumerate(re.split(r"(\d+)", name))]


def _within(condition: KeepWithin, group: Sequence[Candidate], context: Context) -> Findings:
    clock, duration = condition.since, condition.duration
    newest: datetime | None = None
    if condition.origin is Origin.NEWEST:
        moments = [candidate.moment(clock) for candidate in group if not candidate.referrer]
        newest = max((moment.time for moment in moments if moment and _certain(moment)), default=None)
    found: dict[str, Finding] = {}
    for candidate in group:
        moment = candidate.moment(clock)
        if moment is None:
            found[candidate.tag] = Finding(keeps=True, saw=f"{clock} time unknown")
        elif condition.origin is Origin.NEWEST:
            keeps = newest is None or moment.time >= newest - duration
            distance = f"{_relation(keeps=keeps)} {format_duration(duration)} from the newest"
            saw = f"{clock} {moment}, {distance}" + (f" of {context.group}" if context.group else "")
            found[candidate.tag] = Finding(keeps=keeps, saw=saw)
        else:
            ends = _plus(moment.time, duration)
            keeps = context.now < ends
            age = describe_age(context.now - moment.time)
            saw = f"{clock} {age} ago, {moment}, {_relation(keeps=keeps)} {format_duration(duration)}"
            found[candidate.tag] = Finding(keeps=keeps, saw=saw, expires_at=ends if keeps else None)
    return found


def _relation(*, keeps: bool) -> str:
    return "within" if keeps else "beyond"


def _plus(time: datetime, duration: timedelta) -> datetime:
    try:
        return time + duration
    except OverflowError:
        return datetime.max.replace(tzinfo=time.tzinfo)


def _pulled(condition: KeepPulledWithin, candidate: Candidate, context: Context) -> Finding:
    duration, shown = condition.duration, format_duration(condition.duration)
    last = candidate.pulled
    idle = _plus(last.time, duration) if last is not None else context.now
    expiry, doubt = _no_pull_is_known(idle, duration, context)
    seen = f"no pull in {shown}"
    if last is not None:
        keeps = context.now < idle
        age = describe_age(context.now - last.time)
        seen = f"pulled {age} ago ({last.origin}), {_relation(keeps=keeps)} {shown}"
        if keeps:
            return Finding(keeps=True, saw=seen, expires_at=expiry)
    # Whether there was another pull since is known only while somebody tells of pulls.
    if expiry is None or context.now < expiry:
        return Finding(keeps=True, saw=doubt, expires_at=expiry)
    return Finding(keeps=False, saw=seen)


def _no_pull_is_known(idle: datetime, duration: timedelta, context: Context) -> tuple[datetime | None, str]:
    """Return from when on it is known, by time alone, that an image was not pulled for the ``duration``.

    ``idle`` is when its last pull is that long ago. None: by time alone it never is. With it comes why it is
    not known now.

    Notifications tell of every pull since they began. A product does since it was first asked, unless it
    has shown no pull of anything for the whole ``duration``: it may have stopped to note them.
    """
    known: list[datetime] = []
    since, shown = context.pulls_tracked_since, format_duration(duration)
    doubt = "pull times unknown: the registry sends reaper no pull notifications"
    if since is not None:
        known.append(max(idle, _plus(since, duration)))
    product = context.product
    if product is not None and product.pulls_since is not None:
        end = max(idle, _plus(product.pulls_since, duration))
        heard = _plus(product.latest_pull, duration) if product.latest_pull is not None else context.now
        if heard > max(end, context.now):
            known.append(end)
        if heard > context.now:
            since = min(since or product.pulls_since, product.pulls_since)
        elif since is None:
            why = f"{product.name} shows no pull of anything in {shown}: does it note pulls?"
            doubt = f"pull times unknown: {why}"
    if since is not None:
        doubt = f"pulls are known only since {since:%Y-%m-%d %H:%M:%SZ}, less than {shown}"
    return min(known, default=None), doubt


_BUCKETS: Mapping[Period, Callable[[datetime], tuple[int, ...]]] = {
    Period.DAILY: lambda time: (time.year, time.month, time.day),
    Period.WEEKLY: lambda time: tuple(time.isocalendar()[:2]),
    Period.MONTHLY: lambda time: (time.year, time.month),
    Period.YEARLY: lambda time: (time.year,),
}


def _periods(condition: KeepPeriods, group: Sequence[Candidate], context: Context) -> Findings:
    places = _places(Order(condition.by.value), group)
    bucket_of = _BUCKETS[condition.period]

    def bucket(place: _Place) -> tuple[int, ...]:
        return bucket_of(place.value.astimezone(context.timezone))

    newest_in: dict[tuple[int, ...], datetime] = {}
    for known in places.values():
        if known.certain:
            key = bucket(known)
            newest_in[key] = max(known.value, newest_in.get(key, known.value))
    ladder = sorted(newest_in, reverse=True)
    found: dict[str, Finding] = {}
    for candidate in group:
        if candidate.referrer:
            found[candidate.tag] = _REFERRER
            continue
        place = places.get(candidate.digest)
        if place is None:
            found[candidate.tag] = Finding(keeps=True, saw=f"{condition.by} time unknown")
            continue
        key = bucket(place)
        rank = _count_above(ladder, key)
        best = not place.certain or place.value >= newest_in[key]
        period = f"{condition.period} period {'-'.join(map(str, key))}"
        which = "newest of" if best else "not the newest of"
        saw = f"{which} {period} by {condition.by} {place.shown}, number {rank + 1}, keeps {condition.count}"
        found[candidate.tag] = Finding(keeps=best and rank < condition.count, saw=saw)
    return found
