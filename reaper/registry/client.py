"""The registry's API, as the OCI distribution specification 1.1 describes it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from types import TracebackType
from typing import Any, Self
from urllib.parse import urljoin

import httpx
import stamina
import structlog

from reaper.core.manifest import (
    DOCKER_SCHEMA1_SIGNED,
    MANIFEST_TYPES,
    MAX_MANIFEST_SIZE,
    OCI_INDEX,
    Descriptor,
    ManifestError,
    base_media_type,
    is_media_type,
    parse_manifest,
)
from reaper.core.reference import digest_of, is_digest, is_repository, is_tag
from reaper.registry.address import Address, origin_of
from reaper.registry.auth import Authenticator
from reaper.registry.credentials import Credentials
from reaper.registry.errors import (
    DeletesDisabledError,
    DeniedError,
    NotARegistryError,
    NotFoundError,
    ProtocolError,
    ReadOnlyRegistryError,
    RegistryError,
    ServerError,
    SilentError,
    ThrottledError,
    TooLargeError,
    TruncatedError,
    UnreachableError,
    UnsupportedError,
)
from reaper.registry.limiter import Limiter
from reaper.registry.observer import NOBODY, Observer
from reaper.registry.transport import TRANSPORT_ERRORS, Patience, TLSOptions, build_http, transport_error

_log = structlog.get_logger(__name__)

#: One page of a listing. A registry may cap what it gives; a larger answer than this is no listing.
MAX_LISTING = 64 * 1024 * 1024
MAX_CONFIG = 8 * 1024 * 1024
_MAX_ERROR = 64 * 1024
#: Names in one listing, a list of referrers included: more than any registry holds in one place.
MAX_NAMES = 2_000_000
#: So many pages in a row may bring nothing new; some registries leave out what one may not see.
_MAX_BARREN_PAGES = 100
#: A listing is one list in one object; what holds far more of them is made to fill the memory.
_MAX_CONTAINERS = 1_000
_MAX_REDIRECTS = 5
#: A longer pause than this, in seconds, is for the next run to wait, not for this request.
_LONGEST_PAUSE = 60.0
#: Once so many requests in a row for each that may be under way had no answer, the next ones fail at once,
#: until none was sent for so many seconds: a registry that is down must not hold a run up for days.
_SILENT_ROUNDS = 4
_SILENCE = 10.0
_NOBODY = "sha256:" + "0" * 64
_ACCEPT = ", ".join(MANIFEST_TYPES)
#: Methods whose requests may be sent again after any failure of the server.
_READS = frozenset({"GET", "HEAD"})


class RegistryMode(StrEnum):
    """What a registry accepts."""

    WRITABLE = "writable"
    READ_ONLY = "read-only"
    DELETES_DISABLED = "deletes-disabled"


class Deleted(StrEnum):
    """What a DELETE found."""

    DONE = "done"
    ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class RegistryOptions:
    """How to talk to a registry. ``concurrency`` is the most requests under way at once."""

    address: Address
    credentials: Credentials | None = None
    tls: TLSOptions = field(default_factory=TLSOptions)
    patience: Patience = field(default_factory=Patience)
    read_only: bool = False
    concurrency: int = 16
    attempts: int = 4
    page_size: int = 1000
    observer: Observer = NOBODY


@dataclass(frozen=True, slots=True)
class Resolved:
    """What a tag or digest stands for. ``size`` is that of the manifest, in bytes, where it was said."""

    digest: str
    media_type: str
    size: int | None = None


@dataclass(frozen=True, slots=True)
class RawManifest:
    """A manifest's exact bytes, and the type they were sent as."""

    content: bytes
    media_type: str
    digest: str


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: httpx.Headers
    body: bytes
    next_page: str | None = None


