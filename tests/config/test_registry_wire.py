"""How a registry is reached, in its settings: certificates, and the hosts that may be shown a login."""

from __future__ import annotations

from pathlib import Path

import pytest

from reaper.compose import registry_options
from tests.config.conftest import ReadSettings, Refused
from tests.config.test_settings import registry


def test_paths_are_relative_to_the_file(read_settings: ReadSettings, tmp_path: Path) -> None:
    keys = "ca_file: ca.pem\nclient_cert_file: c.pem\nclient_key_file: /k.pem\ncerts_dir: certs.d"
    (found,) = read_settings(registry(keys)).registries
    tls = registry_options(found, read_only=True).tls
    assert (tls.ca_file, tls.client_cert_file) == (tmp_path / "ca.pem", tmp_path / "c.pem")
    assert (tls.client_key_file, tls.certs_dir) == (Path("/k.pem"), tmp_path / "certs.d")
    assert not tls.insecure


def test_hosts_of_token_servers(read_settings: ReadSettings) -> None:
    (found,) = read_settings(registry('token_hosts: [Auth.Internal, "auth.internal:8080"]')).registries
    options = registry_options(found, read_only=True)
    assert options.token_hosts == {"auth.internal", "auth.internal:8080"}


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ("client_key_file: k.pem", "4:5: client_key_file has no certificate; add client_cert_file"),
        ("token_hosts: ['http://auth.internal']", "this is not a host; write one such as"),
        ("token_hosts: [auth.internal/token]", "this is not a host; write one such as"),
        ("token_hosts: []", "4:18: "),
        ("verify: false", "4:5: unknown key 'verify'; did you mean 'insecure'?"),
    ],
)
def test_what_is_wrong_with_them(settings_refused: Refused, keys: str, says: str) -> None:
    (problem,) = settings_refused(registry(keys))
    assert says in problem
