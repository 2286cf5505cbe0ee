"""Whatever is done to a valid file, it is read, or refused with problems that name their places."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from reaper.config.errors import ConfigurationError
from reaper.config.located import load_document
from reaper.config.nodes import Document
from reaper.config.policies import load_policies
from reaper.config.schema import policy_schema
from reaper.config.settings import load_settings

ROOT = Path(__file__).parents[2]
DESIGN = Path(__file__).with_name("design")
EXAMPLES = sorted(file for file in (ROOT / "policies").glob("*.yaml") if ".test" not in file.suffixes)
POLICIES = [DESIGN / "policy.yaml", *EXAMPLES]
SETTINGS = [DESIGN / "settings.yaml"]
SCHEMA = Draft202012Validator(policy_schema())

PLAIN = """
name repositories include exclude rules tags keep all newest by within from since all_of daily group_by regex
semver glob prerelease guard url 14d 0s null true no 1e9 -1 .nan .inf ~ '' " ' [ ] { } , << # | > --- ... % @
** (?P<a> ) \\ é
"""
# What stands in such files, what YAML gives a meaning, and what is too much of anything.
WORDS = [
    *PLAIN.split(),
    *(": ", "- ", "&a ", "*a", "!x ", "\t", "\n", "  ", "\x00", "\x1b", "\u2028", "\U0001f480"),
    *("9" * 400, "[" * 60, "x" * 3000),
]


@st.composite
def edited_texts(draw: st.DrawFn, files: list[Path]) -> str:
    """A valid file with a few stretches deleted, replaced, repeated or moved."""
    text = draw(st.sampled_from(files)).read_text()
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 30)))
        put = draw(st.one_of(st.sampled_from(WORDS), st.text(max_size=5), st.just(text[start:end] * 2)))
        text = text[:start] + put + text[end:]
    return text


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-2, 2**70),
        st.floats(),
        st.sampled_from(WORDS),
        st.text(max_size=8),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(WORDS), inner, max_size=3)
    ),
    max_leaves=5,
)


@st.composite
def edited_trees(draw: st.DrawFn, files: list[Path]) -> str:
    """A valid file with a few of its values, keys or items replaced, dropped or added."""
    document = load_document(draw(st.sampled_from(files)))
    assert isinstance(document, Document)
    tree: Any = copy.deepcopy(document.data)
    for _ in range(draw(st.integers(1, 3))):
        at: Any = tree
        while draw(st.integers(0, 5)):  # deeper, usually
            inner = list(at.values()) if isinstance(at, dict) else at if isinstance(at, list) else []
            inner = [each for each in inner if isinstance(each, (dict, list)) and each]
            if not inner:
                break
            at = draw(st.sampled_from(inner))
        if isinstance(at, dict) and at:
            key = draw(st.sampled_from(list(at)))
            old = at.pop(key) if draw(st.booleans()) else at[key]
            new = draw(st.one_of(st.just(key), st.sampled_from(WORDS)))
            at[new] = draw(st.one_of(st.just(old), VALUES))
        elif isinstance(at, list) and at:
            at[draw(st.integers(0, len(at) - 1))] = draw(VALUES)
    return json.dumps(tree, ensure_ascii=draw(st.booleans()))


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "f.yaml"


def reads(load: Callable[[], object], file: Path, text: str) -> bool:
    """Tell whether ``text`` is read; else each problem has to have a place in it, in one printable line."""
    file.write_bytes(text.encode("utf-8", errors="surrogatepass"))
    error = refusal(load)
    if error is not None:
        lines = text.count("\n") + text.count("\r") + text.count("\u2028") + text.count("\u2029") + 1
        lines += text.count("\x85")
        assert error.problems
        for problem in error.problems:
            assert problem.file == str(file)
            assert problem.line is not None
            assert problem.column is not None
            assert 1 <= problem.line <= lines + 1
            assert problem.column >= 1
            assert len(str(problem).splitlines()) == 1, problem
    return error is None


def refusal(load: Callable[[], object]) -> ConfigurationError | None:
    """Return why ``load`` refuses, or None."""
    try:
        load()
    except ConfigurationError as error:
        return error
    return None


ANYTHING = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])


@given(text=st.one_of(edited_texts(POLICIES), edited_trees(POLICIES)))
@ANYTHING
def test_an_edited_policy_file_is_read_or_refused(file: Path, text: str) -> None:
    if reads(lambda: load_policies([file]), file, text):
        document = load_document(file)
        assert isinstance(document, Document)
        SCHEMA.validate(document.data)  # what reaper reads, editors do not mark as wrong


@given(text=st.one_of(edited_texts(SETTINGS), edited_trees(SETTINGS)))
@ANYTHING
def test_an_edited_settings_file_is_read_or_refused(file: Path, text: str) -> None:
    reads(lambda: load_settings(file), file, text)


@given(content=st.binary(max_size=200))
@ANYTHING
def test_any_bytes_are_read_or_refused(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    for load in (lambda: load_policies([file]), lambda: load_settings(file)):
        error = refusal(load)
        assert error is None or all(len(str(problem).splitlines()) == 1 for problem in error.problems)
