"""The token flow: what token servers are asked, how, how often, and what their answers mean."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TypeVar
from urllib.parse import parse_qs

import httpx
import pytest

from reaper.registry import (
    NO_LOGIN,
    AuthenticationError,
    Credentials,
    Logins,
    OneLogin,
    Patience,
    ProtocolError,
    RegistryError,
    ServerError,
    ThrottledError,
    WriteRefusedError,
    parse_address,
    scopes,
)
from reaper.registry.auth import Authenticator
from reaper.registry.tokens import TokenServers
from reaper.registry.transport import TokenTransport

Result = TypeVar("Result")
REALM = "https://auth.test/token"
CHALLENGE = f'Bearer realm="{REALM}",service="reg"'
PASSWORD = Credentials("test", "me", "hunter2")
IDENTITY = Credentials("test", identity_token="refresh-1")
PULL = scopes.pull("a")


class Server:
    """Answers as told, and writes down what it was asked."""

    def __init__(self, *answers: httpx.Response | Callable[[httpx.Request], httpx.Response]) -> None:
        self._answers = list(answers)
        self.requests: list[httpx.Request] = []

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        # As on a real wire, others come before there is an answer.
        await asyncio.sleep(0)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if callable(answer):
            return answer(request)
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)

    @property
    def methods(self) -> list[str]:
        return [request.method for request in self.requests]

    def query(self, number: int = -1) -> list[tuple[str, str]]:
        return self.requests[number].url.params.multi_items()

    def form(self, number: int = -1) -> dict[str, list[str]]:
        return parse_qs(self.requests[number].content.decode(), keep_blank_values=True)


def token(value: str = "t", **more: object) -> httpx.Response:
    return httpx.Response(200, json={"token": value, **more})


class Desk:
    """An authenticator at a registry, with a clock that the test turns."""

    def __init__(
        self, server: Server, logins: Logins | Credentials | None, url: str, hosts: Iterable[str]
    ) -> None:
        self.now = 1000.0
        address = parse_address(url)
        http = httpx.AsyncClient(transport=TokenTransport(httpx.MockTransport(server)))
        servers = TokenServers(
            http, address, clock=lambda: self.now, patience=Patience(), hosts=frozenset(hosts)
        )
        found = OneLogin(logins) if isinstance(logins, Credentials) else logins or NO_LOGIN
        self.auth = Authenticator(servers, address, found, clock=lambda: self.now)

    async def challenged(self, scope: str = PULL, header: str = CHALLENGE) -> str | None:
        assert await self.auth.learn([header], scope, None)
        return await self.auth.header(scope)


def at_desk(
    server: Server,
    work: Callable[[Desk], Coroutine[Any, Any, Result]],
    logins: Logins | Credentials | None = PASSWORD,
    *,
    url: str = "https://registry.test",
    hosts: Iterable[str] = (),
) -> Result:
    return asyncio.run(work(Desk(server, logins, url, hosts)))


async def ask(desk: Desk) -> str | None:
    return await desk.challenged()


class TestWays:
    def test_a_password_goes_with_get(self) -> None:
        server = Server(token())
        assert at_desk(server, ask) == "Bearer t"
        assert server.methods == ["GET"]
        assert server.query() == [("service", "reg"), ("scope", PULL), ("account", "me")]
        expected = "Basic " + base64.b64encode(b"me:hunter2").decode()
        assert server.requests[0].headers["Authorization"] == expected

    def test_nobody_asks_without_an_account(self) -> None:
        server = Server(token())
        assert at_desk(server, ask, None) == "Bearer t"
        assert server.query() == [("service", "reg"), ("scope", PULL)]
        assert "Authorization" not in server.requests[0].headers

    def test_the_realm_keeps_its_own_query(self) -> None:
        server = Server(token())

        async def work(desk: Desk) -> None:
            await desk.challenged(
                header='Bearer realm="https://auth.test/token?tenant=x&scope=y",service="reg"'
            )

        at_desk(server, work, None)
        asked = [("scope", "y"), ("scope", PULL), ("service", "reg"), ("tenant", "x")]
        assert sorted(server.query()) == sorted(asked)

    def test_an_identity_token_goes_in_oauths_form(self) -> None:
        server = Server(httpx.Response(200, json={"access_token": "t", "expires_in": 300}))
        assert at_desk(server, ask, IDENTITY) == "Bearer t"
        assert server.methods == ["POST"]
        assert str(server.requests[0].url) == REALM
        assert "Authorization" not in server.requests[0].headers
        assert server.form() == {
            "grant_type": ["refresh_token"],
            "refresh_token": ["refresh-1"],
            "service": ["reg"],
            "scope": [PULL],
            "client_id": ["reaper"],
        }

    @pytest.mark.parametrize("status", [400, 401, 404, 405])
    def test_where_the_form_is_not_served_the_identity_token_is_a_password(self, status: int) -> None:
        server = Server(httpx.Response(status), token())
        assert at_desk(server, ask, IDENTITY) == "Bearer t"
        assert server.methods == ["POST", "GET"]
        expected = "Basic " + base64.b64encode(b":refresh-1").decode()
        assert server.requests[1].headers["Authorization"] == expected

    def test_a_refused_identity_token_is_refused_whatever_the_other_way_says(self) -> None:
        for answers in ((401, 401), (401, 405), (404, 403)):
            server = Server(*map(httpx.Response, answers))
            with pytest.raises(AuthenticationError) as caught:
                at_desk(server, ask, IDENTITY)
            assert "refresh-1" not in f"{caught.value.message} {caught.value.hint}"

    @pytest.mark.parametrize("status", [404, 405])
    def test_a_password_goes_in_the_form_where_get_is_not_served(self, status: int) -> None:
        server = Server(httpx.Response(status), token())
        assert at_desk(server, ask) == "Bearer t"
        assert server.methods == ["GET", "POST"]
        assert server.form()["grant_type"] == ["password"]
        assert (server.form()["username"], server.form()["password"]) == (["me"], ["hunter2"])

    def test_a_refresh_token_that_is_renewed_is_used_from_then_on(self) -> None:
        server = Server(
            httpx.Response(200, json={"access_token": "t1", "refresh_token": "refresh-2"}), token("t2")
        )

        async def work(desk: Desk) -> None:
            await desk.challenged(PULL)
            await desk.challenged(scopes.pull("b"))

        at_desk(server, work, IDENTITY)
        assert [server.form(n)["refresh_token"] for n in (0, 1)] == [["refresh-1"], ["refresh-2"]]

    def test_refresh_tokens_that_are_good_once_are_used_one_after_the_other(self) -> None:
        good = ["refresh-1"]

        def give(request: httpx.Request) -> httpx.Response:
            if parse_qs(request.content.decode())["refresh_token"] != good:
                return httpx.Response(401)
            good[0] = f"refresh-{len(server.requests) + 1}"
            return httpx.Response(200, json={"access_token": "t", "refresh_token": good[0]})

        server = Server(give)

        async def work(desk: Desk) -> list[str | None]:
            await desk.challenged("")
            return await asyncio.gather(*(desk.auth.header(scopes.pull(f"r{n}")) for n in range(20)))

        assert at_desk(server, work, IDENTITY) == ["Bearer t"] * 20
        assert len(server.requests) == 21

    @pytest.mark.parametrize(
        "realm",
        [
            "https://quay.test/v2/auth",
            "https://auth.test/v2",
            "https://registry.test/v2/a/blobs/uploads/",
            "https://registry.test/%76%32/a/blobs/uploads/",
            "https://registry.test/x/../v2/a/blobs/uploads/",
        ],
    )
    def test_nothing_is_posted_to_what_may_be_a_registrys_api(self, realm: str) -> None:
        server = Server(token())

        async def work(desk: Desk) -> None:
            await desk.challenged(header=f'Bearer realm="{realm}"')

        at_desk(server, work, IDENTITY)
        assert server.methods == ["GET"]

    def test_the_transport_lets_nothing_else_out(self) -> None:
        server = Server(token())

        async def work() -> None:
            async with httpx.AsyncClient(transport=TokenTransport(httpx.MockTransport(server))) as http:
                for method in ("PUT", "DELETE", "PATCH", "POST", "HEAD"):
                    with pytest.raises(WriteRefusedError):
                        await http.request(method, REALM, content=b"{}")
                with pytest.raises(WriteRefusedError):
                    await http.post("https://auth.test/v2/a/blobs/uploads/", data={"grant_type": "password"})
                await http.post(REALM, data={"grant_type": "password"})

        asyncio.run(work())
        assert server.methods == ["POST"]


class TestLifetimes:
    def uses(self, *answers: httpx.Response, after: Iterable[float]) -> int:
        """Return how often a token is fetched when it is needed after these seconds."""
        server = Server(*answers)

        async def work(desk: Desk) -> None:
            await desk.challenged()
            for seconds in after:
                desk.now = 1000.0 + seconds
                await desk.auth.header(PULL)

        at_desk(server, work)
        return len(server.requests)

    def test_a_token_is_renewed_before_it_ends(self) -> None:
        assert self.uses(token(expires_in=300), after=[200, 239]) == 1
        assert self.uses(token(expires_in=300), after=[200, 241]) == 2

    @pytest.mark.parametrize("stated", [None, 0, -1, "300", True, [], 1e400])
    def test_without_a_lifetime_it_is_a_minute(self, stated: object) -> None:
        body = '{"token":"t"}' if stated is None else json.dumps({"token": "t", "expires_in": stated})
        answer = httpx.Response(200, content=body.replace("Infinity", "-1e400").encode())
        assert self.uses(answer, after=[47]) == 1
        assert self.uses(answer, after=[49]) == 2

    def test_a_token_that_was_made_earlier_ends_earlier(self) -> None:
        """Some servers keep tokens and give them out again; their own clock says how old it is."""
        answer = httpx.Response(
            200,
            json={"token": "t", "expires_in": 300, "issued_at": "2026-11-24T12:00:00.123456789Z"},
            headers={"Date": "Tue, 24 Nov 2026 12:03:20 GMT"},
        )
        assert self.uses(answer, after=[79]) == 1
        assert self.uses(answer, after=[81]) == 2

    @pytest.mark.parametrize("issued", ["2027-01-01T00:00:00Z", "yesterday", 5, None])
    def test_a_date_that_makes_no_sense_counts_for_nothing(self, issued: object) -> None:
        answer = httpx.Response(
            200,
            json={"token": "t", "expires_in": 300, "issued_at": issued},
            headers={"Date": "Tue, 24 Nov 2026 12:03:20 GMT"},
        )
        assert self.uses(answer, after=[239]) == 1


class TestSharing:
    def test_fifty_that_wait_share_one_token(self) -> None:
        server = Server(token())

        async def work(desk: Desk) -> list[str | None]:
            await desk.auth.learn([CHALLENGE], PULL, None)
            return await asyncio.gather(*(desk.auth.header(PULL) for _ in range(50)))

        assert at_desk(server, work) == ["Bearer t"] * 50
        assert len(server.requests) == 1

    def test_fifty_that_wait_share_one_failure_and_the_next_asks_again(self) -> None:
        desks: list[Desk] = []

        def fail(_request: httpx.Request) -> httpx.Response:
            desks[0].now += 1.0
            return httpx.Response(503)

        server = Server(fail, token())

        async def work(desk: Desk) -> list[Any]:
            desks.append(desk)
            await desk.auth.learn([CHALLENGE], PULL, None)
            asked = (desk.auth.header(PULL) for _ in range(50))
            found = await asyncio.gather(*asked, return_exceptions=True)
            assert len(server.requests) == 1
            assert await desk.auth.header(PULL) == "Bearer t"
            return found

        assert {type(each) for each in at_desk(server, work)} == {ServerError}

    def test_each_login_has_tokens_of_its_own(self) -> None:
        class Two(OneLogin):
            async def find(
                self, repository: str | None, *, refused: Credentials | None = None
            ) -> Credentials | None:
                return PASSWORD if repository == "a" else Credentials("test", "you", "hunter3")

        server = Server(token("mine"), token("yours"))

        async def work(desk: Desk) -> tuple[str | None, str | None]:
            return await desk.challenged(PULL), await desk.challenged(scopes.pull("b"))

        assert at_desk(server, work, Two()) == ("Bearer mine", "Bearer yours")
        assert [server.query(n)[-1] for n in (0, 1)] == [("account", "me"), ("account", "you")]

    def test_tokens_of_ten_thousand_repositories_are_not_all_kept(self) -> None:
        server = Server(token())

        async def work(desk: Desk) -> int:
            await desk.challenged()
            for number in range(700):
                await desk.auth.header(scopes.pull(f"r{number}"))
            return len(desk.auth._passes)

        assert at_desk(server, work) <= 512


class TestMore:
    """A registry refuses a token, and names what it should be good for."""

    async def refused(self, desk: Desk, scope: str, named: str) -> None:
        sent = await desk.challenged(scope)
        header = f'{CHALLENGE},scope="{named}",error="insufficient_scope"'
        assert await desk.auth.learn([header], scope, sent)
        await desk.auth.header(scope)

    @pytest.mark.parametrize(
        ("named", "asked"),
        [
            ("repository:a:delete", ["repository:a:pull,delete"]),
            ("repository:a:*", ["repository:a:pull,delete,*"]),
            ("repository:a:delete,metadata_write", ["repository:a:pull,delete,metadata_write"]),
            ("repository:team/a:delete", ["repository:team/a:delete", "repository:a:pull,delete"]),
        ],
    )
    def test_the_union_is_asked_for(self, named: str, asked: list[str]) -> None:
        server = Server(token("t1"), token("t2"))
        at_desk(server, lambda desk: self.refused(desk, scopes.delete("a"), named))
        assert [value for name, value in server.query() if name == "scope"] == asked

    def test_one_form_holds_them_all(self) -> None:
        server = Server(token("t1"), token("t2"))
        at_desk(server, lambda desk: self.refused(desk, PULL, "repository:team/a:pull"), IDENTITY)
        assert server.form()["scope"] == ["repository:team/a:pull repository:a:pull"]

    def test_what_one_repository_needed_the_others_are_asked_for_at_once(self) -> None:
        server = Server(token("t1"), token("t2"), token("t3"), token("t4"))

        async def work(desk: Desk) -> None:
            await self.refused(desk, scopes.delete("a"), "repository:a:*")
            await desk.auth.header(scopes.delete("b"))
            await desk.auth.header(scopes.pull("b"))

        at_desk(server, work)
        assert dict(server.query(2))["scope"] == "repository:b:pull,delete,*"
        assert dict(server.query(3))["scope"] == "repository:b:pull"

    def test_a_challenge_without_a_token_widens_nothing(self) -> None:
        """GHCR's names a made-up repository; what a registry asks for before it saw a token is not wanted."""
        server = Server(token())

        async def work(desk: Desk) -> None:
            await desk.challenged("", f'{CHALLENGE},scope="repository:user/image:pull"')

        at_desk(server, work)
        assert server.query() == [("service", "reg"), ("account", "me")]

    def test_a_registry_that_always_names_one_more_is_not_followed_for_ever(self) -> None:
        server = Server(token())

        async def work(desk: Desk) -> None:
            for number in range(200):
                await self.refused(desk, PULL, f"repository:{'x' * 50}{number}:pull")

        at_desk(server, work)
        assert len(str(server.requests[-1].url)) < 8192

    def test_a_403_for_a_scope(self) -> None:
        server = Server(token("t1"), token("t2"))

        async def work(desk: Desk) -> list[bool]:
            sent = await desk.challenged(scopes.delete("a"))
            more = f'{CHALLENGE},scope="repository:a:*",error="insufficient_scope"'
            same = f'{CHALLENGE},scope="repository:a:delete",error="insufficient_scope"'
            return [await desk.auth.learn_denied([each], scopes.delete("a"), sent) for each in (same, more)]

        assert at_desk(server, work) == [False, True]


