"""Basic and Bearer logins at a real distribution, which checks each password and each token itself."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import trustme
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509 import load_pem_x509_certificate

from devtools.pusher import Pusher
from devtools.registry_config import RegistryOptions, TokenAuth
from tests.conftest import MakeRegistry
from tests.e2e.conftest import Site

PASSWORD = "correct horse 🐴"
WRONG = "wrong-hunter2"
ISSUER, SERVICE = "the tests", "registry.test"


class TokenServer:
    """Gives tokens to those who know a password, and remembers who asked for what."""

    def __init__(self, users: Mapping[str, str]) -> None:
        #: For each request: its method, user and scope.
        self.asked: list[tuple[str, str | None, str]] = []
        #: What tokens allow at most, of what is asked for.
        self.allowed = {"pull", "push", "delete", "*"}
        #: For how many seconds tokens are good; the registry takes them for a minute longer.
        self.lifetime = 300
        #: Scopes that the server fails to give tokens for.
        self.failing: set[str] = set()
        authority = trustme.CA()
        leaf = authority.issue_cert("tokens.test")
        self.authority = authority.cert_pem.bytes()
        key = load_pem_private_key(leaf.private_key_pem.bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        self._key = key
        self._chain = load_pem_x509_certificate(leaf.cert_chain_pems[0].bytes())
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                query = parse_qs(urlsplit(self.path).query)
                kind, _, encoded = self.headers.get("Authorization", "").partition(" ")
                user, _, password = (
                    base64.b64decode(encoded).decode().partition(":") if kind == "Basic" else ("", "", "")
                )
                scope = query.get("scope", [""])[0]
                server.asked.append((self.command, user or None, scope))
                known = users.get(user) == password and scope not in server.failing
                body = json.dumps({"token": server.token(user, scope), "expires_in": 300}).encode()
                self.send_response(500 if scope in server.failing else 200 if known else 401)
                self.send_header("Content-Length", str(len(body) if known else 0))
                self.end_headers()
                self.wfile.write(body if known else b"")

            do_POST = do_GET  # noqa: N815 - http.server's own name

            def log_message(self, *_args: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    @property
    def realm(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}/token"

    def close(self) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def token(self, user: str, scope: str) -> str:
        """Return a signed token (RFC 7519) as distribution's specification describes it."""
        kind, _, rest = scope.partition(":")
        name, _, actions = rest.rpartition(":")
        granted = sorted(set(actions.split(",")) & self.allowed)
        now = int(time.time())
        certificate = base64.b64encode(self._chain.public_bytes(Encoding.DER)).decode()
        claims = {
            "iss": ISSUER,
            "sub": user,
            "aud": SERVICE,
            "exp": now + self.lifetime,
            "nbf": now - 10,
            "iat": now,
            "jti": str(len(self.asked)),
            "access": [{"type": kind, "name": name, "actions": granted}] if scope else [],
        }
        head = {"typ": "JWT", "alg": "ES256", "x5c": [certificate]}
        signed = ".".join(_encode(json.dumps(part).encode()) for part in (head, claims))
        r, s = decode_dss_signature(self._key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{signed}.{_encode(r.to_bytes(32) + s.to_bytes(32))}"


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


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
    server = TokenServer({"reaper": PASSWORD})
    yield server
    server.close()


@pytest.fixture
def bearer(make_registry: MakeRegistry, tmp_path: Path, tokens: TokenServer) -> Site:
    """A site whose registry sends its clients to the token server."""
    bundle = tmp_path / "authority.pem"
    bundle.write_bytes(tokens.authority)
    auth = TokenAuth(realm=tokens.realm, service=SERVICE, issuer=ISSUER, rootcertbundle=bundle)
    site = Site(make_registry(RegistryOptions(token=auth)), tmp_path)
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
