"""Settings: the file, the environment over it, options over both; registries, logins, the run's guard."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from reaper.config.errors import ConfigurationError
from reaper.config.settings import Login, Settings, load_settings
from reaper.core.errors import InvalidInputError, ReaperError
from reaper.core.policy import Guard
from tests.config.conftest import ReadSettings, Refused

SECRET = "hunter2-do-not-tell"


def registry(keys: str = "") -> str:
    """Return settings of one registry with the YAML lines ``keys``."""
    more = "".join(f"    {line}\n" for line in keys.splitlines())
    return f"registries:\n  - name: main\n    url: http://127.0.0.1:5000\n{more}"


def test_the_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load_settings()
    assert settings.registries == []
    assert settings.policies == []
    assert settings.schedule is None
    assert settings.dry_run is True  # the daemon audits until told otherwise
    assert settings.run_at_start is False
    assert settings.web.listen == "127.0.0.1:8080"
    assert (settings.log.format, settings.log.level) == ("auto", "warning")
    assert settings.guard.to_guard() == Guard(10_000, 0.5, share_from=200, min_tags=0, min_repositories=0)
    assert settings.file is None
    assert settings.warnings == ()


def test_where_the_database_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert Settings().store.url == f"sqlite:///{tmp_path}/reaper/reaper.db"
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert Settings().store.url == "sqlite:////var/lib/reaper/reaper.db"


def test_a_file_may_be_named_or_found(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = tmp_path / "work"
    places = [work / "reaper.yaml", home / ".config/reaper/reaper.yaml", tmp_path / "named.yaml"]
    for place in places:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("run_at_start: true\n")
    monkeypatch.chdir(work)
    assert load_settings(tmp_path / "named.yaml").file == tmp_path / "named.yaml"
    monkeypatch.setenv("REAPER_CONFIG", str(tmp_path / "named.yaml"))
    assert load_settings().file == tmp_path / "named.yaml"
    monkeypatch.delenv("REAPER_CONFIG")
    assert load_settings().file == Path("reaper.yaml")
    places[0].unlink()
    assert load_settings().file == places[1]
    places[1].unlink()
    assert load_settings().file is None
    monkeypatch.setenv("REAPER_CONFIG", str(tmp_path / "gone.yaml"))
    with pytest.raises(ConfigurationError, match=r"gone\.yaml: there is no such file") as caught:
        load_settings()
    assert caught.value.hint == "REAPER_CONFIG names it"


def test_the_environment_stands_over_the_file_and_options_over_both(
    read_settings: ReadSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "dry_run: true\nlog: {format: json, level: error}\nweb: {listen: '127.0.0.1:1'}\n"
    monkeypatch.setenv("REAPER_DRY_RUN", "false")
    monkeypatch.setenv("reaper_log__level", "info")
    monkeypatch.setenv("REAPER_WEB__LISTEN", "")  # empty is absent
    settings = read_settings(text)
    assert settings.dry_run is False
    assert (settings.log.format, settings.log.level) == ("json", "info")
    assert settings.web.listen == "127.0.0.1:1"
    overridden = load_settings(tmp_path / "reaper.yaml", {"log": {"level": "debug"}})
    assert (overridden.log.format, overridden.log.level) == ("json", "debug")


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"REAPER_DRY_RUN": "maybe"}, "REAPER_DRY_RUN: dry_run: expected true or false, not this text"),
        ({"REAPER_DRY_RUN": "null"}, "REAPER_DRY_RUN: dry_run is empty"),
        (
            {"REAPER_STORE": "x"},
            "REAPER_STORE: expected a mapping (`key: value`), not this text; write it as JSON",
        ),
        (
            {"REAPER_REGISTRIES": "[{]"},
            ("REAPER_REGISTRIES: registries: expected a list, not this text; write it as JSON"),
        ),
        ({"REAPER_REGISTRIES": '[{"name": "a"}]'}, "REAPER_REGISTRIES: url is missing"),
        (
            {"REAPER_STORE__URL": "mysql://h/d"},
            "REAPER_STORE__URL: this is not a database's URL; write sqlite:////",
        ),
        (
            {"REAPER_WEB__LISTEN": "8080"},
            "REAPER_WEB__LISTEN: '8080' is not an address to listen on; such as ",
        ),
        ({"REAPER_SCHEDULE": "daily"}, "REAPER_SCHEDULE: a crontab line has 5 fields, and this one has 1"),
        ({"REAPER_GUARD__MAX_DELETIONS": "many"}, "expected a whole number, not this text"),
        (
            {"REAPER_GUARD": '{"max_deletions": true}'},
            "REAPER_GUARD: max_deletions: expected a number, not true",
        ),
        ({"REAPER_LOG": '{"levl": "info"}'}, "REAPER_LOG: unknown key 'levl'; did you mean 'level'?"),
    ],
)
def test_a_wrong_variable_is_named(
    variables: Mapping[str, str], says: str, monkeypatch: pytest.MonkeyPatch, read_settings: ReadSettings
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as caught:
        read_settings("web: {listen: '127.0.0.1:1'}\n")
    [problem] = caught.value.problems
    assert str(problem).startswith("environment variable REAPER_")
    assert problem.line is None
    assert says in str(problem)


def test_a_file_and_the_environment_are_wrong_at_once(
    monkeypatch: pytest.MonkeyPatch, settings_refused: Refused
) -> None:
    monkeypatch.setenv("REAPER_LOG__LEVEL", "loud")
    assert settings_refused("log: {format: xml}\nweb: {listen: x}\n") == [
        "1:15: format: expected auto, console or json, not this text",
        (
            "2:15: 'x' is not an address to listen on; such as 127.0.0.1:8080, or 0.0.0.0:8080 for every "
            "interface"
        ),
        (
            "environment variable REAPER_LOG__LEVEL: level: expected debug, info, warning or error, not this "
            "text"
        ),
    ]


def test_a_variable_may_be_json_a_path_list_or_null(
    monkeypatch: pytest.MonkeyPatch, read_settings: ReadSettings
) -> None:
    monkeypatch.setenv("REAPER_REGISTRIES", json.dumps([{"name": "a", "url": "http://a"}]))
    monkeypatch.setenv("REAPER_POLICIES", f"/a{os.pathsep}/b")
    monkeypatch.setenv("REAPER_GUARD__MAX_DELETIONS", "null")
    monkeypatch.setenv("REAPER_GUARD__MAX_SHARE", "0.25")
    settings = read_settings(registry())
    assert [each.name for each in settings.registries] == ["a"]
    assert settings.policies == [Path("/a"), Path("/b")]
    assert settings.guard.to_guard() == Guard(None, 0.25, share_from=1, min_tags=0, min_repositories=0)


def test_variables_that_are_nearly_settings_are_warned_of(
    monkeypatch: pytest.MonkeyPatch, read_settings: ReadSettings
) -> None:
    for name in ("REAPER_DRYRUN", "REAPER_LOG__LEVL", "REAPER_REGISTRIES__0__URL", "REAPER_WEB__PORT"):
        monkeypatch.setenv(name, "1")
    # Kubernetes' own of a service named reaper, reaper's own that are no settings, and others' entirely.
    for name in ("REAPER_SERVICE_HOST", "REAPER_PORT_8080_TCP_ADDR", "REAPER_CACHE", "REAPER_OF_SOULS"):
        monkeypatch.setenv(name, "1")
    dry, log, registries, web = read_settings("dry_run: true\n").warnings
    assert dry == "REAPER_DRYRUN is no setting and has no effect; did you mean REAPER_DRY_RUN?"
    assert log == "REAPER_LOG__LEVL is no setting and has no effect; did you mean REAPER_LOG__LEVEL?"
    assert "REAPER_REGISTRIES takes all of it, as JSON" in registries
    assert "there are " in web
    assert "REAPER_WEB__LISTEN" in web


def test_paths_of_a_file_are_relative_to_it(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "etc" / "reaper.yaml"
    file.parent.mkdir()
    file.write_text(
        registry("username: u\npassword_file: secret\nca_file: /abs/ca.pem\ndocker_config: ~/.docker")
        + "policies: [policies, ~/mine.yaml]\nstore: {url: sqlite:///reaper.db}\n"
    )
    monkeypatch.chdir(tmp_path)
    settings = load_settings(Path("etc/reaper.yaml"))
    [main] = settings.registries
    assert main.password_file == tmp_path / "etc/secret"
    assert main.ca_file == Path("/abs/ca.pem")
    assert main.docker_config == home / ".docker"
    assert settings.policies == [tmp_path / "etc/policies", home / "mine.yaml"]
    assert settings.store.url == f"sqlite:///{tmp_path}/etc/reaper.db"


def test_a_single_policy_path_stands_for_the_list(read_settings: ReadSettings, tmp_path: Path) -> None:
    assert read_settings("policies: p.yaml\n").policies == [tmp_path / "p.yaml"]


@pytest.mark.parametrize(
    ("keys", "login"),
    [
        ("", None),
        ("username: u\npassword: p w", Login(username="u", password="p w")),
        ("username: u\npassword_file: secret", Login(username="u", password=SECRET)),
        ("token: t", Login(token="t")),
        ("token_file: secret", Login(token=SECRET)),
        ("docker_config: .", None),
    ],
)
def test_logins(keys: str, login: Login | None, read_settings: ReadSettings, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(f"{SECRET}\r\n")
    settings = read_settings(registry(keys))
    assert settings.registries[0].credentials() == login
    assert SECRET not in repr(login) + str(settings.registries) + repr(settings)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"\xff\xfe", "is not UTF-8 text"),
        (None, "cannot be read: No such"),
    ],
)
def test_a_secret_file_that_holds_none(
    content: bytes | None, says: str, read_settings: ReadSettings, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / "secret").write_bytes(content)
    settings = read_settings(registry("token_file: secret"))
    with pytest.raises(ReaperError, match=f"the secret file {tmp_path}/secret {says}"):
        settings.registries[0].credentials()


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ("username: u", "4:5: username has no password; add password_file"),
        ("password_file: x", "4:5: password_file has no username; add username"),
        ("username: u\npassword: p\npassword_file: x", "5:5: password stands beside password_file; keep one"),
        ("token: t\ntoken_file: x", "4:5: token stands beside token_file; keep one of them"),
        ("token: t\nusername: u\npassword: p", "4:5: token stands beside password; a login is a name"),
        ("user: u", "4:5: unknown key 'user'; did you mean 'username'?"),
        ("concurrency: 0", "4:18: concurrency: must be at least 1"),
        ("concurrency: 1000", "4:18: concurrency: must be at most 256"),
        ("concurrency: true", "4:18: concurrency: expected a number, not true"),
        ("concurrency: many", "4:18: concurrency: expected a whole number, not this text"),
        (
            "timeout: 60",
            "4:14: expected a duration, such as 36h or 14d, not a number; add a unit, such as 60d or 60s",
        ),
        ("timeout: 0s", "4:14: 0s keeps nothing"),
        ("insecure: maybe", "4:15: insecure: expected true or false, not this text"),
        ("username: 5\npassword: x", "4:15: username: expected text, not a number; quote it"),
        ("ca_file: ''", "4:14: an empty path"),
    ],
)
def test_what_makes_no_sense_of_a_registry(keys: str, says: str, settings_refused: Refused) -> None:
    [problem] = settings_refused(registry(keys))
    assert says in problem


@pytest.mark.parametrize(
    ("url", "says"),
    [
        (
            f"https://user:{SECRET}@registry.example.com",
            "a registry's URL must not carry a login; give username",
        ),
        ("ftp://registry.example.com", "this is not a registry's URL; write one such as https://"),
        ("https://", "this is not a registry's URL"),
        ("'https://a b'", "this is not a registry's URL"),
        ("https://a:0", "this is not a registry's URL"),
        ("https://a:99999", "this is not a registry's URL"),
        ("https://a/?x=1", "a registry's URL has neither ? nor #"),
        ("5000", "expected a URL, not a number"),
    ],
)
def test_urls_that_are_none(url: str, says: str, settings_refused: Refused) -> None:
    [problem] = settings_refused(f"registries: [{{name: a, url: {url}}}]\n")
    assert problem.startswith("1:29: ")
    assert says in problem
    assert SECRET not in problem


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("registry: x\n", "1:1: unknown key 'registry'; did you mean 'registries'?"),
        ("Dry_run: true\n", "1:1: unknown key 'Dry_run'; did you mean 'dry_run'?"),
        (
            "registries: {name: a}\n",
            "1:13: registries: expected a list, not a mapping; begin each item with `- `",
        ),
        (
            "registries: [{name: 'a b', url: x.y}]\n",
            "1:21: a registry's name has letters, digits and . _ - only",
        ),
        (
            "registries: [{name: a, url: x.y}, {name: a, url: x.z}]\n",
            "1:42: another registry is named 'a' as well",
        ),
        ("policies: [3]\n", "1:12: expected a path, not a number; quote it"),
        ("store: {url: /var/lib/reaper.db}\n", "1:14: this is not a database's URL"),
        ("store: {url: 'sqlite://'}\n", "1:14: this is not a database's URL"),
        ("web: {listen: 8080}\n", "1:15: expected an address to listen on: HOST:PORT, not a number"),
        ("web: {listen: '::1:80'}\n", "1:15: '::1:80' is not an address to listen on"),
        ("web: {listen: 'localhost:99999'}\n", "is not an address to listen on"),
        (
            "log: {level: WARN}\n",
            ("1:14: level: expected debug, info, warning or error, not this text; did you mean 'warning'?"),
        ),
        ("guard: {max_share: 50%}\n", "1:20: max_share is a share, from 0 to 1; write 0.5"),
        ("guard: {share_from: null}\n", "1:21: share_from is empty"),
        ("guard: {min_tags: 1}\n", "1:9: unknown key 'min_tags'"),
        ("schedule: '0 0 31 2 *'\n", "1:11: the schedule '0 0 31 2 *' never comes due; no such day exists"),
        ("timezone: Mars\n", "1:11: there is no time zone 'Mars'"),
        (
            "rules: []\n",
            "1:1: unknown key 'rules'; that is for policy files, which settings name under policies",
        ),
        ("version: 1\npolicies: [{name: p}]\n", "1:1: this is a policy file, not a settings file; "),
        ("policies: *b\n", "1:11: an alias (*) without an anchor (&) before it"),
    ],
)
def test_what_makes_no_sense(text: str, says: str, settings_refused: Refused) -> None:
    assert says in settings_refused(text)[0]


@pytest.mark.parametrize(
    ("collect", "says"),
    [
        ("{via: command}", "4:14: command is missing; add command: [registry, garbage-collect, "),
        ("{command: [a]}", "4:15: a command that is never run; add via: command"),
        (
            "{via: magic}",
            (
                "4:20: via: expected none, command, docker, kubernetes-job, kubernetes-exec or webhook, "
                "not this text"
            ),
        ),
        ("{via: command, command: a b}", "4:38: command: expected a list, not this text"),
        ("{via: command, command: []}", "4:38: command: must not be empty"),
        ("{via: command, command: [a, 5]}", "4:42: expected an argument: text, not a number; quote it"),
        ('{via: command, command: [a, "\\0"]}', "a control character"),
        (
            "{via: command, command: [a], restart: a}",
            ("4:52: expected a command as a list of its arguments, or a list of such lists, not this text"),
        ),
        ("{via: command, command: [a], restart: [[a], b]}", "4:58: restart: expected a list, not this text"),
        (
            "{via: command, command: [a], read_only: {on: [a]}}",
            ("4:54: off is missing; the commands that make it accept writes again"),
        ),
        ("{cron: x}", "4:15: unknown key 'cron'; did you mean 'schedule'?"),
        ("{undo_window: 1 day}", "4:28: '1 day' is not a duration; write 1d"),
    ],
)
def test_what_makes_no_sense_of_a_collection(collect: str, says: str, settings_refused: Refused) -> None:
    [problem] = settings_refused(registry(f"collect: {collect}"))
    assert says in problem


def test_a_single_command_stands_for_the_list(read_settings: ReadSettings) -> None:
    settings = read_settings(
        registry(
            "collect:\n  via: command\n  command: [registry, gc]\n  restart: [systemctl, restart, registry]\n"
            "  read_only: {on: [[a, b], [c]], off: [d]}\n  undo_window: 0s"
        )
    )
    collect = settings.registries[0].collect
    assert collect.restart == [["systemctl", "restart", "registry"]]
    assert collect.read_only is not None
    assert (collect.read_only.on, collect.read_only.off) == ([["a", "b"], ["c"]], [["d"]])
    assert collect.undo_window == timedelta()


def test_a_registry_is_found_by_its_name_or_its_url(read_settings: ReadSettings) -> None:
    settings = read_settings(
        "registries:\n  - {name: main, url: 'https://registry.example.com'}\n"
        "  - {name: edge, url: 'http://edge.example.com:5000/hub/'}\n"
    )
    main, edge = settings.registries
    assert settings.registry("main") is main
    for url in ("https://registry.example.com", "registry.example.com:443", "https://REGISTRY.example.com/"):
        assert settings.registry(url) is main
    assert settings.registry("http://edge.example.com:5000/hub") is edge
    other = settings.registry("http://registry.example.com")
    assert (other.name, other.url, other.concurrency) == (
        "registry.example.com",
        "http://registry.example.com",
        16,
    )
    assert settings.registry("localhost:5000").url == "localhost:5000"


@pytest.mark.parametrize(
    ("count", "asked", "says"),
    [
        (0, None, "no registry is configured; give --registry URL, or configure one under registries"),
        (2, None, "several registries are configured; give --registry, one of: r0, r1"),
        (2, "main", "no registry is named 'main'; the configured ones are: r0, r1"),
        (1, "r00", "no registry is named 'r00'; did you mean 'r0'?"),
        (0, "main", "no registry is named 'main'; give its URL, such as https://HOST"),
        (1, f"https://u:{SECRET}@x.y", "a registry's URL must not carry a login"),
    ],
)
def test_a_registry_that_is_not_there(
    count: int, asked: str | None, says: str, read_settings: ReadSettings
) -> None:
    rows = ", ".join(f"{{name: r{number}, url: 'http://h{number}'}}" for number in range(count))
    with pytest.raises(InvalidInputError) as caught:
        read_settings(f"registries: [{rows}]\n").registry(asked)
    text = f"{caught.value.message}; {caught.value.hint}"
    assert says in text
    assert SECRET not in text


def test_the_only_registry_is_the_one(read_settings: ReadSettings) -> None:
    assert read_settings(registry()).registry().name == "main"


@pytest.mark.parametrize(
    "text",
    [
        f"registries: [{{name: a, url: x.y, username: u, password: [{SECRET}]}}]",
        f"registries: [{{name: a, url: x.y, username: u, password: {{{SECRET}: 1}}}}]",
        f"registries: [{{name: a, url: x.y, username: u, passwd: {SECRET}}}]",
        f"registries: [{{name: a, url: x.y, username: u, password:{SECRET}}}]",
        f"registries:\n- name: a\n  url: x.y\n  password:{SECRET}\n",
        f"registries:\n- name: a\n  url: x.y\n  password {SECRET}\n",
        f"registries: [{{name: a, url: x.y, token: {SECRET}, token_file: f}}]",
        f"registries: [{{name: a, url: x.y, token: '{SECRET}}}]",
        f"registries: [{{name: a, url: x.y, token: @{SECRET}}}]",
        f"registries: {SECRET}",
        f"store: {{url: 'mysql://u:{SECRET}@h/d'}}",
        f"store: {{url: {SECRET}}}",
        f"log: {{level: {SECRET}}}",
        f"dry_run: {SECRET}",
        f"web: {{token: [{SECRET}]}}",
    ],
)
def test_a_secret_is_never_echoed(text: str, read_settings: ReadSettings) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_settings(text)
    seen: list[BaseException | None] = [caught.value]
    while seen[-1] is not None:
        seen.append(seen[-1].__cause__ or seen[-1].__context__)
    said = " ".join(f"{error} {error!r} {getattr(error, 'problems', '')}" for error in seen)
    assert SECRET not in said


def test_a_secret_from_the_environment_is_never_echoed(
    monkeypatch: pytest.MonkeyPatch, read_settings: ReadSettings
) -> None:
    broken: list[Any] = [{"name": "a", "url": f"https://u:{SECRET}@x.y", "password": SECRET}, SECRET]
    for value in (json.dumps(broken), f"[{SECRET}"):
        monkeypatch.setenv("REAPER_REGISTRIES", value)
        with pytest.raises(ConfigurationError) as caught:
            read_settings("dry_run: true\n")
        assert SECRET not in f"{caught.value} {caught.value.problems}"
