"""Tokens that a real distribution verifies, got in every way, and no secret of them anywhere else."""

from __future__ import annotations

import base64
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from devtools.fault_proxy import FaultProxy, answer
from devtools.pusher import Pusher
from devtools.registry_config import RegistryOptions
from devtools.token_server import TokenServer
from tests.conftest import MakeRegistry
from tests.e2e.conftest import Ended, Site

PASSWORD = "correct horse hunter2"
REFRESH = "refresh-hunter3-a4f1"
SAFE = {"GET", "HEAD"}


@pytest.fixture
def tokens() -> Iterator[TokenServer]:
    with TokenServer({"reaper": PASSWORD}) as server:
        server.refresh_tokens[REFRESH] = "reaper"
        yield server


@pytest.fixture
def site(make_registry: MakeRegistry, tmp_path: Path, tokens: TokenServer) -> Site:
    """A site whose registry sends its clients to the token server."""
    site = Site(make_registry(RegistryOptions(token=tokens.trusted(tmp_path))), tmp_path)
    site.pusher = Pusher(site.server.url, token=tokens.token("pusher", "repository:app:pull,push"))
    site.push("app", "old", age=50)
    site.push("app", "new", age=10)
    site.rules("[{keep: {newest: 1}}]")
    return site


def identity(site: Site, home: Path, token: str = REFRESH) -> None:
    """Log in as ``docker login`` does where the token server gives refresh tokens."""
    (home / ".docker").mkdir(exist_ok=True)
    entry = {"auth": base64.b64encode(b"00000000-0000-0000-0000-000000000000:").decode()}
    document = {"auths": {site.server.host: {**entry, "identitytoken": token}}}
    (home / ".docker" / "config.json").write_text(json.dumps(document))


def password(site: Site, text: str = PASSWORD) -> None:
    file = site.folder / "password"
    file.write_text(f"{text}\n")
    site.settings["registries"][0] |= {"username": "reaper", "password_file": str(file)}


class TestIdentityTokens:
    def test_a_dry_run_changes_nothing_and_posts_to_the_token_server_alone(
        self, site: Site, home: Path, tokens: TokenServer
    ) -> None:
        identity(site, home)
        before = len(site.server.access_log())
        assert site.json("--dry-run")["summary"]["manifests_to_delete"] == 1
        assert {access.method for access in site.server.access_log()[before:]} <= SAFE
        assert {(method, user) for method, user, _ in tokens.asked} == {("POST", "reaper")}
        assert not any("delete" in scope or "push" in scope for _, _, scope in tokens.asked)

    def test_a_run_and_its_scopes(self, site: Site, home: Path, tokens: TokenServer) -> None:
        identity(site, home)
        assert site.json("run")["summary"]["deleted_manifests"] == 1
        assert site.pusher.tags("app") == ["new"]
        assert sorted(tokens.asked) == [
            ("POST", "reaper", ""),
            ("POST", "reaper", "registry:catalog:*"),
            ("POST", "reaper", "repository:app:pull"),
            ("POST", "reaper", "repository:app:pull,delete"),
        ]

    def test_a_token_server_that_takes_no_form(self, site: Site, home: Path, tokens: TokenServer) -> None:
        identity(site, home)
        tokens.post_status = 404
        assert site.json("--dry-run")["summary"]["manifests_to_delete"] == 1
        assert {(method, user) for method, user, _ in tokens.asked if user} == {
            ("POST", "reaper"),
            ("GET", "reaper"),
        }


class TestPuttingBack:
    def test_the_right_to_push_is_asked_for_to_restore_alone(self, site: Site, tokens: TokenServer) -> None:
        password(site)
        report = site.json("run")
        assert not any("push" in scope for _, _, scope in tokens.asked)
        assert site.reaper("restore", "--run", report["run_id"]).code == 0
        assert ("GET", "reaper", "repository:app:pull,push") in tokens.asked
        assert site.pusher.tags("app") == ["new", "old"]


