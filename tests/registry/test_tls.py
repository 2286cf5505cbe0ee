"""TLS: who is believed, who is shown what, and what is said where it fails. The servers are real ones."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from aiohttp import web

from reaper.core.errors import InvalidInputError
from reaper.registry import (
    Credentials,
    NotARegistryError,
    OneLogin,
    RegistryClient,
    RegistryError,
    RegistryOptions,
    TLSError,
    TLSOptions,
    UnreachableError,
    parse_address,
)
from reaper.registry.tls import certs_folder
from tests.registry.fake import Fake, with_fake

NOW = datetime.now(UTC)


async def catalog(_request: web.Request) -> web.Response:
    return web.json_response({})


class Files:
    """Authorities, and what they sign, as files in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = trustme.CA()
        self.ca = self.write("ca.pem", self.authority.cert_pem.bytes())

    def write(self, name: str, content: bytes) -> Path:
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        return file

    def server(
        self,
        name: str = "127.0.0.1",
        *,
        not_before: datetime | None = None,
        not_after: datetime | None = None,
    ) -> ssl.SSLContext:
        """Return a server's side; its certificate is for ``name``."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.authority.issue_cert(name, not_before=not_before, not_after=not_after).configure_cert(context)
        return context

    def demanding(self) -> ssl.SSLContext:
        """Return the side of a server that demands a client's certificate of the same authority."""
        context = self.server()
        context.verify_mode = ssl.CERT_REQUIRED
        self.authority.configure_trust(context)
        return context

    def client(self, authority: trustme.CA | None = None, name: str = "client") -> tuple[Path, Path]:
        """Write a client's certificate and its key."""
        leaf = (authority or self.authority).issue_cert("reaper@example.com")
        certificate = self.write(f"{name}.cert", b"".join(p.bytes() for p in leaf.cert_chain_pems))
        return certificate, self.write(f"{name}.key", leaf.private_key_pem.bytes())


@pytest.fixture(scope="module")
def module_files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def files(module_files: Files, tmp_path: Path) -> Files:
    """The module's authority, writing into the test's own folder."""
    mine = Files.__new__(Files)
    mine.folder = tmp_path
    mine.authority, mine.ca = module_files.authority, module_files.ca
    return mine


def ping(server: ssl.SSLContext | None, options: Callable[[Fake], TLSOptions] | TLSOptions) -> None:
    async def work(fake: Fake) -> None:
        tls = options if isinstance(options, TLSOptions) else options(fake)
        async with fake.client(tls=tls, attempts=1) as client:
            await client.ping()

    with_fake(catalog, work, tls=server)


def fails(
    server: ssl.SSLContext | None,
    options: Callable[[Fake], TLSOptions] | TLSOptions,
    kind: type[RegistryError],
) -> str:
    """Return the line that is shown, with its hint."""
    with pytest.raises(kind) as caught:
        ping(server, options)
    return f"{caught.value.message}; {caught.value.hint}"


