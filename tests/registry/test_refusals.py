"""What a refused request says: which registry, which scope, whose login, and never a secret."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Awaitable, Callable

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from reaper.core.errors import InvalidInputError
from reaper.core.reference import digest_of
from reaper.registry import (
    AuthenticationError,
    Credentials,
    DeniedError,
    LoginError,
    OneLogin,
    ProtocolError,
    RegistryClient,
    RegistryError,
    RegistryOptions,
    UnreachableError,
    parse_address,
)
from tests.registry.fake import Fake, Handler, with_fake
from tests.registry.test_tokens import Desk, Server, at_desk, token

DIGEST = digest_of(b"x")
ME = Credentials("the test", "me", "hunter2")


def refusing(status: int, scope: str = "", *, granted: str | None = None) -> tuple[Handler, list[list[str]]]:
    """Return a registry that refuses all, or all but tokens for ``granted``; and what tokens it gave."""
    asked: list[list[str]] = []

    async def handler(request: web.Request) -> web.Response:
        if request.path == "/token":
            asked.append(request.query.getall("scope", []))
            return web.json_response({"token": " ".join(asked[-1]).encode().hex() or "00"})
        given = bytes.fromhex(request.headers.get("Authorization", "").removeprefix("Bearer "))
        if granted is not None and granted in given.decode():
            return web.Response(status=202)
        challenge = f'Bearer realm="{request.url.origin()}/token",service="reg"'
        if not given:
            return web.Response(status=401, headers={"WWW-Authenticate": challenge})
        if scope:
            challenge += f',scope="{scope}",error="insufficient_scope"'
        return web.Response(status=status, headers={"WWW-Authenticate": challenge})

    return handler, asked


def refusal(
    handler: Handler, ask: Callable[[RegistryClient], Awaitable[object]], kind: type[RegistryError]
) -> str:
    """Return what is said, without the fake's port."""

    async def work(fake: Fake) -> str:
        async with fake.client(credentials=ME) as client:
            with pytest.raises(kind) as caught:
                await ask(client)
        said = f"{caught.value.message}; {caught.value.hint}"
        assert "hunter2" not in said
        return said.replace(fake.url, "URL")

    return with_fake(handler, work)


@pytest.mark.parametrize(("status", "kind"), [(401, AuthenticationError), (403, DeniedError)])
class TestNamed:
    def test_a_delete_that_the_login_may_not_do(self, status: int, kind: type[RegistryError]) -> None:
        handler, asked = refusing(status, "repository:a:delete")
        said = refusal(handler, lambda client: client.delete_manifest("a", DIGEST), kind)
        assert said.startswith(f"URL/v2/a/manifests/{DIGEST}: ")
        assert f"({status}), for repository:a:pull,delete (the registry asks for repository:a:delete)" in said
        assert "the login was user me from the test" in said
        assert {tuple(each) for each in asked} == {("repository:a:pull,delete",)}

    def test_the_registry_itself(self, status: int, kind: type[RegistryError]) -> None:
        handler, _ = refusing(status)
        said = refusal(handler, lambda client: client.ping(), kind)
        assert said.startswith("URL/v2/: ")
        assert f"({status}), for the registry" in said


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize(
    ("wanted", "asked"),
    [
        ("repository:a:*", "repository:a:pull,delete,*"),
        ("repository:team/a:delete", "repository:team/a:delete"),
    ],
)
def test_a_product_that_wants_more_gets_it_once_it_says_so(status: int, wanted: str, asked: str) -> None:
    handler, seen = refusing(status, wanted, granted=asked)

    async def work(fake: Fake) -> list[str]:
        async with fake.client(credentials=ME) as client:
            await client.delete_manifest("a", DIGEST)
            await client.delete_manifest("a", DIGEST)
        return fake.paths("DELETE")

    # Without a token, with too little of one, with enough of one; and at once from then on.
    assert len(with_fake(handler, work)) == 4
    assert len(seen) == 2


