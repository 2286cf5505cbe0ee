"""A small registry client of its own, so that tests do not check reaper's client with itself."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from devtools.images import (
    INDEXES,
    MANIFESTS,
    OCI_INDEX,
    Blob,
    Image,
    build_signature,
    digest_of,
    fallback_tag,
    signature_tag,
)

_TIMEOUT = 60.0
_EMPTY_INDEX: dict[str, Any] = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}


class AnswerError(Exception):
    """The registry answered otherwise than asked for."""

    def __init__(self, method: str, path: str, answer: Answer) -> None:
        super().__init__(f"{method} {path}: {answer.status} {answer.body[:500].decode(errors='replace')}")
        self.status = answer.status


class BrokenImageError(Exception):
    """An image cannot be pulled whole; the message says what is missing or wrong."""


class Answer(NamedTuple):
    """A response, read to its end; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Fetched(NamedTuple):
    """A manifest as the registry gave it; `digest` is computed from the bytes."""

    body: bytes
    media_type: str
    digest: str


class Pusher:
    """Pushes, lists, deletes and fully pulls; a connection a request, so that restarts do not hurt."""

    def __init__(
        self,
        url: str,
        username: str | None = None,
        password: str | None = None,
        *,
        token: str | None = None,
        certificate_authority: Path | None = None,
    ) -> None:
        """`url` is without ``/v2/``; with a token or a user, every request carries it."""
        parts = urlsplit(url)
        self._host = parts.netloc
        self._prefix = parts.path.rstrip("/")
        self._tls = (
            ssl.create_default_context(cafile=certificate_authority) if parts.scheme == "https" else None
        )
        self._headers: dict[str, str] = {}
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"
        elif username is not None:
            pair = base64.b64encode(f"{username}:{password or ''}".encode()).decode()
            self._headers["Authorization"] = f"Basic {pair}"

    def push(self, repository: str, image: Image, *tags: str) -> str:
        """Push an image whole, children and blobs first, then its tags; returns its digest."""
        for child in image.children:
            self.push(repository, child)
        for blob in image.blobs:
            self.push_blob(repository, blob)
        for reference in (image.digest, *tags):
            self.push_manifest(repository, reference, image.body, image.media_type)
        return image.digest

    def push_blob(self, repository: str, blob: Blob) -> None:
        """Upload a blob in one piece unless the registry says it has it."""
        if self.request("HEAD", f"/v2/{repository}/blobs/{blob.digest}", {200, 404}).status == 200:
            return
        begun = self.request("POST", f"/v2/{repository}/blobs/uploads/", {202})
        location = urlsplit(begun.headers["location"])
        query = f"{location.query}&digest={blob.digest}" if location.query else f"digest={blob.digest}"
        path = location.path.removeprefix(self._prefix)
        self.request("PUT", f"{path}?{query}", {201}, blob.data, {"Content-Type": "application/octet-stream"})

    def push_manifest(self, repository: str, reference: str, body: bytes, media_type: str) -> str:
        """PUT just these bytes under a tag or a digest; returns their digest."""
        path = f"/v2/{repository}/manifests/{reference}"
        self.request("PUT", path, {201}, body, {"Content-Type": media_type})
        return digest_of(body)

    def push_signature(self, repository: str, subject: Image) -> Image:
        """Push a cosign-style signature of `subject` under its ``.sig`` tag; returns the signature."""
        signature = build_signature(subject)
        self.push(repository, signature, signature_tag(subject))
        return signature

    def push_referrer(self, repository: str, referrer: Image) -> str:
        """Push a manifest with a subject and list it in the subject's fallback tag; returns that tag."""
        self.push(repository, referrer)
        manifest = referrer.manifest
        tag = fallback_tag(manifest["subject"]["digest"])
        listed = self.get_manifest(repository, tag)
        index: dict[str, Any] = json.loads(listed.body) if listed else _EMPTY_INDEX
        entry = referrer.descriptor() | {
            "artifactType": manifest.get("artifactType") or manifest["config"]["mediaType"]
        }
        others = [known for known in index["manifests"] if known["digest"] != referrer.digest]
        body = json.dumps(index | {"manifests": [*others, entry]}, separators=(",", ":")).encode()
        self.push_manifest(repository, tag, body, OCI_INDEX)
        return tag

    def get_manifest(self, repository: str, reference: str) -> Fetched | None:
        """The manifest under a tag or digest, in whatever form it is stored; None when there is none."""
        headers = {"Accept": ", ".join(sorted(MANIFESTS))}
        answer = self.request("GET", f"/v2/{repository}/manifests/{reference}", {200, 404}, headers=headers)
        if answer.status == 404:
            return None
        return Fetched(answer.body, answer.headers["content-type"], digest_of(answer.body))

    def repositories(self) -> list[str]:
        """The catalog, sorted; emptied repositories are still in it."""
        return sorted(name for page in self._pages("/v2/_catalog") for name in page["repositories"] or ())

    def tags(self, repository: str) -> list[str]:
        """The repository's tags, sorted; none when it is not known."""
        return sorted(
            tag for page in self._pages(f"/v2/{repository}/tags/list") for tag in page["tags"] or ()
        )

    def delete(self, repository: str, reference: str) -> bool:
        """Delete a digest (or a tag, where the registry can); False when there was nothing."""
        return self.request("DELETE", f"/v2/{repository}/manifests/{reference}", {202, 404}).status == 202

    def pull(self, repository: str, reference: str) -> Image:
        """Pull an image whole: manifest, children, config, layers, each checked by size and digest.

        Raises BrokenImageError at the first thing that is missing or wrong.
        """
        fetched = self.get_manifest(repository, reference)
        if fetched is None:
            raise BrokenImageError(f"{repository}: no manifest {reference}")
        if reference.startswith("sha256:"):
            _require(
                fetched.digest == reference, f"{repository}: {reference} has the content of {fetched.digest}"
            )
        parsed = json.loads(fetched.body)
        stated = parsed.get("mediaType", fetched.media_type)
        _require(
            stated == fetched.media_type,
            f"{repository}: {reference} is {stated}, served as {fetched.media_type}",
        )
        if fetched.media_type in INDEXES:
            children = tuple(self._pull_child(repository, child) for child in parsed["manifests"])
            return Image(fetched.body, fetched.media_type, (), children)
        descriptors = (parsed["config"], *parsed["layers"])
        blobs = tuple(self._pull_blob(repository, descriptor) for descriptor in descriptors)
        return Image(fetched.body, fetched.media_type, blobs)

    def request(
        self,
        method: str,
        path: str,
        expected: set[int],
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send one request. Raises AnswerError when the status is not among the expected."""
        connection = (
            http.client.HTTPSConnection(self._host, timeout=_TIMEOUT, context=self._tls)
            if self._tls
            else http.client.HTTPConnection(self._host, timeout=_TIMEOUT)
        )
        try:
            connection.request(
                method, self._prefix + path, body=body, headers=self._headers | dict(headers or {})
            )
            response = connection.getresponse()
            content = response.read()
            answer = Answer(
                response.status, {name.lower(): value for name, value in response.getheaders()}, content
            )
        finally:
            connection.close()
        if answer.status not in expected:
            raise AnswerError(method, path, answer)
        return answer

    def _pull_child(self, repository: str, descriptor: dict[str, object]) -> Image:
        child = self.pull(repository, str(descriptor["digest"]))
        _require(
            len(child.body) == descriptor["size"],
            f"{repository}: {child.digest} has another size than stated",
        )
        _require(
            child.media_type == descriptor["mediaType"],
            f"{repository}: {child.digest} has another media type than stated",
        )
        return child

    def _pull_blob(self, repository: str, descriptor: dict[str, object]) -> Blob:
        digest = str(descriptor["digest"])
        answer = self.request("GET", f"/v2/{repository}/blobs/{digest}", {200, 404})
        _require(answer.status == 200, f"{repository}: no blob {digest}")
        _require(
            len(answer.body) == descriptor["size"],
            f"{repository}: blob {digest} has {len(answer.body)} bytes",
        )
        _require(digest_of(answer.body) == digest, f"{repository}: blob {digest} has other content")
        return Blob(answer.body, str(descriptor["mediaType"]))

    def _pages(self, path: str) -> list[dict[str, list[str] | None]]:
        pages = []
        following: str | None = path
        while following:
            answer = self.request("GET", following, {200, 404})
            if answer.status == 404:
                break
            pages.append(json.loads(answer.body))
            following = self._next(answer)
        return pages

    def _next(self, answer: Answer) -> str | None:
        link = answer.headers.get("link")
        if not link:
            return None
        target = urlsplit(link[link.index("<") + 1 : link.index(">")])
        path = target.path.removeprefix(self._prefix)
        return f"{path}?{target.query}" if target.query else path


def _require(condition: bool, failure: str) -> None:
    if not condition:
        raise BrokenImageError(failure)
