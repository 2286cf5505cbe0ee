"""Policy tests as files: which, about which policies, and what is wrong with them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from reaper.config.errors import ConfigurationError
from reaper.config.policy_tests import PolicyTests, load_policy_tests
from reaper.core.policy_test import DEFAULT_NOW, ExpectedTag, ExpectedUntagged, run_case
from reaper.core.retention import Decision

KEEP, EXPIRE, IGNORE = Decision
POLICY = "version: 1\npolicies: [{{name: {name}, repositories: '**', rules: [{{keep: all}}]}}]\n"
TEST = "version: 1\ntests: [{name: t, repository: app, keep: {a: 1d}}]\n"

WRONG = """\
version: 1
tests:
- name: t
  repository: App
  keep: {-a: 1d, b: 1 day, c: {pushd: 1d}}
  expire: {b: 1d}
  in_use: [z]
  delete: {}
  untagged: {keep: [x]}
"""


def policy(folder: Path, name: str) -> Path:
    file = folder / f"{name}.yaml"
    file.write_text(POLICY.format(name=name))
    return file


def load(folder: Path, text: str, name: str = "p.test.yaml") -> PolicyTests:
    file = folder / name
    file.write_text(text)
    (tests,) = load_policy_tests([file])
    return tests


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    policy(tmp_path, "p")
    return tmp_path


def test_everything_that_a_test_can_say(folder: Path) -> None:
    (case,) = load(
        folder,
        """\
version: 1
now: 2026-03-01T00:00:00+01:00
tests:
  - name: all of it
    repository: team/app
    keep:
      a: 14d
      b: {pushed: 2d, pulled: 1d, image: x}
      c: 2026-01-31T23:30:00Z
    expire: {d: {created: 3d}}
    ignore: {e: {}}
    untagged: {keep: [1h], expire: [2d, 3d]}
    in_use: [a]
""",
    ).cases
    now = datetime(2026, 2, 28, 23, tzinfo=UTC)
    day = timedelta(days=1)
    assert (case.name, case.repository, case.now) == ("all of it", "team/app", now)
    assert case.in_use == {"a"}
    january = datetime(2026, 1, 31, 23, 30, tzinfo=UTC)
    assert case.tags == (
        ExpectedTag("a", "image of a", KEEP, now - 14 * day, now - 14 * day),
        ExpectedTag("b", "x", KEEP, now - 2 * day, None, now - day),
        ExpectedTag("c", "image of c", KEEP, january, january),
        ExpectedTag("d", "image of d", EXPIRE, None, now - 3 * day),
        ExpectedTag("e", "image of e", IGNORE),
    )
    assert case.untagged == (
        ExpectedUntagged(timedelta(hours=1), KEEP),
        ExpectedUntagged(2 * day, EXPIRE),
        ExpectedUntagged(3 * day, EXPIRE),
    )
    assert load(folder, TEST).cases[0].now == DEFAULT_NOW


def test_an_outcome_knows_where_it_stands(folder: Path) -> None:
    tests = load(
        folder,
        "version: 1\ntests:\n- name: t\n  repository: app\n  keep:\n    a: 1d\n    b: {pushed: 2d}\n"
        "  expire: {c: 3d}\n  untagged:\n    keep:\n      - 1h\n    expire: [2d,\n     3d]\n",
    )
    places = [tests.place(0, outcome) for outcome in run_case(tests.policies, tests.cases[0])]
    assert [(place.line, place.column) for place in places] == [
        (6, 5),
        (7, 5),
        (8, 12),
        (11, 9),
        (12, 14),
        (13, 6),
    ]


def test_which_policies_a_file_is_about(tmp_path: Path) -> None:
    for name in ("p", "q"):
        policy(tmp_path, name)
    other = policy(tmp_path, "other")

    def names(tests: PolicyTests) -> list[str]:
        return [policy.name for policy in tests.policies]

    assert names(load(tmp_path, TEST)) == ["p"]
    assert names(load(tmp_path, TEST, "q_test.yaml")) == ["q"]
    assert names(load(tmp_path, TEST, "all.test.yaml")) == ["other", "p", "q"]
    assert names(load(tmp_path, f"policies: [q.yaml, p.yaml]\n{TEST}")) == ["q", "p"]
    (tests,) = load_policy_tests([tmp_path / "p.test.yaml"], [other])
    assert names(tests) == ["other"]


def test_which_files_a_path_stands_for(folder: Path) -> None:
    for name in ("p.test.yaml", "q_test.yml", ".hidden.test.yaml", "notes.yaml"):
        (folder / name).write_text(TEST)
    (folder / "notes.yaml").unlink()
    found = load_policy_tests([folder, folder / "p.yaml", folder / "p.test.yaml"])
    assert [tests.file.name for tests in found] == ["p.test.yaml", "q_test.yml"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("version: 1\ntests: []\n", ["2:8: tests: must not be empty"]),
        ("tests: [{name: t, repository: app, keep: {a: 1d}}]\n", ["version is missing"]),
        ("version: 1\ntests: [{name: t, repository: app}]\n", ["this test expects nothing"]),
        ("version: 1\ntests: [{repository: app, keep: {a: 1d}}]\n", ["name is missing"]),
        (
            WRONG,
            [
                "4:15: 'App' does not name a repository",
                "5:10: '-a' is not a tag",
                "5:21: '1 day' is not a duration",
                "unknown key 'pushd'; did you mean 'pushed'?",
                "6:12: b stands under keep as well",
                "7:12: the test has no tag 'z'",
                "8:3: unknown key 'delete'; did you mean 'expire'?",
                "9:21: 'x' is not a duration",
            ],
        ),
    ],
)
def test_every_mistake_at_once(folder: Path, text: str, says: list[str]) -> None:
    file = folder / "p.test.yaml"
    file.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        load_policy_tests([file])
    problems = [str(problem) for problem in caught.value.problems]
    assert len(problems) == len(says), problems
    for problem, expected in zip(problems, says, strict=True):
        assert expected in problem


def test_mistakes_of_the_policies_are_mistakes_of_the_tests(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("version: 1\npolicies: []\n")
    with pytest.raises(ConfigurationError, match="policies: must not be empty"):
        load(tmp_path, TEST)


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("gone.test.yaml", "there is no such file"),
        ("empty", "no policy tests"),
        ("p.yaml", "there is no p.test.yaml beside it"),
    ],
)
def test_paths_without_tests(folder: Path, path: str, says: str) -> None:
    (folder / "empty").mkdir()
    with pytest.raises(ConfigurationError, match=says):
        load_policy_tests([folder / path])
