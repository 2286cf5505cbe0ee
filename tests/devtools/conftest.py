"""Certificates for servers on loopback."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme


@dataclass(frozen=True, slots=True)
class Certificates:
    """A server's certificate with its key, and the authority that a client has to trust."""

    authority: Path
    certificate: Path
    key: Path


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    """A certificate for 127.0.0.1."""
    made = Certificates(tmp_path / "ca.pem", tmp_path / "server.pem", tmp_path / "server.key")
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(str(made.authority))
    issued.cert_chain_pems[0].write_to_path(str(made.certificate))
    issued.private_key_pem.write_to_path(str(made.key))
    return made
