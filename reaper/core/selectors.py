"""Selectors: which repositories and tags a policy or a rule is about.

Every pattern matches the whole name, in time linear in the name (RE2), so no policy can hang a run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import re2
from semantic_version import NpmSpec, Version
from semantic_version.base import AllOf, AnyOf, Clause, Range

from reaper.core.errors import InvalidInputError

#: RE2 bounds a pattern's compiled size itself; this bounds what is handed to it.
MAX_PATTERN_LENGTH = 2000


class Matcher(Protocol):
    """One pattern over tags or repositories."""

    def match(self, name: str) -> Mapping[str, str] | None:
        """Return the pattern's named groups (often none) where it matches ``name``, else None."""

    def __str__(self) -> str:
        """Return the pattern as the policy file writes it."""


@dataclass(frozen=True, slots=True)
class Glob:
    """A shell pattern: ``*`` within a path component, ``**`` across, ``?``, ``[a-z]``, ``{a,b}``."""

    pattern: str

    def __post_init__(self) -> None:
        _compile(_glob_to_regex(self.pattern))

    def match(self, name: str) -> Mapping[str, str] | None:
        """Match ``name`` as a whole; a glob has no groups."""
        return {} if _compile(_glob_to_regex(self.pattern)).fullmatch(name) else None

    def __str__(self) -> str:
        return self.pattern


@dataclass(frozen=True, slots=True)
class Regex:
    """A regular expression in RE2's syntax, anchored at both ends."""

    pattern: str

    def __post_init__(self) -> None:
        _compile(self.pattern)

    @property
    def groups(self) -> frozenset[str]:
        """The names of the pattern's named groups."""
        return frozenset(_compile(self.pattern).groupindex)

    def match(self, name: str) -> Mapping[str, str] | None:
        """Match ``name`` as a whole, and return the groups that took part."""
        found = _compile(self.pattern).fullmatch(name)
        if found is None:
            return None
        return {group: text for group, text in found.groupdict().items() if text is not None}

    def __str__(self) -> str:
        return f"/{self.pattern}/"


@dataclass(frozen=True, slots=True)
class Semver:
    """A range of semantic versions, as npm writes ranges (``>=1.0.0``, ``^1.2``, ``1.x || 3.x``).

    A pre-release is in a range only when a bound of the range has a pre-release of the same version
    (semver's own rule in npm), unless ``prerelease`` is set: then plain precedence decides.
    """

    range: str
    prerelease: bool = False

    def __post_init__(self) -> None:
        _compile_range(self.range, self.prerelease)

    def match(self, name: str) -> Mapping[str, str] | None:
        """Match a tag that is a semantic version, with or without a leading ``v``, in the range."""
        version = parse_version(name)
        if version is None:
            return None
        return {} if _compile_range(self.range, self.prerelease).match(version) else None

    def __str__(self) -> str:
        return f"semver {self.range}" + (" with pre-releases" if self.prerelease else "")


@dataclass(frozen=True, slots=True)
class Selector:
    """Names that any of ``include`` matches and none of ``exclude`` does; no include means all names."""

    include: tuple[Matcher, ...] = ()
    exclude: tuple[Matcher, ...] = ()

    def select(self, name: str) -> Mapping[str, str] | None:
        """Return the named groups of the first pattern that selects ``name``, or None."""
        if any(matcher.match(name) is not None for matcher in self.exclude):
            return None
        if not self.include:
            return {}
        for matcher in self.include:
            groups = matcher.match(name)
            if groups is not None:
                return groups
        return None

    @property
    def reads_versions(self) -> bool:
        """Whether any of the patterns is a range of semantic versions."""
        return any(isinstance(matcher, Semver) for matcher in (*self.include, *self.exclude))

    def __str__(self) -> str:
        wanted = ", ".join(map(str, self.include)) or "all"
        return wanted + (f" but not {', '.join(map(str, self.exclude))}" if self.exclude else "")


#: Selects every name.
EVERYTHING = Selector()


@lru_cache(maxsize=65536)
def parse_version(tag: str) -> Version | None:
    """Return the semantic version (semver 2.0.0) that ``tag`` is, with or without a leading v, or None."""
    try:
        return Version(tag[1:] if tag.startswith(("v", "V")) else tag)
    except ValueError:
        return None


@lru_cache(maxsize=4096)
def _compile(pattern: str) -> Any:
    if len(pattern) > MAX_PATTERN_LENGTH:
        raise InvalidInputError(f"a pattern is longer than {MAX_PATTERN_LENGTH} characters")
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options=options)
    except re2.error as error:
        reason = error.args[0]
        text = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
        raise InvalidInputError(
            f"{pattern!r} is not a valid pattern: {text}",
            hint="patterns use RE2's syntax: no look-around and no back-references",
        ) from error


@lru_cache(maxsize=1024)
def _compile_range(text: str, prerelease: bool) -> Clause:
    try:
        clause = NpmSpec(text.replace(",", " ")).clause
    except ValueError as error:
        raise InvalidInputError(
            f"{text!r} is not a semver range",
            hint="examples: >=1.0.0, ^1.2, ~1.2.3, 1.x, >=1.0.0 <2.0.0 || >=3.0.0",
        ) from error
    return _with_prereleases(clause) if prerelease else clause


def _with_prereleases(clause: Clause) -> Clause:
    if isinstance(clause, (AllOf, AnyOf)):
        return type(clause)(*(_with_prereleases(part) for part in clause.clauses))
    if isinstance(clause, Range):
        return Range(clause.operator, clause.target, prerelease_policy=Range.PRERELEASE_ALWAYS)
    return clause


@lru_cache(maxsize=4096)
def _glob_to_regex(pattern: str) -> str:
    """Translate a glob; raises InvalidInputError on an open bracket or brace."""
    out: list[str] = []
    depth = 0
    position = 0
    while position < len(pattern):
        character = pattern[position]
        if pattern.startswith("**/", position):
            # `**/x` also matches `x` itself, as in every tool that has `**`.
            out.append("(?:.*/)?")
            position += 3
            continue
        if pattern.startswith("**", position):
            out.append(".*")
            position += 2
            continue
        if character == "[":
            end = pattern.find("]", position + 2)
            if end < 0:
                raise InvalidInputError(f"the glob {pattern!r} has a [ without its ]")
            inside = pattern[position + 1 : end].replace("\\", "\\\\").replace("[", "\\[")
            out.append("[" + ("^" + inside[1:] if inside[0] in "!^" else inside) + "]")
            position = end + 1
            continue
        if character == "{":
            depth += 1
            out.append("(?:")
        elif character == "}" and depth:
            depth -= 1
            out.append(")")
        elif character == "," and depth:
            out.append("|")
        else:
            out.append({"*": "[^/]*", "?": "[^/]"}.get(character) or re2.escape(character))
        position += 1
    if depth:
        raise InvalidInputError(f"the glob {pattern!r} has a {{ without its }}")
    return "".join(out)
