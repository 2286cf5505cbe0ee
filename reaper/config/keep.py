"""What a rule keeps, as policy files write it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import ConfigDict, Field

from reaper.config.fields import SomeDuration
from reaper.config.model import Checked, Fault, Shorthand
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

_PERIODS: Final = tuple(period.value for period in Period)
_CLOCKS: Final = tuple(clock.value for clock in Clock)
_RANKED: Final = ("newest", *_PERIODS)
_BY_NAME: Final = ("semver", "name")

#: How many; a million is more than any repository has.
_Count = Annotated[int, Field(strict=True, ge=1, le=1_000_000)]


def _period(words: str) -> Any:
    return Field(
        default=None, description=f"Keep the newest image of each of the latest so many {words} with any."
    )


class Keep(Checked):
    """What is kept. Several keys mean any of them."""

    model_config = ConfigDict(
        title="Keep",
        json_schema_extra={
            "anyOf": [{"required": [key]} for key in ("within", "pulled_within", "all_of", *_RANKED)],
            "dependentRequired": {"since": ["within"], "from": ["within"]},
            "dependentSchemas": {"by": {"anyOf": [{"required": [key]} for key in _RANKED]}},
            "if": {"required": ["by"], "properties": {"by": {"enum": list(_BY_NAME)}}},
            "then": {"required": ["newest"]},
        },
    )
    hints: ClassVar[Mapping[str, str]] = {
        "any_of": "several keys in one keep mean any of them",
        "all": "write `keep: all`, without a mapping",
        "last": "did you mean 'newest'?",
        "count": "did you mean 'newest'?",
        "age": "did you mean 'within'?",
        "order_by": "did you mean 'by'?",
    }

    newest: _Count | None = Field(
        default=None, description="Keep so many of the newest images of each group."
    )
    by: Literal["pushed", "created", "semver", "name"] | None = Field(
        default=None,
        description=(
            "What `newest` and the calendar keys go by (default: pushed). The calendar knows only pushed "
            "and created; beside semver or name it goes by pushed."
        ),
    )
    within: SomeDuration | None = Field(default=None, description="Keep what is younger than this.")
    since: Literal["pushed", "created"] | None = Field(
        default=None, description="Which time `within` looks at (default: pushed)."
    )
    origin: Literal["now", "newest"] | None = Field(
        default=None,
        alias="from",
        description=(
            "What `within` counts from (default: now). From the newest of the group, a dormant branch never "
            "empties by age."
        ),
    )
    pulled_within: SomeDuration | None = Field(
        default=None, description="Keep what was pulled less than this ago, or may have been."
    )
    daily: _Count | None = _period("days")
    weekly: _Count | None = _period("ISO weeks")
    monthly: _Count | None = _period("months")
    yearly: _Count | None = _period("years")
    all_of: Annotated[list[Keep], Field(min_length=1)] | None = Field(
        default=None, description="Keep what every one of these keeps."
    )

    @classmethod
    def faults(cls, data: Mapping[str, Any]) -> Iterator[Fault]:
        """Yield keys that lack the key that they say something about."""
        if not data:
            yield Fault("this keeps nothing", "write `keep: all`, or a mapping such as {newest: 5}")
        if not data.keys() <= set(cls.valid_keys()):
            return  # what seems to be missing may be there, mistyped
        for key in ("since", "from"):
            if key in data and "within" not in data:
                yield Fault(f"{key} says nothing without within", "add within: 14d", (key,), of_key=True)
        if "by" in data and not any(key in data for key in _RANKED):
            yield Fault(
                "by says nothing without newest or a calendar key", "add newest: 5", ("by",), of_key=True
            )
        elif data.get("by") in _BY_NAME and "newest" not in data:
            message = f"the calendar cannot go by {data['by']}"
            yield Fault(message, "write by: pushed or by: created", ("by",))

    def build(self) -> Condition:
        """Return the core's condition: the only one, or any of several; for the word ``all``, all."""
        conditions = tuple(self._conditions())
        if not conditions:
            return KeepAll()
        return conditions[0] if len(conditions) == 1 else AnyOf(conditions)

    def _conditions(self) -> Iterator[Condition]:
        if self.newest is not None:
            yield KeepNewest(self.newest, Order(self.by or Order.PUSHED))
        if self.within is not None:
            yield KeepWithin(
                self.within, Clock(self.since or Clock.PUSHED), Origin(self.origin or Origin.NOW)
            )
        if self.pulled_within is not None:
            yield KeepPulledWithin(self.pulled_within)
        clock = Clock(self.by) if self.by in _CLOCKS else Clock.PUSHED
        for period in Period:
            count: int | None = getattr(self, period.value)
            if count is not None:
                yield KeepPeriods(period, count, clock)
        if self.all_of is not None:
            yield AllOf(tuple(part.build() for part in self.all_of))


def _expand(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    word = value.casefold()
    if value == "all":
        return _ALL
    if word == "none":
        hint = "leave the rule out: a tag that no rule keeps expires"
        raise Fault("a rule says what is kept, so `keep: none` means nothing", hint).error()
    known = word in ("newest", "within", "pulled_within", *_PERIODS)
    suggestion = f"write keep: {{{word}: …}}" if known else "did you mean `all`?" if word == "all" else None
    raise Fault("expected `all`, or a mapping such as {newest: 5}, not this text", suggestion).error()


_ALL: Final = Keep.model_construct()
KeepField = Annotated[
    Keep, Shorthand(_expand, ({"const": "all"},), "`all`, or a mapping such as {newest: 5}")
]
