"""Policy tests as YAML files beside the policies write them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import ConfigDict, Field, ValidationError

from reaper.config.errors import ConfigurationError, Problem
from reaper.config.fields import Duration, TextField
from reaper.config.located import load_document
from reaper.config.model import Checked, Fault, Shorthand, place_in, problems_of
from reaper.config.nodes import Document, Position
from reaper.config.paths import FilePaths
from reaper.config.policies import is_policy_test, load_policies
from reaper.core.duration import parse_duration
from reaper.core.errors import InvalidInputError
from reaper.core.manifest import parse_time
from reaper.core.policy import Policy
from reaper.core.policy_test import DEFAULT_NOW, Case, ExpectedTag, ExpectedUntagged, Outcome
from reaper.core.reference import is_repository, is_tag
from reaper.core.retention import Decision

_DECISIONS: Final = tuple(decision.value for decision in Decision)
_SUFFIXES: Final = (".test", "_test")
_TIME: Final = "2026-07-01T12:00:00Z"


def _moment(text: str) -> datetime:
    found = parse_time(text)
    if found is None:
        raise InvalidInputError(f"{text!r} is not a time", hint=f"write it as {_TIME}")
    return found.astimezone(UTC)


def _when(text: str) -> timedelta | datetime:
    """Return an age, or the time that ``text`` names."""
    found = parse_time(text)
    return parse_duration(text) if found is None else found.astimezone(UTC)


def _repository(text: str) -> str:
    if not is_repository(text):
        raise InvalidInputError(f"{text!r} does not name a repository", hint="such as services/api")
    return text


_When = Annotated[
    timedelta | datetime,
    TextField(_when, "an age, such as 14d, or a time", timedelta, {"examples": ["14d", _TIME]}),
]
_Moment = Annotated[
    datetime, TextField(_moment, "a time", datetime, {"format": "date-time", "examples": [_TIME]})
]


class TagModel(Checked):
    """A tag's times. What is not given is not known."""

    model_config = ConfigDict(title="Tag")

    pushed: _When | None = Field(default=None, description="When it was pushed: an age, or a time.")
    created: _When | None = Field(default=None, description="When its image was built.")
    pulled: _When | None = Field(
        default=None, description="When it was last pulled. Of tags without it, no pull is known."
    )
    image: Annotated[str, Field(strict=True, min_length=1)] | None = Field(
        default=None, description="Any name. Tags with the same one are on the same image."
    )

    def build(self, tag: str, expected: Decision, now: datetime) -> ExpectedTag:
        """Return the core's tag; ages count back from ``now``."""

        def time(when: timedelta | datetime | None) -> datetime | None:
            return now - when if isinstance(when, timedelta) else when

        return ExpectedTag(
            tag=tag,
            image=self.image or f"image of {tag}",
            expected=expected,
            pushed=time(self.pushed),
            created=time(self.created),
            pulled=time(self.pulled),
        )


def _aged(value: Any) -> Any:
    return {"pushed": value, "created": value} if isinstance(value, str) else value


_Tags = dict[
    str,
    Annotated[
        TagModel,
        Shorthand(_aged, ({"type": "string", "examples": ["14d"]},), "an age, or a mapping with times"),
    ],
]


class LooseModel(Checked):
    """Manifests without a tag: for how long each has been, under what should become of it."""

    model_config = ConfigDict(title="Untagged manifests")

    keep: list[Duration] = Field(default=[], description="Those that should be kept.")
    expire: list[Duration] = Field(default=[], description="Those that should be deleted.")


class CaseModel(Checked):
    """One repository, and what should become of its tags."""

    model_config = ConfigDict(
        title="Test", json_schema_extra={"anyOf": [{"required": [k]} for k in (*_DECISIONS, "untagged")]}
    )
    hints: ClassVar[Mapping[str, str]] = {
        "tags": "write the tags under what should become of them: keep, expire or ignore",
        "delete": "did you mean 'expire'?",
        "repositories": "a test is about one: repository: services/api",
    }

    name: Annotated[str, Field(strict=True, min_length=1)] = Field(
        description="What the test shows; failures are reported under it."
    )
    repository: Annotated[str, TextField(_repository, "a repository's name", str)] = Field(
        description="The repository's name; it decides which policies apply."
    )
    now: _Moment | None = Field(
        default=None, description="When the test takes place; without it, as the file says."
    )
    keep: _Tags = Field(default={}, description="The tags that should be kept, each with its age.")
    expire: _Tags = Field(default={}, description="The tags that should expire.")
    ignore: _Tags = Field(default={}, description="The tags of a repository that no policy matches.")
    untagged: LooseModel | None = Field(default=None, description="Manifests without a tag.")
    in_use: list[Annotated[str, Field(strict=True)]] = Field(
        default=[], description="The tags that something runs."
    )

    @classmethod
    def faults(cls, data: Mapping[str, Any]) -> Iterator[Fault]:
        """Yield tags that are none or that stand twice, and that nothing is expected."""
        if not any(data.get(key) for key in (*_DECISIONS, "untagged")):
            yield Fault("this test expects nothing", "write keep: {v1.0.0: 400d}")
        seen: dict[str, str] = {}
        for key in _DECISIONS:
            tags = data.get(key)
            for tag in tags if isinstance(tags, Mapping) else ():
                if not is_tag(tag):
                    yield Fault(f"{tag!r} is not a tag", at=(key, tag), of_key=True)
                if tag in seen:
                    yield Fault(f"{tag} stands under {seen[tag]} as well", at=(key, tag), of_key=True)
                seen.setdefault(tag, key)
        used = data.get("in_use")
        for number, tag in enumerate(used if isinstance(used, list) else ()):
            if isinstance(tag, str) and tag not in seen:
                yield Fault(f"the test has no tag {tag!r}", at=("in_use", number))

    def build(self, now: datetime) -> Case:
        """Return the core's case; ``now`` is the file's."""
        at = self.now or now
        tags = [
            tag.build(name, Decision(key), at)
            for key in _DECISIONS
            for name, tag in getattr(self, key).items()
        ]
        untagged = self.untagged or LooseModel()
        return Case(
            name=self.name,
            repository=self.repository,
            now=at,
            tags=tuple(tags),
            untagged=(
                *(ExpectedUntagged(since, Decision.KEEP) for since in untagged.keep),
                *(ExpectedUntagged(since, Decision.EXPIRE) for since in untagged.expire),
            ),
            in_use=frozenset(self.in_use),
        )


