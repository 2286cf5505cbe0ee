"""Proxies: which one the environment names for a host, and requests through a real one."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme
from aiohttp import web

from devtools.forward_proxy import ForwardProxy
from reaper.core.errors import InvalidInputError, ReaperError
from reaper.registry import (
    Credentials,
    OneLogin,
    RegistryClient,
    RegistryOptions,
    TLSOptions,
    UnreachableError,
    parse_address,
)
from reaper.registry.proxies import proxy_for
from tests.registry.fake import Fake, with_fake

SECRET = "hunter2-proxy"


class TestWhich:
    @pytest.mark.parametrize(
        ("environment", "scheme", "found"),
        [
            ({}, "https", None),
            ({"HTTPS_PROXY": "http://proxy:3128"}, "https", "http://proxy:3128"),
            ({"HTTPS_PROXY": "http://proxy:3128"}, "http", None),
            ({"HTTP_PROXY": "proxy:3128"}, "http", "http://proxy:3128"),
            ({"https_proxy": "http://lower:1", "HTTPS_PROXY": "http://upper:1"}, "https", "http://lower:1"),
            ({"ALL_PROXY": "http://all:1"}, "https", "http://all:1"),
            ({"ALL_PROXY": "http://all:1", "HTTP_PROXY": "http://one:1"}, "http", "http://one:1"),
            ({"HTTPS_PROXY": "https://proxy"}, "https", "https://proxy"),
        ],
    )
    def test_variables(
        self, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], scheme: str, found: str | None
    ) -> None:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        proxy = proxy_for(scheme, "registry.test", None)
        assert (str(proxy.url) if proxy else None) == found

    @pytest.mark.parametrize(
        ("no_proxy", "host", "port", "passed_over"),
        [
            ("*", "registry.test", None, True),
            ("registry.test", "registry.test", None, True),
            ("registry.test", "Registry.Test", None, True),
            ("test", "registry.test", None, True),
            (".test", "registry.test", None, True),
            ("*.test", "registry.test", None, True),
            ("y.test", "registry.test", None, False),
            ("registry.test.evil", "registry.test", None, False),
            ("other.test, registry.test", "registry.test", None, True),
            ("registry.test:443", "registry.test", None, True),
            ("registry.test:443", "registry.test", 443, True),
            ("registry.test:5000", "registry.test", 443, False),
            ("10.0.0.0/8", "10.1.2.3", None, True),
            ("10.0.0.0/8", "11.1.2.3", None, False),
            ("10.0.0.0/8", "registry.test", None, False),
            ("10.1.2.3", "10.1.2.3", None, True),
            ("10.1.2.3:5000", "10.1.2.3", 5000, True),
            ("fd00::/8", "fd00::1", None, True),
            ("fd00::1", "fd00::1", None, True),
            ("[fd00::1]:5000", "fd00::1", 5000, True),
            ("10.0.0.0/99,,", "10.1.2.3", None, False),
            ("", "registry.test", None, False),
        ],
    )
    def test_no_proxy(
        self, monkeypatch: pytest.MonkeyPatch, no_proxy: str, host: str, port: int | None, passed_over: bool
    ) -> None:
        monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
        monkeypatch.setenv("NO_PROXY", no_proxy)
        assert (proxy_for("https", host, port) is None) is passed_over

    @pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.9.9.9", "::1"])
    def test_this_machine_needs_none(self, monkeypatch: pytest.MonkeyPatch, host: str) -> None:
        monkeypatch.setenv("HTTP_PROXY", "http://proxy:3128")
        assert proxy_for("http", host, 5000) is None

    def test_its_login(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HTTPS_PROXY", "http://me:p%40ss:w%C3%B6rd@proxy:3128")
        proxy = proxy_for("https", "registry.test", None)
        assert proxy is not None
        kind, encoded = proxy.headers["Proxy-Authorization"].split()
        assert (kind, base64.b64decode(encoded).decode()) == ("Basic", "me:p@ss:wörd")
        assert str(proxy.url) == "http://proxy:3128"

    @pytest.mark.parametrize(
        "value", [f"socks5://me:{SECRET}@proxy:1080", f"http://me:{SECRET}@[proxy", f"http://me:{SECRET}@:x"]
    )
    def test_none_that_can_be_used(self, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
        monkeypatch.setenv("HTTPS_PROXY", value)
        with pytest.raises(InvalidInputError, match="HTTPS_PROXY names no proxy") as caught:
            proxy_for("https", "registry.test", None)
        error: BaseException | None = caught.value
        while error is not None:
            assert SECRET not in str(error)
            error = error.__cause__


class Registry:
    """A registry that asks for a token, as the proxy leads to it and to its token server."""

    def __init__(self) -> None:
        self.tokens = 0
        self.shown: list[str | None] = []

    async def __call__(self, request: web.Request) -> web.Response:
        if request.path == "/token":
            self.tokens += 1
            return web.json_response({"token": "t"})
        self.shown.append(request.headers.get("Proxy-Authorization"))
        if request.headers.get("Authorization") != "Bearer t":
            realm = f"{request.scheme}://auth.test/token"
            return web.Response(status=401, headers={"WWW-Authenticate": f'Bearer realm="{realm}"'})
        return web.json_response({"name": "app", "tags": ["v1"]})


@contextmanager
def proxied(
    fake: Fake, monkeypatch: pytest.MonkeyPatch, *, login: tuple[str, str] | None, given: str
) -> Iterator[ForwardProxy]:
    """Set the proxy as the environment's; all names lead to the fake."""
    here = fake.url.rpartition("/")[2]
    names = [f"{host}:{port}" for host in ("registry.test", "auth.test") for port in (80, 443)]
    with ForwardProxy(dict.fromkeys(names, here), login=login) as proxy:
        for name in ("HTTP_PROXY", "HTTPS_PROXY"):
            monkeypatch.setenv(name, f"http://{given}{proxy.host}")
        yield proxy


