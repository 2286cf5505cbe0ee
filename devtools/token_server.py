"""A token server for distribution, which verifies each of its tokens."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlsplit

import trustme
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509 import load_pem_x509_certificate

from devtools.listener import Listener
from devtools.registry_config import TokenAuth

_ISSUER: Final = "the tests"
_SERVICE: Final = "registry.test"


class TokenServer(Listener):
    """Gives tokens to those who know a password, and remembers who asked for what."""

    def __init__(self, users: Mapping[str, str]) -> None:
        #: For each request: its method, user and scope.
        self.asked: list[tuple[str, str | None, str]] = []
        #: What tokens allow at most, of what is asked for.
        self.allowed = {"pull", "push", "delete", "*"}
        #: For how many seconds tokens are good; the registry takes them for a minute longer.
        self.lifetime = 300
        #: Passwords.
        self.users = dict(users)
        #: Refresh tokens (Docker's identity tokens), and whose they are.
        self.refresh_tokens: dict[str, str] = {}
        #: What a POST is answered, where the server takes no OAuth 2 form.
        self.post_status: int | None = None
        #: Every token that was given.
        self.issued: list[str] = []
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
                given = base64.b64decode(encoded).decode() if kind == "Basic" else ""
                user, _, password = given.partition(":")
                if password in server.refresh_tokens:
                    user = server.refresh_tokens[password]
                elif server.users.get(user) != password:
                    self.answer(401, user, query.get("scope", []))
                    return
                self.answer(200, user, query.get("scope", []))

            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers.get("Content-Length", "0"))).decode()
                form = {key: values[0] for key, values in parse_qs(content).items()}
                user = server.refresh_tokens.get(form.get("refresh_token", ""))
                scopes = form.get("scope", "").split()
                if server.post_status is not None:
                    self.answer(server.post_status, user, scopes)
                else:
                    self.answer(200 if user else 401, user, scopes)

            def answer(self, status: int, user: str | None, scopes: list[str]) -> None:
                server.asked.append((self.command, user or None, " ".join(scopes)))
                if server.failing & set(scopes):
                    status = 500
                body = b""
                if status == 200:
                    key = "access_token" if self.command == "POST" else "token"
                    body = json.dumps({key: server.token(user or "", *scopes), "expires_in": 300}).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_args: object) -> None:
                pass

        super().__init__(ThreadingHTTPServer(("127.0.0.1", 0), Handler))

    @property
    def realm(self) -> str:
        """Where clients ask for tokens."""
        return f"{self.url}/token"

    def trusted(self, folder: Path) -> TokenAuth:
        """How a registry is told of this server; what it trusts is written into the folder."""
        bundle = folder / "token-authority.pem"
        bundle.write_bytes(self.authority)
        return TokenAuth(realm=self.realm, service=_SERVICE, issuer=_ISSUER, rootcertbundle=bundle)

    def token(self, user: str, *scopes: str) -> str:
        """Return a signed token (RFC 7519) as distribution's specification describes it."""
        access = []
        for scope in scopes:
            kind, _, rest = scope.partition(":")
            name, _, actions = rest.rpartition(":")
            granted = sorted(set(actions.split(",")) & self.allowed)
            access.append({"type": kind, "name": name, "actions": granted})
        now = int(time.time())
        certificate = base64.b64encode(self._chain.public_bytes(Encoding.DER)).decode()
        claims = {
            "iss": _ISSUER,
            "sub": user,
            "aud": _SERVICE,
            "exp": now + self.lifetime,
            "nbf": now - 10,
            "iat": now,
            "jti": str(len(self.issued)),
            "access": access,
        }
        head = {"typ": "JWT", "alg": "ES256", "x5c": [certificate]}
        signed = ".".join(_encode(json.dumps(part).encode()) for part in (head, claims))
        r, s = decode_dss_signature(self._key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        self.issued.append(f"{signed}.{_encode(r.to_bytes(32) + s.to_bytes(32))}")
        return self.issued[-1]


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
