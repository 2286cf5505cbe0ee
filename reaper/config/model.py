"""The base of every model here: all problems of a mapping at once, in plain English, with suggestions.

pydantic stops before a model's own checks when a field is wrong, and speaks of its own machinery. So each
model here checks what concerns several keys on the data as written, beside pydantic, and every error is
put into words where the model, and with it the valid keys, is known.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Self, get_args

from pydantic import BaseModel, ConfigDict, ModelWrapValidatorHandler, ValidationError, model_validator
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from reaper.config.errors import Problem, did_you_mean, nearest, shown_key
from reaper.config.nodes import Document, Position, ScalarNode

_OURS: Final = "reaper"
_LISTED_KEYS: Final = 16
_HINTED: Final = re.compile(r"did you mean '(\w+)'")

_EXPECTED: Final[tuple[tuple[str, str], ...]] = (
    ("model_", "a mapping (`key: value`)"),
    ("dict_", "a mapping (`key: value`)"),
    ("list_", "a list"),
    ("string_", "text"),
    ("path_", "a path"),
    ("int_", "a whole number"),
    ("float_", "a number"),
    ("finite_", "a number"),
    ("bool_", "true or false"),
)


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with a value. ``at`` leads there from the model that found it.

    ``of_key``: the key is wrong, not its value. ``quote``: the value only lacks quotation marks.
    """

    message: str
    suggestion: str | None = None
    at: tuple[str | int, ...] = ()
    of_key: bool = False
    quote: bool = False

    def error(self) -> PydanticCustomError:
        """Return the error for a validator to raise."""
        context = {
            "message": self.message,
            "suggestion": self.suggestion,
            "of_key": self.of_key,
            "quote": self.quote,
        }
        return PydanticCustomError(_OURS, "{message}", context)

    def _details(self) -> InitErrorDetails:
        # Never the input: it may hold a secret, and errors travel far.
        return InitErrorDetails(type=self.error(), loc=self.at, input=None)


class Checked(BaseModel):
    """A mapping of a configuration file. Subclasses say in `faults` what pydantic cannot know."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    #: Keys that may be null; elsewhere an empty value is a slip of indentation.
    nullable: ClassVar[frozenset[str]] = frozenset()
    #: What to say about keys that people try.
    hints: ClassVar[Mapping[str, str]] = {}

    @classmethod
    def faults(cls, data: Mapping[str, Any]) -> Iterator[Fault]:
        """Yield what is wrong with ``data`` beyond its single values, which may be wrong themselves."""
        del data
        yield from ()

    @classmethod
    def valid_keys(cls) -> list[str]:
        """Return the valid keys, as files write them."""
        return [info.alias or name for name, info in cls.model_fields.items()]

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> dict[str, Any]:
        """Describe the mapping, with null where it may stand; of the docstring, what concerns users."""
        found: dict[str, Any] = handler(schema)
        described = handler.resolve_ref_schema(found)
        described["description"] = " ".join((cls.__doc__ or "").partition("\n\n")[0].split())
        for key in cls.nullable:
            allowed = described["properties"][key]
            allowed["type"] = [allowed["type"], "null"]
        return found

    @model_validator(mode="wrap")
    @classmethod
    def _all_at_once(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        found: list[Fault] = []
        if isinstance(data, Mapping):
            found += cls.faults(data)
            judged = {fault.at for fault in found}
            found += [fault for fault in cls._misfits(data) if fault.at not in judged]
        judged = {fault.at for fault in found}
        try:
            model = handler(data)
        except ValidationError as error:
            spoken = [cls._fault(details) for details in error.errors(include_url=False)]
            found += [fault for fault in spoken if fault.at not in judged]
        else:
            if not found:
                return model
        meant = cls._meant(data) if isinstance(data, Mapping) else set()
        found = [fault for fault in found if len(fault.at) != 1 or fault.at[0] not in meant]
        # Outside of the handler, so that nothing refers to pydantic's error with the input in it.
        lines = [fault._details() for fault in found]  # noqa: SLF001 - a friend of this module
        raise ValidationError.from_exception_data(cls.__name__, lines, hide_input=True)

    @classmethod
    def _meant(cls, data: Mapping[str, Any]) -> set[str]:
        """Return the keys that are only missing because another one was mistyped for them."""
        valid = cls.valid_keys()
        return {cls._meant_by(str(key)) or "" for key in data if key not in valid} - data.keys()

    @classmethod
    def _meant_by(cls, key: str) -> str | None:
        hint = _HINTED.match(cls.hints.get(key, ""))
        if hint:
            return hint[1]
        valid, bare = cls.valid_keys(), key.partition(":")[0]
        return bare if bare in valid else nearest(key, valid)

    @classmethod
    def _misfits(cls, data: Mapping[str, Any]) -> Iterator[Fault]:
        for name, info in cls.model_fields.items():
            key = info.alias or name
            if key not in data:
                continue
            if data[key] is None and key not in cls.nullable:
                yield Fault(f"{key} is empty", "give it a value, or leave the key out", (key,))
            elif isinstance(data[key], bool) and not {int, float}.isdisjoint(
                {info.annotation, *get_args(info.annotation)}
            ):
                # To pydantic true is 1, unless it is strict: then a variable's text is no number either.
                yield Fault(f"{key}: expected a number, not {what_is(data[key])}", at=(key,))

    @classmethod
    def _fault(cls, error: ErrorDetails) -> Fault:
        at = error["loc"]
        if error["type"] == _OURS:
            context = error["ctx"]
            return Fault(context["message"], context["suggestion"], at, context["of_key"], context["quote"])
        key = str(at[-1]) if at else ""
        if error["type"] == "extra_forbidden" and len(at) == 1:
            listed = f"the keys here are {', '.join(cls.valid_keys()[:_LISTED_KEYS])}"
            near = cls._meant_by(key)
            suggestion = cls.hints.get(key) or (f"did you mean {near!r}?" if near else listed)
            if ":" in key:
                suggestion = "write a space after the ':'"
            return Fault(f"unknown key {shown_key(key)}", suggestion, at, of_key=True)
        if error["type"] == "missing":
            return Fault(f"{key} is missing", cls.hints.get(key), at)
        return _in_plain_english(error)


def _in_plain_english(error: ErrorDetails) -> Fault:
    at, kind, value = error["loc"], error["type"], error["input"]
    context = error.get("ctx", {})
    name = next((f"{step}: " for step in reversed(at) if isinstance(step, str)), "")
    for bound, words in (("ge", "at least"), ("le", "at most"), ("gt", "more than"), ("lt", "less than")):
        if kind.startswith(("greater_", "less_")) and bound in context:
            limit = f"{context[bound]:g}" if isinstance(context[bound], float) else context[bound]
            return Fault(f"{name}must be {words} {limit}", at=at)
    if kind == "too_short":
        return Fault(f"{name}must not be empty", at=at)
    if kind == "string_too_long":
        return Fault(f"{name}must not be longer than {context['max_length']} characters", at=at)
    if kind in ("literal_error", "enum"):
        options = re.findall(r"'([^']*)'", str(context["expected"])) or [str(context["expected"])]
        message = f"{name}expected {_either(options)}, not {what_is(value)}"
        return Fault(message, did_you_mean(value, options) if isinstance(value, str) else None, at)
    for prefix, expected in _EXPECTED:
        if kind.startswith(prefix):
            quote = expected == "text" and isinstance(value, (bool, int, float))
            suggestion = _boolean(value) if expected.startswith("true") else None
            if expected == "a list" and isinstance(value, Mapping):
                suggestion = "begin each item with `- `"
            return Fault(f"{name}expected {expected}, not {what_is(value)}", suggestion, at, quote=quote)
    return Fault(f"{name}{error['msg']}", at=at)


def _either(options: list[str]) -> str:
    return options[0] if len(options) == 1 else f"{', '.join(options[:-1])} or {options[-1]}"


def what_is(value: Any) -> str:
    """Name the kind of ``value``; never the value itself, which may be a secret."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return "a number" if isinstance(value, int) else "a decimal number"
    if isinstance(value, Mapping):
        return "a mapping"
    return "a list" if isinstance(value, (list, tuple)) else "this text" if value else "empty text"


