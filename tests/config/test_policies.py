"""Policy files as a whole: every other key, all errors at once, and files in folders."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest

from reaper.config.errors import ConfigurationError, Problem
from reaper.config.policies import load_policies, load_policy_files
from reaper.core.errors import InvalidInputError
from reaper.core.policy import Guard, KeepAll, KeepNewest, Policy, Protections, Rule
from reaper.core.selectors import EVERYTHING, Glob, Selector
from tests.config.conftest import Read, Refused, file_of, rule_of

ALL = "rules: [{keep: all}]"


def test_the_least_that_a_policy_says(read: Read) -> None:
    [policy] = read("version: 1\npolicies:\n- name: p\n  repositories: '**'\n  rules:\n  - keep: all\n")
    assert policy == Policy("p", Selector((Glob("**"),)), (Rule("rule 1", KeepAll()),))
    assert policy.minimum_age == timedelta(hours=24)
    assert policy.untagged_keep_within is None
    assert policy.guard == Guard(max_deletions=1000, max_share=0.5, share_from=50, min_tags=1)
    assert policy.protections == Protections(latest=True, in_use=True, unknown_media_type=True)
    assert policy.timezone.key == "UTC"
    assert policy.schedule is None


def test_rules_have_names_of_their_own(read: Read) -> None:
    [policy] = read(
        file_of("rules:\n- keep: all\n- {name: 'Releases & Co., ü', keep: {newest: 1}}\n- keep: all")
    )
    assert policy.rules == (
        Rule("rule 1", KeepAll()),
        Rule("Releases & Co., ü", KeepNewest(1)),
        Rule("rule 3", KeepAll(), EVERYTHING),
    )


@pytest.mark.parametrize(
    ("written", "guard"),
    [
        ("{}", Guard()),
        ("{max_deletions: 500, max_share: 0.5, min_tags: 1}", Guard(500, 0.5, share_from=1, min_tags=1)),
        ("{max_share: 1}", Guard(max_share=1, share_from=1)),
        ("{max_share: 0}", Guard(max_share=0, share_from=1)),
        ("{max_share: 0.2, share_from: 30}", Guard(max_share=0.2, share_from=30)),
        ("{max_share: null}", Guard(max_share=None)),
        ("{max_vanished: 0.2}", Guard(max_vanished=0.2)),
        ("{max_vanished: null}", Guard(max_vanished=None)),
        ("{max_deletions: ~, min_repositories: 0}", Guard(max_deletions=None, min_repositories=0)),
        ("{max_deletions: 0, min_tags: 0}", Guard(max_deletions=0, min_tags=0)),
    ],
)
def test_guard(written: str, guard: Guard, read: Read) -> None:
    assert read(file_of(f"{ALL}\nguard: {written}"))[0].guard == guard


def test_protections_are_switched_off_by_name(read: Read) -> None:
    [policy] = read(
        file_of(
            f"{ALL}\nprotections: {{latest: false, in_use: false, unknown_media_type: false, immutable: v*}}"
        )
    )
    assert policy.protections == Protections(
        latest=False, in_use=False, unknown_media_type=False, immutable=Selector((Glob("v*"),))
    )


@pytest.mark.parametrize(
    ("policy", "says"),
    [
        (
            "rules: []",
            (
                "4:12: a policy without rules would expire every tag; to keep every tag, write "
                "rules: [{keep: all}]"
            ),
        ),
        ("rules:", "4:5: a policy without rules would expire every tag"),
        ("minimum_age: 1d", "3:5: a policy without rules would expire every tag"),
        ("rules: {keep: all}", "4:12: rules: expected a list, not a mapping; begin each item with `- `"),
        ("rules: [all]", "4:13: expected a mapping (`key: value`), not this text"),
        ("rules: [{tags: x}]", "4:13: keep is missing; say what the rule keeps, such as keep: {newest: 5}"),
        ("rules: [{name: a, keep: all}, {name: a, keep: all}]", "4:42: rule 1 is named 'a' as well"),
        ("rules: [{keep: all}, {name: rule 1, keep: all}]", "4:33: rule 1 is named 'rule 1' as well"),
        ("rules: [{name: '  ', keep: all}]", "a rule's name is one line of text, up to 100 characters"),
        (f"rules: [{{name: {'x' * 101}, keep: all}}]", "a rule's name is one line of text"),
        ('rules: [{name: "a\\nb", keep: all}]', "a rule's name is one line of text"),
        ("rules: [{name: 5, keep: all}]", 'expected a name, not a number; quote it: "5"'),
        (f"{ALL}\nwibble: 5d", "5:5: unknown key 'wibble'; the keys here are name, repositories, schedule,"),
        (f"{ALL}\nminimum-age: 5d", "5:5: unknown key 'minimum-age'; did you mean 'minimum_age'?"),
        (f"{ALL}\ncron: x", "5:5: unknown key 'cron'; did you mean 'schedule'?"),
        (f"{ALL}\nkeep: all", "unknown key 'keep'; it belongs into a rule: rules: [{keep: …}]"),
        (f"{ALL}\nuntagged: 1d", "5:15: expected a mapping (`key: value`), not this text"),
        (f"{ALL}\nuntagged: {{}}", "5:15: keep_within is missing"),
        (f"{ALL}\nuntagged: {{keep: 1d}}", "unknown key 'keep'; did you mean 'keep_within'?"),
        (f"{ALL}\nguard: {{max_share: 50}}", "5:24: max_share is a share, from 0 to 1; write 0.5"),
        (f"{ALL}\nguard: {{max_share: 12.5%}}", "5:24: max_share is a share, from 0 to 1; write 0.125"),
        (f"{ALL}\nguard: {{max_vanished: 50%}}", "5:27: max_vanished is a share, from 0 to 1; write 0.5"),
        (f"{ALL}\nguard: {{max_share: 500}}", "5:24: max_share: must be at most 1"),
        (f"{ALL}\nguard: {{max_share: -0.1}}", "max_share: must be at least 0"),
        (f"{ALL}\nguard: {{max_share: .nan}}", "5:24: max_share: "),
        (f"{ALL}\nguard: {{max_share: true}}", "max_share: expected a number, not true"),
        (f"{ALL}\nguard: {{max_deletions: many}}", "max_deletions: expected a whole number, not this text"),
        (f"{ALL}\nguard: {{max_deletions: -1}}", "max_deletions: must be at least 0"),
        (f"{ALL}\nguard: {{min_tags: null}}", "5:23: min_tags is empty; give it a value"),
        (f"{ALL}\nguard: {{max_deletes: 5}}", "unknown key 'max_deletes'; did you mean 'max_deletions'?"),
        (
            f"{ALL}\nprotections: {{latest: off}}",
            "latest: expected true or false, not this text; write false",
        ),
        (f"{ALL}\nprotections: {{latest: 0}}", "latest: expected true or false, not a number; write false"),
        (f"{ALL}\nprotections: {{lates: false}}", "unknown key 'lates'; did you mean 'latest'?"),
        (f"{ALL}\nprotections: false", "expected a mapping (`key: value`), not false"),
        (f"{ALL}\nprotections: {{immutable: {{semver: banana}}}}", "'banana' is not a semver range"),
    ],
)
def test_what_makes_no_sense(policy: str, says: str, refused: Refused) -> None:
    problems = refused(file_of(policy))
    assert len(problems) == 1, problems
    assert says in problems[0]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (
            "Web Apps!",
            ("3:11: a policy's name is letters, digits, spaces and . _ -, up to 100; write 'Web Apps'"),
        ),
        ("ümläut", "write 'ml-ut'"),
        ("''", "a policy's name is letters"),
        ("built-in", "'built-in' is reaper's own name"),
        ("x" * 101, "a policy's name is letters"),
        ("7", 'expected a name, not a number; quote it: "7"'),
        ("yes", None),
        ("2nd policy.v1_B-c", None),
    ],
)
def test_a_policys_name(name: str, says: str | None, read: Read, refused: Refused) -> None:
    text = rule_of("keep: all").replace("name: p", f"name: {name}")
    if says is None:
        assert read(text)[0].name == name
    else:
        [problem] = refused(text)
        assert says in problem


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("policies: []\n", ["1:1: version is missing; add version: 1", "1:11: policies: must not be empty"]),
        (
            "version: 1\n",
            [
                (
                    "1:1: policies is missing; a policy file is version: 1 and policies: [{name: …, "
                    "repositories: …, rules: …}]"
                )
            ],
        ),
        ("version: 1\npolicies:\n", ["2:1: policies is empty; give it a value, or leave the key out"]),
        (
            "version: 1\npolicies: {name: p}\n",
            ["2:11: policies: expected a list, not a mapping; begin each item with `- `"],
        ),
        ("version: 1\npolicies: [p]\n", ["2:12: expected a mapping (`key: value`), not this text"]),
        (
            "version: 1\npolicies: [{}]\n",
            [
                (
                    "2:12: a policy without rules would expire every tag; to keep every tag, write "
                    "rules: [{keep: all}]"
                ),
                "2:12: name is missing; reports and metrics call the policy by its name",
                '2:12: repositories is missing; name them, such as repositories: ["services/**"]',
            ],
        ),
    ],
)
def test_what_a_file_has_to_hold(text: str, says: list[str], refused: Refused) -> None:
    assert refused(text) == says


@pytest.mark.parametrize("version", ["2", "'1'", "1.0", "true", "v1", "1.1"])
def test_a_version_that_is_not_1(version: str, refused: Refused) -> None:
    problems = refused(rule_of("keep: all").replace("version: 1", f"version: {version}"))
    assert problems == ["1:10: this reaper reads version 1 of the policy language; write version: 1"]


def test_a_settings_file_is_told_apart(refused: Refused) -> None:
    problems = refused("registries: [{name: a, url: 'http://a'}]\npolicies: [p.yaml]\ndry_run: false\n")
    assert problems == [
        (
            "1:1: this is a settings file, not a policy file; "
            "settings are given with --config, and name their policy files under policies"
        )
    ]


def test_all_errors_of_a_file_come_at_once_in_the_order_of_its_lines(refused: Refused) -> None:
    text = """\
