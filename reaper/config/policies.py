"""Policy files (DESIGN section 5): from YAML to `reaper.core.policy`."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import ConfigDict, Field, ValidationError

from reaper.config.errors import ConfigurationError, Problem, did_you_mean
from reaper.config.fields import Crontab, Duration, TextField, Timezone
from reaper.config.keep import KeepField
from reaper.config.located import load_document
from reaper.config.model import Checked, Fault, place_in, problems_of
from reaper.config.nodes import Document
from reaper.config.patterns import RepositoriesField, TagsField, regexes_in
from reaper.core.errors import InvalidInputError
from reaper.core.policy import DEFAULT_MINIMUM_AGE, UTC, Guard, Policy, Protections, Rule
from reaper.core.retention import BUILT_IN
from reaper.core.selectors import EVERYTHING, Regex

_SUFFIXES: Final = (".yaml", ".yml")
_TESTS: Final = re.compile(r".*[._]test\.ya?ml")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._ -]*")
_MAX_NAME: Final = 100
_GUARD: Final = Guard()
#: Keys that only settings have, by which a settings file in a policy file's place is known.
_SETTINGS: Final = frozenset({"registries", "store", "web", "log"})


def _name(text: str) -> str:
    if _NAME.fullmatch(text) is None or len(text) > _MAX_NAME or text == BUILT_IN:
        written = re.sub(r"[^A-Za-z0-9._ -]+", "-", text).strip("._ -")[:_MAX_NAME]
        hint = f"write {written!r}" if _NAME.fullmatch(written) and written != BUILT_IN else None
        rule = f"letters, digits, spaces and . _ -, up to {_MAX_NAME}"
        what = f"{text!r} is reaper's own name" if text == BUILT_IN else f"a policy's name is {rule}"
        raise InvalidInputError(what, hint=hint)
    return text


def _rule_name(text: str) -> str:
    if not text.strip() or len(text) > _MAX_NAME or not text.isprintable():
        raise InvalidInputError(f"a rule's name is one line of text, up to {_MAX_NAME} characters")
    return text


_PolicyName = Annotated[
    str,
    TextField(
        _name,
        "a name",
        str,
        {"pattern": f"^{_NAME.pattern}$", "maxLength": _MAX_NAME, "not": {"const": BUILT_IN}},
    ),
]
_RuleName = Annotated[
    str,
    TextField(_rule_name, "a name", str, {"pattern": r"\S", "maxLength": _MAX_NAME}),
]


def share_in_percent(data: Mapping[str, Any]) -> Iterator[Fault]:
    """Yield shares such as ``50`` or ``50%``, each with the share that it stands for."""
    for key in ("max_share", "max_newly_expired", "max_vanished"):
        share = data.get(key)
        percent = re.fullmatch(r"(\d{1,3}(?:\.\d+)?)\s*%", share) if isinstance(share, str) else None
        number = float(percent[1]) if percent else share
        if isinstance(number, (int, float)) and (percent or 1 < number <= 100):
            yield Fault(f"{key} is a share, from 0 to 1", f"write {number / 100:g}", (key,))


class RuleModel(Checked):
    """One reason to keep tags."""

    model_config = ConfigDict(title="Rule", json_schema_extra={"dependentRequired": {"group_by": ["tags"]}})
    hints: ClassVar[Mapping[str, str]] = {"keep": "say what the rule keeps, such as keep: {newest: 5}"}

    name: _RuleName | None = Field(
        default=None,
        description="What reports call the rule; `rule N` without one. Unique within the policy.",
    )
    tags: TagsField | None = Field(
        default=None, title="Tags", description="The tags that the rule is about; all without it."
    )
    group_by: Annotated[str, Field(strict=True, min_length=1)] | None = Field(
        default=None,
        description="A named group of the tags' regex. The rule counts within each of its values.",
    )
    keep: KeepField = Field(title="Keep", description="What the rule keeps of these tags.")

    @classmethod
    def faults(cls, data: Mapping[str, Any]) -> Iterator[Fault]:
        """Yield a ``group_by`` that no regex of ``tags`` has."""
        group = data.get("group_by")
        if not isinstance(group, str):
            return
        regexes = regexes_in(data.get("tags"))
        if not regexes:
            hint = f"select the tags with a regex that has the group: (?P<{group}>…)"
            yield Fault("group_by needs a regex in tags", hint, ("group_by",), of_key=True)
            return
        groups: set[str] = set()
        for regex in regexes:
            try:
                groups |= Regex(regex).groups
            except InvalidInputError:
                return  # the regex is a problem of its own, and may well have the group
        if group not in groups:
            listed = ", ".join(sorted(groups)) or "none; a group is written (?P<name>…)"
            hint = did_you_mean(group, groups) or f"its groups are {listed}"
            yield Fault(f"the regex has no group named {group!r}", hint, ("group_by",))

    def build(self, number: int) -> Rule:
        """Return the core's rule; ``number`` counts the policy's rules from 1."""
        return Rule(
            name=self.name or _default_name(number),
            keep=self.keep.build(),
            tags=self.tags.build_selector() if self.tags else EVERYTHING,
            group_by=self.group_by,
        )


class UntaggedModel(Checked):
    """What becomes of manifests without a tag."""

    model_config = ConfigDict(title="Untagged")
    hints: ClassVar[Mapping[str, str]] = {
        "keep": "did you mean 'keep_within'?",
        "within": "did you mean 'keep_within'?",
    }

    keep_within: Duration = Field(
        description="Delete a manifest once it has been without a tag for this long."
    )


class GuardModel(Checked):
    """The limits beyond which a plan waits for a person."""

    model_config = ConfigDict(title="Guard")
    nullable: ClassVar[frozenset[str]] = frozenset(
        {"max_deletions", "max_share", "max_newly_expired", "max_vanished"}
    )

    max_deletions: Annotated[int, Field(strict=True, ge=0, le=10**9)] | None = Field(
        default=_GUARD.max_deletions,
        description="The most manifests to delete from one repository. null: no limit.",
    )
    max_share: Annotated[float, Field(strict=True, ge=0, le=1, allow_inf_nan=False)] | None = Field(
        default=_GUARD.max_share,
        description="The largest share of one repository to delete, from 0 to 1. null: no limit.",
    )
    share_from: Annotated[int, Field(strict=True, ge=0, le=10**9)] = Field(
        default=_GUARD.share_from,
        description="The share counts from so many deletes on. 1 where max_share is given.",
    )
    min_tags: Annotated[int, Field(strict=True, ge=0, le=10**9)] = Field(
        default=_GUARD.min_tags, description="The least number of tags to leave in a repository."
    )
    min_repositories: Annotated[int, Field(strict=True, ge=0, le=10**9)] = Field(
        default=_GUARD.min_repositories,
        description="The least number of repositories that the policy has to match.",
    )
    max_newly_expired: Annotated[float, Field(strict=True, ge=0, le=1, allow_inf_nan=False)] | None = Field(
        default=_GUARD.max_newly_expired,
        description="The largest share of the tags that the last run kept in a repository which a change of "
        "the policies may expire. null: no limit.",
    )
    max_vanished: Annotated[float, Field(strict=True, ge=0, le=1, allow_inf_nan=False)] | None = Field(
        default=_GUARD.max_vanished,
        description="The largest share of a repository's tags that may be gone since the last inventory "
        "without reaper's doing. null: no limit.",
    )

    @classmethod
    def faults(cls, data: Mapping[str, Any]) -> Iterator[Fault]:
        """Yield a share that was meant in percent."""
        yield from share_in_percent(data)

    def build(self) -> Guard:
        """Return the core's guard. A share that was asked for counts from the first delete on."""
        asked = self.max_share is not None and "max_share" in self.model_fields_set
        share_from = 1 if asked and "share_from" not in self.model_fields_set else self.share_from
        return Guard(
            max_deletions=self.max_deletions,
            max_share=self.max_share,
            share_from=share_from,
            min_tags=self.min_tags,
            min_repositories=self.min_repositories,
            max_newly_expired=self.max_newly_expired,
            max_vanished=self.max_vanished,
        )