class TestAnswers:
    @pytest.mark.parametrize(
        ("answer", "error"),
        [
            (httpx.Response(401), AuthenticationError),
            (httpx.Response(403), AuthenticationError),
            (httpx.Response(400), AuthenticationError),
            (httpx.Response(429, headers={"Retry-After": "7"}), ThrottledError),
            (httpx.Response(502), ServerError),
            (httpx.Response(404), ProtocolError),
            (httpx.Response(200, content=b"<html>"), ProtocolError),
            (httpx.Response(200, json={"token": ""}), ProtocolError),
            (httpx.Response(200, json={"token": "a\r\nb"}), ProtocolError),
            (httpx.Response(200, json=[]), ProtocolError),
            (httpx.Response(200, content=b" " * 2_000_000), ProtocolError),
            (httpx.Response(200, json={"token": "a" * 70_000}), ProtocolError),
        ],
    )
    def test_what_is_no_token_is_an_error_that_names_both(
        self, answer: httpx.Response, error: type[RegistryError]
    ) -> None:
        with pytest.raises(error) as caught:
            at_desk(Server(answer), ask, None)
        assert caught.value.message.startswith("https://registry.test: the token server auth.test")
        if isinstance(caught.value, ThrottledError):
            assert caught.value.retry_after == 7.0
        if error is AuthenticationError:
            assert PULL in caught.value.message

    def test_either_name_of_the_token(self) -> None:
        for body in ({"token": "t"}, {"access_token": "t"}, {"token": "t", "access_token": "u"}):
            assert at_desk(Server(httpx.Response(200, json=body)), ask) == "Bearer t"


