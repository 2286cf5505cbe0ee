"""The client against a server that misbehaves."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from datetime import datetime

import pytest
from aiohttp import web

from reaper.core.manifest import MAX_MANIFEST_SIZE, OCI_MANIFEST
from reaper.core.reference import digest_of
from reaper.registry import (
    AuthenticationError,
    Credentials,
    Deleted,
    DeletesDisabledError,
    DeniedError,
    NotARegistryError,
    Patience,
    ProtocolError,
    ReadOnlyRegistryError,
    RegistryError,
    ServerError,
    ThrottledError,
    TooLargeError,
    TruncatedError,
    UnreachableError,
    UnsupportedError,
    WriteRefusedError,
)
from tests.registry.fake import Fake, Handler, with_fake

BODY = b'{"schemaVersion":2}'
DIGEST = digest_of(BODY)


def answers(*responses: Callable[[], web.Response]) -> Handler:
    """Answer the first request with the first response, and so on; the last one stays."""
    left = list(responses)

    async def handler(_request: web.Request) -> web.Response:
        return left.pop(0)() if len(left) > 1 else left[0]()

    return handler


def json(document: object, **headers: str) -> Callable[[], web.Response]:
    return lambda: web.json_response(document, headers=headers)


def status(code: int, **headers: str) -> Callable[[], web.Response]:
    return lambda: web.Response(status=code, headers={k.replace("_", "-"): v for k, v in headers.items()})


def manifest(body: bytes = BODY, digest: str | None = DIGEST, media_type: str = OCI_MANIFEST) -> Handler:
    headers = {"Docker-Content-Digest": digest} if digest else {}
    return answers(lambda: web.Response(body=body, content_type=media_type, headers=headers))


async def names(fake: Fake) -> list[str]:
    async with fake.client() as client:
        return [name async for name in client.repositories()]


class TestPaging:
    def test_links_relative_and_absolute_are_followed_and_doubles_dropped(self) -> None:
        async def handler(request: web.Request) -> web.Response:
            last = request.query.get("last")
            host = str(request.url.origin())
            pages = {
                None: (["a", "b"], '</v2/_catalog?last=b>; rel="next"'),
                "b": (["b", "c"], f'<{host}/v2/_catalog?last=c>; rel="next"'),
                "c": (None, None),
            }
            found, link = pages[last]
            return web.json_response({"repositories": found}, headers={"Link": link} if link else {})

        async def tags(fake: Fake) -> list[str]:
            return await names(fake)

        assert with_fake(handler, tags) == ["a", "b", "c"]

    def test_the_page_size_adapts_downwards(self) -> None:
        async def handler(request: web.Request) -> web.Response:
            if int(request.query["n"]) > 50:
                return web.json_response({"errors": [{"code": "PAGINATION_NUMBER_INVALID"}]}, status=400)
            return web.json_response({"repositories": ["a"]})

        assert with_fake(handler, names) == ["a"]

    def test_a_page_size_that_was_found_is_kept_for_listings_of_its_kind(self) -> None:
        async def handler(request: web.Request) -> web.Response:
            if int(request.query["n"]) > 50:
                return web.json_response({"errors": [{"code": "PAGINATION_NUMBER_INVALID"}]}, status=400)
            return web.json_response({"repositories": ["a"], "tags": ["v1"]})

        async def twice(fake: Fake) -> list[str]:
            async with fake.client() as client:
                sizes = [client.page_size]
                for _ in range(2):
                    assert [name async for name in client.repositories()] == ["a"]
                    assert await client.tags("a") == ["v1"]
                sizes.append(client.page_size)
                assert sizes == [None, 10]
            return [path.partition("?n=")[2] for path in fake.paths()]

        assert with_fake(handler, twice) == ["1000", "100", "10", "1000", "100", "10", "10", "10"]

    @pytest.mark.parametrize(
        "page",
        [
            json({"repositories": ["a"]}, Link='</v2/_catalog?n=1000>; rel="next"'),
            json({"repositories": ["a"]}, Link='<https://evil.example/v2/_catalog>; rel="next"'),
            json({"repositories": "a"}),
            json({"repositories": [1]}),
            json([]),
        ],
    )
    def test_a_listing_that_is_none_is_an_error(self, page: Callable[[], web.Response]) -> None:
        with pytest.raises(ProtocolError):
            with_fake(answers(page), names)

    def test_a_listing_cut_in_the_middle_is_an_error(self) -> None:
        async def handler(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse(headers={"Content-Length": "1000"})
            await response.prepare(request)
            await response.write(b'{"repositories":["a"]}')
            assert request.transport is not None
            request.transport.close()
            return response

        with pytest.raises((TruncatedError, UnreachableError)):
            with_fake(handler, names)

    def test_no_catalog(self) -> None:
        with pytest.raises(UnsupportedError):
            with_fake(answers(status(404)), names)

    def test_a_web_page(self) -> None:
        page = answers(lambda: web.Response(text="<html>", content_type="text/html"))
        with pytest.raises(NotARegistryError):
            with_fake(page, names)


class TestManifests:
    @staticmethod
    def get(handler: Handler, reference: str = DIGEST) -> str | None:
        async def work(fake: Fake) -> str | None:
            async with fake.client() as client:
                raw = await client.manifest("a", reference)
                return raw.digest if raw else None

        return with_fake(handler, work)

    def test_bytes_are_checked_against_the_digest(self) -> None:
        assert self.get(manifest()) == DIGEST
        assert self.get(manifest(digest=None), "v1") == DIGEST
        assert self.get(answers(status(404))) is None
        for body, stated in ((b"{}", DIGEST), (b"{}", None), (BODY, digest_of(b"x")), (BODY, "sha256:x")):
            with pytest.raises(ProtocolError):
                self.get(manifest(body, stated))

    def test_a_page_is_no_manifest(self) -> None:
        with pytest.raises(NotARegistryError):
            self.get(manifest(media_type="text/html"))

    def test_more_than_four_mebibytes_are_not_read(self) -> None:
        with pytest.raises(TooLargeError):
            self.get(manifest(b" " * (MAX_MANIFEST_SIZE + 1)))

    def test_endless_bytes_are_not_read(self) -> None:
        async def handler(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse(headers={"Content-Type": OCI_MANIFEST})
            await response.prepare(request)
            try:
                while True:
                    await response.write(b" " * 65536)
            except ConnectionError:
                return response

        with pytest.raises(TooLargeError):
            self.get(handler)

    def test_head_falls_back_to_get_where_no_digest_is_said(self) -> None:
        async def work(fake: Fake) -> str:
            async with fake.client() as client:
                resolved = await client.head("a", "v1")
                assert resolved is not None
                return resolved.digest

        assert with_fake(manifest(digest=None), work) == DIGEST


class TestRetries:
    def test_reads_are_tried_again_and_bounded(self) -> None:
        async def work(fake: Fake) -> int:
            with pytest.raises(ServerError):
                await names(fake)
            return len(fake.requests)

        assert with_fake(answers(status(502)), work) == 2
        assert with_fake(answers(status(500), json({"repositories": ["a"]})), names) == ["a"]

    @pytest.mark.parametrize("pause", ["0", "Thu, 01 Jan 1970 00:00:00 GMT"])
    def test_retry_after_is_honoured_in_both_forms(self, pause: str) -> None:
        handler = answers(status(429, Retry_After=pause), json({"repositories": ["a"]}))
        assert with_fake(handler, names) == ["a"]

    def test_a_pause_that_is_too_long_is_for_the_next_run(self) -> None:
        async def work(fake: Fake) -> int:
            async with fake.client() as client:
                for _ in range(2):  # The second request is not even sent, and waits for nothing.
                    with pytest.raises(ThrottledError):
                        await client.tags("a")
            return len(fake.requests)

        assert with_fake(answers(status(429, Retry_After="86400")), work) == 1

    @pytest.mark.parametrize(
        "answer", [status(500), status(503, Retry_After="0"), status(429, Retry_After="0")]
    )
    def test_a_delete_that_failed_is_not_repeated(self, answer: Callable[[], web.Response]) -> None:
        """What was looked up before it may have changed by the time it could be sent again."""

        async def work(fake: Fake) -> list[str]:
            async with fake.client() as client:
                for delete in (client.delete_manifest("a", DIGEST), client.delete_tag("a", "v1")):
                    with pytest.raises((ServerError, ThrottledError)):
                        await delete
            return fake.paths("DELETE")

        assert len(with_fake(answers(answer), work)) == 2

    def test_a_delete_whose_answer_is_lost_is_not_repeated(self) -> None:
        async def hang_up(request: web.Request) -> web.Response:
            assert request.transport is not None
            request.transport.close()
            return web.Response()

        async def work(fake: Fake) -> list[str]:
            async with fake.client() as client:
                with pytest.raises(UnreachableError):
                    await client.delete_manifest("a", DIGEST)
            return fake.paths("DELETE")

        assert len(with_fake(hang_up, work)) == 1


class TestWrites:
    def test_a_dry_run_sends_nothing_but_get_and_head(self) -> None:
        async def work(fake: Fake) -> None:
            async with fake.client(read_only=True) as client:
                for attempt in (
                    client.delete_manifest("a", DIGEST),
                    client.delete_tag("a", "v1"),
                    client.put_manifest("a", "v1", BODY, OCI_MANIFEST),
                    client.mode(),
                ):
                    with pytest.raises(WriteRefusedError):
                        await attempt
            assert fake.requests == []

        with_fake(answers(status(202)), work)

    @pytest.mark.parametrize(
        ("answer", "error"),
        [
            (status(405), DeletesDisabledError),
            (status(405, Allow="GET, HEAD"), ReadOnlyRegistryError),
            (status(403), DeniedError),
            (status(200), RegistryError),
        ],
    )
    def test_a_refused_delete_says_why(
        self, answer: Callable[[], web.Response], error: type[RegistryError]
    ) -> None:
        async def work(fake: Fake) -> None:
            async with fake.client() as client:
                with pytest.raises(error):
                    await client.delete_manifest("a", DIGEST)

        with_fake(answers(answer), work)

    def test_only_digests_are_deleted_as_manifests(self) -> None:
        async def work(fake: Fake) -> None:
            async with fake.client() as client:
                with pytest.raises(ProtocolError):
                    await client.delete_manifest("a", "v1")
                assert await client.delete_manifest("a", DIGEST) is Deleted.ABSENT
            assert len(fake.requests) == 1

        with_fake(answers(status(404)), work)

    @pytest.mark.parametrize(
        ("answer", "can"),
        [(status(404), True), (status(202), True), (status(400), False), (status(405), None)],
    )
    def test_whether_a_tag_can_be_deleted_alone(
        self, answer: Callable[[], web.Response], can: bool | None
    ) -> None:
        async def work(fake: Fake) -> bool | None:
            async with fake.client() as client:
                return await client.can_untag("a")

        assert with_fake(answers(answer), work) is can

    def test_a_tag_that_is_still_there_after_404_was_not_deleted(self) -> None:
        async def delete(fake: Fake) -> bool:
            async with fake.client() as client:
                return await client.delete_tag("a", "v1")

        there = manifest()

        async def not_served(request: web.Request) -> web.StreamResponse:
            return web.Response(status=404) if request.method == "DELETE" else await there(request)

        assert with_fake(not_served, delete) is False
        assert with_fake(answers(status(404)), delete) is True

    def test_a_redirected_delete_is_not_followed(self) -> None:
        async def work(fake: Fake) -> list[str]:
            async with fake.client() as client:
                with pytest.raises(RegistryError):
                    await client.delete_manifest("a", DIGEST)
            return fake.paths("DELETE")

        assert len(with_fake(answers(status(307, Location="/elsewhere")), work)) == 1


class TestLogin:
    me = Credentials("test", "me", "hunter2")
    basic = "Basic " + base64.b64encode(b"me:hunter2").decode()

    def registry(self, tokens: list[str], *, lifetime: int = 300) -> Handler:
        async def handler(request: web.Request) -> web.Response:
            if request.path == "/token":
                assert request.headers.get("Authorization") == self.basic
                tokens.append(f"t{len(tokens)}:{request.query['scope']}")
                return web.json_response({"token": tokens[-1], "expires_in": lifetime})
            given = request.headers.get("Authorization", "").removeprefix("Bearer ")
            if given not in tokens:
                challenge = f'Bearer realm="{request.url.origin()}/token",service="reg",scope="x"'
                return web.Response(status=401, headers={"WWW-Authenticate": challenge})
            return web.Response(
                body=BODY, content_type=OCI_MANIFEST, headers={"Docker-Content-Digest": DIGEST}
            )

        return handler

    def test_concurrent_requests_share_one_token_for_each_scope(self) -> None:
        tokens: list[str] = []

        async def work(fake: Fake) -> None:
            async with fake.client(credentials=self.me) as client:
                await asyncio.gather(*(client.head("a", f"v{n}") for n in range(50)))
                await client.head("b", "v1")

        with_fake(self.registry(tokens), work)
        assert tokens == ["t0:repository:a:pull", "t1:repository:b:pull"]

    def test_a_token_that_is_refused_in_mid_run_is_renewed_once(self) -> None:
        tokens: list[str] = []

        async def work(fake: Fake) -> None:
            async with fake.client(credentials=self.me) as client:
                await client.head("a", "v1")
                tokens[0] = "revoked"
                await client.head("a", "v2")

        with_fake(self.registry(tokens), work)
        assert len(tokens) == 2

    def test_a_token_that_is_refused_to_many_at_once_is_renewed_once(self) -> None:
        tokens: list[str] = []
        refused, renewed = asyncio.Event(), asyncio.Event()
        granted = self.registry(tokens)

        async def handler(request: web.Request) -> web.StreamResponse:
            if request.headers.get("Authorization") == "Bearer t0:repository:a:pull":
                if refused.is_set():
                    # Both were sent with the old token; this refusal arrives when a new one is there.
                    await renewed.wait()
                refused.set()
            answer = await granted(request)
            if len(tokens) == 2:
                renewed.set()
            return answer

        async def work(fake: Fake) -> None:
            async with fake.client(credentials=self.me) as client:
                await client.head("a", "v0")
                refused.clear()
                tokens[0] = "revoked"
                await asyncio.gather(client.head("a", "v1"), client.head("a", "v2"))

        with_fake(handler, work)
        assert len(tokens) == 2

    def test_a_token_that_does_not_help_is_an_error_that_says_so(self) -> None:
        """Distribution answers 401 where a token lacks what is asked for, and a new one lacks it again."""
        tokens: list[str] = []

        async def refuse(request: web.Request) -> web.StreamResponse:
            if request.path == "/token":
                return await self.registry(tokens)(request)
            challenge = f'Bearer realm="{request.url.origin()}/token",error="insufficient_scope"'
            return web.Response(status=401, headers={"WWW-Authenticate": challenge})

        async def work(fake: Fake) -> str:
            async with fake.client(credentials=self.me) as client:
                with pytest.raises(AuthenticationError) as caught:
                    await client.delete_manifest("a", DIGEST)
            return caught.value.message

        assert "repository:a:pull,delete" in with_fake(refuse, work)
        assert len(tokens) == 2

    def test_a_refused_password_is_final_and_not_shown(self) -> None:
        async def work(fake: Fake) -> str:
            async with fake.client(credentials=self.me) as client:
                with pytest.raises(AuthenticationError) as caught:
                    await client.ping()
            assert len(fake.requests) == 2
            return f"{caught.value} {caught.value.hint}"

        said = with_fake(answers(status(401, WWW_Authenticate='Basic realm="x"')), work)
        assert "hunter2" not in said
        assert "user me from test" in said

    def test_the_login_is_not_sent_to_a_token_server_without_tls_elsewhere(self) -> None:
        async def work(fake: Fake) -> None:
            async with fake.client(credentials=self.me) as client:
                with pytest.raises(AuthenticationError, match="without TLS"):
                    await client.ping()

        with_fake(answers(status(401, WWW_Authenticate='Bearer realm="http://evil.example/token"')), work)

    def test_a_redirect_to_another_origin_takes_no_login_along(self) -> None:
        seen: list[str | None] = []

        async def storage(request: web.Request) -> web.Response:
            seen.append(request.headers.get("Authorization"))
            return web.Response(body=BODY)

        def elsewhere(other: Fake) -> Handler:
            async def handler(request: web.Request) -> web.Response:
                if "Authorization" not in request.headers:
                    return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="x"'})
                return web.Response(status=307, headers={"Location": f"{other.url}/blob"})

            return handler

        async def work(fake: Fake) -> bytes | None:
            async with fake.client(credentials=self.me) as client:
                return await client.config("a", DIGEST, len(BODY))

        async def both(other: Fake) -> bytes | None:
            return await asyncio.to_thread(with_fake, elsewhere(other), work)

        assert with_fake(storage, both) == BODY
        assert seen == [None]


def test_a_registry_that_says_nothing_but_200_is_one() -> None:
    """So Gitea answers."""

    async def work(fake: Fake) -> None:
        async with fake.client() as client:
            assert await client.ping() is not None

    with_fake(answers(status(200)), work)


@pytest.mark.parametrize(
    "date", ["Fri, 31 Dec 9999 23:59:59 -2359", "Fri, 99999999999 Dec 2026 00:00:00 GMT", "soon"]
)
def test_dates_that_are_none_are_not_said(date: str) -> None:
    async def clock(fake: Fake) -> datetime | None:
        async with fake.client() as client:
            return await client.ping()

    async def pause(fake: Fake) -> float | None:
        async with fake.client(attempts=1) as client:
            with pytest.raises(ThrottledError) as raised:
                await client.tags("a")
        return raised.value.retry_after

    assert with_fake(answers(lambda: web.json_response({}, headers={"Date": date})), clock) is None
    if "9999 " not in date:
        assert with_fake(answers(status(429, **{"Retry-After": date})), pause) is None


def test_an_answer_that_does_not_come() -> None:
    released = asyncio.Event()

    async def wait(_request: web.Request) -> web.Response:
        await released.wait()
        return web.Response()

    async def work(fake: Fake) -> None:
        async with fake.client(attempts=1, patience=Patience(answer=0.1)) as client:
            with pytest.raises(UnreachableError, match="no answer in time"):
                await client.ping()
        released.set()

    with_fake(wait, work)


def test_nobody_listens() -> None:
    async def work(fake: Fake) -> None:
        fake.url = "http://127.0.0.1:1"
        async with fake.client() as client:
            with pytest.raises(UnreachableError, match=r"127\.0\.0\.1:1"):
                await client.ping()

    with_fake(answers(status(200)), work)
