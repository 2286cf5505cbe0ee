"""The JSON Schemas: what editors accept and mark as wrong is what reaper reads and refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from reaper.config.located import parse_document
from reaper.config.nodes import Document
from reaper.config.schema import policy_schema, settings_schema
from tests.config.conftest import Read, ReadSettings, Refused, file_of, rule_of

ROOT = Path(__file__).parents[2]
DESIGN = Path(__file__).with_name("design")
EXAMPLES = sorted(file for file in (ROOT / "policies").glob("*.yaml") if ".test" not in file.suffixes)
POLICY = Draft202012Validator(policy_schema())
SETTINGS = Draft202012Validator(settings_schema())
ALL = "rules: [{keep: all}]"


def data_of(text: str) -> dict[str, Any]:
    document = parse_document(text, "f.yaml")
    assert isinstance(document, Document)
    return document.data


@pytest.mark.parametrize("schema", [policy_schema(), settings_schema()], ids=["policy", "settings"])
def test_they_are_json_schemas(schema: dict[str, Any]) -> None:
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    Draft202012Validator.check_schema(schema)
    for definition in (schema, *schema["$defs"].values()):
        assert definition["additionalProperties"] is False
        assert definition["description"]
        for key, entry in definition["properties"].items():
            assert entry.get("description") or "$ref" in entry, (
                f"{definition['title']}.{key} has no description"
            )
            assert entry.get("default", 0) is not None


@pytest.mark.parametrize("file", [DESIGN / "policy.yaml", *EXAMPLES], ids=lambda file: file.stem)
def test_the_examples_are_valid(file: Path) -> None:
    POLICY.validate(data_of(file.read_text()))


def test_the_settings_of_the_design_are_valid() -> None:
    SETTINGS.validate(data_of((DESIGN / "settings.yaml").read_text()))


def test_every_way_to_write_a_selector_is_valid(read: Read) -> None:
    for repositories in (
        "'**'",
        "['a/*', {regex: b}]",
        "{regex: b}",
        "{include: a, exclude: [{glob: b}]}",
    ):
        text = file_of(f"{ALL}\nrepositories: {repositories}")
        assert read(text)
        POLICY.validate(data_of(text))
    for tags in (
        "v*",
        "[a, {semver: '^1'}]",
        "{glob: a}",
        "{regex: a}",
        "{semver: '^1', prerelease: true}",
        "{include: {semver: '^1'}}",
        "{exclude: a}",
        "{include: [a], exclude: [b]}",
    ):
        text = file_of(f"rules: [{{tags: {tags}, keep: all}}]\nprotections: {{immutable: {tags}}}")
        assert read(text)
        POLICY.validate(data_of(text))


def test_null_stands_only_where_it_means_no_limit(read: Read) -> None:
    text = file_of(f"{ALL}\nguard: {{max_deletions: null, max_share: null}}")
    assert read(text)
    POLICY.validate(data_of(text))
    assert not POLICY.is_valid(data_of(file_of(f"{ALL}\nguard: {{min_tags: null}}")))
    assert not POLICY.is_valid(data_of(file_of(f"{ALL}\nschedule:")))
    SETTINGS.validate({"guard": {"max_deletions": None, "max_share": None}})
    assert not SETTINGS.is_valid({"guard": {"share_from": None}})


@pytest.mark.parametrize(
    "text",
    [
        "version: 1\n",
        "version: 2\npolicies: [{name: p, repositories: a, rules: [{keep: all}]}]\n",
        "version: 1\npolicies: []\n",
        "version: 1\npolicies: [{name: p, repositories: a}]\n",
        "version: 1\npolicies: [{name: p, rules: [{keep: all}]}]\n",
        "version: 1\npolicies: [{name: a/b, repositories: a, rules: [{keep: all}]}]\n",
        "version: 1\npolicies: [{name: built-in, repositories: a, rules: [{keep: all}]}]\n",
        file_of("rules: []"),
        file_of("rules: [{}]"),
        file_of(f"{ALL}\nunknown: 1"),
        file_of(f"{ALL}\nminimum_age: 14"),
        file_of(f"{ALL}\nminimum_age: 14 days"),
        file_of(f"{ALL}\nschedule: daily"),
        file_of(f"{ALL}\nuntagged: {{}}"),
        file_of(f"{ALL}\nguard: {{max_share: 50}}"),
        file_of(f"{ALL}\nguard: {{max_deletions: -1}}"),
        file_of(f"{ALL}\nprotections: {{latest: off}}"),
        file_of(f"{ALL}\nrepositories: []"),
        file_of(f"{ALL}\nrepositories: {{exclude: [a]}}"),
        file_of(f"{ALL}\nrepositories: [{{semver: '^1'}}]"),
        file_of(f"{ALL}\nrepositories: [{{glob: a, regex: b}}]"),
        rule_of("keep: none"),
        rule_of("keep: {}"),
        rule_of("keep: {newest: 0}"),
        rule_of("keep: {newest: 1.5}"),
        rule_of("keep: {newest: '5'}"),
        rule_of("keep: {newest: 5, by: age}"),
        rule_of("keep: {newst: 5}"),
        rule_of("keep: {within: 0s}"),
        rule_of("keep: {by: pushed, within: 7d}"),
        rule_of("keep: {daily: 7, by: semver}"),
        rule_of("keep: {since: created}"),
        rule_of("keep: {pulled_within: 7d, from: newest}"),
        rule_of("keep: {all_of: []}"),
        rule_of("keep: {all_of: [all]}"),
        rule_of("keep: all, group_by: branch"),
        rule_of("keep: all, name: ''"),
        rule_of("keep: all, tags: {}"),
        rule_of("keep: all, tags: 1.10"),
        rule_of("keep: all, tags: ''"),
        rule_of("keep: all, tags: {glob: a, regex: b}"),
        rule_of("keep: all, tags: {glob: a, exclude: [b]}"),
        rule_of("keep: all, tags: {glob: a, prerelease: true}"),
        rule_of("keep: all, tags: {include: [{exclude: a}]}"),
    ],
)
def test_a_wrong_policy_file_is_refused_by_both(text: str, refused: Refused) -> None:
    assert refused(text)
    assert not POLICY.is_valid(data_of(text))


@pytest.mark.parametrize(
    "text",
    [
        "registry: x\n",
        "registries: [{name: a}]\n",
        "registries: [{url: x.y}]\n",
        "registries: [{name: a, url: x.y, concurrency: 0}]\n",
        "registries: [{name: a, url: x.y, concurrency: true}]\n",
        "registries: [{name: a, url: x.y, collect: {via: magic}}]\n",
        "registries: [{name: a, url: x.y, collect: {via: command, command: []}}]\n",
        "registries: [{name: a, url: x.y, collect: {read_only: {on: [a]}}}]\n",
        "dry_run: maybe\n",
        "log: {level: loud}\n",
        "guard: {max_share: 2}\n",
        "schedule: daily\n",
        "jitter: 5\n",
        "store: sqlite\n",
    ],
)
def test_wrong_settings_are_refused_by_both(text: str, settings_refused: Refused) -> None:
    assert settings_refused(text)
    assert not SETTINGS.is_valid(data_of(text))


def test_a_single_policy_path_and_a_single_command_are_valid(read_settings: ReadSettings) -> None:
    text = (
        "policies: /etc/reaper/policies\n"
        "registries: [{name: a, url: x.y, collect: {via: command, command: [gc], restart: [a, b]}}]\n"
    )
    assert read_settings(text).policies == [Path("/etc/reaper/policies")]
    SETTINGS.validate(data_of(text))