def test_a_login_of_a_kind_that_is_not_known() -> None:
    async def negotiate(_request: web.Request) -> web.Response:
        return web.Response(status=401, headers={"WWW-Authenticate": 'Negotiate, NTLM realm="hunter"'})

    said = refusal(negotiate, lambda client: client.ping(), ProtocolError)
    assert "it offers: negotiate, ntlm" in said


def test_a_login_that_goes_in_the_clear_is_told_once() -> None:
    async def work(desk: Desk) -> None:
        await desk.challenged()
        await desk.challenged("registry:catalog:*")

    server = Server(token())
    with capture_logs() as logs:
        at_desk(server, work, url="http://registry.internal", hosts=["auth.test"])
    (event,) = [each for each in logs if each["event"] == "login_sent_without_tls"]
    assert (event["log_level"], event["registry"]) == ("warning", "http://registry.internal")
    for url in ("https://registry.internal", "http://127.0.0.1:5000", "http://localhost:5000"):
        with capture_logs() as logs:
            at_desk(server, work, url=url)
        assert logs == []


def test_a_token_server_that_is_down_is_asked_again_before_a_delete() -> None:
    """A delete is sent once; what it needs beforehand may be asked for again."""
    answers = [503, 200]

    async def handler(request: web.Request) -> web.Response:
        if request.path == "/token":
            code = answers.pop(0)
            return web.json_response({"token": "t"}, status=code)
        challenge = f'Bearer realm="{request.url.origin()}/token"'
        return web.Response(status=401, headers={"WWW-Authenticate": challenge})

    async def work(fake: Fake) -> None:
        async with fake.client(credentials=ME, attempts=3) as client:
            with pytest.raises(RegistryError):
                await client.delete_manifest("a", DIGEST)
            answers[:] = [503, 200]
            await client.prepare_delete("a")
        assert answers == []

    with_fake(handler, work)


@pytest.mark.parametrize("garbled", [True, False])
def test_no_trace_shows_the_signature_of_a_redirect(garbled: bool) -> None:
    """Whoever has a storage's signed URL can read the blob; aiohttp's errors hold it."""

    async def work(fake: Fake) -> str:
        async with fake.client(attempts=1) as client:
            with pytest.raises(UnreachableError) as caught:
                await client.config("a", DIGEST, 1)
        return "".join(traceback.format_exception(caught.value))

    async def speak(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0\r\n" if garbled else b"")
        writer.close()

    async def handler(_request: web.Request) -> web.Response:
        location = f"http://127.0.0.1:{storages[0].sockets[0].getsockname()[1]}/blob?X-Amz-Signature=hunter2"
        return web.Response(status=307, headers={"Location": location})

    async def with_storage(fake: Fake) -> str:
        storages.append(await asyncio.start_server(speak, "127.0.0.1", 0))
        async with storages[0]:
            return await work(fake)

    storages: list[asyncio.Server] = []
    trace = with_fake(handler, with_storage)
    assert "/blob" in trace or "127.0.0.1" in trace
    assert "hunter2" not in trace


@pytest.mark.parametrize("location", ["http://me:hunter2@127.0.0.1:1/blob", "//hunter2@127.0.0.1:1/blob"])
def test_a_redirect_with_a_login_in_it_is_none(location: str) -> None:
    async def handler(_request: web.Request) -> web.Response:
        return web.Response(status=307, headers={"Location": location})

    refusal(handler, lambda client: client.config("a", DIGEST, 1), ProtocolError)


def test_a_login_that_cannot_be_read_any_more_is_an_answer_that_is_missing() -> None:
    class Replaced(OneLogin):
        async def find(
            self, repository: str | None, *, refused: Credentials | None = None
        ) -> Credentials | None:
            if refused is not None:
                raise InvalidInputError("config.json is not JSON", hint="write it anew")
            return await super().find(repository)

    async def work(fake: Fake) -> None:
        options = RegistryOptions(parse_address(fake.url), logins=Replaced(ME))
        async with RegistryClient(options) as client:
            with pytest.raises(LoginError, match="is not JSON") as caught:
                await client.tags("app")
        assert caught.value.hint == "write it anew"

    async def refuse(_: web.Request) -> web.Response:
        return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="x"'})

    with_fake(refuse, work)
