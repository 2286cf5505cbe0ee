"""Repository and tag selectors as policy files write them."""

from __future__ import annotations

import pytest

from reaper.core.selectors import EVERYTHING, Glob, Regex, Selector, Semver
from tests.config.conftest import Read, Refused, file_of, rule_of

ALL = "rules: [{keep: all}]"


@pytest.mark.parametrize(
    ("written", "selector"),
    [
        ("'**'", Selector((Glob("**"),))),
        ("['a/*', 'b/**']", Selector((Glob("a/*"), Glob("b/**")))),
        ("{include: ['a/**'], exclude: ['a/b/*']}", Selector((Glob("a/**"),), (Glob("a/b/*"),))),
        ("{include: 'a/**', exclude: 'a/b'}", Selector((Glob("a/**"),), (Glob("a/b"),))),
        ("{regex: 'a/[0-9]+'}", Selector((Regex("a/[0-9]+"),))),
        ("{glob: 'a'}", Selector((Glob("a"),))),
        ("[{regex: 'a/[0-9]+'}, b]", Selector((Regex("a/[0-9]+"), Glob("b")))),
        ("{include: [{glob: a}], exclude: [{regex: b}]}", Selector((Glob("a"),), (Regex("b"),))),
    ],
)
def test_repositories(written: str, selector: Selector, read: Read) -> None:
    [policy] = read(file_of(f"{ALL}\nrepositories: {written}"))
    assert policy.repositories == selector


@pytest.mark.parametrize(
    ("written", "selector"),
    [
        ("'v*'", Selector((Glob("v*"),))),
        ("{glob: 'v*'}", Selector((Glob("v*"),))),
        ("{regex: '^v[0-9]+$'}", Selector((Regex("^v[0-9]+$"),))),
        ("{semver: '>=1.0.0'}", Selector((Semver(">=1.0.0"),))),
        ("{semver: '>= 1.0.0, < 2.0.0'}", Selector((Semver(">=1.0.0 <2.0.0"),))),
        ("{semver: '^1', prerelease: true}", Selector((Semver("^1", prerelease=True),))),
        ("['v*', {semver: '>=1.0.0'}]", Selector((Glob("v*"), Semver(">=1.0.0")))),
        ("{include: ['v*']}", Selector((Glob("v*"),))),
        ("{exclude: ['v*', {regex: x}]}", Selector((), (Glob("v*"), Regex("x")))),
        (
            "{include: {semver: '>=1.0.0'}, exclude: '*-rc*'}",
            Selector((Semver(">=1.0.0"),), (Glob("*-rc*"),)),
        ),
    ],
)
def test_tags(written: str, selector: Selector, read: Read) -> None:
    [policy] = read(
        file_of(f"rules: [{{tags: {written}, keep: all}}]\nprotections: {{immutable: {written}}}")
    )
    assert policy.rules[0].tags == policy.protections.immutable == selector


def test_without_tags_a_rule_is_about_all(read: Read) -> None:
    assert read(rule_of("keep: all"))[0].rules[0].tags is EVERYTHING


@pytest.mark.parametrize(
    ("pattern", "matches", "not_these"),
    [
        ("services/**", ["services/a", "services/a/b"], ["services", "other/services/a"]),
        ("services/*", ["services/a"], ["services/a/b", "services"]),
        ("**/cache", ["cache", "a/cache", "a/b/cache"], ["a/cache/b", "xcache"]),
        ("a?[0-9]{x,yz}", ["ab1x", "ab1yz"], ["ab1", "a/1x", "ab1xyz"]),
        ("[!a]b", ["cb"], ["ab"]),
    ],
)
def test_globs_match_whole_names(pattern: str, matches: list[str], not_these: list[str], read: Read) -> None:
    [policy] = read(file_of(f"{ALL}\nrepositories: ['{pattern}']"))
    assert all(policy.matches(name) for name in matches)
    assert not any(policy.matches(name) for name in not_these)