class RegistryClient:
    """One registry. Use it as an async context manager.

    Every method raises RegistryError when the registry cannot be asked, or does not answer as the
    specification says; what the methods name besides are the answers that callers tell apart.
    """

    def __init__(self, options: RegistryOptions) -> None:
        self._options = options
        self._address = options.address
        self._observer = options.observer
        self._http = build_http(
            options.address,
            options.tls,
            options.patience,
            read_only=options.read_only,
            connections=options.concurrency,
        )
        self._auth = Authenticator(
            self._http,
            options.address,
            options.credentials,
            read_only=options.read_only,
            clock=time.monotonic,
            patience=options.patience,
            observer=options.observer,
        )
        self._limiter = Limiter(options.concurrency, time.monotonic, longest_pause=_LONGEST_PAUSE)
        self._referrers_api: bool | None = None
        self._unanswered = 0
        self._unanswered_at = 0.0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    @property
    def url(self) -> str:
        """The registry's address."""
        return self._address.url

    @property
    def login(self) -> str:
        """Who logs in and where the login comes from, without any secret."""
        return str(self._options.credentials) if self._options.credentials else "anonymous"

    async def ping(self) -> datetime | None:
        """Check that a registry answers, and return its clock where it says one (end-1)."""
        answer = await self._ask(
            "GET", "/v2/", scope="", accept="application/json", limit=_MAX_ERROR, probe=True
        )
        if answer.status != 200:
            raise self._not_a_registry(answer)
        self._json(answer, "/v2/")
        try:
            return parsedate_to_datetime(answer.headers.get("Date", "")).astimezone(UTC)
        except ValueError:
            return None

    async def repositories(self) -> AsyncIterator[str]:
        """Yield the names of all repositories, each once.

        Raises:
            UnsupportedError: the registry has no catalog.
        """
        async for page in self._pages("/v2/_catalog", scope="registry:catalog:*", key="repositories"):
            for name in page:
                if not is_repository(name):
                    raise ProtocolError(f"{self.url}: the catalog has an invalid name {name[:80]!r}")
                yield name

    async def tags(self, repository: str) -> list[str]:
        """Return the repository's tags, each once.

        Raises:
            NotFoundError: the registry does not know the repository, or it never had a tag.
        """
        path = f"/v2/{repository}/tags/list"
        found: list[str] = []
        async for page in self._pages(path, scope=_pull(repository), key="tags"):
            for name in page:
                if not is_tag(name):
                    raise ProtocolError(
                        f"{self.url}/{repository}: the listing has an invalid tag {name[:80]!r}"
                    )
            found.extend(page)
        return found

    async def head(self, repository: str, reference: str) -> Resolved | None:
        """Return what ``reference`` (a tag or digest) stands for, or None where it is not there (end-3)."""
        path = f"/v2/{repository}/manifests/{reference}"
        answer = await self._ask("HEAD", path, scope=_pull(repository), accept=_ACCEPT)
        if answer.status == 404:
            return None
        self._expect(answer, 200, path)
        digest = answer.headers.get("Docker-Content-Digest")
        if digest is None:
            raw = await self.manifest(repository, reference)
            return None if raw is None else Resolved(raw.digest, raw.media_type, len(raw.content))
        self._check_digest(digest, reference, path)
        length = answer.headers.get("Content-Length", "")
        return Resolved(digest, self._media_type(answer, path), int(length) if length.isdecimal() else None)

    async def manifest(self, repository: str, reference: str) -> RawManifest | None:
        """Return the manifest's exact bytes, checked against the digest, or None where it is not there.

        A signed schema 1 manifest's digest covers less than its bytes, and is taken from the registry.
        """
        path = f"/v2/{repository}/manifests/{reference}"
        answer = await self._ask(
            "GET",
            path,
            scope=_pull(repository),
            accept=_ACCEPT,
            limit=MAX_MANIFEST_SIZE,
            anywhere=is_digest(reference),
        )
        if answer.status == 404:
            return None
        self._expect(answer, 200, path)
        media_type = self._media_type(answer, path)
        stated = answer.headers.get("Docker-Content-Digest")
        if base_media_type(media_type) == DOCKER_SCHEMA1_SIGNED and stated is not None:
            digest = stated
        else:
            algorithm = (reference if is_digest(reference) else stated or "sha256:").partition(":")[0]
            digest = digest_of(answer.body, algorithm if algorithm == "sha512" else "sha256")
        if stated is not None and stated != digest:
            raise ProtocolError(f"{path}: the bytes are {digest}, but the registry says {stated}")
        self._check_digest(digest, reference, path)
        return RawManifest(answer.body, media_type, digest)

    async def config(self, repository: str, digest: str, size: int) -> bytes | None:
        """Return a config's bytes, checked against the digest, or None where it is not there.

        Raises:
            TooLargeError: it is larger than any config.
        """
        if size > MAX_CONFIG:
            raise TooLargeError(f"{self.url}/{repository}: the config {digest} has {size} bytes")
        path = f"/v2/{repository}/blobs/{digest}"
        answer = await self._ask(
            "GET", path, scope=_pull(repository), accept="*/*", limit=MAX_CONFIG, anywhere=True
        )
        if answer.status == 404:
            return None
        self._expect(answer, 200, path)
        if digest_of(answer.body, digest.partition(":")[0]) != digest:
            raise ProtocolError(f"{path}: the bytes do not match the digest")
        return answer.body

    async def head_blob(self, repository: str, digest: str) -> int | None:
        """Return a blob's size in bytes, or None where it is not there (end-2)."""
        path = f"/v2/{repository}/blobs/{digest}"
        answer = await self._ask("HEAD", path, scope=_pull(repository), accept="*/*", anywhere=True)
        if answer.status == 404:
            return None
        self._expect(answer, 200, path)
        length = answer.headers.get("Content-Length", "")
        if not length.isdecimal():
            raise ProtocolError(f"{path}: the registry does not say its length")
        return int(length)

    async def read_blob(
        self, repository: str, digest: str, *, at_most: int | None = None
    ) -> AsyncIterator[bytes]:
        """Yield a blob's bytes, at most ``at_most`` of them; whether they match is the caller's to check.

        Raises:
            NotFoundError: it is not there.
            TruncatedError: the connection ended before the blob did.
        """
        path = f"/v2/{repository}/blobs/{digest}"
        ranged = {} if at_most is None else {"Range": f"bytes=0-{at_most - 1}"}
        async with self._limiter.slot():
            response = await self._open_blob(path, repository, {"Accept": "*/*", **ranged})
            try:
                left = at_most
                # Raw: a storage host's Content-Encoding would hide the bytes that the digest is of.
                async for chunk in response.aiter_raw():
                    if left is not None:
                        chunk = chunk[:left]
                        left -= len(chunk)
                    yield chunk
                    if left == 0:
                        return
            except TRANSPORT_ERRORS as error:
                raise transport_error(error, self._address, path) from error
            finally:
                await response.aclose()

    async def _open_blob(self, path: str, repository: str, headers: dict[str, str]) -> httpx.Response:
        async for attempt in self._attempts("GET"):
            with attempt:
                response = await self._open(
                    "GET", self.url + path, scope=_pull(repository), headers=headers, anywhere=True
                )
                if response.status_code in (200, 206):
                    return response
                await response.aclose()
                self._refuse_strain(response, path)
                if response.status_code == 404:
                    raise NotFoundError(f"{path} is not there", status=404)
                raise RegistryError(
                    f"{path}: unexpected answer {response.status_code}", status=response.status_code
                )
        raise UnreachableError(f"{self.url} cannot be reached")

    async def has_referrers_api(self, repository: str) -> bool:
        """Tell whether the registry lists referrers itself (end-12a); it is asked once."""
        if self._referrers_api is None:
            self._referrers_api = await self.referrers(repository, _NOBODY) is not None
        return self._referrers_api

    async def referrers(self, repository: str, digest: str) -> list[Descriptor] | None:
        """Return the manifests whose subject is ``digest``, or None where the registry has no such list."""
        url: str | None = f"{self.url}/v2/{repository}/referrers/{digest}"
        found: dict[str, Descriptor] = {}
        track = _Pages(f"{self.url}/{repository}: the referrers of {digest}")
        while url is not None:
            track.turn(url, len(found))
            answer = await self._ask("GET", url, scope=_pull(repository), accept=OCI_INDEX, limit=MAX_LISTING)
            if answer.status in (400, 404, 405, 501):
                return None
            self._expect(answer, 200, url)
            if base_media_type(answer.headers.get("Content-Type", "")) != OCI_INDEX:
                return None
            if len(answer.body) > MAX_MANIFEST_SIZE:
                raise TooLargeError(
                    f"{self.url}/{repository}: a page of referrers has {len(answer.body)} bytes"
                )
            try:
                listed = parse_manifest(answer.body, OCI_INDEX, digest).children
            except ManifestError as error:
                raise ProtocolError(f"the referrers of {digest}: {error.message}") from error
            found.update((descriptor.digest, descriptor) for descriptor in listed)
            url = answer.next_page
        return list(found.values())

    async def prepare_delete(self, repository: str) -> None:
        """Fetch the token that a delete needs: no login shall stand between the last look and the delete."""
        await self._auth.header(_delete(repository))

    async def delete_manifest(self, repository: str, digest: str) -> Deleted:
        """Delete a manifest, and with it all tags that point to it (end-9).

        It is sent once, whatever happens to it: what was true at the last look need not be true any more
        when it could be sent again.

        Raises:
            DeletesDisabledError, ReadOnlyRegistryError: the registry does not allow it now.
        """
        if not is_digest(digest):
            raise ProtocolError(f"{digest!r} is not a digest, and nothing else is deleted here")
        path = f"/v2/{repository}/manifests/{digest}"
        answer = await self._ask("DELETE", path, scope=_delete(repository))
        if answer.status == 404:
            return Deleted.ABSENT
        self._refuse_405(answer)
        self._expect(answer, 202, path)
        return Deleted.DONE

    async def delete_tag(self, repository: str, tag: str) -> bool:
        """Delete a tag and leave its manifest (end-9); False where the registry cannot do that.

        It is sent once, as for `delete_manifest`.

        Raises:
            ReadOnlyRegistryError: the registry does not allow it now.
        """
        path = f"/v2/{repository}/manifests/{tag}"
        answer = await self._ask("DELETE", path, scope=_delete(repository))
        if _is_read_only(answer):
            self._refuse_405(answer)
        if answer.status in (400, 405):
            return False
        if answer.status != 404:
            self._expect(answer, 202, path)
        return True

    async def can_untag(self, repository: str) -> bool | None:
        """Find out whether the registry can delete a tag alone, with a tag that nobody has.

        None where it cannot be found out now: deletes are disabled, or the registry is read-only.
        """
        answer = await self._ask(
            "DELETE", f"/v2/{repository}/manifests/reaper-asks-for-untagging", scope=_delete(repository)
        )
        return None if answer.status == 405 else answer.status in (202, 404)

    async def put_manifest(self, repository: str, reference: str, content: bytes, media_type: str) -> str:
        """Push a manifest under a digest or a tag, and return its digest (end-7)."""
        path = f"/v2/{repository}/manifests/{reference}"
        answer = await self._ask(
            "PUT", path, scope=_push(repository), content=content, headers={"Content-Type": media_type}
        )
        self._refuse_405(answer)
        self._expect(answer, 201, path)
        digest = answer.headers.get("Docker-Content-Digest") or digest_of(content)
        self._check_digest(digest, reference, path)
        return digest

    async def mode(self) -> RegistryMode:
        """Find out what the registry accepts, with a DELETE of a manifest that nobody has.

        A read-only distribution answers 405 and names the methods that it allows.
        """
        repository = "reaper-probe"
        path = f"/v2/{repository}/manifests/{_NOBODY}"
        answer = await self._ask("DELETE", path, scope=_delete(repository), probe=True)
        if _is_read_only(answer):
            return RegistryMode.READ_ONLY
        if answer.status == 405:
            return RegistryMode.DELETES_DISABLED
        if answer.status not in (202, 404):
            self._expect(answer, 404, path)
        return RegistryMode.WRITABLE

    async def _pages(self, path: str, *, scope: str, key: str) -> AsyncIterator[list[str]]:
        """Yield the new names on each page; a listing that cannot be read to its end is an error."""
        size = self._options.page_size
        url: str | None = f"{self.url}{path}?n={size}"
        first = True
        track = _Pages(f"{self.url}{path}")
        known: set[str] = set()
        while url is not None:
            track.turn(url, len(known))
            answer = await self._ask("GET", url, scope=scope, accept="application/json", limit=MAX_LISTING)
            if answer.status == 400 and first and size > 1:
                # The registry caps the page size, and does not say at what.
                size = max(1, size // 10)
                url = f"{self.url}{path}?n={size}"
                continue
            if answer.status == 404:
                if key == "repositories":
                    raise UnsupportedError(f"{self.url} has no catalog of repositories (404)", status=404)
                raise NotFoundError(f"{self.url}{path} is not there (404)", status=404)
            self._expect(answer, 200, path)
            first = False
            if answer.body.count(b"[") + answer.body.count(b"{") > _MAX_CONTAINERS:
                raise ProtocolError(f"{self.url}{path}: {key} is not a list of names")
            if answer.body.count(b'"') > 2 * MAX_NAMES:
                raise TooLargeError(f"{self.url}{path}: a page has more than {MAX_NAMES} names")
            names = self._json(answer, path).get(key)
            if names is None:
                names = []
            if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
                raise ProtocolError(f"{self.url}{path}: {key} is not a list of names")
            new = [name for name in dict.fromkeys(names) if name not in known]
            known.update(new)
            yield new
            url = answer.next_page

    async def _ask(
        self,
        method: str,
        target: str,
        *,
        scope: str,
        accept: str | None = None,
        limit: int = _MAX_ERROR,
        content: bytes | None = None,
        headers: dict[str, str] | None = None,
        anywhere: bool = False,
        probe: bool = False,
    ) -> _Answer:
        """Send a request and read its answer; again where that may help and does no harm, a DELETE never.

        ``anywhere``: the answer is checked against its digest, so another host may give it. ``probe``: it is
        sent however long the registry has not answered.
        """
        url = target if "://" in target else self.url + target
        sent = {**({"Accept": accept} if accept else {}), **(headers or {})}
        async for attempt in self._attempts(method):
            with attempt:
                async with self._limiter.slot():
                    if not probe:
                        self._refuse_silence()
                    return await self._once(
                        method,
                        url,
                        scope=scope,
                        headers=sent,
                        content=content,
                        limit=limit,
                        anywhere=anywhere,
                    )
        raise UnreachableError(f"{self.url} cannot be reached")

    def _refuse_silence(self) -> None:
        """Raise where the registry has answered nothing for so long that it need not be asked now."""
        silent = self._unanswered >= _SILENT_ROUNDS * self._options.concurrency
        if silent and time.monotonic() - self._unanswered_at < _SILENCE:
            raise SilentError(
                f"{self.url} has stopped answering: {self._unanswered} requests in a row failed"
            )

    def _attempts(self, method: str) -> AsyncIterator[stamina.Attempt]:
        left = attempts = 1 if method == "DELETE" else self._options.attempts

        def again(error: Exception) -> bool | float:
            nonlocal left
            left -= 1
            answer = _worth_another_try(error, method)
            if answer is not False and left > 0:
                self._observer.retried(_cause(error))
            return answer

        return stamina.retry_context(
            on=again,
            attempts=attempts,
            timeout=180.0,
            wait_initial=0.2,
            wait_max=10.0,
            wait_jitter=0.3,
        ).__aiter__()

    def _refuse_strain(self, response: httpx.Response, path: str) -> None:
        """Raise for an answer that says that the registry is overloaded or failing."""
        status = response.status_code
        pause = _retry_after(response.headers)
        if status == 429:
            self._limiter.strained(pause)
            self._observer.throttled(pause or 0.0)
            raise ThrottledError(f"{path}: too many requests (429)", status=status, retry_after=pause)
        if status >= 500 and status != 501:
            if status == 503:
                self._limiter.strained(pause)
                self._observer.throttled(pause or 0.0)
            raise ServerError(f"{path}: the registry failed ({status})", status=status, retry_after=pause)

    async def _once(
        self,
        method: str,
        url: str,
        *,
        scope: str,
        headers: dict[str, str],
        content: bytes | None,
        limit: int,
        anywhere: bool,
    ) -> _Answer:
        began = time.monotonic()
        response = await self._open(
            method, url, scope=scope, headers=headers, content=content, anywhere=anywhere
        )
        path = httpx.URL(url).path
        try:
            # Each piece has its time limit; so has the whole, lest it comes byte by byte.
            async with asyncio.timeout(self._options.patience.answer):
                body = b"" if method == "HEAD" else await self._body(response, limit, path)
        except TRANSPORT_ERRORS as error:
            raise transport_error(error, self._address, path) from error
        finally:
            await response.aclose()
        self._refuse_strain(response, path)
        status = response.status_code
        if status == 403:
            raise DeniedError(f"{path}: access is denied (403), for {scope or 'the registry'}", status=status)
        self._limiter.succeeded(time.monotonic() - began)
        return _Answer(status, response.headers, body, self._next_page(response, url))

    async def _open(
        self,
        method: str,
        url: str,
        *,
        scope: str,
        headers: dict[str, str],
        content: bytes | None = None,
        anywhere: bool = False,
    ) -> httpx.Response:
        """Send a request, logged in as far as the registry asks for it; the answer's body is not read yet."""
        refused = 0
        for _ in range(_MAX_REDIRECTS + 3):
            # Credentials belong to the registry's origin; a redirect to a storage host gets none.
            own = origin_of(url) == self._address.origin
            authorization = await self._auth.header(scope) if own else None
            sent = {**headers, **({"Authorization": authorization} if authorization else {})}
            response = await self._send(method, url, sent, content)
            if response.status_code == 401 and own:
                await response.aclose()
                refused += authorization is not None
                challenges = response.headers.get_list("WWW-Authenticate")
                # A token may have been revoked or have run out: it is renewed, once.
                if not self._auth.learn(challenges, scope, authorization) or refused > 1:
                    raise self._auth.refused(httpx.URL(url).path, scope or "the registry")
                continue
            if response.is_redirect and method in _READS:
                await response.aclose()
                url = self._redirected(url, response.headers.get("Location", ""), anywhere=anywhere)
                continue
            return response
        raise ProtocolError(f"{self.url} redirects in circles, or refuses every login")

    def _redirected(self, url: str, location: str, *, anywhere: bool) -> str:
        """Return where a redirect leads: on the registry, or ``anywhere`` for what its digest proves."""
        target = self._target(url, location)
        if origin_of(target) != self._address.origin and not anywhere:
            raise ProtocolError(
                f"{self.url}: {httpx.URL(url).path} redirects to another host ({origin_of(target)[:200]})",
                hint="write the registry's URL as it is there, if that is the registry",
            )
        return target

    async def _send(
        self, method: str, url: str, headers: dict[str, str], content: bytes | None
    ) -> httpx.Response:
        began = time.monotonic()
        path = httpx.URL(url).path
        try:
            request = self._http.build_request(method, url, headers=headers, content=content)
            patience = self._options.patience
            async with asyncio.timeout(patience.connect + patience.answer):
                response = await self._http.send(request, stream=True)
        except TRANSPORT_ERRORS as error:
            self._limiter.strained()
            self._unanswered += 1
            self._unanswered_at = time.monotonic()
            self._observer.response(method, 0, time.monotonic() - began)
            raise transport_error(error, self._address, path) from error
        except httpx.InvalidURL as error:
            raise ProtocolError(f"{self.url} names an address that is none") from error
        seconds = time.monotonic() - began
        self._unanswered = 0
        _log.debug(
            "request", method=method, path=path, status=response.status_code, seconds=round(seconds, 4)
        )
        self._observer.response(method, response.status_code, seconds)
        return response

    async def _body(self, response: httpx.Response, limit: int, path: str) -> bytes:
        length = response.headers.get("Content-Length", "")
        if length.isdecimal() and int(length) > limit and response.status_code < 400:
            raise TooLargeError(f"{path}: the answer has {length} bytes; the limit is {limit}")
        chunks: list[bytes] = []
        total = 0
        async for chunk in response.aiter_bytes():
            total += len(chunk)
            if total > limit:
                if response.status_code >= 400:
                    break
                raise TooLargeError(f"{path}: the answer has more than {limit} bytes")
            chunks.append(chunk)
        return b"".join(chunks)

    def _next_page(self, response: httpx.Response, url: str) -> str | None:
        """Return the next page's URL from ``Link`` (RFC 8288), which has to stay on the registry."""
        link = response.links.get("next", {}).get("url")
        if link is None:
            return None
        following = self._target(url, link)
        if origin_of(following) != self._address.origin:
            raise ProtocolError(f"{self.url}: the next page is on another host")
        return following

    def _target(self, url: str, reference: str) -> str:
        """Return the URL that ``reference``, in an answer from ``url``, names: a valid one, of HTTP.

        Raises:
            ProtocolError: it names none.
        """
        try:
            target = urljoin(url, reference)
            origin_of(target)
            valid = httpx.URL(target).scheme in ("http", "https") and httpx.URL(target).host != ""
        except (ValueError, httpx.InvalidURL) as error:
            raise ProtocolError(f"{self.url} names an address that is none") from error
        if not valid or not reference:
            raise ProtocolError(f"{self.url} names an address that is none")
        return target

    def _json(self, answer: _Answer, path: str) -> dict[str, Any]:
        try:
            document = json.loads(answer.body)
        except (ValueError, RecursionError) as error:
            raise self._not_a_registry(answer, path) from error
        if not isinstance(document, dict):
            raise ProtocolError(f"{self.url}{path}: the answer is not a JSON object")
        return document

    def _expect(self, answer: _Answer, status: int, path: str) -> None:
        if answer.status == status:
            return
        if base_media_type(answer.headers.get("Content-Type", "")) == "text/html":
            raise self._not_a_registry(answer)
        raise RegistryError(
            f"{path}: unexpected answer {answer.status}{_said(answer.body)}", status=answer.status
        )

    def _not_a_registry(self, answer: _Answer, path: str = "/v2/") -> NotARegistryError:
        kind = _shown(base_media_type(answer.headers.get("Content-Type", "")), 100) or "no type"
        hint = "is this the registry's own address, without a path?"
        if b"HTTPS server" in answer.body:
            hint = "it speaks HTTPS: write its URL with https://"
        return NotARegistryError(
            f"{self.url} is not a registry: {path} answers {answer.status} with {kind} instead of JSON",
            hint=hint,
            status=answer.status,
        )

    def _refuse_405(self, answer: _Answer) -> None:
        if _is_read_only(answer):
            raise ReadOnlyRegistryError(
                f"{self.url} is in read-only mode",
                hint="a collection may be under way; else unset REGISTRY_STORAGE_MAINTENANCE_READONLY",
                status=405,
            )
        if answer.status == 405:
            raise DeletesDisabledError(
                f"{self.url} allows no deletes (405)",
                hint="set storage.delete.enabled: true in the registry's configuration, "
                "or REGISTRY_STORAGE_DELETE_ENABLED=true",
                status=405,
            )

    def _media_type(self, answer: _Answer, path: str) -> str:
        found: str | None = answer.headers.get("Content-Type")
        if not found or not is_media_type(found):
            raise ProtocolError(f"{path}: the registry does not say the manifest's type")
        if base_media_type(found) == "text/html":
            raise self._not_a_registry(answer, path)
        return found

    def _check_digest(self, digest: str, reference: str, path: str) -> None:
        if not is_digest(digest):
            raise ProtocolError(f"{path}: the registry names an invalid digest {digest[:80]!r}")
        if is_digest(reference) and digest != reference:
            raise ProtocolError(f"{path}: the registry answers with another manifest, {digest}")


class _Pages:
    """Watches that the pages of a listing come to an end."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._seen: set[str] = set()
        self._known = 0
        self._barren = 0

    def turn(self, url: str, known: int) -> None:
        """Note that the page at ``url`` is next, with so many names ``known`` before it.

        Raises:
            ProtocolError: the pages lead nowhere, or to more than any registry holds.
        """
        self._barren = self._barren + 1 if known == self._known else 0
        self._known = known
        if url in self._seen or self._barren > _MAX_BARREN_PAGES:
            raise ProtocolError(f"{self._what}: the pages go in circles")
        if known > MAX_NAMES:
            raise TooLargeError(f"{self._what}: there are more than {MAX_NAMES} names")
        self._seen.add(url)


def _cause(error: Exception) -> str:
    """Return what the observer calls the reason of another try."""
    if isinstance(error, ThrottledError):
        return "throttled"
    if isinstance(error, ServerError):
        return "server_error"
    return "truncated" if isinstance(error, TruncatedError) else "unreachable"


def _worth_another_try(error: Exception, method: str) -> bool | float:
    if isinstance(error, (ThrottledError, ServerError)):
        if method not in _READS and error.status not in (429, 503):
            return False
        if error.retry_after is not None:
            return error.retry_after if error.retry_after <= _LONGEST_PAUSE else False
        return True
    return isinstance(error, (UnreachableError, TruncatedError)) and not isinstance(error, SilentError)


def _retry_after(headers: httpx.Headers) -> float | None:
    """Return the seconds that ``Retry-After`` asks for (RFC 9110, 10.2.3), or None."""
    value = headers.get("Retry-After", "").strip()
    if value.isdecimal():
        return float(min(int(value[:9]), 86400))
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def _is_read_only(answer: _Answer) -> bool:
    allowed = {method.strip().upper() for method in answer.headers.get("Allow", "").split(",")}
    return answer.status == 405 and "GET" in allowed and "DELETE" not in allowed


def _said(body: bytes) -> str:
    """Return the first error's code and message (distribution-spec, "Error Codes"), where there is one."""
    try:
        errors = json.loads(body)["errors"]
        first = errors[0]
        return f": {_shown(str(first['code']), 60)}: {_shown(str(first.get('message', '')), 200)}"
    except (ValueError, KeyError, IndexError, TypeError, RecursionError, AttributeError):
        return ""


def _shown(text: str, length: int) -> str:
    """Return so much of what a server said as fits into an error, without what does not print."""
    return "".join(char if char.isprintable() else "?" for char in text[:length])


def _pull(repository: str) -> str:
    return f"repository:{repository}:pull"


def _push(repository: str) -> str:
    return f"repository:{repository}:pull,push"


def _delete(repository: str) -> str:
    return f"repository:{repository}:pull,delete"
