"""What each product's documented answers are read as, and what is made of answers of another kind."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import pytest
from aiohttp import web

from reaper.core.product_times import DigestTime, RepositoryTimes, TagTime
from reaper.registry import (
    AuthenticationError,
    Credentials,
    DeniedError,
    OneLogin,
    ProtocolError,
    RegistryError,
    ServerError,
    TooLargeError,
    UnsupportedError,
    parse_address,
)
from reaper.registry.products import AUTO, Fact, Product, ProductOptions, find
from tests.registry.fake import Fake, with_fake
from tests.registry.products.server import (
    ONE,
    TWO,
    USER,
    ProductServer,
    Route,
    answer,
    client,
    in_pages,
    is_user,
    shape,
)

Result = TypeVar("Result")
JANUARY = datetime(2026, 1, 10, 8, tzinfo=UTC)
FEBRUARY = datetime(2026, 2, 20, 8, tzinfo=UTC)
MARCH = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
NEVER = datetime(1, 1, 1, tzinfo=UTC)
SEARCH = "/v2/_zot/ext/search"
ARTIFACTS = "/api/v2.0/projects/team/repositories/services%252Fapi/artifacts"
TAGS_OF = {
    "quay": "/api/v1/repository/team/services/api/tag/",
    "gitlab": "/gitlab/v1/repositories/team/services/api/tags/list/",
    "acr": "/acr/v1/team/services/api/_tags",
    "harbor": ARTIFACTS,
    "zot": SEARCH,
}
MANIFESTS = "/acr/v1/team/services/api/_manifests"
IN_GITLAB = {"Gitlab-Container-Registry-Version": "4.15.0-gitlab"}


def zot(images: Any = None, fields: Any = None) -> dict[str, Route]:
    def search(request: web.Request) -> web.StreamResponse:
        if "__type" in request.query["query"]:
            return answer(shape("zot_fields") if fields is None else fields)
        return answer(shape("zot_images") if images is None else images)

    return {SEARCH: search}


def harbor(artifacts: Route | None = None) -> dict[str, Route]:
    def guarded(route: Route) -> Route:
        return lambda request: route(request) if is_user(request) else answer([], **{"X-Total-Count": "0"})

    return {
        "/api/v2.0/systeminfo": lambda _: answer(shape("harbor_systeminfo")),
        ARTIFACTS: guarded(artifacts or in_pages(shape("harbor_artifacts"), 1)),
        "/api/v2.0/repositories": guarded(in_pages(shape("harbor_repositories"), 1)),
    }


def quay(tags: Route | None = None) -> dict[str, Route]:
    return {
        "/api/v1/discovery": lambda _: answer(shape("quay_discovery")),
        TAGS_OF["quay"]: tags or (lambda _: answer(shape("quay_tags"))),
    }


def gitlab(tags: Route | None = None) -> dict[str, Route]:
    return {
        "/gitlab/v1/": lambda _: answer({}, **IN_GITLAB),
        TAGS_OF["gitlab"]: tags or (lambda _: answer(shape("gitlab_tags"))),
    }


def acr(tags: Route | None = None) -> dict[str, Route]:
    return {
        "/acr/v1/_catalog": lambda _: answer({"repositories": ["a"]}),
        TAGS_OF["acr"]: tags or (lambda _: answer(shape("acr_tags"))),
        MANIFESTS: lambda _: answer(shape("acr_manifests")),
    }


ROUTES: dict[str, Callable[..., dict[str, Route]]] = {
    "zot": zot,
    "harbor": harbor,
    "quay": quay,
    "gitlab": gitlab,
    "acr": acr,
}


def ask(
    server: ProductServer,
    work: Callable[[Product], Coroutine[Any, Any, Result]],
    options: ProductOptions,
    *,
    login: Credentials | None = USER,
) -> Result:
    """Return what ``work`` returns of the product that is found."""

    async def run(fake: Fake) -> Result:
        async with client(fake, options, login=login) as registry:
            product = await registry.product()
            assert product is not None
            return await work(product)

    found = with_fake(server, run)
    assert {method for method, _ in server.sent} <= {"GET", "HEAD"}
    return found


def times(name: str, server: ProductServer) -> RepositoryTimes:
    """Return what the product says of a repository whose name has two slashes."""
    return ask(server, lambda product: product.times("team/services/api"), ProductOptions(name))


def test_zot() -> None:
    found = times("zot", ProductServer(zot()))
    tagged = datetime(2026, 2, 1, 8, tzinfo=UTC)
    assert found.tags == {"1.0": TagTime(ONE, tagged), "latest": TagTime(ONE, FEBRUARY), "2.0": TagTime(TWO)}
    pushed = JANUARY.replace(microsecond=123456)
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    assert found.digests == {ONE: DigestTime(pushed, MARCH), TWO: DigestTime(FEBRUARY, epoch)}
    assert found.believable(MARCH).digests[TWO].pulled is None, "1970 is zot's way to say never"


def test_zot_is_read_page_by_page() -> None:
    whole = shape("zot_images")["data"]["ImageList"]["Results"]
    offsets = []

    def search(request: web.Request) -> web.StreamResponse:
        query = request.query["query"]
        if "__type" in query:
            return answer(shape("zot_fields"))
        assert 'repo:"team/services/api"' in query
        offset = int(query.partition("offset:")[2].partition(",")[0])
        offsets.append(offset)
        page = {"Page": {"TotalCount": 3}, "Results": whole[offset : offset + 2]}
        return answer({"data": {"ImageList": page}})

    assert times("zot", ProductServer({SEARCH: search})).tags.keys() == {"1.0", "latest", "2.0"}
    assert offsets == [0, 2]


@pytest.mark.parametrize(
    ("fields", "reads"),
    [
        (["Tag", "PushTimestamp", "LastPullTimestamp"], {Fact.PUSHED, Fact.PULLED}),
        (["Tag", "LastUpdated"], set()),
        (None, set()),
    ],
)
def test_a_zot_is_asked_only_for_what_its_version_has(fields: list[str] | None, reads: set[Fact]) -> None:
    schema = {"data": {"__type": {"fields": [{"name": name} for name in fields or ()]}}}
    if fields is None:
        schema = {"errors": [{"message": "introspection disabled"}], "data": None}  # type: ignore[dict-item]  # as sent

    async def work(product: Product) -> frozenset[Fact]:
        if product.reads:
            await product.times("a")
        return product.reads

    server = ProductServer(zot(fields=schema))
    assert ask(server, work, ProductOptions("zot")) == reads
    assert not any("TaggedTimestamp" in path for _, path in server.sent)


def test_harbor() -> None:
    server = ProductServer(harbor(), service="harbor-registry")
    found = times("harbor", server)
    assert found.tags == {
        "1.0": TagTime(ONE, JANUARY + timedelta(seconds=1)),
        "latest": TagTime(ONE, FEBRUARY),
    }
    pushed = JANUARY.replace(microsecond=123000)
    assert found.digests[ONE] == DigestTime(pushed, datetime(2026, 3, 2, 9, 30, tzinfo=UTC)), (
        "the tag's pull too"
    )
    assert found.digests[TWO] == DigestTime(FEBRUARY, NEVER)
    assert found.believable(MARCH).digests[TWO].pulled is None, "year 1 is Harbor's way to say never"
    assert server.paths().count(ARTIFACTS) == 2, "both pages, with the name's slash encoded twice"


def test_harbor_lists_repositories_of_all_projects() -> None:
    async def names(product: Product) -> list[str]:
        return [name async for name in product.repositories()]

    server = ProductServer(harbor(), service="harbor-registry")
    assert ask(server, names, ProductOptions()) == ["team/services/api", "library/base"]


def test_harbor_is_shown_the_login_only_once_it_has_said_that_it_is_harbor() -> None:
    shown: list[tuple[str, bool]] = []

    def systeminfo(request: web.Request) -> web.StreamResponse:
        shown.append((request.path, "Authorization" in request.headers))
        return web.Response(text="<html>some other server</html>", content_type="text/html")

    server = ProductServer({"/api/v2.0/systeminfo": systeminfo}, service="harbor-registry")

    async def run(fake: Fake) -> None:
        async with client(fake, ProductOptions(), login=USER) as registry:
            assert await registry.product() is None

    with_fake(server, run)
    assert shown == [("/api/v2.0/systeminfo", False)]


def test_an_api_elsewhere_gets_no_login_but_its_own() -> None:
    shown = []

    def artifacts(request: web.Request) -> web.StreamResponse:
        shown.append(request.headers.get("Authorization"))
        return answer([])

    async def api(other: Fake) -> None:
        async def registry(fake: Fake) -> None:
            for logins in (None, OneLogin(Credentials("the test", username="api", password="p"))):
                options = ProductOptions("harbor", parse_address(other.url), logins)
                async with client(fake, options, login=USER) as found:
                    product = await found.product()
                    assert product is not None
                    await product.times("team/services/api")

        await asyncio_with_fake(ProductServer({}), registry)

    routes = {**harbor(), ARTIFACTS: artifacts}
    with_fake(ProductServer(routes), api)
    assert shown == [None, "Basic YXBpOnA="]


def test_quay() -> None:
    found = times("quay", ProductServer(quay()))
    assert found == RepositoryTimes({"1.0": TagTime(ONE, JANUARY), "latest": TagTime(ONE, FEBRUARY)})


def test_quay_has_a_token_of_its_own_and_pages_until_there_is_no_more() -> None:
    tags = shape("quay_tags")["tags"]
    sent = []

    def page(request: web.Request) -> web.StreamResponse:
        sent.append(request.headers.get("Authorization"))
        assert request.query["onlyActiveTags"] == "true"
        number = int(request.query["page"])
        return answer({"tags": [tags[number - 1]], "page": number, "has_additional": number < len(tags)})

    options = ProductOptions("quay", logins=OneLogin(Credentials("the test", token="oauth")))
    found = ask(ProductServer(quay(page)), lambda product: product.times("team/services/api"), options)
    assert found.tags.keys() == {"1.0", "latest"}
    assert sent == ["Bearer oauth"] * 2


def test_gitlab_says_when_a_tag_was_last_put_on_a_manifest() -> None:
    found = times("gitlab", ProductServer(gitlab()))
    first = JANUARY.replace(microsecond=412000)
    assert found == RepositoryTimes({"1.0": TagTime(ONE, first), "latest": TagTime(ONE, FEBRUARY)})


def test_gitlab_without_a_metadata_database_knows_no_times() -> None:
    server = ProductServer({"/gitlab/v1/": lambda _: web.Response(status=404, headers=IN_GITLAB)})

    async def reads(product: Product) -> tuple[str, frozenset[Fact]]:
        return product.name, product.reads

    assert ask(server, reads, ProductOptions("gitlab")) == ("gitlab", frozenset())


def test_gitlab_lists_the_repositories_of_groups_with_its_own_token() -> None:
    def listed(request: web.Request) -> web.StreamResponse:
        if request.headers.get("Authorization") != "Bearer glpat":
            return web.Response(status=401, headers={"WWW-Authenticate": "Basic"})
        return in_pages(shape("gitlab_repositories"), 1)(request)

    async def names(product: Product) -> list[str]:
        return [name async for name in product.repositories()]

    server = ProductServer(
        {**gitlab(), "/api/v4/groups/group%2Fsub/registry/repositories": listed}, service="container_registry"
    )
    logins = OneLogin(Credentials("the test", token="glpat"))
    options = ProductOptions("gitlab", logins=logins, groups=("group/sub",))
    assert ask(server, names, options) == ["group/project", "group/project/releases"]
    with pytest.raises(UnsupportedError, match="groups"):
        ask(server, names, ProductOptions())


def test_acr() -> None:
    found = times("acr", ProductServer(acr()))
    moment = JANUARY.replace(microsecond=948358)
    assert found.tags == {"1.0": TagTime(ONE, moment), "latest": TagTime(ONE, FEBRUARY)}
    assert found.digests == {ONE: DigestTime(moment)}


def test_acr_asks_for_metadata_with_that_scope() -> None:
    scopes = []

    def token(request: web.Request) -> web.StreamResponse:
        scopes.append(request.query.get("scope"))
        return answer({"access_token": "t"})

    def locked(route: Route) -> Route:
        def guard(request: web.Request) -> web.StreamResponse:
            if "Authorization" in request.headers:
                return route(request)
            challenge = f'Bearer realm="http://{request.host}/token",service="example.azurecr.io"'
            return web.Response(status=401, headers={"WWW-Authenticate": challenge})

        return guard

    routes = {path: locked(route) for path, route in acr().items()}
    times("acr", ProductServer({**routes, "/token": token}))
    assert scopes == ["registry:catalog:*", "repository:team/services/api:metadata_read"]


@pytest.mark.parametrize(
    ("service", "routes", "name"),
    [
        ("harbor-registry", harbor(), "harbor"),
        ("container_registry", gitlab(), "gitlab"),
        (None, zot(), "zot"),
        ("example.com", zot(), "zot"),
        (None, {}, None),
        ("harbor-registry", {}, None),
        ("container_registry", {}, None),
        (None, {SEARCH: lambda _: web.Response(text="<html/>", content_type="text/html")}, None),
        (None, {SEARCH: lambda _: answer([])}, None),
        (None, {SEARCH: lambda _: web.Response(status=403)}, None),
        (None, {SEARCH: lambda _: web.Response(status=405)}, None),
        (None, {**harbor(), **quay(), **acr()}, None),
    ],
)
def test_a_product_is_recognised_by_what_it_answers(
    service: str | None, routes: dict[str, Route], name: str | None
) -> None:
    server = ProductServer(routes, service=service)

    async def run(fake: Fake) -> str | None:
        async with client(fake, ProductOptions(AUTO), login=USER) as registry:
            first, second = await registry.product(), await registry.product()
            assert first is second
            return first.name if first else None

    assert with_fake(server, run) == name
    assert len([path for path in server.paths() if path not in ("/v2/", "/token")]) == 1, "one look"


def test_without_options_no_product_is_looked_for() -> None:
    server = ProductServer(zot())

    async def run(fake: Fake) -> None:
        async with client(fake, None) as registry:
            assert await registry.product() is None

    with_fake(server, run)
    assert server.sent == []


@pytest.mark.parametrize("name", ROUTES)
def test_a_product_that_the_settings_name_has_to_be_there(name: str) -> None:
    with pytest.raises(ProtocolError, match=f"is not the {name} that the settings say it is"):
        times(name, ProductServer({}))


def test_what_fails_while_it_is_found_out_is_an_error_and_asked_for_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers = [web.Response(status=500), answer(shape("zot_fields"))]
    server = ProductServer({SEARCH: lambda _: answers.pop(0)})

    async def run(fake: Fake) -> str:
        async with client(fake, ProductOptions(AUTO)) as registry:
            for _ in range(3):
                with pytest.raises(ServerError) as caught:
                    await registry.product()
                assert "`product: none`" in str(caught.value.hint)
            assert len(answers) == 1, "not for each repository"
            monkeypatch.setattr(find, "PAUSE", 0.0)
            product = await registry.product()
            assert product is not None
            return product.name

    assert with_fake(server, run) == "zot"


def _with(document: Any, *path: Any, value: Any) -> Any:
    """Return the document with one value in it replaced."""
    copy = json.loads(json.dumps(document))
    at = copy
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return copy


_IMAGES, _ARTIFACTS = shape("zot_images"), shape("harbor_artifacts")
_LIST = ("data", "ImageList")


@pytest.mark.parametrize(
    ("name", "document"),
    [
        ("zot", {"errors": [{"message": "boom"}], "data": {"ImageList": None}}),
        ("zot", {"errors": [{"message": "boom"}], **_IMAGES}),
        ("zot", {"data": None}),
        ("zot", []),
        ("zot", _with(_IMAGES, *_LIST, "Page", value=None)),
        ("zot", _with(_IMAGES, *_LIST, "Page", "TotalCount", value=4)),
        ("zot", _with(_IMAGES, *_LIST, "Page", "TotalCount", value="3")),
        ("zot", _with(_IMAGES, *_LIST, "Results", value={"a": 1})),
        ("zot", _with(_IMAGES, *_LIST, "Results", 0, "Digest", value="sha256:1")),
        ("zot", _with(_IMAGES, *_LIST, "Results", 0, "Tag", value="a b")),
        ("zot", _with(_IMAGES, *_LIST, "Results", 0, "PushTimestamp", value="yesterday")),
        ("zot", _with(_IMAGES, *_LIST, "Results", 0, "LastPullTimestamp", value=1767990000)),
        ("harbor", {"errors": [{"code": "UNKNOWN"}]}),
        ("harbor", [1]),
        ("harbor", _with(_ARTIFACTS, 0, "digest", value=None)),
        ("harbor", _with(_ARTIFACTS, 0, "push_time", value="2026-13-01T00:00:00Z")),
        ("harbor", _with(_ARTIFACTS, 0, "tags", value={"1.0": {}})),
        ("harbor", _with(_ARTIFACTS, 0, "tags", 0, "name", value=7)),
        ("quay", []),
        ("quay", {"tags": []}),
        ("quay", _with(shape("quay_tags"), "has_additional", value="no")),
        ("quay", _with(shape("quay_tags"), "tags", 0, "start_ts", value="1768032000")),
        ("quay", _with(shape("quay_tags"), "tags", 0, "start_ts", value=10**20)),
        ("quay", _with(shape("quay_tags"), "tags", 0, "start_ts", value=-1)),
        ("quay", _with(shape("quay_tags"), "tags", 1, "last_modified", value="soon")),
        ("quay", _with(shape("quay_tags"), "tags", 0, "manifest_digest", value=None)),
        ("gitlab", {"tags": []}),
        ("gitlab", _with(shape("gitlab_tags"), 0, "created_at", value="2026-01-10")),
        ("gitlab", _with(shape("gitlab_tags"), 0, "digest", value=1)),
        ("acr", []),
        ("acr", _with(shape("acr_tags"), "tags", 0, "lastUpdateTime", value=[])),
        ("acr", _with(shape("acr_tags"), "tags", value="none")),
    ],
)
def test_an_answer_that_is_not_as_documented_is_an_error(name: str, document: Any) -> None:
    routes = zot(document) if name == "zot" else ROUTES[name](lambda _: answer(document))
    with pytest.raises(ProtocolError, match=f"{name}'s API"):
        times(name, ProductServer(routes))


@pytest.mark.parametrize("name", ROUTES)
@pytest.mark.parametrize(
    ("made", "error"),
    [
        (lambda: web.Response(body=b"\xff\xfe{"), ProtocolError),
        (lambda: web.Response(text="[" * 100_000), ProtocolError),
        (lambda: web.Response(text="[" + "[]," * 450_000 + "[]]"), ProtocolError),
        (lambda: web.Response(body=b" " * (17 * 1024 * 1024)), TooLargeError),
        (lambda: web.Response(status=404), RegistryError),
        (lambda: web.Response(status=403), DeniedError),
        (lambda: web.Response(status=401, headers={"WWW-Authenticate": "Basic"}), AuthenticationError),
        (lambda: web.Response(status=502), ServerError),
        (lambda: web.Response(status=302, headers={"Location": "http://127.0.0.2:1/"}), ProtocolError),
    ],
    ids=["bytes", "deep", "bomb", "large", "404", "403", "401", "502", "elsewhere"],
)
def test_bad_bytes_and_refusals_are_errors_never_no_time(
    name: str, made: Callable[[], web.Response], error: type[RegistryError]
) -> None:
    def bad(request: web.Request) -> web.StreamResponse:
        if "__type" in request.query.get("query", ""):
            return answer(shape("zot_fields"))
        return made()

    routes = {**ROUTES[name](), TAGS_OF[name]: bad}
    with pytest.raises(error):
        times(name, ProductServer(routes))


def test_pages_that_go_in_circles_or_never_end_are_errors() -> None:
    artifacts = shape("harbor_artifacts")

    def circle(request: web.Request) -> web.StreamResponse:
        return answer(artifacts, Link=f'<{request.rel_url}>; rel="next"')

    def endless(request: web.Request) -> web.StreamResponse:
        following = request.rel_url.update_query(page=str(int(request.query["page"]) + 1))
        return answer(artifacts, Link=f'<{following}>; rel="next"')

    def elsewhere(_: web.Request) -> web.StreamResponse:
        return answer(artifacts, Link='<http://127.0.0.2:1/api>; rel="next"')

    for route in (circle, endless, elsewhere):
        with pytest.raises(ProtocolError):
            times("harbor", ProductServer(harbor(route)))
    more = {"tags": shape("quay_tags")["tags"], "has_additional": True}
    with pytest.raises(ProtocolError, match="in circles"):
        times("quay", ProductServer(quay(lambda _: answer(more))))
    with pytest.raises(ProtocolError, match="another host"):
        times("gitlab", ProductServer(gitlab(elsewhere)))


def test_a_listing_that_ends_before_its_count_is_an_error() -> None:
    def short(_: web.Request) -> web.StreamResponse:
        return answer(shape("harbor_artifacts"), **{"X-Total-Count": "3"})

    with pytest.raises(ProtocolError, match="2 of 3"):
        times("harbor", ProductServer(harbor(short)))


def test_no_secret_is_in_an_error() -> None:
    routes = harbor(lambda _: web.Response(status=401, headers={"WWW-Authenticate": "Basic"}))
    with pytest.raises(AuthenticationError) as caught:
        times("harbor", ProductServer(routes))
    assert "geheim" not in f"{caught.value!r} {caught.value} {caught.value.hint}"


async def asyncio_with_fake(
    handler: ProductServer, work: Callable[[Fake], Coroutine[Any, Any, None]]
) -> None:
    """Serve a second server within the loop of the first."""
    from aiohttp.test_utils import TestServer

    async def handle(request: web.Request) -> web.StreamResponse:
        return await handler(request)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    async with TestServer(app, host="127.0.0.1") as server:
        fake = Fake()
        fake.url = f"http://127.0.0.1:{server.port}"
        await work(fake)


_JUNK: tuple[Any, ...] = (
    None,
    True,
    -1,
    10**30,
    1e308,
    "",
    "\0",
    "x" * 300,
    [],
    {},
    [[]],
    {"a": {}},
    "0001-01-01",
)


def _mutated(document: Any, luck: random.Random) -> Any:
    """Return the document with something in it removed, repeated, or replaced by junk."""
    copy = json.loads(json.dumps(document))
    at: Any = {"": copy}
    key: Any = ""
    holder = at
    while isinstance(holder[key], (dict, list)) and holder[key] and luck.random() < 0.8:
        holder = holder[key]
        key = luck.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
    choice = luck.randrange(3)
    if choice == 0:
        del holder[key]
    elif choice == 1 and isinstance(holder, list):
        holder.append(holder[key])
    else:
        holder[key] = luck.choice(_JUNK)
    return at.get("", [])


@pytest.mark.parametrize("name", ROUTES)
def test_whatever_an_answer_holds_is_read_or_is_an_error(name: str) -> None:
    luck = random.Random(name)
    documents = {"zot": "zot_images", "harbor": "harbor_artifacts"}
    document = shape(documents.get(name, f"{name}_tags"))
    current: list[Any] = [document]
    read = refused = 0
    routes = zot() if name == "zot" else ROUTES[name](lambda _: answer(current[0]))
    if name == "zot":
        fields = routes[SEARCH]
        routes[SEARCH] = lambda request: (
            fields(request) if "__type" in request.query["query"] else answer(current[0])
        )

    async def work(product: Product) -> None:
        nonlocal read, refused
        for _ in range(150):
            current[0] = _mutated(document, luck)
            try:
                found = await product.times("team/services/api")
            except RegistryError:
                refused += 1
            else:
                found.believable(MARCH)
                read += 1

    ask(ProductServer(routes), work, ProductOptions(name))
    assert read > 10
    assert refused > 10
