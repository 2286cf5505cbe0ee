"""Whatever a registry or a token server sends, it is read, or refused with an error that is documented."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reaper.core.errors import ReaperError
from reaper.core.manifest import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    DOCKER_SCHEMA1_SIGNED,
    MANIFEST_TYPES,
    OCI_ARTIFACT,
    OCI_INDEX,
    OCI_MANIFEST,
    Manifest,
    ManifestError,
    parse_config,
    parse_manifest,
)
from reaper.core.reference import digest_of, is_digest, is_repository, is_tag
from reaper.registry import (
    NO_LOGIN,
    Credentials,
    Logins,
    OneLogin,
    Patience,
    ProtocolError,
    RegistryClient,
    RegistryError,
    RegistryOptions,
    parse_address,
)
from reaper.registry import exchange as exchange_module
from reaper.registry.auth import Authenticator
from reaper.registry.challenge import parse_challenges
from reaper.registry.failures import retry_after
from reaper.registry.tokens import TokenServers

DIGEST = digest_of(b"x")
OTHER = "sha512:" + "ab" * 64
WORDS = """
schemaVersion mediaType config layers manifests blobs subject fsLayers blobSum annotations artifactType
digest size platform os architecture variant created org.opencontainers.image.created Manifests MediaType
token access_token expires_in repositories tags name errors code message
"""
KEYS = WORDS.split()
TEXTS = [
    *MANIFEST_TYPES,
    DIGEST,
    OTHER,
    "sha256:x",
    "linux",
    "../..",
    "\x1b[2J",
    "\ud800",
    "a\x00b",
    "\u202e",
    "x" * 300,
    "2026-01-02T03:04:05Z",
    "0001-01-01T00:00:00+23:59",
    "9999-12-31T23:59:59-23:59",
    "2026-02-30T00:00:00Z",
    "2026-01-02T03:04:05+99:99",
]
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([-1, 0, 1, 2**63, 10**400]),
    st.floats(),
    st.sampled_from(TEXTS),
    st.text(max_size=5),
)
DESCRIPTORS = st.fixed_dictionaries(
    {"digest": st.sampled_from([DIGEST, OTHER])},
    optional={"size": LEAVES, "mediaType": LEAVES, "platform": LEAVES, "Digest": LEAVES},
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.one_of(LEAVES, DESCRIPTORS),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(KEYS), inner, max_size=4)
    ),
    max_leaves=8,
)
DOCUMENTS = st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=6)


@st.composite
def contents(draw: st.DrawFn) -> bytes:
    """JSON, mostly: as it is, cut, with a stretch repeated, or with bytes that are none of UTF-8."""
    text = json.dumps(draw(st.one_of(DOCUMENTS, VALUES)), ensure_ascii=draw(st.booleans()))
    content = text.encode(errors="surrogatepass")
    if draw(st.booleans()):
        return content
    start = draw(st.integers(0, len(content)))
    end = draw(st.integers(start, min(len(content), start + 20)))
    put = draw(
        st.sampled_from([b"", content[start:end] * 2, b"\xff", b"\x00", b"{", b"]", b",", b'"', b"1e999"])
    )
    return content[:start] + put + content[end:]


def check_error(error: ReaperError, *, names: str = "") -> None:
    """Check that an error is one line that a person can read."""
    assert error.message.isprintable()
    assert names in error.message
    assert len(error.message) < 800


def check(manifest: Manifest) -> None:
    """Check that what was read is fit for the store, the planner and the report."""
    listed = [*manifest.blobs, *manifest.children]
    assert all(is_digest(each.digest) and 0 <= each.size < 2**63 for each in listed)
    assert all(is_digest(digest) for digest in manifest.mentions)
    assert manifest.subject is None or is_digest(manifest.subject)
    shown = [manifest.media_type, manifest.artifact_type or "", *(each.media_type for each in listed)]
    shown += [each.platform or "" for each in listed]
    assert all(text.isprintable() and text.isascii() and len(text) < 256 for text in shown)
    assert manifest.created_annotation is None or manifest.created_annotation < datetime.max.replace(
        tzinfo=UTC
    )


@given(
    content=st.one_of(contents(), st.binary(max_size=60)),
    media_type=st.sampled_from([*MANIFEST_TYPES, "application/json", "x/unknown; a=b", ""]),
)
@example(content=b'{"config":{"digest":"%b","size":1}}' % DIGEST.encode(), media_type=OCI_MANIFEST)
@example(content=b'{"manifests":[]}', media_type=OCI_INDEX)
@example(content=b'{"manifests":[]}', media_type=DOCKER_LIST)
@example(content=b"{}", media_type=DOCKER_MANIFEST)
@example(content=b'{"fsLayers":[]}', media_type=DOCKER_SCHEMA1_SIGNED)
@example(content=b'{"blobs":[]}', media_type=OCI_ARTIFACT)
def test_a_manifest_is_read_or_refused(content: bytes, media_type: str) -> None:
    try:
        manifest = parse_manifest(content, media_type, DIGEST)
    except ManifestError as error:
        check_error(error, names=DIGEST)
    else:
        check(manifest)
        assert manifest == parse_manifest(content, media_type, DIGEST)


@given(content=st.one_of(contents(), st.binary(max_size=60)))
def test_a_config_is_read_or_says_nothing(content: bytes) -> None:
    found = parse_config(content)
    assert found.platform is None or (found.platform.isprintable() and found.platform.isascii())
    assert found.created is None or found.created.tzinfo is not None


TOKENS = st.text("abz09!#$%&'*+-.^_`|~", min_size=1, max_size=6)
QUOTED = st.text('ab \\",=()/\t\u00e9', max_size=8)


@st.composite
def challenges(draw: st.DrawFn) -> tuple[str, list[tuple[str, dict[str, str]]]]:
    """A header line by the grammar, and what it says."""
    said = draw(
        st.lists(
            st.tuples(TOKENS, st.dictionaries(TOKENS.map(str.lower), QUOTED, min_size=1, max_size=3)),
            min_size=1,
            max_size=3,
        )
    )
    lines = []
    for scheme, parameters in said:
        quoted = [
            f"{name}{draw(st.sampled_from(['=', ' = ']))}"
            + '"{}"'.format(value.replace("\\", "\\\\").replace('"', '\\"'))
            for name, value in parameters.items()
        ]
        lines.append(f"{scheme} {draw(st.sampled_from([',', ', ', ' , ,'])).join(quoted)}")
    return ", ".join(lines), [(scheme.lower(), parameters) for scheme, parameters in said]


@given(said=challenges())
def test_challenges_by_the_grammar_are_read(said: tuple[str, list[tuple[str, dict[str, str]]]]) -> None:
    header, expected = said
    assert [(found.scheme, found.parameters) for found in parse_challenges([header])] == expected


@given(headers=st.lists(st.text('Bearrealm="\\,= /:\t\x00é', max_size=60), max_size=3))
@example(headers=['Bearer realm="' + "\\" * 10_000])
@example(headers=["," * 16_000])
@example(headers=['a="b", ' * 2_000])
def test_any_challenge_is_read_or_left_out(headers: list[str]) -> None:
    for challenge in parse_challenges(headers):
        assert challenge.scheme == challenge.scheme.lower() != ""
        assert all(name == name.lower() != "" for name in challenge.parameters)


HEADERS = st.text(
    st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=60
)


class Answers(httpx.AsyncBaseTransport):
    """Answers each request with the next of some responses, and the last one for good."""

    def __init__(self, *responses: httpx.Response) -> None:
        self._responses = list(responses)
        self.requests: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        response = self._responses.pop(0) if len(self._responses) > 1 else self._responses[0]
        return httpx.Response(response.status_code, headers=response.headers.raw, content=response.content)


def ask(transport: Answers, what: str, logins: Logins = NO_LOGIN) -> list[str]:
    """Ask a client whose network is ``transport`` for a listing."""

    async def run() -> list[str]:
        options = RegistryOptions(parse_address("http://registry.test"), logins=logins, attempts=1)
        async with RegistryClient(options) as client:
            if what == "tags":
                return await client.tags("a")
            return [name async for name in client.repositories()]

    # The wire itself is what is fuzzed: nothing below httpx takes part.
    with pytest.MonkeyPatch.context() as patch:
        for name in ("build_http", "build_token_http"):
            patch.setattr(exchange_module, name, lambda *_a, **_k: httpx.AsyncClient(transport=transport))
        return asyncio.run(run())


@st.composite
def links(draw: st.DrawFn) -> bytes:
    """A Link header: nearly what it should be, or any text."""
    target = draw(
        st.one_of(
            st.sampled_from(
                [
                    "/v2/a/tags/list?last=x",
                    "?last=y",
                    "http://registry.test/v2/z",
                    "https://registry.test/v2/z",
                    "http://registry.test:99999/",
                    "http://[::1",
                    "//evil.example/v2/",
                    "javascript:alert(1)",
                    "http://registry.test@evil.example/",
                    "\\\\evil.example",
                ]
            ),
            HEADERS,
        )
    )
    form = draw(
        st.sampled_from(['<{}>; rel="next"', "<{}>; rel=next", "<{}>;rel=next;x", "{}", "<{}", "<{}>, <{}>"])
    )
    return form.replace("{}", target).encode("latin-1")


@given(link=links())
def test_a_link_is_followed_on_the_registry_or_refused(link: bytes) -> None:
    first = httpx.Response(200, headers=[(b"Link", link)], content=b'{"tags":["v1"]}')
    transport = Answers(first, httpx.Response(200, content=b'{"tags":["v2"]}'))
    try:
        found = ask(transport, "tags")
    except ProtocolError as error:
        check_error(error)
    else:
        assert found in (["v1"], ["v1", "v2"])
    assert {(request.url.scheme, request.url.host) for request in transport.requests} == {
        ("http", "registry.test")
    }


@given(content=contents(), what=st.sampled_from(["tags", "repositories"]))
def test_a_listing_is_read_or_refused(content: bytes, what: str) -> None:
    try:
        found = ask(Answers(httpx.Response(200, content=content)), what)
    except RegistryError as error:
        check_error(error)
    else:
        assert all((is_tag if what == "tags" else is_repository)(name) for name in found)


@given(
    status=st.sampled_from([200, 201, 301, 302, 307, 308, 400, 401, 403, 404, 405, 418, 429, 500, 501, 503]),
    headers=st.lists(
        st.tuples(
            st.sampled_from(
                [
                    "Location",
                    "Link",
                    "Retry-After",
                    "WWW-Authenticate",
                    "Content-Type",
                    "Content-Length",
                    "Allow",
                ]
            ),
            HEADERS,
        ),
        max_size=3,
    ),
    content=st.one_of(st.just(b""), contents()),
)
def test_any_answer_is_read_or_refused(status: int, headers: list[tuple[str, str]], content: bytes) -> None:
    raw = [(name.encode(), value.strip().encode("latin-1")) for name, value in headers]
    transport = Answers(httpx.Response(status, headers=raw, content=content))
    try:
        found = ask(transport, "tags")
    except RegistryError as error:
        check_error(error)
    else:
        assert all(is_tag(name) for name in found)
    assert len(transport.requests) < 20
    assert {request.url.host for request in transport.requests} == {"registry.test"}


@given(
    value=st.one_of(
        HEADERS, st.sampled_from(["9" * 50, "Fri, 31 Dec 9999 23:59:59 -2359", "Mon, 1 Jan 1 1:1:1 GMT"])
    )
)
def test_a_pause_is_a_number_or_none(value: str) -> None:
    pause = retry_after(httpx.Headers([(b"Retry-After", value.encode("latin-1"))]))
    assert pause is None or pause >= 0


@given(content=st.one_of(contents(), DOCUMENTS.map(lambda d: json.dumps({"token": "t", **d}).encode())))
@example(content=b'{"token":"t","expires_in":1' + b"0" * 400 + b"}")
@example(content=b'{"token":"t","expires_in":NaN}')
@example(content=b'{"token":"a\\r\\nX-Injected: 1"}')
def test_a_token_is_read_or_refused(content: bytes) -> None:
    async def token() -> str | None:
        async with httpx.AsyncClient(transport=Answers(httpx.Response(200, content=content))) as http:
            address = parse_address("http://registry.test")
            servers = TokenServers(http, address, clock=lambda: 0.0, patience=Patience())
            auth = Authenticator(servers, address, NO_LOGIN, clock=lambda: 0.0)
            assert await auth.learn(['Bearer realm="http://registry.test/token"'], "scope", None)
            return await auth.header("scope")

    try:
        found = asyncio.run(token())
    except RegistryError as error:
        check_error(error)
    else:
        assert found is not None
        assert found.isprintable()
        assert found.isascii()


@given(
    realm=st.one_of(
        HEADERS, st.sampled_from(["http://[", "https://a:x/", "http://evil.example", "https://a@b/"])
    )
)
def test_any_realm_is_asked_or_refused(realm: str) -> None:
    quoted = realm.replace("\\", "\\\\").replace('"', '\\"')
    transport = Answers(
        httpx.Response(401, headers=[(b"WWW-Authenticate", f'Bearer realm="{quoted}"'.encode("latin-1"))]),
        httpx.Response(200, content=b'{"token":"t"}'),
    )
    try:
        ask(transport, "tags")
    except RegistryError as error:
        check_error(error)
    for request in transport.requests:
        assert request.url.host == "registry.test" or request.url.scheme == "https" or _is_local(request)


@given(
    location=st.one_of(
        HEADERS,
        st.sampled_from(
            [
                "http://[",
                "//evil.example/",
                "http://a:b@registry.test/",
                "https://registry.test/t",
                "/t",
                "A:0",
            ]
        ),
    )
)
def test_any_redirect_of_a_token_server_keeps_the_login_where_it_is(location: str) -> None:
    transport = Answers(
        httpx.Response(401, headers={"WWW-Authenticate": 'Bearer realm="http://registry.test/token"'}),
        httpx.Response(307, headers=[(b"Location", location.strip().encode("latin-1"))]),
        httpx.Response(200, content=b'{"token":"t"}'),
    )
    try:
        ask(transport, "tags", OneLogin(Credentials("test", "me", "hunter2")))
    except RegistryError as error:
        check_error(error)
    assert {request.url.host for request in transport.requests} == {"registry.test"}
    assert len(transport.requests) < 20


@given(named=st.one_of(HEADERS, st.text("repository:a,pull*/ ", max_size=60)))
def test_any_scope_that_a_registry_names_is_asked_for_or_left_out(named: str) -> None:
    quoted = named.replace("\\", "\\\\").replace('"', '\\"')
    refusal = httpx.Response(
        401,
        headers=[
            (
                b"WWW-Authenticate",
                f'Bearer realm="http://registry.test/token",scope="{quoted}"'.encode("latin-1"),
            )
        ],
    )
    given_token = httpx.Response(200, content=b'{"token":"t"}')
    transport = Answers(refusal, given_token, refusal, given_token, refusal)
    with pytest.raises(RegistryError) as caught:
        ask(transport, "tags")
    check_error(caught.value)
    asked = [
        request.url.params.get_list("scope") for request in transport.requests if request.url.path == "/token"
    ]
    assert asked[0] == ["repository:a:pull"]
    assert len(asked) == 2
    assert "repository:a:pull" in asked[1][-1]
    assert len(asked[1]) <= 9


def _is_local(request: httpx.Request) -> bool:
    return request.url.host in ("localhost", "::1") or request.url.host.startswith("127.")