class TestWhere:
    """Where the login goes."""

    def test_another_host_without_tls_has_to_be_named(self) -> None:
        server = Server(token())

        async def work(desk: Desk) -> str | None:
            return await desk.challenged(header='Bearer realm="http://auth.internal:8080/token"')

        with pytest.raises(AuthenticationError, match="without TLS") as caught:
            at_desk(server, work)
        assert "token_hosts: [auth.internal:8080]" in (caught.value.hint or "")
        with pytest.raises(AuthenticationError):
            at_desk(server, work, hosts=["auth.internal:9090", "internal"])
        assert server.requests == []
        for named in ("auth.internal", "auth.internal:8080"):
            assert at_desk(server, work, hosts=[named]) == "Bearer t"

    @pytest.mark.parametrize(
        ("url", "realm", "allowed"),
        [
            ("https://registry.test", "https://elsewhere.test/token", True),
            ("https://registry.test", "http://registry.test/token", False),
            ("http://registry.test", "http://registry.test:5001/token", True),
            ("http://registry.test", "http://other.test/token", False),
            ("https://registry.test", "http://127.0.0.1:5001/token", True),
            ("https://registry.test", "http://localhost.evil.test/token", False),
            ("https://registry.test", "http://127.0.0.1.evil.test/token", False),
            ("https://registry.test", "http://[::1]:5001/token", True),
        ],
    )
    def test_tls_or_this_machine_or_as_the_registry_itself(self, url: str, realm: str, allowed: bool) -> None:
        async def work(desk: Desk) -> None:
            await desk.challenged(header=f'Bearer realm="{realm}"')

        server = Server(token())
        if allowed:
            at_desk(server, work, url=url)
        else:
            with pytest.raises(AuthenticationError):
                at_desk(server, work, url=url)
        assert len(server.requests) == allowed

    @pytest.mark.parametrize(
        ("location", "followed"),
        [
            ("/other", True),
            ("https://auth.test/other", True),
            ("https://evil.test/token", False),
            ("http://auth.test/token", False),
            ("https://auth.test:444/token", True),
            ("//evil.test/", False),
            ("ftp://auth.test/", False),
            ("https://[", False),
        ],
    )
    def test_a_redirect_takes_the_login_to_no_other_host(self, location: str, followed: bool) -> None:
        server = Server(httpx.Response(307, headers={"Location": location}), token())
        if followed:
            assert at_desk(server, ask) == "Bearer t"
            assert server.requests[1].headers["Authorization"] == server.requests[0].headers["Authorization"]
        else:
            with pytest.raises(AuthenticationError, match="redirects to another host"):
                at_desk(server, ask)
            assert len(server.requests) == 1

    def test_a_form_is_redirected_nowhere(self) -> None:
        server = Server(httpx.Response(307, headers={"Location": "/other"}))
        with pytest.raises(ProtocolError, match="307"):
            at_desk(server, ask, IDENTITY)
        assert server.methods == ["POST"]

    def test_circles_end(self) -> None:
        server = Server(httpx.Response(302, headers={"Location": "/token"}))
        with pytest.raises(ProtocolError, match="in circles"):
            at_desk(server, ask)
        assert len(server.requests) < 5


