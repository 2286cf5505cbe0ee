"""Logins from every source at a real distribution, which checks each password itself."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from devtools.credential_helpers import PasswordStore, credential_helpers
from devtools.pusher import Pusher
from devtools.registry import RegistryServer
from devtools.registry_config import RegistryOptions
from devtools.skopeo import Skopeo
from reaper.compose import registry_options
from reaper.config.registries import RegistrySettings
from reaper.registry import AuthenticationError, RegistryClient
from tests.conftest import MakeRegistry
from tests.e2e.conftest import Site
from tests.e2e.daemon import swap_config_map
from tests.registry.programs import answer_login, write_helper

PASSWORD = "correct:horse 🐴"
WRONG = "wrong-hunter2"
SOURCES = [
    "settings",
    "docker-config",
    "registry-auth-file",
    "docker-config-variable",
    "home",
    "running",
    "own",
]


def auth(user: str, password: str = PASSWORD) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def write(file: Path, document: object) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(document))
    return file


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for credential helpers, on PATH."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    return folder


@pytest.fixture
def protected(make_registry: MakeRegistry, tmp_path: Path) -> Site:
    """A site whose registry asks for a password."""
    site = Site(make_registry(RegistryOptions(htpasswd={"reaper": PASSWORD})), tmp_path)
    site.pusher = Pusher(site.server.url, "reaper", PASSWORD)
    return site


def push_two(site: Site) -> None:
    site.push("app", "old", age=50)
    site.push("app", "new", age=10)
    site.rules("[{keep: {newest: 1}}]")


async def who(server: RegistryServer, chosen: Path | None = None, **login: str) -> str | None:
    """Return whose login the registry accepts; ``chosen`` is ``--docker-config``."""
    settings = RegistrySettings.model_validate({"name": "main", "url": server.url, **login})
    options = registry_options(settings, read_only=True, docker_config=chosen)
    async with RegistryClient(options) as client:
        await client.ping()
        used = await options.logins.find(None)
        return used.username if used else None


def test_each_source_before_the_next(
    make_registry: MakeRegistry, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch, programs: Path
) -> None:
    """Each source has a user of its own, and every password is another."""
    server = make_registry(RegistryOptions(htpasswd={user: f"{user}:{PASSWORD}" for user in SOURCES}))
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "auth.json"))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    entries = {user: {server.host: auth(user, f"{user}:{PASSWORD}")} for user in SOURCES}
    write_helper(programs, "some", answer_login("registry-auth-file", f"registry-auth-file:{PASSWORD}"))
    write_helper(programs, "none", "echo credentials not found in native keychain; exit 1")
    files = [
        write(tmp_path / "chosen/config.json", {"auths": entries["docker-config"]}),
        write(tmp_path / "auth.json", {"credHelpers": {server.host: "some"}, "auths": entries["home"]}),
        write(
            tmp_path / "docker/.dockerconfigjson",
            {"credsStore": "none", "auths": entries["docker-config-variable"]},
        ),
        write(home / ".docker/config.json", {"auths": entries["home"]}),
        write(home / ".run/containers/auth.json", {"auths": entries["running"]}),
        write(home / ".config/containers/auth.json", {"auths": entries["own"]}),
    ]
    (tmp_path / "password").write_text(f"settings:{PASSWORD}\n")
    login = {"username": "settings", "password_file": str(tmp_path / "password")}

    async def work() -> list[str | None]:
        found = [await who(server, tmp_path / "chosen", **login)]
        found.append(await who(server, docker_config=str(tmp_path / "chosen")))
        for file in files[1:]:
            found.append(await who(server))
            file.unlink()
        with pytest.raises(AuthenticationError, match="refused"):
            await who(server)
        return found

    assert asyncio.run(work()) == SOURCES


@pytest.mark.parametrize("way", ["password_file", "secret"])
def test_a_password_that_changes_in_mid_run(protected: Site, tmp_path: Path, way: str) -> None:
    """In its file, or in a Kubernetes secret, of which the kubelet replaces the folder."""

    def rotate(password: str) -> None:
        if way == "password_file":
            (tmp_path / "password").write_text(password)
        else:
            auths = {protected.server.host: auth("reaper", password)}
            swap_config_map(tmp_path / "secret", {".dockerconfigjson": json.dumps({"auths": auths})})

    login = {"username": "reaper", "password_file": str(tmp_path / "password")}
    if way == "secret":
        login = {"docker_config": str(tmp_path / "secret")}
    settings = RegistrySettings.model_validate({"name": "main", "url": protected.server.url, **login})
    rotate(PASSWORD)

    async def work() -> None:
        async with RegistryClient(registry_options(settings, read_only=True)) as client:
            await client.ping()
            rotate("another")
            await client.ping()  # the registry does not know of it yet
            protected.server.restart(htpasswd={"reaper": "another"})
            deadline = time.monotonic() + 30
            while True:
                try:
                    await client.ping()
                except AuthenticationError:
                    # What was read within the last second is not read again.
                    assert time.monotonic() < deadline
                    await asyncio.sleep(0.05)
                else:
                    return

    asyncio.run(work())


@pytest.fixture(scope="session")
def helper_of_pass() -> Path:
    """The folder of docker-credential-pass; nothing is fetched while tests run."""
    return credential_helpers(fetch=False)


@pytest.fixture
def password_store(helper_of_pass: Path) -> Iterator[PasswordStore]:
    with PasswordStore(helper_of_pass) as store:
        yield store


def test_docker_credential_pass(protected: Site, home: Path, password_store: PasswordStore) -> None:
    """The real helper keeps the login, encrypted; nothing else knows it."""
    push_two(protected)
    password_store.keep(protected.server.host, "reaper", PASSWORD)
    file = write(home / ".docker/config.json", {"credsStore": "pass", "auths": {protected.server.host: {}}})
    ended = protected.reaper("run", "--format", "json", env=password_store.environment)
    assert ended.code == 0, ended.err
    assert ended.report["summary"]["deleted_manifests"] == 1
    assert protected.pusher.tags("app") == ["new"]
    ended = protected.reaper(
        "check", "--registry", "main", "--format", "json", env=password_store.environment
    )
    assert ended.code == 0, ended.err
    registry = ended.report["registry"]
    assert registry["login"] == f"user reaper from docker-credential-pass, which {file} names"
    assert [(each["source"], each["found"], each["username"]) for each in registry["login_sources"]] == [
        ("the settings of registry main", "no login", None),
        (f"{file} ($DOCKER_CONFIG)", "login", "reaper"),
        (f"{home}/.run/containers/auth.json (containers' own)", "not looked at", None),
        (f"{home}/.config/containers/auth.json (containers' own)", "not looked at", None),
    ]
    assert registry["repositories"] == 1


def test_a_helper_that_fails_is_one_clear_line(protected: Site, home: Path, programs: Path) -> None:
    protected.rules("[{keep: {newest: 1}}]")
    write_helper(programs, "bad", f"echo {WRONG}; echo {WRONG} >&2; exit 3")
    file = write(home / ".docker/config.json", {"credsStore": "bad"})
    says = [
        f"reaper: the credential helper docker-credential-bad, which {file} names, ended with exit code 3",
        f"  `echo {protected.server.host} | docker-credential-bad get` shows why",
    ]
    for command in (["--dry-run"], ["check", "--registry", "main", "--format", "json"]):
        ended = protected.reaper(*command)
        assert ended.code == 1
        assert ended.err.splitlines() == says
        assert WRONG not in ended.out
        if ended.out:
            found = [each["found"] for each in ended.report["registry"]["login_sources"]]
            assert found == ["no login", "failed", "not looked at", "not looked at"]


def test_a_repository_whose_login_cannot_be_had_is_skipped(
    protected: Site, home: Path, programs: Path
) -> None:
    """Promise 2: nothing is decided on partial knowledge, and the others go on."""
    push_two(protected)
    protected.push("broken/app", "old", age=50)
    protected.push("broken/app", "new", age=10)
    write_helper(programs, "bad", "exit 3")
    host = protected.server.host
    write(
        home / ".docker/config.json",
        {"auths": {host: auth("reaper")}, "credHelpers": {f"{host}/broken": "bad"}},
    )
    report = protected.json("run", code=4)
    assert report["outcome"] == "partial"
    errors = {each["name"]: each["errors"] for each in report["repositories"]}
    assert errors["app"] == []
    assert len(errors["broken/app"]) == 1
    assert "docker-credential-bad" in errors["broken/app"][0]
    assert protected.pusher.tags("app") == ["new"]
    assert protected.pusher.tags("broken/app") == ["new", "old"]


def test_what_skopeo_has_logged_in_to(
    make_registry: MakeRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, skopeo: Skopeo
) -> None:
    """Its file, for the host and for some repositories of it; a login is only kept when it works."""
    server = make_registry(RegistryOptions(htpasswd={"all": PASSWORD, "team": PASSWORD}))
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "auth.json"))
    for user, place in {"all": server.host, "team": f"{server.host}/team"}.items():
        skopeo.run("login", "--tls-verify=false", "--username", user, "--password", PASSWORD, place)
    settings = RegistrySettings.model_validate({"name": "main", "url": server.url})

    async def work() -> None:
        options = registry_options(settings, read_only=True)
        async with RegistryClient(options) as client:
            await client.ping()
            for repository, user in {None: "all", "app": "all", "team/app": "team"}.items():
                login = await options.logins.find(repository)
                assert login is not None
                assert (login.username, login.password) == (user, PASSWORD)

    asyncio.run(work())


SPY = """\
tr '\\0' ' ' < /proc/$$/cmdline >> "{log}"
tr '\\0' ' ' < /proc/$PPID/cmdline >> "{log}"
"""


def test_a_secret_is_nowhere_after_runs_at_debug_level(protected: Site, home: Path, programs: Path) -> None:
    """Neither the one that works, nor the one that is refused, nor what a failing helper prints."""
    push_two(protected)
    cmdlines = protected.folder / "cmdlines"
    spy = SPY.format(log=cmdlines)
    file = home / ".docker/config.json"
    said: list[str] = []

    def reaper(*arguments: str, code: int = 0) -> None:
        ended = protected.reaper(*arguments, "-vv", "--log-format", "json")
        assert ended.code == code, ended.err
        said.append(ended.out + ended.err)

    write_helper(programs, "spy", spy + answer_login("reaper", PASSWORD))
    write(file, {"credHelpers": {protected.server.host: "spy"}})
    reaper("run", "--format", "html")
    for form in ("table", "json", "csv", "markdown"):
        reaper("--dry-run", "--format", form)
    reaper("check", "--registry", "main", "--format", "json")
    write_helper(programs, "spy", spy + answer_login("reaper", WRONG))
    reaper("--dry-run", "--format", "json", code=1)
    write_helper(programs, "spy", f"{spy}echo {WRONG}; echo {WRONG} >&2; exit 1")
    reaper("run", code=1)
    (protected.folder / "password").write_text(WRONG)
    protected.settings["registries"][0] |= {
        "username": "reaper",
        "password_file": str(protected.folder / "password"),
    }
    reaper("check", "--registry", "main", "--format", "json", code=1)

    assert "docker-credential-spy" in cmdlines.read_text(), "the helper was run"
    assert any('"level": "debug"' in text for text in said), "the log is at debug level"
    known = {protected.folder / "password", programs / "docker-credential-spy", file}
    files = [each for each in (*protected.folder.rglob("*"), *home.rglob("*")) if each.is_file()]
    assert any(each.name == "reaper.db" for each in files)
    haystacks = {str(each): each.read_bytes() for each in files if each not in known}
    haystacks |= {f"run {number}": text.encode() for number, text in enumerate(said)}
    for secret in (PASSWORD, WRONG):
        for look in looks_of(secret):
            for name, haystack in haystacks.items():
                assert look not in haystack, f"{look!r} is in {name}"


def looks_of(secret: str) -> Iterator[bytes]:
    """Yield what a secret may look like."""
    yield secret.encode()
    yield json.dumps(secret).strip('"').encode()
    yield base64.b64encode(f"reaper:{secret}".encode())
    yield base64.b64encode(secret.encode()).rstrip(b"=")
    yield secret.encode().hex().encode()