class PolicyTestFile(Checked):
    """Tests of retention policies, run by `reaper test`."""

    model_config = ConfigDict(title="Reaper policy tests")
    hints: ClassVar[Mapping[str, str]] = {
        "version": "add version: 1",
        "rules": "that is for the policy; a test says what should come of it",
    }

    version: Literal[1] = Field(description="The version of the test files.")
    policies: FilePaths = Field(
        default=[],
        description=(
            "The policies to test, relative to this file. Without it: the file of the same name without "
            "`.test`, or, where there is none, all policies in the folder."
        ),
    )
    now: _Moment | None = Field(
        default=None,
        description="When the tests take place (default: 2026-07-01T12:00:00Z, a Wednesday).",
    )
    tests: list[CaseModel] = Field(min_length=1, description="The tests.")


@dataclass(frozen=True, slots=True)
class PolicyTests:
    """The tests of one file, and the policies that they are about."""

    file: Path
    policies: tuple[Policy, ...]
    cases: tuple[Case, ...]
    document: Document

    def place(self, case: int, outcome: Outcome) -> Position:
        """Return where it stands what ``outcome`` is about."""
        key = outcome.expected.value
        if outcome.tag is not None:
            return self.document.find(("tests", case, key, outcome.tag))[1]
        untagged = self.cases[case].untagged
        before = sum(other.expected is outcome.expected for other in untagged[: outcome.number])
        return self.document.find(("tests", case, "untagged", key, before))[1]


def load_policy_tests(paths: Sequence[Path], policies: Sequence[Path] | None = None) -> list[PolicyTests]:
    """Return the tests of all ``paths``, for ``policies`` where given instead of those that the files name.

    A path is a test file, a policy file with its tests beside it, or a folder of them.

    Raises:
        ConfigurationError: with everything that is wrong with any of the files.
    """
    problems: list[Problem] = []
    found: list[PolicyTests] = []
    for file in _files(paths, problems):
        document = load_document(file)
        if isinstance(document, Problem):
            problems.append(document)
            continue
        wrong = list(document.problems)
        try:
            parsed = PolicyTestFile.model_validate(document.data)
        except ValidationError as error:
            wrong += problems_of(error, partial(place_in, document))
        if wrong:
            problems += sorted(wrong, key=lambda problem: (problem.line or 0, problem.column or 0))
            continue
        try:
            tested = load_policies(policies or _tested(file, parsed))
        except ConfigurationError as error:
            problems += error.problems
            continue
        cases = tuple(test.build(parsed.now or DEFAULT_NOW) for test in parsed.tests)
        found.append(PolicyTests(file, tested, cases, document))
    if problems:
        raise ConfigurationError(problems)
    return found


def _tested(file: Path, parsed: PolicyTestFile) -> list[Path]:
    if parsed.policies:
        return [file.parent / path for path in parsed.policies]
    stem = file.stem
    for suffix in _SUFFIXES:
        beside = file.with_name(stem.removesuffix(suffix) + file.suffix)
        if stem.endswith(suffix) and beside.is_file():
            return [beside]
    return [file.parent]


def _files(paths: Sequence[Path], problems: list[Problem]) -> list[Path]:
    files: dict[str, Path] = {}
    for path in paths:
        found = [path]
        if path.is_dir():
            found = sorted(file for file in path.iterdir() if is_policy_test(file))
            if not found:
                text = "no policy tests (*.test.yaml) in this folder"
                problems.append(Problem(os.fspath(path), None, None, text))
        elif path.is_file() and not is_policy_test(path):
            beside = [path.with_name(f"{path.stem}{suffix}{path.suffix}") for suffix in _SUFFIXES]
            found = [file for file in beside if file.is_file()]
            if not found:
                text = f"there is no {beside[0].name} beside it with its tests"
                problems.append(Problem(os.fspath(path), None, None, text))
        for file in found:
            files.setdefault(os.path.realpath(file), file)
    return list(files.values())
