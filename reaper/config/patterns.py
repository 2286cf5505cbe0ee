"""Tag and repository selectors as policy files write them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Final

from pydantic import ConfigDict, Field, JsonValue

from reaper.config.fields import TextField
from reaper.config.model import Checked, Fault, Shorthand
from reaper.core.errors import InvalidInputError
from reaper.core.selectors import Glob, Matcher, Regex, Selector, Semver

_MAX_RANGE: Final = 500
_TEXT: Final = {"type": "string", "minLength": 1}
# An escape, a character class, or the beginning of a named group.
_GROUPS: Final = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\(\?P?<(?P<name>[^>]+)>", re.DOTALL)
_KINDS: Final = ("glob", "regex", "semver")
_ONE_KIND: Final[list[JsonValue]] = [{"required": [kind]} for kind in ("glob", "regex", "semver")]


def _glob(text: str) -> Glob:
    _refuse_empty(text)
    return Glob(text)


def _regex(text: str) -> Regex:
    _refuse_empty(text)
    names = [found["name"] for found in _GROUPS.finditer(text) if found["name"]]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        # RE2 would go by the first alone, and `group_by` put what the others match into one group.
        raise InvalidInputError(f"two groups are named {twice!r}", hint="put the choice into one group")
    return Regex(text)


def _range(text: str) -> str:
    """Return a semver range in the one spelling that the core reads, though npm reads more."""
    _refuse_empty(text)
    if len(text) > _MAX_RANGE:
        raise InvalidInputError(f"a semver range is longer than {_MAX_RANGE} characters")
    spaced = " ".join(text.replace(",", " ").split())
    joined = re.sub(r"(?<![^\s|])([<>=~^]{1,2}) (?=[0-9vVxX*])", r"\1", spaced)
    try:
        Semver(joined)
    except InvalidInputError:
        # Its message has the user's own spelling then.
        Semver(text)
        return text
    return joined


def _refuse_empty(text: str) -> None:
    if not text:
        raise InvalidInputError("an empty pattern matches nothing", hint="`*` matches all")


_GLOB = Annotated[Glob, TextField(_glob, "a glob", Glob, {"minLength": 1, "examples": ["v*"]})]
_REGEX = Annotated[
    Regex,
    TextField(
        _regex,
        "a regular expression",
        Regex,
        {"minLength": 1, "examples": ["^(?P<branch>[a-z0-9-]+)-[0-9a-f]{7,40}$"]},
    ),
]
_RANGE = Annotated[
    str,
    TextField(_range, "a semver range", str, {"minLength": 1, "examples": [">=1.0.0"]}),
]
_GLOB_KEY: Final = "`*` does not cross a `/`, `**` does; `?`, `[a-z]` and `{a,b}` as in a shell."
_REGEX_KEY: Final = "A regular expression in RE2's syntax. It has to match the whole name."


def _as_glob(value: Any) -> Any:
    return {"glob": value} if isinstance(value, str) else value


def _as_repositories(value: Any) -> Any:
    pattern = isinstance(value, Mapping) and value and set(value) <= {"glob", "regex"}
    return {"include": value} if pattern or isinstance(value, (str, list)) else value


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, (str, Mapping)) else value


class RepositoryPattern(Checked):
    """One pattern over repositories: a glob or a regex."""

    model_config = ConfigDict(
        title="Repository pattern", json_schema_extra={"minProperties": 1, "maxProperties": 1}
    )
    hints: ClassVar[Mapping[str, str]] = {"semver": "repositories are matched by glob or regex"}

    glob: _GLOB | None = Field(default=None, description=_GLOB_KEY)
    regex: _REGEX | None = Field(default=None, description=_REGEX_KEY)

    @classmethod
    def faults(cls, data: Mapping[str, Any]) -> Iterator[Fault]:
        """Yield that there is not exactly one pattern."""
        yield from _exactly_one(data, ("glob", "regex"))

    def build(self) -> Matcher:
        """Return the core's pattern."""
        return _matcher(self.glob, self.regex)


class TagPattern(Checked):
    """One pattern over tags: a glob, a regex or a range of semantic versions."""

    model_config = ConfigDict(
        title="Tag pattern",
        json_schema_extra={
            "oneOf": [*_ONE_KIND],
            "dependentRequired": {"prerelease": ["semver"]},
        },
    )

    glob: _GLOB | None = Field(default=None, description=_GLOB_KEY)
    regex: _REGEX | None = Field(
        default=None, description=_REGEX_KEY + " Its named groups are there for `group_by`."
    )
    semver: _RANGE | None = Field(
        default=None, description="A range as npm writes them. A tag may have a leading v."
    )
    prerelease: bool = Field(
        default=False,
        strict=True,
        description="Whether pre-releases match by plain precedence, not only where the range names one.",
    )

    @classmethod
    def faults(cls, data: Mapping[str, Any]) -> Iterator[Fault]:
        """Yield that there is not exactly one pattern, or that ``prerelease`` lacks its range."""
        yield from _exactly_one(data, _KINDS)
        yield from _prerelease(data)

    def build(self) -> Matcher:
        """Return the core's pattern."""
        return _matcher(self.glob, self.regex, self.semver, prerelease=self.prerelease)


