"""Paths to fields, as the settings write them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reaper.core.errors import InvalidInputError
from reaper.core.fieldpath import FieldPath, parse_field_path

DOCUMENT = {
    "spec": {
        "steps": [{"image": "a"}, {"image": "b"}, {"script": "x"}, {"image": None}],
        "byName": {"one": {"image": "c"}, "two": {"image": "d"}},
        "matrix": [["e"], ["f", "g"]],
        "text": "h",
    },
    "metadata": {"annotations": {"sidecar.istio.io/proxyImage": "i"}},
}


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("spec.text", ["h"]),
        (".spec.text", ["h"]),
        ("$.spec.text", ["h"]),
        ("spec['text']", ["h"]),
        ("spec.steps[*].image", ["a", "b"]),
        ("spec.steps.[*].image", ["a", "b"]),
        ("spec.byName[*].image", ["c", "d"]),
        ("spec.matrix[*][*]", ["e", "f", "g"]),
        ("metadata.annotations['sidecar.istio.io/proxyImage']", ["i"]),
        ('metadata.annotations["sidecar.istio.io/proxyImage"]', ["i"]),
        ("spec.absent.image", []),
        ("status.images[*]", []),
    ],
)
def test_a_path_leads_to_its_values(path: str, values: list[Any]) -> None:
    parsed = parse_field_path(path)
    assert list(parsed.values(DOCUMENT)) == values
    assert parse_field_path(str(parsed)) == parsed


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("spec.steps.image", r"spec\.steps is not a mapping"),
        ("spec.text.image", r"spec\.text is not a mapping"),
        ("spec.text[*]", r"spec\.text is not a list or mapping"),
        ("spec.matrix[*].a", r"spec\.matrix\[\*\] is not a mapping"),
    ],
)
def test_something_else_on_the_way_is_an_error(path: str, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        list(parse_field_path(path).values(DOCUMENT))


def test_a_list_on_the_way_says_how_to_go_through_it() -> None:
    with pytest.raises(InvalidInputError) as caught:
        list(parse_field_path("spec.steps.image").values(DOCUMENT))
    assert caught.value.hint == "write spec.steps[*]"
    with pytest.raises(InvalidInputError, match=r"^the object is not a mapping$") as caught:
        list(parse_field_path("spec").values([DOCUMENT]))
    assert caught.value.hint == "write [*]"
    assert list(parse_field_path("[*].spec.text").values([DOCUMENT])) == ["h"]
    with pytest.raises(InvalidInputError) as caught:
        list(parse_field_path("spec.text.image").values(DOCUMENT))
    assert caught.value.hint is None


@pytest.mark.parametrize(
    "path", ["", " ", ".", "spec.", "spec..a", "spec[0]", "spec[a]", "spec a", "spec['']", "a[*]b"]
)
def test_what_is_no_path_is_refused(path: str) -> None:
    with pytest.raises(InvalidInputError, match="path") as refused:
        parse_field_path(path)
    assert refused.value.message == (
        "an empty path" if not path.strip() else f"{path!r} is not a path to a field"
    )
    assert refused.value.hint == (
        "write fields with dots between, [*] for each of a list or mapping, ['a.b/c'] for odd names"
    )


steps = st.none() | st.from_regex(r"[A-Za-z0-9_-]+", fullmatch=True) | st.text('ab./"', min_size=1)


@pytest.mark.parametrize(
    ("wanted", "written"),
    [
        (("spec", None, "image"), "spec[*].image"),
        (("byName", "a-B_1", "two words"), "byName.a-B_1['two words']"),
        (("it's", "x"), '["it\'s"].x'),
    ],
)
def test_a_path_is_written_as_people_write_it(wanted: tuple[str | None, ...], written: str) -> None:
    assert str(FieldPath(wanted)) == written
    assert parse_field_path(written) == FieldPath(wanted)


@given(st.lists(steps, min_size=1))
def test_a_path_is_read_back_as_it_was_written(wanted: list[str | None]) -> None:
    path = FieldPath(tuple(wanted))
    assert parse_field_path(str(path)) == path