class TestTrust:
    def test_a_ca_file_is_trusted(self, files: Files) -> None:
        ping(files.server(), TLSOptions(ca_file=files.ca))

    def test_the_systems_roots_are(self, files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SSL_CERT_FILE", str(files.ca))
        ping(files.server(), TLSOptions())

    def test_insecure_takes_any(self, files: Files) -> None:
        ping(files.server("elsewhere.test"), TLSOptions(insecure=True))

    def test_an_unknown_authority(self, files: Files) -> None:
        said = fails(files.server(), TLSOptions(), TLSError)
        assert "https://127.0.0.1:" in said
        assert "is not trusted: " in said
        assert "ca_file" in said
        assert "certs.d" in said

    def test_another_host(self, files: Files) -> None:
        said = fails(files.server("elsewhere.test"), TLSOptions(ca_file=files.ca), TLSError)
        assert "IP address mismatch" in said
        assert "a name that the certificate is for" in said

    def test_an_expired_certificate(self, files: Files) -> None:
        server = files.server(not_before=NOW - timedelta(days=9), not_after=NOW - timedelta(days=1))
        said = fails(server, TLSOptions(ca_file=files.ca), TLSError)
        assert "certificate has expired" in said
        assert "renewed at the server" in said

    def test_a_certificate_of_tomorrow(self, files: Files) -> None:
        server = files.server(not_before=NOW + timedelta(days=1), not_after=NOW + timedelta(days=9))
        said = fails(server, TLSOptions(ca_file=files.ca), TLSError)
        assert "not yet valid" in said
        assert "clock" in said

    def test_a_file_that_was_replaced_counts_from_the_next_client_on(self, files: Files) -> None:
        """The daemon makes a client for each job: rotated certificates need no restart."""
        file = files.write("rotating.pem", trustme.CA().cert_pem.bytes())
        options = TLSOptions(ca_file=file)
        fails(files.server(), options, TLSError)
        file.write_bytes(files.ca.read_bytes())
        ping(files.server(), options)


class TestClientCertificates:
    def test_one_that_the_server_takes(self, files: Files) -> None:
        certificate, key = files.client()
        ping(files.demanding(), TLSOptions(files.ca, certificate, key))
        both = files.write("both.pem", certificate.read_bytes() + key.read_bytes())
        ping(files.demanding(), TLSOptions(files.ca, both))

    @pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
    def test_none_or_a_stranger_where_one_is_demanded(self, files: Files, version: ssl.TLSVersion) -> None:
        """This server resets the connection, and its alert may be lost; not so distribution."""
        server = files.demanding()
        server.maximum_version = version
        for options in (TLSOptions(files.ca), TLSOptions(files.ca, *files.client(trustme.CA(), "stranger"))):
            said = fails(server, options, RegistryError)
            assert "client_cert_file" in said

    def test_it_is_shown_to_no_other_host(self, files: Files) -> None:
        """A storage host that a blob is redirected to, which asks for a certificate, is shown none."""
        seen: list[object] = []
        server = files.server("localhost")
        server.verify_mode = ssl.CERT_OPTIONAL
        files.authority.configure_trust(server)

        async def storage(request: web.Request) -> web.Response:
            assert request.transport is not None
            seen.append(request.transport.get_extra_info("peercert"))
            return web.Response(status=404)

        async def both(other: Fake) -> None:
            async def away(_request: web.Request) -> web.Response:
                target = other.url.replace("127.0.0.1", "localhost")
                return web.Response(status=307, headers={"Location": f"{target}/blob"})

            async def work(fake: Fake) -> None:
                options = TLSOptions(files.ca, *files.client())
                async with fake.client(tls=options, attempts=1) as client:
                    assert await client.config("a", "sha256:" + "0" * 64, 3) is None

            await asyncio.to_thread(with_fake, away, work, tls=files.demanding())

        with_fake(storage, both, tls=server)
        assert seen == [None]


class TestCertsFolder:
    def of(self, files: Files, fake: Fake, root: Path) -> Path:
        folder = root / fake.url.removeprefix("https://")
        folder.mkdir(parents=True)
        (folder / "authority.crt").write_bytes(files.ca.read_bytes())
        certificate, key = files.client()
        (folder / "client.cert").write_bytes(certificate.read_bytes())
        (folder / "client.key").write_bytes(key.read_bytes())
        return folder

    def test_authorities_and_client_certificates(self, files: Files, tmp_path: Path) -> None:
        def options(fake: Fake) -> TLSOptions:
            self.of(files, fake, tmp_path / "certs.d")
            return TLSOptions(certs_dir=tmp_path / "certs.d")

        ping(files.demanding(), options)

    @pytest.mark.parametrize("place", [".config/containers/certs.d", ".config/docker/certs.d"])
    def test_the_usual_places_below_home(self, files: Files, home: Path, place: str) -> None:
        def options(fake: Fake) -> TLSOptions:
            self.of(files, fake, home / place)
            return TLSOptions()

        ping(files.demanding(), options)

    def test_the_systems_places_are_docker_s_and_the_containers_tools_own(self) -> None:
        from reaper.registry import tls

        assert tls._USUAL_FOLDERS[-2:] == (
            "/etc/containers/certs.d",
            "/etc/docker/certs.d",
        )

    @pytest.mark.parametrize(
        ("name", "host", "found"),
        [
            ("registry.test", "registry.test", True),
            ("registry.test:443", "registry.test", True),
            ("registry.test", "registry.test:443", True),
            ("registry.test:5000", "registry.test:5000", True),
            ("registry.test", "registry.test:5000", False),
            ("registry.test:5000", "registry.test", False),
            ("[::1]", "[::1]", True),
        ],
    )
    def test_its_name(self, tmp_path: Path, name: str, host: str, found: bool) -> None:
        (tmp_path / name).mkdir()
        assert (certs_folder(TLSOptions(certs_dir=tmp_path), host) is not None) is found

    @pytest.mark.parametrize(
        ("present", "says"),
        [
            ({"client.cert": True}, "has no key"),
            ({"client.key": True}, "has no certificate"),
            ({"authority.crt": False}, "cannot use the CA file"),
            ({"client.cert": False, "client.key": True}, "cannot use the client certificate"),
        ],
    )
    def test_what_cannot_be_used_is_named(
        self, files: Files, tmp_path: Path, present: dict[str, bool], says: str
    ) -> None:
        certificate, key = files.client()
        real = {"client.cert": certificate, "client.key": key, "authority.crt": files.ca}
        folder = tmp_path / "certs.d"

        def options(fake: Fake) -> TLSOptions:
            mine = folder / fake.url.removeprefix("https://")
            mine.mkdir(parents=True)
            for name, good in present.items():
                (mine / name).write_bytes(real[name].read_bytes() if good else b"nonsense")
            return TLSOptions(certs_dir=folder)

        with pytest.raises(InvalidInputError, match=says) as caught:
            ping(files.server(), options)
        assert str(folder) in caught.value.message


class TestSettingsThatCannotBeUsed:
    def test_files(self, files: Files, tmp_path: Path) -> None:
        certificate, _ = files.client()
        _, other_key = files.client(name="other")
        missing = tmp_path / "missing.pem"
        for options, says in (
            (TLSOptions(ca_file=missing), "No such file"),
            (TLSOptions(ca_file=tmp_path), "cannot use the CA file"),
            (TLSOptions(client_cert_file=missing), "No such file"),
            (TLSOptions(client_cert_file=certificate), "cannot use the client certificate"),
            (TLSOptions(client_cert_file=certificate, client_key_file=other_key), "another certificate's"),
            (TLSOptions(certs_dir=missing), "is not a folder"),
        ):
            with pytest.raises(InvalidInputError, match=says):
                ping(files.server(), replace(options, ca_file=options.ca_file or files.ca))

    def test_an_encrypted_key_is_not_asked_a_passphrase_for(self, files: Files) -> None:
        from cryptography.hazmat.primitives.serialization import (
            BestAvailableEncryption,
            Encoding,
            PrivateFormat,
            load_pem_private_key,
        )

        certificate, key = files.client()
        locked = load_pem_private_key(key.read_bytes(), None).private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"hunter2")
        )
        file = files.write("locked.key", locked)
        with pytest.raises(InvalidInputError, match="is encrypted"):
            ping(files.server(), TLSOptions(files.ca, certificate, file))


