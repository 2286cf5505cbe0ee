"""A registry's product as its documentation describes it: recorded shapes, in pages, behind its login."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiohttp import web

from reaper.registry import Credentials, OneLogin, RegistryClient, RegistryOptions, parse_address
from reaper.registry.products import ProductOptions
from tests.registry.fake import Fake

SHAPES = Path(__file__).with_name("shapes")
ONE = f"sha256:{'1' * 64}"
TWO = f"sha256:{'2' * 64}"
USER = Credentials("the test", username="robot$reaper", password="geheim")
Route = Callable[[web.Request], web.StreamResponse]


def shape(name: str) -> Any:
    """Return a recorded document."""
    return json.loads((SHAPES / f"{name}.json").read_text())


def answer(document: Any, **headers: str) -> web.Response:
    """Return the document as JSON."""
    return web.json_response(document, headers=headers)


def is_user(request: web.Request) -> bool:
    """Tell whether USER asks, by name and password."""
    sent = request.headers.get("Authorization", "")
    return sent == "Basic " + base64.b64encode(b"robot$reaper:geheim").decode()


class ProductServer:
    """A handler for `with_fake`: ``routes`` by raw path, without the query; everything else is 404."""

    def __init__(self, routes: dict[str, Route], *, service: str | None = None) -> None:
        self.routes: dict[str, Route] = {
            "/v2/": self._v2,
            "/token": lambda _: answer({"token": "t"}),
            **routes,
        }
        self._service = service
        self.sent: list[tuple[str, str]] = []

    def _v2(self, request: web.Request) -> web.StreamResponse:
        if self._service is None or request.headers.get("Authorization"):
            return answer({})
        realm = f"http://{request.host}/token"
        challenge = f'Bearer realm="{realm}",service="{self._service}"'
        return web.Response(status=401, headers={"WWW-Authenticate": challenge})

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        raw = request.raw_path.partition("?")[0]
        self.sent.append((request.method, request.raw_path))
        route = self.routes.get(raw)
        return web.Response(status=404, text="404 page not found\n") if route is None else route(request)

    def paths(self) -> list[str]:
        """Return what was asked for, without the queries."""
        return [path.partition("?")[0] for _, path in self.sent]


def client(
    fake: Fake, product: ProductOptions | None, *, login: Credentials | None = None, attempts: int = 1
) -> RegistryClient:
    """Return a client as a dry run has it: its transport refuses all but GET and HEAD."""
    return RegistryClient(
        RegistryOptions(
            parse_address(fake.url),
            logins=OneLogin(login),
            read_only=True,
            attempts=attempts,
            product=product,
        )
    )


def in_pages(entries: list[Any], size: int, *, total: bool = True) -> Route:
    """Return a route that gives the list in pages by ``page``, as Harbor and GitLab do."""

    def route(request: web.Request) -> web.StreamResponse:
        page = int(request.query["page"])
        headers = {"X-Total-Count": str(len(entries))} if total else {}
        if page * size < len(entries):
            following = request.rel_url.update_query(page=str(page + 1))
            headers["Link"] = f'<{following}>; rel="next"'
        return answer(entries[(page - 1) * size : page * size], **headers)

    return route