class ProtectionsModel(Checked):
    """The built-in protections; each is on unless switched off here."""

    model_config = ConfigDict(title="Protections")

    latest: bool = Field(default=True, strict=True, description="Keep the tag `latest`.")
    in_use: bool = Field(default=True, strict=True, description="Keep images that are in use.")
    unknown_media_type: bool = Field(
        default=True, strict=True, description="Keep what reaper does not know the media type of."
    )
    immutable: TagsField | None = Field(
        default=None, title="Immutable", description="Tags that are never deleted."
    )

    def build(self) -> Protections:
        """Return the core's protections."""
        return Protections(
            latest=self.latest,
            in_use=self.in_use,
            unknown_media_type=self.unknown_media_type,
            immutable=self.immutable.build_selector() if self.immutable else None,
        )


class PolicyModel(Checked):
    """What to keep in some repositories. A tag there that no rule keeps expires."""

    model_config = ConfigDict(title="Policy")
    hints: ClassVar[Mapping[str, str]] = {
        "name": "reports and metrics call the policy by its name",
        "repositories": 'name them, such as repositories: ["services/**"]',
        "repository": "did you mean 'repositories'?",
        "cron": "did you mean 'schedule'?",
        "keep": "it belongs into a rule: rules: [{keep: …}]",
        "tags": "it belongs into a rule: rules: [{tags: …, keep: …}]",
    }

    name: _PolicyName = Field(description="What reports and metrics call the policy. Unique.")
    repositories: RepositoriesField = Field(
        title="Repositories", description="The repositories that the policy is about."
    )
    schedule: Crontab | None = Field(
        default=None, description="When to run, as a crontab line; else as the daemon."
    )
    timezone: Timezone = Field(
        default=UTC,
        description="The IANA time zone of the schedule and of the calendar rules.",
    )
    rules: list[RuleModel] = Field(
        min_length=1, description="A tag is kept when any rule of any matching policy keeps it."
    )
    untagged: UntaggedModel | None = Field(
        default=None, description="Manifests without a tag; they are left alone unless this is given."
    )
    minimum_age: Duration = Field(
        default=DEFAULT_MINIMUM_AGE,
        description="Nothing younger is ever deleted, whatever the rules say.",
    )
    guard: GuardModel = Field(
        default=GuardModel(),
        description="Where a plan stops and waits for a person.",
    )
    protections: ProtectionsModel = Field(
        default=ProtectionsModel(),
        description="What is kept whatever the rules say.",
    )

    @classmethod
    def faults(cls, data: Mapping[str, Any]) -> Iterator[Fault]:
        """Yield missing rules and rules of the same name."""
        rules = data.get("rules")
        if rules is None or rules == []:
            hint = "to keep every tag, write rules: [{keep: all}]"
            yield Fault("a policy without rules would expire every tag", hint, ("rules",))
        if not isinstance(rules, list):
            return
        seen: dict[str, int] = {}
        for index, rule in enumerate(rules):
            name = rule.get("name", _default_name(index + 1)) if isinstance(rule, Mapping) else None
            if not isinstance(name, str):
                continue
            if name in seen:
                message = f"rule {seen[name] + 1} is named {name!r} as well"
                yield Fault(message, "give each rule a name of its own", ("rules", index, "name"))
            seen.setdefault(name, index)

    def build(self) -> Policy:
        """Return the core's policy."""
        return Policy(
            name=self.name,
            repositories=self.repositories.build(),
            rules=tuple(rule.build(number) for number, rule in enumerate(self.rules, start=1)),
            untagged_keep_within=self.untagged.keep_within if self.untagged else None,
            minimum_age=self.minimum_age,
            guard=self.guard.build(),
            protections=self.protections.build(),
            timezone=self.timezone,
            schedule=self.schedule,
        )