version: 1
policys: []
policies:
  - name: services!
    repositories: {includ: ["services/**"]}
    shedule: "0 2 * * *"
    rules:
      - name: releases
        tags: {semver: 1.0}
        keep: all
      - tags: {regex: '^(?P<branch>[a-z0-9-]+)-[0-9a-f]{7,40}$'}
        group_by: brunch
        keep: {newst: 5, by: pushd}
      - keep: {within: 14 days, since: pushed, since: created}
    minimum_age: 24
    guard: {max_share: 50%}
"""
    assert refused(text) == [
        "2:1: unknown key 'policys'; did you mean 'policies'?",
        "4:11: a policy's name is letters, digits, spaces and . _ -, up to 100; write 'services'",
        "5:20: unknown key 'includ'; did you mean 'include'?",
        "6:5: unknown key 'shedule'; did you mean 'schedule'?",
        '9:24: expected a semver range, not a decimal number; quote it: "1.0"',
        "12:19: the regex has no group named 'brunch'; did you mean 'branch'?",
        "13:16: unknown key 'newst'; did you mean 'newest'?",
        "13:30: by: expected pushed, created, semver or name, not this text; did you mean 'pushed'?",
        "14:24: '14 days' is not a duration; write 2w",
        "14:48: the key 'since' is given twice; the first is in line 14",
        "15:18: expected a duration, such as 36h or 14d, not a number; add a unit, such as 24d or 24s",
        "16:24: max_share is a share, from 0 to 1; write 0.5",
    ]


def test_all_files_are_read_whatever_is_wrong_with_one(tmp_path: Path) -> None:
    broken, wrong, good = (tmp_path / name for name in ("1.yaml", "2.yaml", "3.yaml"))
    broken.write_text("version: [\n")
    wrong.write_text(rule_of("kep: all"))
    good.write_text(rule_of("keep: all").replace("name: p", "name: good"))
    with pytest.raises(ConfigurationError) as caught:
        load_policies([broken, wrong, good, tmp_path / "nowhere"])
    files = [problem.file for problem in caught.value.problems]
    assert files == [str(broken), str(wrong), str(tmp_path / "nowhere")]
    assert isinstance(caught.value, InvalidInputError)  # exit code 2


def test_names_are_unique_across_files(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(rule_of("keep: all"))
    (tmp_path / "b.yaml").write_text(rule_of("keep: all"))
    with pytest.raises(ConfigurationError) as caught:
        load_policies([tmp_path])
    [problem] = caught.value.problems
    taken = f"the policy name 'p' is taken at {tmp_path}/a.yaml:3:11"
    assert problem == Problem(str(tmp_path / "b.yaml"), 3, 11, taken, "give it another name")
    assert problem.place == f"{tmp_path}/b.yaml:3:11"


def test_a_folders_policy_files(tmp_path: Path) -> None:
    """Kubernetes mounts a ConfigMap as links to a hidden folder, whose content must not count twice."""
    data = tmp_path / "..data"
    data.mkdir()
    for name in ("b.yaml", "a.yml"):
        (data / name).write_text(rule_of("keep: all").replace("name: p", f"name: {name[0]}"))
        (tmp_path / name).symlink_to(Path("..data", name))
    for ignored in (".hidden.yaml", "a.test.yaml", "b_test.yml", "notes.txt", "README.md"):
        (tmp_path / ignored).write_text("no policies here")
    (tmp_path / "folder.yaml").mkdir()
    again = tmp_path / "a.yml"
    found = load_policy_files([again, tmp_path, again])
    assert {file: [policy.name for policy in policies] for file, policies in found.items()} == {
        tmp_path / "a.yml": ["a"],
        tmp_path / "b.yaml": ["b"],
    }
    assert [policy.name for policy in load_policies([tmp_path])] == ["a", "b"]


def test_a_folder_without_policy_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"no policy files \(\*\.yaml\) in this folder"):
        load_policies([tmp_path])


def test_a_folder_that_cannot_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_folder: Path) -> None:
        raise PermissionError(13, os.strerror(13))

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(ConfigurationError, match="cannot be read: Permission denied"):
        load_policies([tmp_path])


def test_no_paths_are_no_policies() -> None:
    assert load_policies([]) == ()


def test_one_problem_is_a_message_with_a_hint() -> None:
    one = Problem("p.yaml", 3, 5, "wrong", "write right")
    error = ConfigurationError([one, one])
    assert (error.message, error.hint) == ("p.yaml:3:5: wrong", "write right")
    two = ConfigurationError([one, Problem("the environment", None, None, "bad")])
    assert two.message == (
        "the configuration has 2 problems:\n  p.yaml:3:5: wrong; write right\n  the environment: bad"
    )
