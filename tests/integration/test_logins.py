"""Basic and Bearer logins at a real distribution, which checks each password and each token itself."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from devtools.pusher import Pusher
from devtools.registry_config import RegistryOptions
from devtools.token_server import TokenServer
from tests.conftest import MakeRegistry
from tests.e2e.conftest import Site

PASSWORD = "correct horse 🐴"
WRONG = "wrong-hunter2"


def push_two(site: Site) -> None:
    site.push("app", "old", age=50)
    site.push("app", "new", age=10)
    site.rules("[{keep: {newest: 1}}]")


def log_in(site: Site, home: Path, way: str, password: str = PASSWORD) -> list[str]:
    """Give reaper a login this way; return the options that this needs."""
    if way == "settings":
        file = site.folder / "password"
        file.write_text(f"{password}\n")
        site.settings["registries"][0] |= {"username": "reaper", "password_file": str(file)}
        return []
    folder = home / ".docker" if way == "home" else site.folder / "docker"
    folder.mkdir()
    auth = base64.b64encode(f"reaper:{password}".encode()).decode()
    (folder / "config.json").write_text(json.dumps({"auths": {site.server.host: {"auth": auth}}}))
    return [] if way == "home" else ["--docker-config", str(folder)]


WAYS = pytest.mark.parametrize("way", ["settings", "--docker-config", "home"])


@pytest.fixture
def basic(make_registry: MakeRegistry, tmp_path: Path) -> Site:
    """A site whose registry asks for a password."""
    site = Site(make_registry(RegistryOptions(htpasswd={"reaper": PASSWORD})), tmp_path)
    site.pusher = Pusher(site.server.url, "reaper", PASSWORD)
    push_two(site)
    return site


@pytest.fixture
def tokens() -> Iterator[TokenServer]:
    with TokenServer({"reaper": PASSWORD}) as server:
        yield server


@pytest.fixture
def bearer(make_registry: MakeRegistry, tmp_path: Path, tokens: TokenServer) -> Site:
    """A site whose registry sends its clients to the token server."""
    site = Site(make_registry(RegistryOptions(token=tokens.trusted(tmp_path))), tmp_path)
    site.pusher = Pusher(site.server.url, token=tokens.token("pusher", "repository:app:pull,push"))
    push_two(site)
    return site


class TestBasic:
    @WAYS
    def test_a_run(self, basic: Site, home: Path, way: str) -> None:
        options = log_in(basic, home, way)
        assert basic.json("run", *options)["summary"]["deleted_manifests"] == 1
        assert basic.pusher.tags("app") == ["new"]

    def test_a_wrong_password_is_one_clear_line(self, basic: Site, home: Path) -> None:
        options = log_in(basic, home, "--docker-config", WRONG)
        one_line(basic, *options, says=["login is refused (401)", "user reaper from"])

    def test_no_login_at_all(self, basic: Site) -> None:
        one_line(basic, says=["login is refused (401)", "no login was found"])


class TestBearer:
    @WAYS
    def test_a_run_and_its_scopes(self, bearer: Site, home: Path, tokens: TokenServer, way: str) -> None:
        options = log_in(bearer, home, way)
        assert bearer.json("run", *options)["summary"]["deleted_manifests"] == 1
        assert bearer.pusher.tags("app") == ["new"]
        # One token for each scope, however many requests need it, and no more rights than each needs.
        assert sorted(tokens.asked) == [
            ("GET", "reaper", ""),
            ("GET", "reaper", "registry:catalog:*"),
            ("GET", "reaper", "repository:app:pull"),
            ("GET", "reaper", "repository:app:pull,delete"),
        ]

    def test_a_dry_run_asks_for_no_right_to_delete(
        self, bearer: Site, home: Path, tokens: TokenServer
    ) -> None:
        options = log_in(bearer, home, "settings")
        assert bearer.json("--dry-run", *options)["summary"]["manifests_to_delete"] == 1
        assert {method for method, _, _ in tokens.asked} == {"GET"}
        assert not any("delete" in scope or "push" in scope for _, _, scope in tokens.asked)

    def test_a_wrong_password_is_one_clear_line(self, bearer: Site, home: Path) -> None:
        options = log_in(bearer, home, "settings", WRONG)
        one_line(bearer, *options, says=["the token server 127.0.0.1 refuses the login", "(401)"])

    def test_no_login_at_all(self, bearer: Site) -> None:
        one_line(bearer, says=["the token server 127.0.0.1 refuses the login", "no login was found"])

    def test_a_login_that_may_not_delete(self, bearer: Site, home: Path, tokens: TokenServer) -> None:
        options = log_in(bearer, home, "settings")
        tokens.allowed.remove("delete")
        report = bearer.json("run", *options, code=4)
        (error,) = report["repositories"][0]["errors"]
        assert "the login is refused (401), for repository:app:pull,delete" in error
        assert bearer.pusher.tags("app") == ["new", "old"]


def one_line(site: Site, *options: str, says: list[str]) -> None:
    """Check that an audit fails with one line and a hint, which show no secret."""
    ended = site.reaper("--dry-run", *options)
    assert ended.code == 1
    lines = [line for line in ended.err.splitlines() if line.startswith("reaper: ")]
    assert len(lines) == 1, ended.err
    for text in says:
        assert text in ended.err
    assert WRONG not in ended.err + ended.out
    assert base64.b64encode(f"reaper:{WRONG}".encode()).decode() not in ended.err + ended.out
