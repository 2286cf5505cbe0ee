"""The client of one cluster: requests, their limits, and what the answers mean.

Lightkube reads kubeconfigs, logs in and speaks ``exec``; its own requests are not used, because its models
drop unknown fields, its limits do not bound a whole request, and a delete cannot name the uid that it means.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx2
import msgspec
import stamina
from lightkube import ConfigError, SingleConfig
from lightkube.config import client_adapter

from reaper import __version__
from reaper.kubernetes.client import JsonObject, PatchType, Projected, Propagation
from reaper.kubernetes.errors import (
    AlreadyExistsError,
    ClusterDeniedError,
    ClusterError,
    ClusterLoginError,
    ClusterUnreachableError,
    ConflictError,
    InvalidAnswerError,
    ObjectNotFoundError,
    ReadOnlyClientError,
    UnknownResourceError,
)
from reaper.kubernetes.resources import ACCESS_REVIEWS, PODS, Resource

_FIELD_MANAGER = "reaper"
_ATTEMPTS = 4
_LIST_ATTEMPTS = 4
_LONGEST_PAUSE = 60.0
_LONGEST_CONNECT = 10.0
#: The whole answer where the API's group or version is unknown.
_NO_SUCH_GROUP = b"404 page not found"


class _BusyError(ClusterUnreachableError):
    """The API server asks for fewer requests, or failed. ``retry_after`` is in seconds."""

    retry_after: float | None = None


class _ExpiredError(ClusterError):
    """The rest of a list is no longer to be had (410)."""


class HttpClusterClient:
    """See ClusterClient, which this implements."""

    def __init__(
        self, config: SingleConfig, *, name: str, timeout: float, page_size: int, read_only: bool
    ) -> None:
        """Prepare; nothing is sent. ``timeout`` is in seconds.

        Raises:
            ConfigError, OSError, ValueError: the configuration or a file that it names is of no use.
        """
        self._config = config
        self._name = name
        self._timeout = timeout
        self._page_size = page_size
        self._read_only = read_only
        self._http = client_adapter.AsyncClient(config, client_adapter.ConnectionParams())
        self._http.headers["User-Agent"] = f"reaper/{__version__}"

    @property
    def name(self) -> str:
        """What messages call the cluster."""
        return self._name

    @property
    def namespace(self) -> str:
        """The namespace of the kubeconfig's context, or of the pod that this runs in."""
        return self._config.namespace

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def list_all(
        self,
        resource: Resource,
        project: Callable[[JsonObject], Projected],
        *,
        namespace: str | None = None,
        labels: str | None = None,
        fields: str | None = None,
        within: float | None = None,
    ) -> list[Projected]:
        """Return what ``project`` makes of each object."""
        selection = {"labelSelector": labels, "fieldSelector": fields, "limit": str(self._page_size)}
        params = {key: value for key, value in selection.items() if value is not None}
        doing = self._doing("list", resource, namespace)
        for _ in range(_LIST_ATTEMPTS):
            try:
                return await self._list_once(_path(resource, namespace), params, project, doing, within)
            except _ExpiredError:
                continue
        raise ClusterUnreachableError(f"{doing}: the list expired {_LIST_ATTEMPTS} times while it was read")

    async def get(
        self, resource: Resource, name: str, *, namespace: str | None = None, within: float | None = None
    ) -> JsonObject:
        """Return an object, as it is now."""
        doing = self._doing("get", resource, namespace, name)
        return await self._request("GET", _path(resource, namespace, name), doing, within=within)

    async def create(
        self,
        resource: Resource,
        body: Mapping[str, Any],
        *,
        namespace: str | None = None,
        within: float | None = None,
    ) -> JsonObject:
        """Create an object; returns it as stored."""
        doing = self._doing("create", resource, namespace, body.get("metadata", {}).get("name"))
        path = _path(resource, _required(resource, namespace))
        return await self._request("POST", path, doing, body=body, within=within)

    async def replace(
        self,
        resource: Resource,
        body: Mapping[str, Any],
        *,
        subresource: str | None = None,
        within: float | None = None,
    ) -> JsonObject:
        """Write back an object that was read."""
        metadata = body["metadata"]
        if not metadata.get("resourceVersion"):
            raise ValueError("without its resourceVersion an object would be overwritten blindly")
        name, namespace = metadata["name"], metadata.get("namespace")
        doing = self._doing("update", resource, namespace, name, subresource)
        path = _path(resource, _required(resource, namespace), name, subresource)
        return await self._request("PUT", path, doing, body=body, within=within)

    async def patch(
        self,
        resource: Resource,
        name: str,
        body: Mapping[str, Any],
        *,
        namespace: str | None = None,
        patch: PatchType = PatchType.MERGE,
        subresource: str | None = None,
        within: float | None = None,
    ) -> JsonObject:
        """Change a part of an object."""
        doing = self._doing("patch", resource, namespace, name, subresource)
        path = _path(resource, _required(resource, namespace), name, subresource)
        return await self._request("PATCH", path, doing, body=body, content_type=patch.value, within=within)

    async def delete(
        self,
        resource: Resource,
        name: str,
        *,
        namespace: str | None = None,
        propagation: Propagation = Propagation.BACKGROUND,
        uid: str | None = None,
        within: float | None = None,
    ) -> bool:
        """Ask for an object's end."""
        body: JsonObject = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": propagation.value,
        }
        if uid is not None:
            body["preconditions"] = {"uid": uid}
        doing = self._doing("delete", resource, namespace, name)
        path = _path(resource, _required(resource, namespace), name)
        try:
            await self._request("DELETE", path, doing, body=body, within=within)
        except UnknownResourceError:
            raise
        except ObjectNotFoundError:
            return False
        return True

    async def may(
        self,
        verb: str,
        resource: Resource,
        *,
        namespace: str | None = None,
        name: str | None = None,
        subresource: str | None = None,
        within: float | None = None,
    ) -> bool:
        """Return whether the roles allow this."""
        attributes = {
            "verb": verb,
            "group": resource.group,
            "resource": resource.plural,
            "subresource": subresource or "",
            "namespace": namespace or "",
            "name": name or "",
        }
        review = {
            "apiVersion": f"{ACCESS_REVIEWS.group}/{ACCESS_REVIEWS.version}",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        doing = self._doing("create", ACCESS_REVIEWS)
        answer = await self._request(
            "POST", _path(ACCESS_REVIEWS), doing, body=review, within=within, repeatable=True
        )
        allowed = _section(answer, "status", doing).get("allowed")
        if not isinstance(allowed, bool):
            raise InvalidAnswerError(f"{doing}: the answer does not say whether it is allowed")
        return allowed

    async def pod_logs(
        self,
        namespace: str,
        pod: str,
        *,
        container: str | None = None,
        follow: bool = False,
        within: float | None = None,
    ) -> AsyncGenerator[str]:
        """Yield the lines of a container's log."""
        doing = self._doing("get", PODS, namespace, pod, "log")
        params = {"follow": "true"} if follow else {}
        if container is not None:
            params["container"] = container
        path = _path(PODS, namespace, pod, "log")
        seconds = within or self._timeout
        deadline = asyncio.get_running_loop().time() + seconds
        request = self._http.build_request("GET", path, params=params, timeout=limits(seconds))
        async with self._bounded(doing, deadline):
            response = await self._http.send(request, stream=True)
        try:
            if response.status_code >= 300:
                async with self._bounded(doing, deadline):
                    await response.aread()
                raise _refusal(response, doing)
            lines = response.aiter_lines()
            while True:
                async with self._bounded(doing, deadline):
                    line = await anext(lines, None)
                if line is None:
                    return
                yield line
        finally:
            await response.aclose()

    async def exec(
        self,
        namespace: str,
        pod: str,
        command: Sequence[str],
        *,
        container: str | None = None,
        on_stdout: Callable[[bytes], None] | None = None,
        on_stderr: Callable[[bytes], None] | None = None,
        within: float | None = None,
    ) -> int:
        """Run a command in a container and return its exit code."""
        from reaper.kubernetes.pod_exec import run_in_pod  # a WebSocket client, which few need

        doing = self._doing("exec", PODS, namespace, pod)
        self._refuse_write("POST", doing)
        return await run_in_pod(
            self._config,
            namespace,
            pod,
            command,
            container=container,
            on_stdout=on_stdout,
            on_stderr=on_stderr,
            within=within or self._timeout,
            doing=doing,
        )

    async def _list_once(
        self,
        path: str,
        params: Mapping[str, str],
        project: Callable[[JsonObject], Projected],
        doing: str,
        within: float | None,
    ) -> list[Projected]:
        found: list[Projected] = []
        position = ""
        while True:
            more = {"continue": position} if position else {}
            page = await self._request("GET", path, doing, params={**params, **more}, within=within)
            items = page.get("items")
            if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
                raise InvalidAnswerError(f"{doing}: the answer is not a list of objects")
            found.extend(project(item) for item in items)
            position = _section(page, "metadata", doing).get("continue") or ""
            if not position:
                return found

    async def _request(
        self,
        method: str,
        path: str,
        doing: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        content_type: str = "application/json",
        within: float | None = None,
        repeatable: bool = False,
    ) -> JsonObject:
        """Send a request until it is answered, where that does no harm, and for a limited time."""
        self._refuse_write(method, doing)
        query = dict(params or {})
        if method in {"POST", "PUT", "PATCH"}:
            query["fieldManager"] = _FIELD_MANAGER
        seconds = within or self._timeout
        deadline = asyncio.get_running_loop().time() + seconds
        repeatable = repeatable or method == "GET"
        last: ClusterUnreachableError | None = None

        def worth_another_try(error: Exception) -> bool | float:
            nonlocal last
            if not isinstance(error, ClusterUnreachableError):
                return False
            last = error
            if isinstance(error, _BusyError) and error.retry_after is not None:
                return error.retry_after <= _LONGEST_PAUSE and error.retry_after
            return repeatable

        try:
            async with asyncio.timeout_at(deadline):
                async for attempt in stamina.retry_context(
                    on=worth_another_try, attempts=_ATTEMPTS, timeout=None, wait_initial=0.2, wait_jitter=0.3
                ):
                    with attempt:
                        request = self._http.build_request(
                            method,
                            path,
                            params=query,
                            content=None if body is None else msgspec.json.encode(body),
                            headers={} if body is None else {"Content-Type": content_type},
                            timeout=limits(deadline - asyncio.get_running_loop().time()),
                        )
                        async with _translated(doing):
                            response = await self._http.send(request)
                        if not 200 <= response.status_code < 300:
                            raise _refusal(response, doing)
                        return _decoded(response, doing)
        except TimeoutError as error:
            raise last or _no_answer(doing, seconds) from error
        raise last or _no_answer(doing, seconds)

    @asynccontextmanager
    async def _bounded(self, doing: str, deadline: float) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout_at(deadline), _translated(doing):
                yield
        except TimeoutError as error:
            raise ClusterUnreachableError(f"{doing}: it took too long") from error

    def _refuse_write(self, method: str, doing: str) -> None:
        if self._read_only and method != "GET":
            raise ReadOnlyClientError(f"{doing}: refused, since nothing is to be changed")

    def _doing(
        self,
        verb: str,
        resource: Resource,
        namespace: str | None = None,
        name: str | None = None,
        subresource: str | None = None,
    ) -> str:
        """Return what is done, for messages: ``cluster prod: get pods/log app/web-1``."""
        kind = f"{resource}/{subresource}" if subresource else str(resource)
        what = "/".join(filter(None, (namespace, name)))
        return f"cluster {self._name}: {verb} {kind}" + (f" {what}" if what else "")


@asynccontextmanager
async def _translated(doing: str) -> AsyncIterator[None]:
    """Turn the ways in which a request can get no answer into ours."""
    try:
        yield
    except httpx2.TransportError as error:
        raise ClusterUnreachableError(f"{doing}: {reason(error)}") from error
    except httpx2.RequestError as error:
        raise InvalidAnswerError(f"{doing}: {reason(error)}") from error
    except (ConfigError, OSError, ValueError, KeyError) as error:  # of the token's file or the login plugin
        raise ClusterLoginError(f"{doing}: no login to be had: {reason(error)}") from error


def _path(
    resource: Resource, namespace: str | None = None, name: str | None = None, subresource: str | None = None
) -> str:
    parts = ["apis", resource.group, resource.version] if resource.group else ["api", resource.version]
    if resource.namespaced and namespace is not None:
        parts += ["namespaces", namespace]
    parts += [resource.plural, *filter(None, (name, subresource))]
    return "/".join(quote(part, safe="") for part in parts)


def _required(resource: Resource, namespace: str | None) -> str | None:
    if resource.namespaced and not namespace:
        raise ValueError(f"{resource} are in namespaces: which one?")
    return namespace


def _decoded(response: httpx2.Response, doing: str) -> JsonObject:
    try:
        answer = msgspec.json.decode(response.content)
    except msgspec.DecodeError as error:
        raise InvalidAnswerError(f"{doing}: the answer is not JSON: {error}") from error
    if not isinstance(answer, dict):
        raise InvalidAnswerError(f"{doing}: the answer is not an object")
    return answer


def _section(answer: JsonObject, name: str, doing: str) -> JsonObject:
    section = answer.get(name)
    if not isinstance(section, dict):
        raise InvalidAnswerError(f"{doing}: the answer has no {name}")
    return section


def _refusal(response: httpx2.Response, doing: str) -> ClusterError:
    """Return the error that an answer without success stands for."""
    try:
        said = msgspec.json.decode(response.content)
    except msgspec.DecodeError:
        said = None
    if not isinstance(said, dict) or said.get("kind") != "Status":
        said = {}
    code = response.status_code
    message = f"{doing}: {said.get('message') or f'the API server answered {code}'}"
    if code == 401:
        return ClusterLoginError(f"{message}: the login is not accepted", status=code)
    if code == 403:
        return ClusterDeniedError(message, hint="allow it in a Role or ClusterRole", status=code)
    if code == 404:
        # Of an object that is absent the server says the name; of a resource it knows nothing.
        if (said.get("details") or {}).get("name"):
            return ObjectNotFoundError(message, status=code)
        if said or response.content.strip() == _NO_SUCH_GROUP:
            return UnknownResourceError(message, status=code)
        return InvalidAnswerError(f"{message}, and not as Kubernetes does", status=code)
    if code == 409:
        exists = said.get("reason") == "AlreadyExists"
        return (AlreadyExistsError if exists else ConflictError)(message, status=code)
    if code == 410:
        return _ExpiredError(message, status=code)
    if code == 429 or code >= 500:
        busy = _BusyError(message, status=code)
        pause = response.headers.get("Retry-After", "").strip()
        if code == 429:  # nothing was done: also a write may be tried again
            busy.retry_after = max(0.1, float(pause[:6])) if pause.isdecimal() else 1.0
        return busy
    if code < 400:
        return InvalidAnswerError(message, status=code)
    return ClusterError(message, status=code)


def _no_answer(doing: str, seconds: float) -> ClusterUnreachableError:
    return ClusterUnreachableError(f"{doing}: no answer within {seconds:g} s")


def limits(within: float) -> httpx2.Timeout:
    """Return the limits of a request's parts, for a request that has so many seconds as a whole.

    Only connecting (to the port, then with TLS) has its own: httpcore leaks a connection when it is cancelled
    amid the handshake, as a bound around it all would do again and again with a silent API server.
    """
    return httpx2.Timeout(None, connect=min(_LONGEST_CONNECT, 0.45 * max(within, 0.01)))


def reason(error: Exception) -> str:
    """Return what an error says of itself, or what it is called."""
    if isinstance(error, httpx2.ConnectTimeout):
        return "no connection could be made in time"
    return str(error) or type(error).__name__