def test_a_token_of_ones_own_that_is_refused_is_final() -> None:
    async def work(desk: Desk) -> bool:
        sent = await desk.challenged()
        assert sent == "Bearer static"
        return await desk.auth.learn([CHALLENGE], PULL, sent)

    server = Server(token())
    assert at_desk(server, work, Credentials("test", token="static")) is False
    assert server.requests == []


class Changing(OneLogin):
    """A login that is another one as soon as it was refused."""

    async def find(self, repository: str | None, *, refused: Credentials | None = None) -> Credentials | None:
        if refused == PASSWORD:
            object.__setattr__(self, "credentials", Credentials("test", "me", "changed"))
        return self.credentials


class TestChangedLogins:
    """Passwords are rotated under a daemon, and those of cloud registries' helpers end after hours."""

    def test_a_token_server_is_shown_the_new_one_once(self) -> None:
        server = Server(httpx.Response(401), token())
        assert at_desk(server, ask, Changing(PASSWORD)) == "Bearer t"
        assert len(server.requests) == 2

    def test_a_new_one_that_is_refused_as_well_is_final(self) -> None:
        server = Server(httpx.Response(401))
        with pytest.raises(AuthenticationError):
            at_desk(server, ask, Changing(PASSWORD))
        assert len(server.requests) == 2

    def test_a_registry_is_shown_the_new_one(self) -> None:
        async def work(desk: Desk) -> list[object]:
            basic = 'Basic realm="x"'
            old = await desk.challenged(PULL, basic)
            again = await desk.auth.learn([basic], PULL, old)
            new = await desk.auth.header(PULL)
            return [again, new != old, await desk.auth.learn([basic], PULL, new)]

        assert at_desk(Server(token()), work, Changing(PASSWORD)) == [True, True, False]
