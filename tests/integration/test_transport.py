"""The command over TLS with client certificates, and through a proxy, to a real distribution."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from devtools.forward_proxy import ForwardProxy
from devtools.registry import RegistryServer
from devtools.registry_config import RegistryOptions
from devtools.tools import distribution_2
from tests.e2e.conftest import Site

SECRET = "hunter2-proxy"


class Guarded:
    """A registry over TLS that demands a client certificate; its certificate is for ``registry.test`` too."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        self.ca = folder / "ca.pem"
        self.ca.write_bytes(authority.cert_pem.bytes())
        self.client = self._write(folder / "client.pem", authority.issue_cert("reaper@example.com"))
        self.stranger = self._write(folder / "stranger.pem", trustme.CA().issue_cert("reaper@example.com"))
        own = self._write(folder / "server.pem", authority.issue_cert("127.0.0.1", "registry.test"))
        options = RegistryOptions(tls=(own, own), tls_client=(self.ca, self.client))
        self.server = RegistryServer(distribution_2(fetch=False), folder / "registry", options)

    def _write(self, file: Path, leaf: trustme.LeafCert) -> Path:
        chain = b"".join(part.bytes() for part in leaf.cert_chain_pems)
        file.write_bytes(chain + leaf.private_key_pem.bytes())
        return file


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    guarded = Guarded(tmp_path_factory.mktemp("guarded"))
    with guarded.server:
        yield guarded


@pytest.fixture
def site(guarded: Guarded, tmp_path: Path) -> Site:
    site = Site(guarded.server, tmp_path)
    site.rules("[{keep: {newest: 1}}]")
    return site


def test_settings_name_the_certificates(site: Site, guarded: Guarded) -> None:
    site.settings["registries"][0] |= {"ca_file": str(guarded.ca), "client_cert_file": str(guarded.client)}
    assert site.json("--dry-run")["outcome"] == "done"


def test_a_folder_as_docker_and_podman_have_it(site: Site, guarded: Guarded) -> None:
    folder = site.folder / "certs" / guarded.server.host
    folder.mkdir(parents=True)
    (folder / "ca.crt").write_bytes(guarded.ca.read_bytes())
    for name in ("client.cert", "client.key"):
        (folder / name).write_bytes(guarded.client.read_bytes())
    # Relative to the settings file.
    site.settings["registries"][0]["certs_dir"] = "certs"
    assert site.json("--dry-run")["outcome"] == "done"


@pytest.mark.parametrize("shown", ["none", "a stranger's"])
def test_a_certificate_that_is_missing_or_wrong(site: Site, guarded: Guarded, shown: str) -> None:
    site.settings["registries"][0] |= {"ca_file": str(guarded.ca)}
    if shown != "none":
        site.settings["registries"][0] |= {"client_cert_file": str(guarded.stranger)}
    ended = site.reaper("--dry-run")
    assert ended.code == 1
    assert "asks for another client certificate" in ended.err
    assert "client_cert_file" in ended.err


def test_an_authority_that_is_not_known(site: Site) -> None:
    ended = site.reaper("--dry-run")
    assert ended.code == 1
    assert "its certificate is not trusted" in ended.err
    assert "ca_file" in ended.err


class TestProxy:
    def test_a_registry_that_is_reached_through_it_alone(self, site: Site, guarded: Guarded) -> None:
        site.settings["registries"][0] |= {
            "url": "https://registry.test:5443",
            "ca_file": str(guarded.ca),
            "client_cert_file": str(guarded.client),
        }
        routes = {"registry.test:5443": guarded.server.host}
        with ForwardProxy(routes, login=("me", SECRET)) as proxy:
            url = f"http://me:{SECRET}@{proxy.host}"
            ended = site.reaper("--dry-run", "-vv", "--format=json", env={"HTTPS_PROXY": url})
            refused = site.reaper("--dry-run", "-vv", env={"HTTPS_PROXY": url.replace("hunter2", "hunter3")})
            assert {request.target for request in proxy.passed} == {"registry.test:5443"}
        assert ended.code == 0, ended.err
        assert ended.report["outcome"] == "done"
        assert refused.code == 1
        assert "(407)" in refused.err
        assert "HTTPS_PROXY" in refused.err
        for each in (ended, refused):
            assert "hunter" not in each.out + each.err
