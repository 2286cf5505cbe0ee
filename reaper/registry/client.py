"""The registry's API, as the OCI distribution specification 1.1 describes it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from types import TracebackType
from typing import Self

import httpx

from reaper.core.capabilities import Recognised, recognise
from reaper.core.manifest import (
    DOCKER_SCHEMA1_SIGNED,
    MANIFEST_TYPES,
    MAX_MANIFEST_SIZE,
    OCI_INDEX,
    Descriptor,
    ManifestError,
    base_media_type,
    parse_manifest,
)
from reaper.core.reference import digest_of, is_digest, is_tag
from reaper.registry import scopes
from reaper.registry.answers import Answers, is_read_only
from reaper.registry.errors import (
    AuthenticationError,
    DeniedError,
    NotFoundError,
    ProtocolError,
    RegistryError,
    TooLargeError,
    UnreachableError,
    UnsupportedError,
)
from reaper.registry.exchange import MAX_ERROR, Exchange
from reaper.registry.failures import TRANSPORT_ERRORS, transport_error
from reaper.registry.listing import MAX_LISTING, Pages, PageSizes, left_out_by_pages, pages
from reaper.registry.options import RegistryOptions
from reaper.registry.products.base import Product
from reaper.registry.products.find import ProductFinder

MAX_CONFIG = 8 * 1024 * 1024
_NOBODY = "sha256:" + "0" * 64
_ACCEPT = ", ".join(MANIFEST_TYPES)


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


class RegistryClient:
    """One registry. Use it as an async context manager.

    Every method raises RegistryError when the registry cannot be asked, or does not answer as the
    specification says; what the methods name besides are the answers that callers tell apart.
    """

    def __init__(self, options: RegistryOptions) -> None:
        self._options = options
        self._exchange = Exchange(options)
        self._answers = Answers(options.address.url)
        self._page_sizes = PageSizes(options.page_size)
        self._referrers_api = options.referrers_api
        self._recognised: Recognised | None = None
        self._products = ProductFinder(options, self._exchange)

    async def __aenter__(self) -> Self:
        """Read the login, so that one that cannot be read ends things before they begin.

        Raises:
            ReaperError: it cannot be read.
        """
        await self._options.logins.find(None)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._products.aclose()
        await self._exchange.aclose()

    @property
    def url(self) -> str:
        """The registry's address."""
        return self._exchange.url

    async def ping(self) -> datetime | None:
        """Check that a registry answers, and return its clock where it says one (end-1)."""
        answer = await self._exchange.ask(
            "GET", "/v2/", scope="", accept="application/json", limit=MAX_ERROR, probe=True
        )
        if answer.status != 200:
            raise self._answers.not_a_registry(answer)
        if answer.body:  # some, such as Gitea, say nothing more than 200
            self._answers.json(answer, "/v2/")
        self._recognised = recognise(self._options.address.hostname, answer.headers)
        try:
            return parsedate_to_datetime(answer.headers.get("Date", "")).astimezone(UTC)
        except (ValueError, OverflowError):
            return None

    @property
    def recognised(self) -> Recognised | None:
        """The product that the registry's last answer to `ping` shows it to be, where it does."""
        return self._recognised

    @property
    def page_size(self) -> int | None:
        """How many names the registry gives at a time, as far as was needed; None before any listing."""
        return self._page_sizes.smallest

    @property
    def may_be_a_product(self) -> bool:
        """Whether the registry is asked which product it is."""
        return self._options.product is not None

    async def product(self) -> Product | None:
        """Return the registry's product, where that has an API of its own that reaper reads; asked once."""
        return await self._products.find()

    async def repositories(self) -> AsyncIterator[str]:
        """Yield what the catalog names, each once. Not all of it need be a repository's name.

        With them come those that distribution leaves out between two pages.

        Raises:
            UnsupportedError: the registry has no catalog.
        """
        turned, ends = 0, list[str]()
        listed: set[str] = set()
        async for page in pages(
            self._exchange,
            self._answers,
            "/v2/_catalog",
            scope=scopes.CATALOG,
            key="repositories",
            sizes=self._page_sizes,
        ):
            turned += 1
            ends += page[-1:]
            listed.update(page)
            for name in page:
                yield name
        for name in left_out_by_pages(ends if turned > 1 else (), listed):
            if await self._has_tags(name):
                yield name

    async def _has_tags(self, repository: str) -> bool:
        """Tell whether there is such a repository, which this login may read, with tags."""
        try:
            return bool(await self.tags(repository))
        except (NotFoundError, AuthenticationError, DeniedError):
            return False
        except RegistryError as error:
            if error.status != 400:
                raise
            # What is above a repository need not be a repository's name: Gitea's OWNER is none.
            return False

    async def has_catalog(self) -> bool:
        """Tell whether the registry lists its repositories to this login."""
        try:
            async for _ in self.repositories():
                break
        except (UnsupportedError, AuthenticationError, DeniedError):
            return False
        return True

    async def tags(self, repository: str) -> list[str]:
        """Return the repository's tags, each once.

        Raises:
            NotFoundError: the registry does not know the repository, or it never had a tag.
        """
        path = f"/v2/{repository}/tags/list"
        found: list[str] = []
        async for page in pages(
            self._exchange,
            self._answers,
            path,
            scope=scopes.pull(repository),
            key="tags",
            sizes=self._page_sizes,
        ):
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
        answer = await self._exchange.ask("HEAD", path, scope=scopes.pull(repository), accept=_ACCEPT)
        if answer.status == 404:
            return None
        self._answers.expect(answer, 200, path)
        digest = answer.headers.get("Docker-Content-Digest")
        if digest is None:
            raw = await self.manifest(repository, reference)
            return None if raw is None else Resolved(raw.digest, raw.media_type, len(raw.content))
        self._answers.check_digest(digest, reference, path)
        length = answer.headers.get("Content-Length", "")
        return Resolved(
            digest, self._answers.media_type(answer, path), int(length) if length.isdecimal() else None
        )

    async def manifest(self, repository: str, reference: str) -> RawManifest | None:
        """Return the manifest's exact bytes, checked against the digest, or None where it is not there.

        A signed schema 1 manifest's digest covers less than its bytes, and is taken from the registry.
        """
        path = f"/v2/{repository}/manifests/{reference}"
        answer = await self._exchange.ask(
            "GET",
            path,
            scope=scopes.pull(repository),
            accept=_ACCEPT,
            limit=MAX_MANIFEST_SIZE,
            anywhere=is_digest(reference),
        )
        if answer.status == 404:
            return None
        self._answers.expect(answer, 200, path)
        media_type = self._answers.media_type(answer, path)
        stated = answer.headers.get("Docker-Content-Digest")
        if base_media_type(media_type) == DOCKER_SCHEMA1_SIGNED and stated is not None:
            digest = stated
        else:
            algorithm = (reference if is_digest(reference) else stated or "sha256:").partition(":")[0]
            digest = digest_of(answer.body, algorithm if algorithm == "sha512" else "sha256")
        if stated is not None and stated != digest:
            raise ProtocolError(f"{path}: the bytes are {digest}, but the registry says {stated}")
        self._answers.check_digest(digest, reference, path)
        return RawManifest(answer.body, media_type, digest)

    async def config(self, repository: str, digest: str, size: int) -> bytes | None:
        """Return a config's bytes, checked against the digest, or None where it is not there.

        Raises:
            TooLargeError: it is larger than any config.
        """
        if size > MAX_CONFIG:
            raise TooLargeError(f"{self.url}/{repository}: the config {digest} has {size} bytes")
        path = f"/v2/{repository}/blobs/{digest}"
        answer = await self._exchange.ask(
            "GET", path, scope=scopes.pull(repository), accept="*/*", limit=MAX_CONFIG, anywhere=True
        )
        if answer.status == 404:
            return None
        self._answers.expect(answer, 200, path)
        if digest_of(answer.body, digest.partition(":")[0]) != digest:
            raise ProtocolError(f"{path}: the bytes do not match the digest")
        return answer.body

    async def head_blob(self, repository: str, digest: str) -> int | None:
        """Return a blob's size in bytes, or None where it is not there (end-2)."""
        path = f"/v2/{repository}/blobs/{digest}"
        answer = await self._exchange.ask(
            "HEAD", path, scope=scopes.pull(repository), accept="*/*", anywhere=True
        )
        if answer.status == 404:
            return None
        self._answers.expect(answer, 200, path)
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
        async with self._exchange.slot():
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
                raise transport_error(error, self.url, path) from None
            finally:
                await response.aclose()

    async def _open_blob(self, path: str, repository: str, headers: dict[str, str]) -> httpx.Response:
        async for attempt in self._exchange.attempts("GET"):
            with attempt:
                response = await self._exchange.open(
                    "GET", self.url + path, scope=scopes.pull(repository), headers=headers, anywhere=True
                )
                if response.status_code in (200, 206):
                    return response
                await response.aclose()
                self._exchange.refuse_strain(response, path)
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
        track = Pages(f"{self.url}/{repository}: the referrers of {digest}")
        while url is not None:
            track.turn(url, len(found))
            answer = await self._exchange.ask(
                "GET", url, scope=scopes.pull(repository), accept=OCI_INDEX, limit=MAX_LISTING
            )
            if answer.status in (400, 404, 405, 501):
                return None
            self._answers.expect(answer, 200, url)
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
        await self._exchange.log_in(scopes.delete(repository))

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
        answer = await self._exchange.ask("DELETE", path, scope=scopes.delete(repository))
        if answer.status == 404:
            return Deleted.ABSENT
        self._answers.refuse_405(answer)
        self._answers.expect(answer, 202, path)
        return Deleted.DONE

    async def delete_tag(self, repository: str, tag: str) -> bool:
        """Delete a tag and leave its manifest (end-9); False where the registry cannot do that.

        It is sent once, as for `delete_manifest`. A registry that knows no such request may call it 404.

        Raises:
            ReadOnlyRegistryError: the registry does not allow it now.
        """
        path = f"/v2/{repository}/manifests/{tag}"
        answer = await self._exchange.ask("DELETE", path, scope=scopes.delete(repository))
        if is_read_only(answer):
            self._answers.refuse_405(answer)
        if answer.status in (400, 405):
            return False
        if answer.status == 404:
            return await self.head(repository, tag) is None
        self._answers.expect(answer, 202, path)
        return True

    async def can_untag(self, repository: str) -> bool | None:
        """Find out whether the registry can delete a tag alone, with a tag that nobody has.

        None where it cannot be found out now: deletes are disabled, or the registry is read-only.
        """
        answer = await self._exchange.ask(
            "DELETE", f"/v2/{repository}/manifests/reaper-asks-for-untagging", scope=scopes.delete(repository)
        )
        if answer.status == 405 and (is_read_only(answer) or await self.mode() is not RegistryMode.WRITABLE):
            return None
        return answer.status in (202, 404)

    async def prepare_push(self, repository: str) -> None:
        """Fetch the token that a push needs, so that no login stands between a look and the push."""
        await self._exchange.log_in(scopes.push(repository))

    async def put_blob(self, repository: str, content: bytes) -> None:
        """Push a small blob, unless it is there (end-2, end-4a and end-6)."""
        digest = digest_of(content)
        if await self.head_blob(repository, digest) is not None:
            return
        path, scope = f"/v2/{repository}/blobs/uploads/", scopes.push(repository)
        answer = await self._exchange.ask("POST", path, scope=scope)
        self._answers.refuse_405(answer)
        self._answers.expect(answer, 202, path)
        url = self._exchange.own(path, answer.headers.get("Location", ""))
        answer = await self._exchange.ask(
            "PUT",
            f"{url}{'&' if '?' in url else '?'}digest={digest}",
            scope=scope,
            content=content,
            headers={"Content-Type": "application/octet-stream"},
        )
        self._answers.expect(answer, 201, path)

    async def put_manifest(
        self, repository: str, reference: str, content: bytes, media_type: str, *, once: bool = False
    ) -> str:
        """Push a manifest under a digest or a tag, and return its digest (end-7).

        ``once``: it is not sent again where no answer comes, as for `delete_manifest`.
        """
        path = f"/v2/{repository}/manifests/{reference}"
        answer = await self._exchange.ask(
            "PUT",
            path,
            scope=scopes.push(repository),
            content=content,
            headers={"Content-Type": media_type},
            once=once,
        )
        self._answers.refuse_405(answer)
        self._answers.expect(answer, 201, path)
        digest = answer.headers.get("Docker-Content-Digest") or digest_of(content)
        self._answers.check_digest(digest, reference, path)
        return digest

    async def mode(self) -> RegistryMode:
        """Find out what the registry accepts, with a DELETE of a manifest that nobody has.

        A read-only distribution answers 405 and names the methods that it allows.
        """
        repository = "reaper-probe"
        path = f"/v2/{repository}/manifests/{_NOBODY}"
        answer = await self._exchange.ask("DELETE", path, scope=scopes.delete(repository), probe=True)
        if is_read_only(answer):
            return RegistryMode.READ_ONLY
        if answer.status == 405:
            return RegistryMode.DELETES_DISABLED
        if answer.status not in (202, 404):
            self._answers.expect(answer, 404, path)
        return RegistryMode.WRITABLE
