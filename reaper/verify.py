"""Proves that everything tagged can be pulled: every manifest, child, config and layer, with GET and HEAD only.

A HEAD proves nothing about a blob: after a collection without a restart, distribution answers 200 from its
cache for a blob that is gone, and a GET then has an empty body. A truncated file keeps its old size in that
cache as well. So each blob's last byte is asked for: it comes only if the file is there, opens, and is at
least as long as its descriptor says, and it costs no more than the HEAD would have. With ``deep``, every
byte is read and the digest computed.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final, Protocol

from reaper.concurrency import collect, in_order
from reaper.core.manifest import Descriptor, Kind, Manifest, ManifestError, kind_of, parse_manifest
from reaper.registry import BlobRangeError, ContentError, NotFoundError, RegistryClient, RegistryError

#: How many repositories are looked at side by side, so that small ones do not wait for each answer in turn.
REPOSITORIES_AT_ONCE: Final = 8
#: Indexes of indexes are allowed; nobody nests them deeper than this on purpose.
MAX_DEPTH: Final = 8

# Layers that stay with their publisher: image-spec 1.1, layer.md, "Non-Distributable Layers". Clients fetch
# them from the descriptor's own addresses, so a registry need not have them.
_ELSEWHERE: Final = ("vnd.docker.image.rootfs.foreign.", "vnd.oci.image.layer.nondistributable.")


class Progress(Protocol):
    """Is told how far the verification is."""

    def __call__(self, phase: str, done: int, total: int | None) -> None:
        """Take note of ``done`` out of ``total`` repositories."""


def silent(phase: str, done: int, total: int | None) -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True)
class Damage:
    """Something that a tag needs and that cannot be pulled. ``what``: manifest, child, config or layer."""

    repository: str
    tag: str
    digest: str
    what: str
    detail: str

    def __str__(self) -> str:
        return f"{self.repository}:{self.tag}: {self.what} {self.digest} {self.detail}"


@dataclass(frozen=True, slots=True)
class RepositoryCheck:
    """One repository's part of a report. ``errors`` say what could not be looked at, and so is unknown."""

    repository: str
    tags: int = 0
    manifests: int = 0
    blobs: int = 0
    bytes: int = 0
    damages: tuple[Damage, ...] = ()
    errors: tuple[str, ...] = ()


@dataclass(slots=True)
class VerifyReport:
    """What was looked at, in counts, and what was found.

    ``manifests`` and ``blobs`` count once in each repository; ``bytes`` are the manifests' and blobs' sizes.
    """

    repositories: int = 0
    tags: int = 0
    manifests: int = 0
    blobs: int = 0
    bytes: int = 0
    damages: list[Damage] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def add(self, check: RepositoryCheck) -> None:
        """Add one repository's part."""
        self.repositories += 1
        self.tags += check.tags
        self.manifests += check.manifests
        self.blobs += check.blobs
        self.bytes += check.bytes
        self.damages += check.damages
        self.errors += check.errors


async def verify(
    client: RegistryClient,
    repositories: Sequence[str] | None = None,
    *,
    deep: bool = False,
    concurrency: int = 16,
    progress: Progress = silent,
) -> VerifyReport:
    """Verify all repositories, or those named, and return the whole report.

    Raises:
        RegistryError: the catalog could not be read.
    """
    report = VerifyReport()
    async with aclosing(
        verify_each(client, repositories, deep=deep, concurrency=concurrency, progress=progress)
    ) as checks:
        async for check in checks:
            report.add(check)
    return report


async def verify_each(
    client: RegistryClient,
    repositories: Sequence[str] | None = None,
    *,
    deep: bool = False,
    concurrency: int = 16,
    progress: Progress = silent,
) -> AsyncIterator[RepositoryCheck]:
    """Verify one repository after another, with at most ``concurrency`` requests under way.

    Memory is bounded by the largest repositories, not by their number.

    Raises:
        RegistryError: the catalog could not be read.
    """
    listed = repositories is None
    names = sorted([name async for name in client.repositories()]) if repositories is None else repositories
    requests = asyncio.Semaphore(concurrency)

    async def check(name: str) -> RepositoryCheck:
        return await _Verification(client, name, requests, deep=deep, listed=listed).run()

    progress("verify", 0, len(names))
    async with aclosing(in_order(names, check, limit=min(REPOSITORIES_AT_ONCE, concurrency))) as checks:
        done = 0
        async for result in checks:
            done += 1
            progress("verify", done, len(names))
            yield result


@dataclass(frozen=True, slots=True)
class _Look:
    """What one look at a repository found. A problem is why something cannot be pulled."""

    tags: Mapping[str, str]
    manifests: Mapping[str, Manifest]
    blobs: Mapping[Descriptor, str | None]
    problems: Mapping[str, str]
    errors: tuple[str, ...]


class _Verification:
    """One repository while it is verified."""

    def __init__(
        self,
        client: RegistryClient,
        repository: str,
        requests: asyncio.Semaphore,
        *,
        deep: bool,
        listed: bool,
    ) -> None:
        self._client = client
        self._repository = repository
        self._requests = requests
        self._deep = deep
        self._listed = listed