class PolicyFile(Checked):
    """A file of retention policies for a container registry."""

    model_config = ConfigDict(title="Reaper policies")
    hints: ClassVar[Mapping[str, str]] = {
        "version": "add version: 1",
        "policies": "a policy file is version: 1 and policies: [{name: …, repositories: …, rules: …}]",
    }

    version: Literal[1] = Field(description="The version of the policy language.")
    policies: list[PolicyModel] = Field(min_length=1, description="The policies; their order never matters.")

    @classmethod
    def faults(cls, data: Mapping[str, Any]) -> Iterator[Fault]:
        """Yield a version that is not 1."""
        version = data.get("version", 1)
        if version is not None and (version != 1 or isinstance(version, (bool, float))):
            yield Fault(
                "this reaper reads version 1 of the policy language", "write version: 1", ("version",)
            )


def load_policies(paths: Sequence[Path]) -> tuple[Policy, ...]:
    """Return the policies of all ``paths``, in the order of their files (see `load_policy_files`)."""
    return tuple(policy for policies in load_policy_files(paths).values() for policy in policies)


def load_policy_files(paths: Sequence[Path]) -> Mapping[Path, tuple[Policy, ...]]:
    """Return the policies of each file that ``paths`` lead to.

    Of a folder, the ``*.yaml`` and ``*.yml`` files directly in it are read, in the order of their names,
    but neither hidden ones (Kubernetes' ``..data`` among them) nor policy tests (``*.test.yaml``,
    ``*_test.yaml``). A file that is reached twice is read once.

    Raises:
        ConfigurationError: with everything that is wrong with any of the files.
    """
    problems: list[Problem] = []
    policies: dict[Path, tuple[Policy, ...]] = {}
    names: dict[str, str] = {}
    for file in _files(paths, problems):
        document = load_document(file)
        if isinstance(document, Problem):
            problems.append(document)
            continue
        keys = document.root.items.keys()
        if keys & _SETTINGS and "version" not in keys:
            hint = "settings are given with --config, and name their policy files under policies"
            problems.append(Problem(document.file, 1, 1, "this is a settings file, not a policy file", hint))
            continue
        found = [*document.problems, *_repeated_names(document, names)]
        try:
            parsed = PolicyFile.model_validate(document.data)
        except ValidationError as error:
            found += problems_of(error, partial(place_in, document))
        else:
            policies[file] = tuple(policy.build() for policy in parsed.policies)
        problems += sorted(found, key=lambda problem: (problem.line or 0, problem.column or 0))
    if problems:
        raise ConfigurationError(problems)
    return policies