def test_a_regex_matches_whole_names_with_anchors_or_without(read: Read) -> None:
    for pattern in ("v[0-9]+", "^v[0-9]+$"):
        [policy] = read(rule_of(f"tags: {{regex: '{pattern}'}}, keep: all"))
        select = policy.rules[0].tags.select
        assert select("v12") is not None
        assert select("xv12") is select("v12x") is None


def test_a_prerelease_matches_as_semver_says(read: Read) -> None:
    def selected(more: str) -> set[str]:
        [policy] = read(rule_of(f"tags: {{semver: '>=1.0.0'{more}}}, keep: all"))
        tags = ["v1.0.0", "1.1.0-rc.1", "1.2", "latest", "0.9.0", "2.0.0+build", "2.0.0"]
        return {tag for tag in tags if policy.rules[0].tags.select(tag) is not None}

    assert selected("") == {"v1.0.0", "2.0.0", "2.0.0+build"}
    assert selected(", prerelease: true") == {"v1.0.0", "2.0.0", "2.0.0+build", "1.1.0-rc.1"}


@pytest.mark.parametrize(
    ("written", "says"),
    [
        (
            "1.10",
            (
                "4:20: expected tags: a glob, or a mapping with glob, regex, semver, or include and exclude, "
                'not a decimal number; quote it: "1.10"'
            ),
        ),
        ("2024", 'quote it: "2024"'),
        ("true", 'quote it: "true"'),
        ("''", "4:20: an empty pattern matches nothing; `*` matches all"),
        ("{}", "4:20: this selects nothing; give one of glob, regex, semver, include, exclude"),
        ("{semver: 1.0}", '4:29: expected a semver range, not a decimal number; quote it: "1.0"'),
        ("{semver: 'banana'}", "4:29: 'banana' is not a semver range; examples: >=1.0.0"),
        ("{semver: ''}", "4:29: an empty pattern matches nothing"),
        (
            "{semver: '>=1.0.0', prerelease: yes}",
            "prerelease: expected true or false, not this text; write true",
        ),
        (
            "{semver: '>=1.0.0', prerelease: 1}",
            "prerelease: expected true or false, not a number; write true",
        ),
        ("{glob: 'v*', prerelease: true}", "4:33: prerelease belongs to semver; leave it out"),
        (
            "{glob: 'v*', semver: '^1'}",
            (
                "4:33: semver stands beside glob; several patterns go into a list: "
                "include: [{glob: …}, {semver: …}]"
            ),
        ),
        (
            "{glob: 'v*', exclude: ['x']}",
            ("4:21: glob stands beside exclude; put it into the list: include: [{glob: …}]"),
        ),
        ("{include: []}", "4:30: include: must not be empty"),
        ("[]", "4:20: include: must not be empty"),
        (
            "{include: [3]}",
            (
                "expected a pattern: text, or a mapping with glob, regex or semver, not a number; "
                'quote it: "3"'
            ),
        ),
        ("{includes: ['x']}", "4:21: unknown key 'includes'; did you mean 'include'?"),
        ("{regexp: 'x'}", "4:21: unknown key 'regexp'; did you mean 'regex'?"),
        ("{regex: '['}", "4:28: '[' is not a valid pattern: missing ]: [; patterns use RE2's syntax"),
        ("{regex: '(a)\\1'}", "patterns use RE2's syntax: no look-around and no back-references"),
        ("{regex: '(?=a)'}", "patterns use RE2's syntax: no look-around and no back-references"),
        ("{regex: '(?P<a>x)|(?P<a>y)'}", "two groups are named 'a'; put the choice into one group"),
        ("{regex: ''}", "an empty pattern matches nothing"),
        ("'[a'", "4:20: the glob '[a' has a [ without its ]"),
        ("'{a,b'", "4:20: the glob '{a,b' has a { without its }"),
        (f"'{'a' * 3000}'", "a pattern is longer than 2000 characters"),
        (f"{{semver: '{'1.' * 300}'}}", "a semver range is longer than 500 characters"),
        ("{regex: '(a{1000}){1000}'}", "is not a valid pattern"),
    ],
)
def test_impossible_tags(written: str, says: str, refused: Refused) -> None:
    problems = refused(rule_of(f"tags: {written}, keep: all"))
    assert says in problems[0]


