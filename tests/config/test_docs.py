"""The pages about policies and settings are true: examples load, errors are as shown, tables are complete."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from devtools.docs import SCHEMAS, SETTINGS, schema_text, settings_page
from reaper.config.errors import ConfigurationError
from reaper.config.policies import load_policies
from reaper.config.schema import policy_schema
from reaper.config.settings import load_settings
from tests.config.conftest import file_of

DOCS = SETTINGS.parent
POLICIES = (DOCS / "policies.md").read_text()
BLOCK = re.compile(r"^```(?P<kind>[a-z ]+)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE)


def blocks(page: str, kind: str) -> list[str]:
    """Return the fenced blocks of ``kind``."""
    return [found["text"] for found in BLOCK.finditer(page) if found["kind"] == kind]


def policy_file(block: str) -> str:
    """Return the policy file that ``block`` is all of, or the rules or the keys of a policy of."""
    if "version: 1" in block:
        return block
    keys = "rules:\n" + block if block.startswith("- ") else block
    return file_of(keys if "rules:" in keys else f"{keys}rules: [{{keep: all}}]\n")


README = (DOCS.parent / "README.md").read_text()


@pytest.mark.parametrize("block", [*blocks(POLICIES, "yaml"), *blocks(README, "yaml")])
def test_every_example_of_a_policy_loads(block: str, tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(policy_file(block))
    assert load_policies([file])


def test_the_defaults_of_the_guard_are_as_shown(tmp_path: Path) -> None:
    block = next(block for block in blocks(POLICIES, "yaml") if block.startswith("guard:"))
    (tmp_path / "p.yaml").write_text(policy_file(block))
    (tmp_path / "default.yaml").write_text(file_of("rules: [{keep: all}]"))
    [shown] = load_policies([tmp_path / "p.yaml"])
    [default] = load_policies([tmp_path / "default.yaml"])
    assert shown.guard == default.guard


def test_the_mistakes_are_shown_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [wrong], [shown] = blocks(POLICIES, "yaml wrong"), blocks(POLICIES, "text")
    monkeypatch.chdir(tmp_path)
    Path("policy.yaml").write_text(wrong)
    with pytest.raises(ConfigurationError) as caught:
        load_policies([Path("policy.yaml")])
    *lines, last = shown.splitlines()
    assert [str(problem) for problem in caught.value.problems] == lines
    assert last == f"reaper: {len(lines)} problems"


def test_every_key_of_the_language_is_explained() -> None:
    schema = policy_schema()
    keys = {key for part in (schema, *schema["$defs"].values()) for key in part["properties"]}
    missing = {key for key in keys if re.search(rf"\b{key}\b", POLICIES) is None}
    assert not missing


@pytest.mark.parametrize("block", [*blocks(SETTINGS.read_text(), "yaml"), *blocks(POLICIES, "yaml settings")])
def test_every_example_of_settings_loads(block: str, tmp_path: Path) -> None:
    file = tmp_path / "reaper.yaml"
    file.write_text(block)
    assert load_settings(file).file == file


@pytest.mark.parametrize("what", SCHEMAS)
def test_the_schemas_are_what_reaper_prints(what: str) -> None:
    """Renewed by ``python -m devtools.docs``."""
    assert SCHEMAS[what].read_text() == schema_text(what)


def test_the_tables_of_the_settings_are_complete() -> None:
    """Renewed by ``python -m devtools.docs``."""
    page = SETTINGS.read_text()
    assert page == settings_page(page, json.loads(SCHEMAS["settings"].read_text()))


def test_links_lead_somewhere() -> None:
    for page in (DOCS / "policies.md", SETTINGS, DOCS.parent / "policies" / "README.md"):
        text = page.read_text()
        anchors = {
            re.sub(r"[^a-z0-9 _-]", "", title.casefold()).replace(" ", "-")
            for title in re.findall(r"^#+ (.*)$", text, re.MULTILINE)
        }
        for target in re.findall(r"\]\(([^)]+)\)", text):
            path, _, anchor = target.partition("#")
            if "://" in target:
                continue
            assert not path or (page.parent / path).exists(), f"{page.name}: {target}"
            assert not anchor or path or anchor in anchors, f"{page.name}: {target}"