class TestTheWrongProtocol:
    def test_tls_to_a_plain_port(self) -> None:
        async def work(fake: Fake) -> None:
            fake.url = fake.url.replace("http:", "https:")
            async with fake.client(attempts=1) as client:
                with pytest.raises(TLSError, match="does not speak TLS") as caught:
                    await client.ping()
            assert "http://" in (caught.value.hint or "")

        with_fake(catalog, work)

    def test_plain_http_to_a_tls_port(self, files: Files) -> None:
        async def work(fake: Fake) -> None:
            fake.url = fake.url.replace("https:", "http:")
            async with fake.client(attempts=1) as client:
                with pytest.raises(RegistryError, match=fake.url) as caught:
                    await client.ping()
            assert "https://" in (caught.value.hint or "")

        with_fake(catalog, work, tls=files.server())

    def test_a_server_that_says_so(self) -> None:
        """Go's answer, and nginx's."""
        for text in (
            "Client sent an HTTP request to an HTTPS server.\n",
            "<html>The plain HTTP request was sent to HTTPS port</html>",
        ):

            async def refuse(_request: web.Request, text: str = text) -> web.Response:
                return web.Response(status=400, text=text)

            async def work(fake: Fake) -> None:
                async with fake.client(attempts=1) as client:
                    with pytest.raises(NotARegistryError) as caught:
                        await client.ping()
                assert "https://" in (caught.value.hint or "")

            with_fake(refuse, work)

    def test_what_is_no_http_is_not_repeated(self) -> None:
        async def run() -> str:
            async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                writer.write(b"SSH-2.0-OpenSSH_9.2 hunter2\r\n")
                await writer.drain()
                await reader.read(1)
                writer.close()

            server = await asyncio.start_server(speak, "127.0.0.1", 0)
            fake = Fake()
            fake.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            async with server, fake.client(attempts=1) as client:
                with pytest.raises(UnreachableError, match="does not answer with HTTP") as caught:
                    await client.ping()
            return f"{caught.value.message} {caught.value.hint}"

        said = asyncio.run(run())
        assert "hunter2" not in said
        assert "SSH" not in said


@pytest.mark.parametrize(("hosts", "asked"), [([], False), (["localhost"], True), (["127.0.0.1"], False)])
def test_insecure_is_not_for_token_servers_elsewhere(files: Files, hosts: list[str], asked: bool) -> None:
    """Whoever gets the login has to prove who he is, unless he was named."""
    seen: list[str | None] = []

    async def handler(request: web.Request) -> web.Response:
        if request.path == "/token":
            seen.append(request.headers.get("Authorization"))
            return web.json_response({"token": "t"})
        if request.headers.get("Authorization") == "Bearer t":
            return web.json_response({})
        realm = f"{request.url.origin()}/token".replace("127.0.0.1", "localhost")
        return web.Response(status=401, headers={"WWW-Authenticate": f'Bearer realm="{realm}"'})

    async def work(fake: Fake) -> None:
        options = RegistryOptions(
            parse_address(fake.url),
            logins=OneLogin(Credentials("test", "me", "hunter2")),
            tls=TLSOptions(insecure=True),
            token_hosts=frozenset(hosts),
            attempts=1,
        )
        async with RegistryClient(options) as client:
            if asked:
                await client.ping()
            else:
                with pytest.raises(TLSError, match="https://localhost:"):
                    await client.ping()

    with_fake(handler, work, tls=files.server("nobody.test"))
    assert (len(seen) == 1) is asked
