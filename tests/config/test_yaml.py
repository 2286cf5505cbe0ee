"""The YAML layer: what a scalar means, where things are, and files that are none."""

from __future__ import annotations

import math
import time
from pathlib import Path

import pytest

from reaper.config.located import MAX_FILE_SIZE, load_document, parse_document
from reaper.config.nodes import Document
from reaper.config.scalars import Scalar, resolve
from tests.config.conftest import Read, Refused, rule_of

GOOD = rule_of("keep: all")


def document(text: str) -> Document:
    found = parse_document(text, "f.yaml")
    assert isinstance(found, Document), found
    return found


def problem(text: str) -> str:
    found = parse_document(text, "f.yaml")
    assert not isinstance(found, Document), found.data
    return str(found)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("FALSE", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("12", 12),
        ("-3", -3),
        ("0o17", 15),
        ("0x1F", 31),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        # What YAML 1.1 made something else of: countries, switches, octal, base 60, dates, grouped digits.
        ("no", "no"),
        ("on", "on"),
        ("Off", "Off"),
        ("y", "y"),
        ("010", 10),
        ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"),
        ("1_000", "1_000"),
        ("0b101", "0b101"),
        ("1e3x", "1e3x"),
        ("tRue", "tRue"),
    ],
)
def test_plain_scalars_mean_what_yaml_1_2_says(text: str, value: Scalar) -> None:
    found = resolve(text)
    assert found == value
    assert type(found) is type(value)


def test_a_number_is_not_a_number() -> None:
    found = resolve(".nan")
    assert isinstance(found, float)
    assert math.isnan(found)


def test_quoted_and_tagged_scalars() -> None:
    data = document("a: '1'\nb: \"true\"\nc: !!str 1\nd: !!int 7\ne: |\n  text\nf: ! 1\n").data
    assert data == {"a": "1", "b": "true", "c": "1", "d": 7, "e": "text\n", "f": "1"}


def test_keys_are_text() -> None:
    assert document("on: 1\n1: 2\nnull: 3\n").data == {"on": 1, "1": 2, "null": 3}


def test_every_value_has_its_place() -> None:
    found = document("a:\n  - b: {c: x}\n  - 'y'\n")
    node, key = found.find(("a", 0, "b", "c"))
    assert (node.position.line, node.position.column) == (2, 12)
    assert (key.line, key.column) == (2, 9)
    assert found.find(("a", 1))[0].position.line == 3


def test_anchors_and_aliases(read: Read) -> None:
    policies = read(
        "version: 1\npolicies:\n"
        "  - {name: a, repositories: ['a/*'], rules: &rules [{keep: &five {newest: 5}}]}\n"
        "  - {name: b, repositories: ['b/*'], rules: *rules}\n"
        "  - {name: c, repositories: ['c/*'], rules: [{tags: 'v*', keep: *five}]}\n"
    )
    assert policies[0].rules == policies[1].rules
    assert policies[2].rules[0].keep == policies[0].rules[0].keep


def test_what_is_wrong_behind_an_anchor_is_said_once_where_it_is(refused: Refused) -> None:
    text = (
        "version: 1\npolicies:\n"
        "  - {name: a, repositories: ['a/*'], rules: &rules [{keep: {newst: 5}}]}\n"
        "  - {name: b, repositories: ['b/*'], rules: *rules}\n"
    )
    assert text.splitlines()[2].index("newst") == 60
    assert refused(text) == ["3:61: unknown key 'newst'; did you mean 'newest'?"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "f.yaml:1:1: the file is empty"),
        ("# only a comment\n", "f.yaml:1:1: the file is empty"),
        ("---\n", "the file is empty"),
        ("~\n", "the file is empty"),
        ("- a\n", "f.yaml:1:1: the file holds a list; it has to be a mapping"),
        ("hello\n", "f.yaml:1:1: the file holds text"),
        ("a: 1\n---\nb: 2\n", "f.yaml:2:1: a second document begins here; a file holds one"),
        ("%YAML 1.1\n---\na: 1\n", "only YAML 1.2 is read"),
        ("a:\n\t- b\n", "f.yaml:2:1: not valid YAML: a tab stands where it cannot; indent with spaces"),
        ("a: b: c\n", "f.yaml:1:5: not valid YAML: a ':' stands where it cannot"),
        ("a: @x\n", "f.yaml:1:4: not valid YAML: a value cannot begin with this character; quote the value"),
        ("a: 'x\n", "the quotation mark is never closed"),
        ("a: [1, 2\nb: 3\n", "the list is never closed, or a comma is missing; close it with ]"),
        ("a: {b: 1\nc: 3\n", "the mapping is never closed, or a comma is missing; close it with }"),
        ("a:\n    b: 1\n  c: 2\n", "f.yaml:3:3: not valid YAML: this line does not fit the ones before it"),
        ('a: "\\d+"\n', "an unknown escape after a backslash; use single quotes"),
        ("a: !name x\nb: *c\nd: &\n", "an anchor or alias without a name"),
        ("a: x\nnonsense\n", "a key without its ':'"),
        ("a: - b\n", "f.yaml:1:4: not valid YAML: a list item (-) stands where it cannot"),
        ("a: [1] 2\n", "f.yaml:1:8: not valid YAML: this line does not fit the ones before it"),
        ("'a' b\n", "f.yaml:1:5: not valid YAML: this does not belong to what stands before it"),
        ("a: | text\n", "f.yaml:1:6: not valid YAML: the text of | or > begins on the next line"),
        ("a: [,]\n", "f.yaml:1:5: not valid YAML: a value cannot begin here"),
        ("%FOO\n", "not valid YAML"),
        ("a: !<hunter2\n", "f.yaml:1:13: not valid YAML: expected '>'"),
        ("a: \x00\n", "f.yaml:1:4: the character U+0000 cannot stand in a YAML file"),
        ("a: '\ud800'\n", "the character U+D800 cannot stand in a YAML file"),
    ],
)
def test_what_is_no_yaml_is_said_with_its_place(text: str, says: str) -> None:
    assert says in problem(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: 1\na: 2\n", "2:1: the key 'a' is given twice; the first is in line 1"),
        ("a: *nowhere\n", "1:4: an alias (*) without an anchor (&) before it"),
        ("a: &a [*a]\n", "1:8: an alias (*) without an anchor (&) before it"),
        ("<<: {b: 1}\n", "1:1: merge keys (<<) are not part of YAML 1.2; write the keys out"),
        ("? [a, b]\n: c\n", "1:3: a key has to be text"),
        ("a: !!timestamp 2024-01-01\n", "1:4: this YAML tag (!) has no meaning here"),
        ("a: !!python/object:os.system {}\n", "this YAML tag (!) has no meaning here"),
        ("a: !!int x\n", "this YAML tag (!) has no meaning here"),
        ('a: "\\0"\n', "1:4: a control character or half a surrogate pair in a text"),
    ],
)
def test_what_does_not_stop_the_rest_from_being_checked(text: str, says: str) -> None:
    found = document(text)
    assert [str(each) for each in found.problems] != []
    assert says in str(found.problems[0])


