"""A token server for distribution, which verifies each of its tokens."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.parse import parse_qs, urlsplit

import trustme
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509 import load_pem_x509_certificate

from devtools.registry_config import TokenAuth

_ISSUER: Final = "the tests"
_SERVICE: Final = "registry.test"


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
        """Where clients ask for tokens."""
        return f"http://127.0.0.1:{self._http.server_port}/token"

    def trusted(self, folder: Path) -> TokenAuth:
        """How a registry is told of this server; what it trusts is written into the folder."""
        bundle = folder / "token-authority.pem"
        bundle.write_bytes(self.authority)
        return TokenAuth(realm=self.realm, service=_SERVICE, issuer=_ISSUER, rootcertbundle=bundle)

    def close(self) -> None:
        """Stop listening."""
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def token(self, user: str, scope: str) -> str:
        """Return a signed token (RFC 7519) as distribution's specification describes it."""
        kind, _, rest = scope.partition(":")
        name, _, actions = rest.rpartition(":")
        granted = sorted(set(actions.split(",")) & self.allowed)
        now = int(time.time())
        certificate = base64.b64encode(self._chain.public_bytes(Encoding.DER)).decode()
        claims = {
            "iss": _ISSUER,
            "sub": user,
            "aud": _SERVICE,
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