class TestSecrets:
    """What is secret here: the password, the refresh token, and each token that was given."""

    def check(self, site: Site, tokens: TokenServer, *ended: Ended) -> None:
        """Look for the secrets in all that was said, and in all that was written."""
        basic = base64.b64encode(f"reaper:{PASSWORD}".encode()).decode()
        secrets = [PASSWORD, REFRESH, basic, base64.b64encode(f":{REFRESH}".encode()).decode()]
        # A token's middle has the claims in it; its signature is what makes it one.
        secrets += [token.rpartition(".")[2] for token in tokens.issued[2:]]
        assert len(secrets) >= 4
        said = [(f"output {n}", each.out + each.err) for n, each in enumerate(ended)]
        files = [file for file in site.folder.rglob("*") if file.is_file() and file.name != "password"]
        said += [(file.name, file.read_bytes().decode("latin-1")) for file in files]
        with sqlite3.connect(site.folder / "reaper.db") as database:
            said.append(("database", "\n".join(database.iterdump())))
        database.close()
        assert any(file.name == "report.json" for file in site.folder.iterdir())
        for where, text in said:
            for secret in secrets:
                assert secret not in text, where
            assert "Authorization" not in text, where

    def run(self, site: Site, *arguments: str) -> Ended:
        report = site.folder / "report.json"
        return site.reaper(*arguments, "-vv", "--format", "json", "--output", str(report))

    @pytest.mark.parametrize("way", ["password", "identity"])
    def test_a_run_at_debug_level(self, site: Site, home: Path, tokens: TokenServer, way: str) -> None:
        password(site) if way == "password" else identity(site, home)
        dry, real = self.run(site, "--dry-run"), self.run(site, "run")
        assert (dry.code, real.code) == (0, 0)
        assert "debug" in real.err
        self.check(site, tokens, dry, real, site.reaper("runs", "-vv"), site.reaper("verify", "-vv"))

    @pytest.mark.parametrize(
        ("way", "fault"),
        [
            ("password", "refused"),
            ("identity", "refused"),
            ("identity", "failing"),
            ("password", "expired"),
            ("password", "rubbish"),
        ],
    )
    def test_what_fails_at_debug_level(
        self, site: Site, home: Path, tokens: TokenServer, way: str, fault: str
    ) -> None:
        password(site) if way == "password" else identity(site, home)
        if fault == "refused":
            tokens.users.clear()
            tokens.refresh_tokens.clear()
        elif fault == "failing":
            tokens.failing.add("repository:app:pull")
        elif fault == "expired":
            tokens.lifetime = -1000
        if fault != "rubbish":
            ended = self.run(site, "run")
        else:
            # A registry that sends back what it was shown.
            with FaultProxy(site.server.url) as proxy:
                proxy.inject(
                    lambda exchange: exchange.send(
                        exchange.upstream().saying(exchange.request.headers.get("authorization", "").encode())
                    ),
                    path="/v2/app/.*",
                )
                site.settings["registries"][0]["url"] = proxy.url
                ended = self.run(site, "run")
        assert ended.code in (1, 4), ended.err
        self.check(site, tokens, ended)


def test_a_redirects_signature_is_not_shown(make_registry: MakeRegistry, tmp_path: Path) -> None:
    """Whoever has a storage's signed URL can read the blob."""
    site = Site(make_registry(), tmp_path)
    site.push("app", "v1", age=5)
    site.rules("[{keep: all}]")
    with FaultProxy(site.server.url) as proxy:
        location = "http://127.0.0.1:1/blob?X-Amz-Signature=hunter4"
        proxy.inject(answer(307, Location=location), path="/v2/app/blobs/.*")
        site.settings["registries"][0]["url"] = proxy.url
        ended = site.reaper("verify", "-vv")
    assert ended.code in (1, 4)
    assert "127.0.0.1:1" in ended.err + ended.out
    assert "hunter4" not in ended.err + ended.out
