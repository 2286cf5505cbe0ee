"""`reaper check` and `reaper schema`: settings and policies without a registry."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from devtools.registry import RegistryServer
from devtools.registry_config import RegistryOptions
from tests.conftest import MakeRegistry
from tests.e2e.conftest import Ended, run_reaper

ROOT = Path(__file__).parents[2]
POLICY = """\
version: 1
policies:
  - name: {name}
    repositories: ["services/**"]
    schedule: "0 2 * * *"
    rules:
      - keep: {{newest: 5}}
      - {{name: a week, keep: {{within: 7d}}}}
"""
WRONG = """\
version: 1
policies:
  - name: wrong
    repositories: ["services/**"]
    rules:
      - keep: {newst: 5}
      - keep: {within: 14 days}
"""


@pytest.fixture
def good(tmp_path: Path) -> Path:
    file = tmp_path / "good.yaml"
    file.write_text(POLICY.format(name="good"))
    return file


@pytest.fixture
def wrong(tmp_path: Path) -> Path:
    file = tmp_path / "wrong.yaml"
    file.write_text(WRONG)
    return file


def settings(folder: Path, text: str) -> Path:
    file = folder / "reaper.yaml"
    file.write_text(text)
    return file


def test_what_is_valid_is_summed_up(good: Path) -> None:
    ended = run_reaper("check", str(good))
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == (
        f"{good}: policy good: 2 rules, repositories services/**, schedule 0 2 * * *\n"
        "valid: 1 policy in 1 file\n"
    )


def test_the_examples_are_valid() -> None:
    ended = run_reaper("check", str(ROOT / "policies"))
    assert ended.code == 0
    assert ended.out.splitlines()[-1].startswith("valid: 12 policies in 9 files")


def test_settings_and_the_policies_that_they_name(tmp_path: Path, good: Path) -> None:
    """No registry is asked: none listens there."""
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "own.yaml").write_text(POLICY.format(name="good"))
    file = settings(
        tmp_path,
        "registries:\n"
        "  - {name: main, url: 'http://127.0.0.1:1', username: u, password_file: /nowhere}\n"
        "  - {name: other, url: 'http://127.0.0.1:2', policies: own}\n"
        "policies: [good.yaml]\n",
    )
    ended = run_reaper("check", "--config", str(file))
    assert (ended.code, ended.err) == (0, "")
    first, *policies, last = ended.out.splitlines()
    assert first == f"{file}: settings, registries main, other"
    assert [line.partition(": ")[0] for line in policies] == [str(good), str(tmp_path / "own/own.yaml")]
    assert last == "valid: 2 policies in 2 files"


def test_settings_alone(tmp_path: Path) -> None:
    ended = run_reaper("check", "--config", str(settings(tmp_path, "dry_run: true\n")))
    assert ended.code == 0
    assert "settings, no registry" in ended.out


def test_nothing_to_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ended = run_reaper("check")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.splitlines()[0] == "reaper: there is nothing to check"


def test_all_that_is_wrong_in_settings_and_policies_comes_at_once(
    tmp_path: Path, good: Path, wrong: Path
) -> None:
    file = settings(tmp_path, "registris: []\nlog: {level: loud}\n")
    again = tmp_path / "again.yaml"
    again.write_text(good.read_text())
    paths = [str(path) for path in (good, again, wrong, tmp_path / "nowhere.yaml")]
    ended = run_reaper("check", "--config", str(file), *paths, env={"REAPER_DRY_RUN": "perhaps"})
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.splitlines() == [
        f"{file}:1:1: unknown key 'registris'; did you mean 'registries'?",
        f"{file}:2:14: level: expected debug, info, warning or error, not this text",
        "environment variable REAPER_DRY_RUN: dry_run: expected true or false, not this text",
        f"{again}:3:11: the policy name 'good' is taken at {good}:3:11; give it another name",
        f"{wrong}:6:16: unknown key 'newst'; did you mean 'newest'?",
        f"{wrong}:7:24: '14 days' is not a duration; write 2w",
        f"{tmp_path}/nowhere.yaml: there is no such file",
        "reaper: 7 problems",
    ]


def test_policies_of_the_environment_or_of_an_option_over_it(good: Path, wrong: Path) -> None:
    environment = {"REAPER_POLICIES": str(wrong)}
    assert run_reaper("check", env=environment).code == 2
    assert run_reaper("check", "--policies", str(good), env=environment).code == 0


def test_json_says_the_same(tmp_path: Path, good: Path, wrong: Path) -> None:
    ended = run_reaper("check", str(good), "--format", "json", env={"REAPER_LOG__LEVL": "info"})
    assert ended.code == 0
    assert json.loads(ended.out) == {
        "valid": True,
        "settings": None,
        "policies": [
            {
                "policy": "good",
                "file": str(good),
                "repositories": "services/**",
                "rules": ["rule 1", "a week"],
                "schedule": "0 2 * * *",
            }
        ],
        "problems": [],
        "warnings": [
            "REAPER_LOG__LEVL is no setting and has no effect; did you mean REAPER_LOG__LEVEL?"
        ],
        "registry": None,
    }  # fmt: skip
    out = tmp_path / "report.json"
    ended = run_reaper("check", str(wrong), "--format", "json", "--output", str(out))
    assert (ended.code, ended.out, ended.err) == (2, "", "")
    found = json.loads(out.read_text())
    assert found["valid"] is False
    assert found["problems"] == [
        {
            "file": str(wrong),
            "line": 6,
            "column": 16,
            "message": "unknown key 'newst'",
            "suggestion": "did you mean 'newest'?",
        },
        {
            "file": str(wrong),
            "line": 7,
            "column": 24,
            "message": "'14 days' is not a duration",
            "suggestion": "write 2w",
        },
    ]


def test_the_other_formats_are_tables_of_policies_or_of_problems(good: Path, wrong: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(run_reaper("check", str(good), "-f", "csv").out)))
    assert [(row["policy"], row["rules"]) for row in rows] == [("good", "rule 1, a week")]
    ended = run_reaper("check", str(wrong), "-f", "csv")
    rows = list(csv.DictReader(io.StringIO(ended.out)))
    assert ended.code == 2
    assert [(row["line"], row["suggestion"]) for row in rows] == [
        ("6", "did you mean 'newest'?"),
        ("7", "write 2w"),
    ]
    assert "| `6` | `16` | `unknown key 'newst'` |" in run_reaper("check", str(wrong), "-f", "markdown").out


def test_a_name_cannot_move_the_terminals_cursor(tmp_path: Path) -> None:
    file = tmp_path / "a\x1b[2Jb.yaml"
    file.write_text(WRONG)
    ended = run_reaper("check", str(file))
    assert ended.code == 2
    assert "\x1b" not in ended.err


def test_with_a_registry_the_login_is_tried(
    make_registry: MakeRegistry, tmp_path: Path, home: Path, good: Path
) -> None:
    server = make_registry(RegistryOptions(htpasswd={"reaper": "right"}))
    sources = [
        "login: the settings of registry main: user reaper, used",
        f"login: {home}/.docker ($DOCKER_CONFIG): not looked at",
        f"login: {home}/.run/containers/auth.json (containers' own): not looked at",
        f"login: {home}/.config/containers/auth.json (containers' own): not looked at",
    ]
    login = "user reaper from the settings of registry main"
    lines = _check_login(server, "right", tmp_path, good).out.splitlines()
    assert [line for line in lines if not line.startswith("  ")][-6:] == [
        *sources,
        f"registry {server.url}: 0 repositories in the catalog, login {login}",
        "valid: 1 policy in 1 file",
    ]
    ended = _check_login(server, "wrong-hunter2", tmp_path, good)
    assert ended.code == 1
    assert ended.out.splitlines()[-5:] == [*sources, "valid: 1 policy in 1 file"]
    assert (
        ended.err.splitlines()[0] == f"reaper: {server.url}/v2/: the login is refused (401), for the registry"
    )
    assert "hunter2" not in ended.err + ended.out
    assert not list(tmp_path.glob("*.db"))


def _check_login(server: RegistryServer, password: str, folder: Path, policy: Path) -> Ended:
    (folder / "secret").write_text(password)
    file = settings(
        folder,
        f"registries: [{{name: main, url: '{server.url}', username: reaper, password_file: secret}}]\n"
        "store: {url: sqlite:///reaper.db}\n",
    )
    return run_reaper("check", "--config", str(file), "--registry", "main", str(policy))


def test_every_command_says_what_check_says(wrong: Path) -> None:
    ended = run_reaper("--dry-run", "--registry", "http://127.0.0.1:1", "--policies", str(wrong))
    assert ended.code == 2
    for line in run_reaper("check", str(wrong)).err.splitlines()[:-1]:
        assert line in ended.err


def test_schemas(tmp_path: Path) -> None:
    """That each is the one in docs/schema is shown by tests/config/test_docs.py."""
    out = tmp_path / "schema.json"
    ended = run_reaper("schema", "settings", "--output", str(out))
    assert (ended.code, ended.out, ended.err) == (0, "", "")
    assert out.read_text() == (ROOT / "docs/schema/settings.schema.json").read_text()
    ended = run_reaper("schema")
    assert ended.out == (ROOT / "docs/schema/policy.schema.json").read_text()
    assert run_reaper("schema", "nonsense").code == 2