@pytest.mark.parametrize(
    ("written", "says"),
    [
        (
            "5",
            (
                "4:19: expected repositories: a glob, a list of them, or a mapping with include and exclude, "
                'not a number; quote it: "5"'
            ),
        ),
        ("{}", '4:19: include is missing; write include: ["**"] for all repositories'),
        ("{exclude: ['a']}", '4:19: include is missing; write include: ["**"] for all repositories'),
        ("[]", "4:19: include: must not be empty"),
        ("{include: ['a'], semver: '^1'}", "4:36: unknown key 'semver'"),
        ("[{semver: '^1'}]", "4:21: unknown key 'semver'; repositories are matched by glob or regex"),
        (
            "{include: ['a'], regex: 'x'}",
            "4:36: unknown key 'regex'; put it into the list: include: [{regex: …}]",
        ),
        ("[{glob: a, regex: b}]", "4:30: regex stands beside glob; several patterns go into a list"),
        ("[{}]", "4:20: this selects nothing; give one of glob, regex"),
        ("", "4:5: repositories is empty; give it a value, or leave the key out"),
    ],
)
def test_impossible_repositories(written: str, says: str, refused: Refused) -> None:
    problems = refused(file_of(f"repositories: {written}\n{ALL}"))
    assert says in " | ".join(problems)


def test_group_by_names_a_group_of_a_regex(read: Read) -> None:
    for tags in (
        "{regex: '(?P<branch>.+)-[0-9]+'}",
        "{include: [{regex: '(?P<branch>.+)-[0-9]+'}, 'v*']}",
        "[{regex: '(?P<number>[0-9]+)'}, {regex: '(?P<branch>.+)-[0-9]+'}]",
        r"{regex: '(?P<branch>[(?P<branch>]+)\(?P<branch>'}",
    ):
        [policy] = read(rule_of(f"tags: {tags}, group_by: branch, keep: {{newest: 5}}"))
        assert policy.rules[0].group_by == "branch"


@pytest.mark.parametrize(
    ("tags", "says"),
    [
        ("{regex: '(?P<branch>.+)-x'}", "the regex has no group named 'brnch'; did you mean 'branch'?"),
        ("{regex: '(?P<pr>.+)-x'}", "the regex has no group named 'brnch'; its groups are pr"),
        ("{regex: '(.+)-x'}", "its groups are none; a group is written (?P<name>…)"),
        (
            "{semver: '^1'}",
            ("group_by needs a regex in tags; select the tags with a regex that has the group: (?P<brnch>…)"),
        ),
        ("{exclude: [{regex: '(?P<brnch>.+)'}]}", "group_by needs a regex in tags"),
        ("'v*'", "group_by needs a regex in tags"),
    ],
)
def test_an_unknown_group(tags: str, says: str, refused: Refused) -> None:
    problems = refused(rule_of(f"tags: {tags}, group_by: brnch, keep: {{newest: 5}}"))
    assert len(problems) == 1
    assert says in problems[0]


def test_a_group_without_tags_at_all(refused: Refused) -> None:
    [problem] = refused(rule_of("group_by: branch, keep: {newest: 5}"))
    assert problem.startswith("4:14: group_by needs a regex in tags")


def test_a_broken_regex_is_one_problem_not_two(refused: Refused) -> None:
    problems = refused(rule_of("tags: {regex: '(?P<branch>'}, group_by: branch, keep: {newest: 5}"))
    assert len(problems) == 1
    assert "is not a valid pattern" in problems[0]


@pytest.mark.parametrize(("group", "says"), [("5", "expected text, not a number"), ("''", "")])
def test_a_group_that_is_no_name(group: str, says: str, refused: Refused) -> None:
    [problem] = refused(rule_of(f"tags: {{regex: '(?P<b>x)'}}, group_by: {group}, keep: all"))
    assert says in problem
