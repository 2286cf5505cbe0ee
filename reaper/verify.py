"""Proves that everything tagged can be pulled: manifests, children, configs and layers. Only GET and HEAD.

A HEAD proves little about a blob: after a collection without a restart, distribution answers 200 from its
cache for a blob that is gone, and a GET then has an empty body. So each blob's first byte is read as well.
With ``deep``, every byte is read and the digest computed.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final

from reaper.concurrency import collect, in_order
from reaper.core.manifest import MAX_DEPTH, Descriptor, Manifest, ManifestError, parse_manifest
from reaper.progress import Progress, silent
from reaper.registry import NotFoundError, ProtocolError, RegistryClient, RegistryError, TruncatedError
from reaper.repositories import AT_ONCE, Repositories

_ATTEMPTS: Final = 3

# Layers that stay with their publisher: image-spec 1.1, layer.md, "Non-Distributable Layers". Clients fetch
# them from the descriptor's own addresses, so a registry need not have them.
_ELSEWHERE: Final = (
    "application/vnd.docker.image.rootfs.foreign.",
    "application/vnd.oci.image.layer.nondistributable.",
)


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
    listed: Repositories | None = None,
    deep: bool = False,
    concurrency: int = 16,
    progress: Progress = silent,
) -> VerifyReport:
    """Verify all repositories, or those named, and return the whole report.

    Raises:
        ReaperError: the repositories could not be listed.
    """
    report = VerifyReport()
    async with aclosing(
        verify_each(
            client, repositories, listed=listed, deep=deep, concurrency=concurrency, progress=progress
        )
    ) as checks:
        async for check in checks:
            report.add(check)
    return report


async def verify_each(
    client: RegistryClient,
    repositories: Sequence[str] | None = None,
    *,
    listed: Repositories | None = None,
    deep: bool = False,
    concurrency: int = 16,
    progress: Progress = silent,
) -> AsyncGenerator[RepositoryCheck, None]:
    """Verify one repository after another; the client bounds how many requests are under way.

    Without ``repositories`` it is all that are ``listed``, by default by the registry's catalog. Memory is
    bounded by the largest repositories, not by their number.

    Raises:
        ReaperError: the repositories could not be listed.
    """
    names, everything = repositories or (), repositories is None
    if everything:
        listing = await (listed or Repositories(client)).list()
        names = listing.names
        for invalid, error in listing.errors.items():
            yield RepositoryCheck(invalid, errors=(error,))

    async def check(name: str) -> RepositoryCheck:
        verification = _Verification(client, name, deep=deep, concurrency=concurrency, listed=everything)
        return await verification.run()

    progress("verify", 0, len(names))
    async with aclosing(in_order(names, check, limit=min(AT_ONCE, concurrency))) as checks:
        done = 0
        async for result in checks:
            done += 1
            progress("verify", done, len(names))
            yield result


async def unreadable(
    client: RegistryClient, repository: str, manifest: Manifest, *, concurrency: int = 16
) -> list[str]:
    """Return why the config and the layers of ``manifest`` cannot be pulled, a line each; [] if they can."""
    look = _Look(blobs={blob.digest: blob for blob in manifest.blobs})
    verification = _Verification(client, repository, deep=False, concurrency=concurrency, listed=True)
    await verification.check_blobs(look)
    problems = [f"{digest} {look.problems[digest]}" for digest in look.blobs if digest in look.problems]
    return [*problems, *look.errors]


@dataclass(slots=True)
class _Look:
    """One look at a repository. ``problems`` says of a digest why it cannot be pulled."""

    tags: dict[str, str] = field(default_factory=dict)
    unresolved: list[str] = field(default_factory=list)
    manifests: dict[str, Manifest] = field(default_factory=dict)
    blobs: dict[str, Descriptor] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    bytes: int = 0


class _Verification:
    """One repository while it is verified."""

    def __init__(
        self, client: RegistryClient, repository: str, *, deep: bool, concurrency: int, listed: bool
    ) -> None:
        self._client = client
        self._repository = repository
        self._deep = deep
        self._concurrency = concurrency
        self._listed = listed

    async def run(self) -> RepositoryCheck:
        """Look at the repository; look again where what seems damaged was only changed meanwhile."""
        look = await self._look()
        damages = list(self._damages(look))
        if damages and await self._has_changed(look, {damage.tag for damage in damages}):
            look = await self._look()
            damages = list(self._damages(look))
        return RepositoryCheck(
            self._repository,
            tags=len(look.tags) + len(look.unresolved),
            manifests=len(look.manifests),
            blobs=len(look.blobs),
            bytes=look.bytes,
            damages=tuple(damages),
            errors=tuple(f"{self._repository}: {error}" for error in look.errors),
        )

    async def _look(self) -> _Look:
        look = _Look()
        await self._resolve_tags(look)
        await self._read_manifests(look)
        await self.check_blobs(look)
        return look

    async def _resolve_tags(self, look: _Look) -> None:
        try:
            names = await self._client.tags(self._repository)
        except NotFoundError as error:
            # An emptied repository stays in the catalog; one that somebody asks for has to be there.
            if not self._listed:
                look.errors.append(error.message)
            return
        except RegistryError as error:
            look.errors.append(error.message)
            return

        async def resolve(name: str) -> None:
            try:
                resolved = await self._client.head(self._repository, name)
            except RegistryError as error:
                look.errors.append(f"tag {name}: {error.message}")
                return
            if resolved is None:
                look.unresolved.append(name)
            else:
                look.tags[name] = resolved.digest

        await collect(names, resolve, limit=self._concurrency)

    async def _read_manifests(self, look: _Look) -> None:
        """Read every tagged manifest, and level by level what is below it."""
        level = {digest: Descriptor(digest, -1, "") for digest in look.tags.values()}
        for _ in range(MAX_DEPTH + 1):
            await collect(level.values(), lambda wanted: self._read(look, wanted), limit=self._concurrency)
            found = [look.manifests[digest] for digest in level if digest in look.manifests]
            level = {child.digest: child for manifest in found for child in manifest.children}
            level = {digest: child for digest, child in level.items() if not _is_known(look, digest)}
            if not level:
                return
        look.errors.append(f"an index is nested more than {MAX_DEPTH} deep")

    async def _read(self, look: _Look, wanted: Descriptor) -> None:
        try:
            raw = await self._client.manifest(self._repository, wanted.digest)
            if raw is None:
                look.problems[wanted.digest] = "is not found"
                return
            manifest = parse_manifest(raw.content, raw.media_type, wanted.digest)
        except (ProtocolError, ManifestError) as error:
            look.problems[wanted.digest] = f"is broken: {error.message}"
            return
        except RegistryError as error:
            look.errors.append(f"manifest {wanted.digest}: {error.message}")
            return
        look.manifests[manifest.digest] = manifest
        look.bytes += manifest.size
        for blob in manifest.blobs:
            look.blobs[blob.digest] = blob

    async def check_blobs(self, look: _Look) -> None:
        """Note of each blob of ``look`` why it cannot be pulled, or that this could not be found out."""

        async def check(blob: Descriptor) -> None:
            try:
                size = await self._blob_size(blob)
            except _DamagedError as damage:
                look.problems[blob.digest] = str(damage)
            except RegistryError as error:
                look.errors.append(f"blob {blob.digest}: {error.message}")
            else:
                look.bytes += size

        await collect(list(look.blobs.values()), check, limit=self._concurrency)

    async def _blob_size(self, blob: Descriptor) -> int:
        """Return the blob's size in bytes when it can be pulled.

        Raises:
            _DamagedError: it cannot.
            RegistryError: that could not be found out.
        """
        size = await self._client.head_blob(self._repository, blob.digest)
        if size is None:
            if blob.media_type.startswith(_ELSEWHERE):
                return 0
            raise _DamagedError("is not found")
        # Schema 1 states no sizes.
        if blob.size and size != blob.size:
            raise _DamagedError(f"has {size} bytes instead of {blob.size}")
        if size == 0 and not self._deep:
            return 0
        for attempt in range(_ATTEMPTS):
            try:
                await self._read_bytes(blob, size)
            except NotFoundError:
                raise _DamagedError("is said to be there, and is not found") from None
            except TruncatedError as error:
                # A broken connection looks the same, but not every time.
                if attempt + 1 == _ATTEMPTS:
                    raise _DamagedError(f"cannot be read: {error.message}") from error
            else:
                break
        return size

    async def _read_bytes(self, blob: Descriptor, size: int) -> None:
        """Read all of a blob, or its first byte.

        Raises:
            _DamagedError: the bytes are not the blob's.
            RegistryError: they could not be read.
        """
        read = 0
        content = hashlib.new(blob.digest.partition(":")[0])
        at_most = None if self._deep else 1
        async for chunk in self._client.read_blob(self._repository, blob.digest, at_most=at_most):
            read += len(chunk)
            if self._deep:
                content.update(chunk)
        expected = size if self._deep else 1
        if read != expected:
            raise _DamagedError(f"is said to have {size} bytes, and only {read} of {expected} asked for come")
        if self._deep and f"{content.name}:{content.hexdigest()}" != blob.digest:
            raise _DamagedError("has other content than its digest says")

    async def _has_changed(self, look: _Look, damaged: set[str]) -> bool:
        """Tell whether a damaged tag was moved or deleted since: what it needed may have gone with it."""
        try:
            names = set(await self._client.tags(self._repository))
            now = await collect(
                sorted(damaged & names),
                lambda name: self._client.head(self._repository, name),
                limit=self._concurrency,
            )
        except RegistryError:
            return False  # The damage stands; that it could not be looked at again proves nothing else.
        digests = [None if resolved is None else resolved.digest for resolved in now]
        return not damaged <= names or digests != [look.tags.get(name) for name in sorted(damaged & names)]

    def _damages(self, look: _Look) -> Iterator[Damage]:
        """Yield, tag by tag, everything that the tag needs and that cannot be pulled."""
        for tag in sorted(look.unresolved):
            yield Damage(self._repository, tag, "", "manifest", "is not found, although the tag is listed")
        if not look.problems:
            return
        for tag, digest in sorted(look.tags.items()):
            for what, needed in _needs(look.manifests, digest):
                if needed in look.problems:
                    yield Damage(self._repository, tag, needed, what, look.problems[needed])


class _DamagedError(Exception):
    """Why a blob cannot be pulled."""


def _is_known(look: _Look, digest: str) -> bool:
    return digest in look.manifests or digest in look.problems or digest in look.blobs


def _needs(manifests: Mapping[str, Manifest], digest: str) -> Iterator[tuple[str, str]]:
    """Yield what pulling ``digest`` needs, itself first, each once, with what it is."""
    pending = [("manifest", digest)]
    seen = set()
    while pending:
        what, current = pending.pop()
        if current in seen:
            continue
        seen.add(current)
        yield what, current
        manifest = manifests.get(current)
        if manifest is not None:
            pending += [("child", child.digest) for child in manifest.children]
            pending += [("layer", layer.digest) for layer in manifest.layers]
            if manifest.config is not None:
                pending.append(("config", manifest.config.digest))