_RepositoryPatternField = Annotated[
    RepositoryPattern,
    Shorthand(_as_glob, (_TEXT,), "a pattern: text, or a mapping with glob or regex"),
]
_TagPatternField = Annotated[
    TagPattern,
    Shorthand(_as_glob, (_TEXT,), "a pattern: text, or a mapping with glob, regex or semver"),
]
_Many: Final = Shorthand(_as_list, (), "a list of patterns", list, "items")


class Repositories(Checked):
    """Which repositories a policy is about: those that `include` matches and `exclude` does not."""

    model_config = ConfigDict(title="Repositories")
    hints: ClassVar[Mapping[str, str]] = {
        "include": 'write include: ["**"] for all repositories',
        "glob": "put it into the list: include: [{glob: …}]",
        "regex": "put it into the list: include: [{regex: …}]",
    }

    include: Annotated[list[_RepositoryPatternField], Field(min_length=1), _Many] = Field(
        description="Repositories that any of these matches."
    )
    exclude: Annotated[list[_RepositoryPatternField], _Many] = Field(
        default=[], description="Except those that any of these matches."
    )

    def build(self) -> Selector:
        """Return the core's selector."""
        return Selector(
            tuple(pattern.build() for pattern in self.include),
            tuple(pattern.build() for pattern in self.exclude),
        )


class Tags(TagPattern):
    """Which tags: one pattern, or those that any of `include` matches and none of `exclude` does."""

    model_config = ConfigDict(
        title="Tags",
        json_schema_extra={
            "oneOf": [
                *_ONE_KIND,
                {"anyOf": [{"required": ["include"]}, {"required": ["exclude"]}]},
            ],
            "dependentRequired": {"prerelease": ["semver"]},
        },
    )

    include: Annotated[list[_TagPatternField], Field(min_length=1), _Many] | None = Field(
        default=None, description="Tags that any of these matches; without it, all tags."
    )
    exclude: Annotated[list[_TagPatternField], _Many] = Field(
        default=[], description="Except those that any of these matches."
    )

    @classmethod
    def faults(cls, data: Mapping[str, Any]) -> Iterator[Fault]:
        """Yield that there is neither one pattern nor lists of them, or both."""
        lists = [key for key in data if key in ("include", "exclude")]
        patterns = [key for key in data if key in _KINDS]
        if not lists:
            yield from _exactly_one(data, (*_KINDS, "include", "exclude"))
        elif patterns:
            hint = f"put it into the list: include: [{{{patterns[0]}: …}}]"
            yield Fault(f"{patterns[0]} stands beside {lists[0]}", hint, (patterns[0],), of_key=True)
        yield from _prerelease(data)

    def build_selector(self) -> Selector:
        """Return the core's selector."""
        if self.glob or self.regex or self.semver is not None:
            return Selector((self.build(),))
        return Selector(
            tuple(pattern.build() for pattern in self.include or ()),
            tuple(pattern.build() for pattern in self.exclude),
        )


RepositoriesField = Annotated[
    Repositories,
    Shorthand(
        _as_repositories,
        (),
        "repositories: a glob, a list of them, or a mapping with include and exclude",
        also="include",
    ),
]
TagsField = Annotated[
    Tags,
    Shorthand(
        lambda value: {"include": value} if isinstance(value, list) else _as_glob(value),
        (),
        "tags: a glob, or a mapping with glob, regex, semver, or include and exclude",
        also="include",
    ),
]


def regexes_in(tags: Any) -> list[str]:
    """Return the regexes that select by ``tags`` as written in a file, whatever else is wrong with it."""
    if isinstance(tags, list):
        return [regex for item in tags for regex in regexes_in(item)]
    if not isinstance(tags, Mapping):
        return []
    found = [tags["regex"]] if isinstance(tags.get("regex"), str) else []
    return found + regexes_in(tags.get("include"))


def _matcher(
    glob: Glob | None, regex: Regex | None, semver: str | None = None, *, prerelease: bool = False
) -> Matcher:
    if semver is not None:
        return Semver(semver, prerelease)
    found = glob or regex
    assert found is not None  # `faults` has seen to it
    return found


def _exactly_one(data: Mapping[str, Any], kinds: tuple[str, ...]) -> Iterator[Fault]:
    given = [key for key in data if key in kinds]
    mistyped = any(key not in kinds and key != "prerelease" for key in data)
    if not given and not mistyped:
        yield Fault("this selects nothing", f"give one of {', '.join(kinds)}")
    elif len(given) > 1:
        hint = f"several patterns go into a list: include: [{{{given[0]}: …}}, {{{given[1]}: …}}]"
        yield Fault(f"{given[1]} stands beside {given[0]}", hint, (given[1],), of_key=True)


def _prerelease(data: Mapping[str, Any]) -> Iterator[Fault]:
    if "prerelease" in data and "semver" not in data:
        yield Fault("prerelease belongs to semver", "leave it out", ("prerelease",), of_key=True)
