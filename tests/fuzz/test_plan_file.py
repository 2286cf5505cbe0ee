"""However a plan file is altered: it says what it said before, or is refused."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reaper.core.errors import InvalidInputError
from reaper.core.reference import digest_of
from reaper.report.plan_file import PlanFile, read_plan, write_plan
from reaper.report.text import safe

PLAN = PlanFile(
    registry="https://registry.example.com",
    plan_id="0123456789ab",
    run_id="3f2a9c1b7d04",
    created_at=datetime(2026, 7, 1, 2, 0, tzinfo=UTC),
    policies=digest_of(b"policies"),
    guards=["max_share: 60 of 100 tags (60%) would go"],
    summary={"repositories": 1, "manifests_to_delete": 2},
    repositories=[],
)
WORDS = [
    "null",
    "true",
    "0",
    "-1",
    "1e400",
    "9" * 5000,
    '"',
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\x00",
    "\ud800",
    "é",
]
WORDS += ["registry", "digest", "steps", digest_of(b"other"), "2026-07-01T02:00:00Z", "[" * 100_000]


def text_of(plan: PlanFile) -> str:
    out = io.StringIO()
    write_plan(plan, out)
    return out.getvalue()


@st.composite
def altered(draw: st.DrawFn) -> str:
    """The file with stretches replaced, or with values, keys or items of other kinds."""
    text = text_of(PLAN)
    if draw(st.booleans()):
        for _ in range(draw(st.integers(1, 3))):
            start = draw(st.integers(0, len(text)))
            end = min(len(text), start + draw(st.integers(0, 20)))
            text = text[:start] + draw(st.one_of(st.sampled_from(WORDS), st.text(max_size=3))) + text[end:]
        return text
    document: dict[str, Any] = json.loads(text)
    value = st.one_of(st.none(), st.integers(), st.floats(), st.sampled_from(WORDS), st.just([]), st.just({}))
    for key in draw(st.lists(st.sampled_from([*document, "more", "\x1b[2J"]), min_size=1, max_size=3)):
        if draw(st.booleans()):
            document[key] = draw(st.one_of(value, st.lists(value, max_size=2)))
        else:
            document.pop(key, None)
    return json.dumps(document)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "plan.json"


@given(text=altered())
@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
def test_an_altered_plan_is_the_same_or_refused(file: Path, text: str) -> None:
    file.write_bytes(text.encode(errors="surrogatepass"))
    try:
        plan = read_plan(file)
    except InvalidInputError as error:
        refused = safe(error.message)
        assert refused.startswith((str(file), "the plan"))
        return
    assert plan == PLAN


@given(content=st.binary(max_size=60))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_no_plan(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(InvalidInputError):
        read_plan(file)


def test_the_plan_itself_is_read(file: Path) -> None:
    file.write_text(text_of(PLAN))
    assert read_plan(file) == PLAN