def test_a_syntax_error_never_quotes_the_file() -> None:
    assert "hunter2" not in problem("password: 'hunter2\n")
    assert "hunter2" not in problem("password: [hunter2\nx: %hunter2\n")
    assert "hunter2" not in str(document("a: &hunter2 1\nb: *hunter3\n").problems[0])


@pytest.mark.parametrize(
    "text",
    [
        # The billion laughs, the quadratic blow-up, and plain depth.
        "a0: &a0 [x,x,x,x,x,x,x,x,x]\n"
        + "".join(f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 40)),
        f"a: &a [{','.join('x' * 5000)}]\nb: [{','.join(['*a'] * 5000)}]\n",
        "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 100)),
        "a: " + "[" * 5000 + "]" * 5000,
        "a: " + "{b: " * 5000 + "}" * 5000,
        "".join(f"{' ' * n}a:\n" for n in range(1000)),
    ],
    ids=["laughs", "quadratic", "deep aliases", "deep lists", "deep mappings", "deep blocks"],
)
def test_a_bomb_is_defused_at_once(text: str) -> None:
    began = time.monotonic()
    says = problem(text)
    assert "too large once its aliases are expanded" in says or "levels deep" in says
    assert time.monotonic() - began < 10


def test_a_file_that_is_none(tmp_path: Path) -> None:
    def says(file: Path) -> str:
        found = load_document(file)
        assert not isinstance(found, Document)
        return str(found).removeprefix(str(file)).removeprefix(": ")

    loop = tmp_path / "loop.yaml"
    loop.symlink_to(loop)
    binary, latin, utf16, huge, bom = (tmp_path / name for name in ("bin", "latin", "utf16", "huge", "bom"))
    binary.write_bytes(b"\x7fELF\x02\x01\x01\x00")
    latin.write_bytes("a: 1\nb: naïve\n".encode("latin-1"))
    utf16.write_bytes("a: 1\n".encode("utf-16"))
    huge.write_bytes(b"#" * (MAX_FILE_SIZE + 1))
    bom.write_bytes(GOOD.encode("utf-8-sig"))
    assert says(tmp_path / "nowhere") == "there is no such file"
    assert says(tmp_path) == "this is a folder, and a file is expected"
    assert says(loop).startswith("the file cannot be read: ")
    assert says(Path("\0")).endswith("its name is not possible")
    assert says(binary).startswith(":1:1: the character U+007F cannot stand in a YAML file")
    assert says(latin) == ":2:6: the file is not UTF-8 text; save it as UTF-8"
    assert "is not UTF-8 text" in says(utf16)
    assert says(huge) == "the file is larger than 1 MiB; split it into several files"
    assert isinstance(load_document(bom), Document)
    assert "larger than 1 MiB" in str(load_document(Path("/dev/zero")))


def test_a_file_that_must_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may read everything, so the refusal is the system's, but not the file's own."""
    file = tmp_path / "p.yaml"

    def refuse(*_args: object, **_more: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert str(load_document(file)) == f"{file}: the file cannot be read: Permission denied"


def test_line_ends_of_windows_count_as_one(refused: Refused) -> None:
    assert refused(rule_of("kep: all").replace("\n", "\r\n"))[0].startswith("4:14: ")