def _boolean(value: Any) -> str | None:
    word = value.casefold() if isinstance(value, str) else value
    if word in ("yes", "on", "y", "1", 1, "true"):
        return "write true"
    return "write false" if word in ("no", "off", "n", "0", 0, "false") else None


@dataclass(frozen=True)
class Shorthand:
    """Annotates a type that may be written in other ways too.

    ``expand`` turns those into the type's own form and leaves everything else alone; ``schemas`` are
    their JSON Schemas; ``expected`` says what to write when the value is none of them. ``also`` names a
    property (of a list: ``items``) that may stand for the whole, so that its schema does as well.
    """

    expand: Callable[[Any], Any]
    schemas: tuple[dict[str, Any], ...] = field(hash=False)
    expected: str
    kind: type = dict
    also: str | None = None

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        """Expand before the type's own validation."""
        from pydantic_core import core_schema

        return core_schema.no_info_before_validator_function(self._expand, handler(source))

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        """Describe every way."""
        own: dict[str, Any] = handler(schema)
        ways = [*self.schemas, own]
        if self.also:
            parts = handler.resolve_ref_schema(own)
            part = parts["items"] if self.also == "items" else parts["properties"][self.also]
            ways[:0] = [{key: value for key, value in part.items() if key != "description"}]
        # A choice within the choice is part of it.
        flat = [inner for way in ways for inner in (way["anyOf"] if set(way) == {"anyOf"} else [way])]
        return {"anyOf": flat}

    def _expand(self, value: Any) -> Any:
        expanded = self.expand(value)
        if isinstance(expanded, (self.kind, BaseModel)):
            return expanded
        quote = isinstance(value, (bool, int, float)) and self._reads(str(value))
        raise Fault(f"expected {self.expected}, not {what_is(value)}", quote=quote).error()

    def _reads(self, text: str) -> bool:
        try:
            return isinstance(self.expand(text), (self.kind, BaseModel))
        except PydanticCustomError:
            return False


def problems_of(error: ValidationError, place: Callable[[Fault], Problem]) -> list[Problem]:
    """Return every problem that ``error``, of a `Checked` model, is about."""
    found = []
    for details in error.errors(include_url=False, include_input=False):
        fault = Fault(at=details["loc"], **details["ctx"])
        found.append(place(fault))
    return found


def place_in(document: Document, fault: Fault, *, echo: bool = True) -> Problem:
    """Return ``fault`` as a problem in ``document``; without ``echo`` its text is never quoted."""
    node, key = document.find(fault.at)
    at: Position = key if fault.of_key else node.position
    suggestion = fault.suggestion
    if fault.quote and isinstance(node, ScalarNode):
        suggestion = f'quote it: "{node.text}"' if echo else "quote it"
    return Problem(document.file, at.line, at.column, fault.message, suggestion)