def _files(paths: Sequence[Path], problems: list[Problem]) -> list[Path]:
    """Return the policy files of ``paths``; what is wrong with a folder goes to ``problems``."""
    files: dict[str, Path] = {}
    for path in paths:
        found = [path]
        try:
            if path.is_dir():
                found = sorted(file for file in path.iterdir() if _is_policy_file(file))
                if not found:
                    problems.append(
                        Problem(os.fspath(path), None, None, "no policy files (*.yaml) in this folder")
                    )
        except OSError as error:
            problems.append(Problem(os.fspath(path), None, None, f"cannot be read: {error.strerror}"))
            continue
        for file in found:
            files.setdefault(os.path.realpath(file), file)
    return list(files.values())


def _is_policy_file(file: Path) -> bool:
    name = file.name
    return (
        file.suffix in _SUFFIXES
        and not name.startswith(".")
        and not is_policy_test(file)
        and not file.is_dir()
    )


def is_policy_test(file: Path) -> bool:
    """Tell by its name whether ``file`` has policy tests."""
    return _TESTS.fullmatch(file.name) is not None and not file.name.startswith(".")


def _repeated_names(document: Document, names: dict[str, str]) -> Iterator[Problem]:
    """Yield the policies whose names are in ``names`` (name to place) already, and add the others."""
    policies = document.data.get("policies")
    for index, policy in enumerate(policies if isinstance(policies, list) else ()):
        name = policy.get("name") if isinstance(policy, Mapping) else None
        if not isinstance(name, str):
            continue
        position = document.find(("policies", index, "name"))[0].position
        place = f"{document.file}:{position.line}:{position.column}"
        if name in names:
            message = f"the policy name {name!r} is taken at {names[name]}"
            yield Problem(document.file, position.line, position.column, message, "give it another name")
        names.setdefault(name, place)


def _default_name(number: int) -> str:
    return f"rule {number}"