async def tags(scheme: str, ca_file: Path | None) -> list[str]:
    options = RegistryOptions(
        parse_address(f"{scheme}://registry.test"),
        logins=OneLogin(Credentials("test", "me", "hunter2")),
        tls=TLSOptions(ca_file=ca_file),
        token_hosts=frozenset({"auth.test"}),
        attempts=1,
    )
    async with RegistryClient(options) as client:
        return await client.tags("app")


@pytest.fixture(scope="module")
def ways(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[ssl.SSLContext | None, Path | None]]:
    """For each scheme: the server's side, and the authority."""
    authority = trustme.CA()
    file = tmp_path_factory.mktemp("proxies") / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("registry.test", "auth.test").configure_cert(context)
    return {"http": (None, None), "https": (context, file)}


@pytest.mark.parametrize("scheme", ["http", "https"])
class TestThrough:
    def through(
        self,
        work: Callable[[ForwardProxy], object],
        scheme: str,
        ways: dict[str, tuple[ssl.SSLContext | None, Path | None]],
        monkeypatch: pytest.MonkeyPatch,
        *,
        login: tuple[str, str] | None = ("me", SECRET),
        given: str = f"me:{SECRET}@",
    ) -> tuple[Registry, ForwardProxy, list[str] | ReaperError]:
        """Ask for tags through the proxy, and return what came of it."""
        server, ca_file = ways[scheme]
        registry = Registry()

        async def run(fake: Fake) -> tuple[ForwardProxy, list[str] | ReaperError]:
            with proxied(fake, monkeypatch, login=login, given=given) as proxy:
                work(proxy)
                try:
                    return proxy, await asyncio.wait_for(tags(scheme, ca_file), 20)
                except ReaperError as error:
                    return proxy, error

        return registry, *with_fake(registry, run, tls=server)

    def test_the_registry_and_its_token_server_are_reached(
        self,
        scheme: str,
        ways: dict[str, tuple[ssl.SSLContext | None, Path | None]],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        registry, proxy, found = self.through(lambda _: None, scheme, ways, monkeypatch)
        assert found == ["v1"]
        assert registry.tokens == 1
        assert {request.method for request in proxy.passed} == {"CONNECT" if scheme == "https" else "GET"}
        expected = "Basic " + base64.b64encode(f"me:{SECRET}".encode()).decode()
        assert {request.authorization for request in proxy.passed} == {expected}
        assert any("auth.test" in request.target for request in proxy.passed)
        assert set(registry.shown) == {None}, "the proxy's login is not the registry's affair"
        if scheme == "https":
            assert not any("Authorization" in request.headers for request in proxy.passed)

    def test_a_refused_login_names_the_variable_and_shows_nothing(
        self,
        scheme: str,
        ways: dict[str, tuple[ssl.SSLContext | None, Path | None]],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        _, _, error = self.through(lambda _: None, scheme, ways, monkeypatch, given="me:wrong-hunter3@")
        assert isinstance(error, ReaperError)
        assert "the proxy refuses the way" in error.message
        assert "(407)" in error.message
        said = f"{error.message} {error.hint}"
        assert f"{scheme.upper()}_PROXY" in said
        below: BaseException | None = error
        while below is not None:
            assert "hunter" not in str(below)
            below = below.__cause__ or below.__context__

    def test_a_host_that_the_proxy_does_not_know(
        self,
        scheme: str,
        ways: dict[str, tuple[ssl.SSLContext | None, Path | None]],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        _, _, error = self.through(lambda proxy: proxy.routes.clear(), scheme, ways, monkeypatch)
        assert isinstance(error, ReaperError)
        assert "502" in error.message
        assert "registry.test" in error.message


def test_a_proxy_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://me:{SECRET}@127.0.0.1:1")
    with pytest.raises(UnreachableError, match=r"the proxy 127\.0\.0\.1:1 cannot be reached") as caught:
        asyncio.run(tags("https", None))
    assert "HTTPS_PROXY" in (caught.value.hint or "")
    error: BaseException | None = caught.value
    while error is not None:
        assert SECRET not in str(error)
        error = error.__cause__ or error.__context__
