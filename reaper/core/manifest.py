"""Manifests: what their bytes say about configs, layers, children and subjects."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from reaper.core.errors import ReaperError
from reaper.core.reference import is_digest

OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
OCI_ARTIFACT: Final = "application/vnd.oci.artifact.manifest.v1+json"
DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_SCHEMA1: Final = "application/vnd.docker.distribution.manifest.v1+json"
DOCKER_SCHEMA1_SIGNED: Final = "application/vnd.docker.distribution.manifest.v1+prettyjws"

#: Configs with a ``created`` field; any other config is an artifact's own and is not read.
IMAGE_CONFIGS: Final = frozenset(
    {"application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"}
)
# BuildKit's registry caches list layers and their config where an index has manifests. No registry has them
# as manifests: distribution 2.8 fails (500) when it is asked to.
_BLOBS_IN_AN_INDEX: Final = (
    "application/vnd.oci.image.layer.",
    "application/vnd.docker.image.rootfs.",
    "application/vnd.buildkit.cacheconfig.",
)
CREATED_ANNOTATION: Final = "org.opencontainers.image.created"

#: distribution-spec 1.1, "Pushing Manifests": registries should refuse larger ones, and so does reaper.
MAX_MANIFEST_SIZE: Final = 4 * 1024 * 1024
#: Indexes of indexes are allowed; nobody nests them deeper than this on purpose.
MAX_DEPTH: Final = 8
#: Children of an index, or layers of an image: more than anybody lists on purpose.
MAX_LISTED: Final = 10_000
# Objects and lists in one document. Each takes far more memory than the two bytes it is written with.
_MAX_CONTAINERS: Final = 100_000
# image-spec 1.1, descriptor.md: the size is an int64. RFC 6838, 4.2: a type's two names have 127 at most.
_MAX_SIZE: Final = 2**63 - 1
_MAX_MEDIA_TYPE: Final = 255
_MAX_PLATFORM_PART: Final = 64
# Registries and clients in Go take any case of a field for the field.
_FIELDS: Final = {
    name.casefold(): name
    for name in ("mediaType", "config", "layers", "manifests", "blobs", "subject", "fsLayers", "artifactType")
}
_DESCRIPTOR_FIELDS: Final = {name.casefold(): name for name in ("mediaType", "digest", "size", "platform")}


class Kind(StrEnum):
    """What a manifest is."""

    IMAGE = "image"
    INDEX = "index"
    ARTIFACT = "artifact"
    SCHEMA1 = "schema1"
    UNKNOWN = "unknown"


_KINDS: Final[Mapping[str, Kind]] = {
    OCI_MANIFEST: Kind.IMAGE,
    DOCKER_MANIFEST: Kind.IMAGE,
    OCI_INDEX: Kind.INDEX,
    DOCKER_LIST: Kind.INDEX,
    OCI_ARTIFACT: Kind.ARTIFACT,
    DOCKER_SCHEMA1: Kind.SCHEMA1,
    DOCKER_SCHEMA1_SIGNED: Kind.SCHEMA1,
}

#: Every manifest type that reaper understands, for ``Accept``: distribution converts a manifest, or
#: denies that it exists, when its own type is not accepted.
MANIFEST_TYPES: Final = tuple(_KINDS)


class ManifestError(ReaperError):
    """A manifest's bytes break the specification, or its bounds."""


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A reference to content: image-spec 1.1, descriptor.md. ``size`` is in bytes."""

    digest: str
    size: int
    media_type: str
    platform: str | None = None


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """What an image's config says of it. ``created`` is as it stands there, believable or not."""

    created: datetime | None = None
    platform: str | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """One manifest, as far as retention needs it. ``size`` is the length of its bytes.

    An index has ``layers`` where it lists blobs among its children, as the caches of BuildKit do.
    """

    digest: str
    media_type: str
    kind: Kind
    size: int
    config: Descriptor | None = None
    layers: tuple[Descriptor, ...] = ()
    children: tuple[Descriptor, ...] = ()
    subject: str | None = None
    artifact_type: str | None = None
    created_annotation: datetime | None = None
    #: Digests that an unknown document mentions: what they mean is unknown, so all are kept with it.
    mentions: frozenset[str] = frozenset()

    @property
    def blobs(self) -> Iterator[Descriptor]:
        """The config and the layers: what a registry stores beside the manifest itself."""
        if self.config is not None:
            yield self.config
        yield from self.layers


def kind_of(media_type: str) -> Kind:
    """Return what a manifest of ``media_type`` is; parameters such as ``; charset`` do not matter."""
    return _KINDS.get(base_media_type(media_type), Kind.UNKNOWN)


def base_media_type(text: str) -> str:
    """Return a Content-Type's type and subtype in lower case, without its parameters (RFC 9110, 8.3.1)."""
    return text.partition(";")[0].strip().lower()


def parse_time(text: object) -> datetime | None:
    """Return the instant that an RFC 3339 text names, or None when it is none, or has no offset."""
    if not isinstance(text, str):
        return None
    try:
        # RFC 3339 allows the T and the Z in lower case, which Python does not.
        moment = datetime.fromisoformat(text.upper())
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else None


def is_media_type(text: str) -> bool:
    """Tell whether ``text`` can be a media type, with parameters or without: short, and fit to be shown."""
    return 0 < len(text) <= _MAX_MEDIA_TYPE and text.isascii() and text.isprintable()


def parse_manifest(content: bytes, media_type: str, digest: str) -> Manifest:
    """Return what the manifest ``content`` says; ``media_type`` is the answer's Content-Type.

    Whether the bytes belong to ``digest`` is the caller's to check, where the bytes arrive.

    Raises:
        ManifestError: the bytes are too many, are not the JSON object that the type promises, or a
            descriptor in them is broken.
    """
    if len(content) > MAX_MANIFEST_SIZE:
        raise ManifestError(f"manifest {digest} has {len(content)} bytes; the limit is {MAX_MANIFEST_SIZE}")
    document = _json_object(content, digest)
    stated = base_media_type(media_type)
    own = document.get("mediaType")
    if isinstance(own, str) and own:
        if not is_media_type(own):
            raise ManifestError(f"manifest {digest} has a mediaType that is none")
        own = base_media_type(own)
        if stated in _KINDS and own != stated:
            raise ManifestError(f"manifest {digest} calls itself {own}, but was sent as {stated}")
        stated = own
    kind = _KINDS.get(stated, Kind.UNKNOWN)
    size = len(content)
    if kind is Kind.UNKNOWN:
        return Manifest(digest, stated, kind, size, mentions=frozenset(_digests_in(document)))
    _check_fields(document, kind, digest)
    if kind is Kind.SCHEMA1:
        return Manifest(digest, stated, kind, size, layers=_schema1_layers(document, digest))
    reader = _Reader(document, digest)
    subject = reader.optional("subject")
    listed = reader.several("manifests") if kind is Kind.INDEX else ()
    return Manifest(
        digest=digest,
        media_type=stated,
        kind=kind,
        size=size,
        config=reader.required("config") if kind is Kind.IMAGE else None,
        layers=tuple(filter(_is_blob, listed))
        if kind is Kind.INDEX
        else reader.several("layers" if kind is Kind.IMAGE else "blobs"),
        children=tuple(entry for entry in listed if not _is_blob(entry)),
        subject=subject.digest if subject else None,
        artifact_type=reader.artifact_type(),
        created_annotation=reader.created_annotation(),
    )


def parse_config(content: bytes) -> ImageConfig:
    """Return what an image's config says; one that is no JSON object says nothing."""
    try:
        document = _load(content)
    except (ValueError, RecursionError):
        return ImageConfig()
    if not isinstance(document, dict):
        return ImageConfig()
    return ImageConfig(parse_time(document.get("created")), _platform(document))


def _is_blob(listed: Descriptor) -> bool:
    return listed.media_type.startswith(_BLOBS_IN_AN_INDEX)


def _json_object(content: bytes, digest: str) -> dict[str, Any]:
    try:
        document = _load(content)
    except _FaultyJSONError as error:
        raise ManifestError(f"manifest {digest} {error}") from error
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"manifest {digest} is not JSON") from error
    if not isinstance(document, dict):
        raise ManifestError(f"manifest {digest} is not a JSON object")
    return document


class _FaultyJSONError(ValueError):
    """It is JSON, but not to be relied on."""


def _load(content: bytes) -> object:
    """Return what the JSON ``content`` says, if all readers of it see the same (RFC 8259, 4 and 8.1).

    Raises:
        ValueError, RecursionError: it is no JSON in UTF-8, or says one thing twice, or is a bomb.
    """
    if content.count(b"{") + content.count(b"[") > _MAX_CONTAINERS:
        raise _FaultyJSONError(f"has more than {_MAX_CONTAINERS} objects and lists")
    return json.loads(content.decode("utf-8"), object_pairs_hook=_unique)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _FaultyJSONError("has a field twice")
    return found


def _check_fields(document: Mapping[str, Any], kind: Kind, digest: str) -> None:
    """Refuse what some readers take for another kind of manifest than others do (CVE-2021-41190)."""
    _check_case(document, _FIELDS, f"manifest {digest}")
    foreign = ("config", "layers") if kind is Kind.INDEX else ("manifests",)
    for field in foreign:
        if document.get(field) is not None:
            raise ManifestError(f"manifest {digest} is an {kind} with {field}: it may be read in two ways")


def _check_case(document: Mapping[str, Any], fields: Mapping[str, str], what: str) -> None:
    for key in document:
        meant = fields.get(key.casefold())
        if meant is not None and meant != key:
            raise ManifestError(f"{what} has {key!r}, which some read as {meant}")


def _schema1_layers(document: Mapping[str, Any], digest: str) -> tuple[Descriptor, ...]:
    """Read ``fsLayers`` of the deprecated schema 1, which gives no sizes."""
    layers = document.get("fsLayers") or []
    if not isinstance(layers, list):
        raise ManifestError(f"manifest {digest}: fsLayers is not a list")
    _check_length(layers, "fsLayers", digest)
    found = []
    for layer in layers:
        blob = layer.get("blobSum") if isinstance(layer, dict) else None
        if not isinstance(blob, str) or not is_digest(blob):
            raise ManifestError(f"manifest {digest}: an entry of fsLayers has no digest")
        found.append(Descriptor(blob, 0, "application/vnd.docker.image.rootfs.diff.tar.gzip"))
    return tuple(found)


def _check_length(listed: list[Any], field: str, digest: str) -> None:
    if len(listed) > MAX_LISTED:
        raise ManifestError(
            f"manifest {digest}: {field} has {len(listed)} entries; the limit is {MAX_LISTED}"
        )


def _digests_in(value: object) -> Iterator[str]:
    pending = [value]
    while pending:
        current = pending.pop()
        if isinstance(current, str):
            if is_digest(current):
                yield current
        elif isinstance(current, dict):
            pending.extend(current.values())
        elif isinstance(current, list):
            pending.extend(current)


class _Reader:
    """Reads one manifest's fields, and names the field in every error."""

    def __init__(self, document: Mapping[str, Any], digest: str) -> None:
        self._document = document
        self._digest = digest

    def required(self, field: str) -> Descriptor:
        found = self.optional(field)
        if found is None:
            raise ManifestError(f"manifest {self._digest} has no {field}")
        return found

    def optional(self, field: str) -> Descriptor | None:
        value = self._document.get(field)
        return None if value is None else self._descriptor(value, field)

    def several(self, field: str) -> tuple[Descriptor, ...]:
        value = self._document.get(field)
        if value is None:
            return ()
        if not isinstance(value, list):
            raise ManifestError(f"manifest {self._digest}: {field} is not a list")
        _check_length(value, field, self._digest)
        return tuple(self._descriptor(item, field) for item in value)

    def artifact_type(self) -> str | None:
        value = self._document.get("artifactType")
        return value if isinstance(value, str) and is_media_type(value) else None

    def created_annotation(self) -> datetime | None:
        annotations = self._document.get("annotations")
        return parse_time(annotations.get(CREATED_ANNOTATION)) if isinstance(annotations, dict) else None

    def _descriptor(self, value: object, field: str) -> Descriptor:
        if not isinstance(value, dict):
            raise ManifestError(f"manifest {self._digest}: {field} is not a descriptor")
        _check_case(value, _DESCRIPTOR_FIELDS, f"manifest {self._digest}: {field}")
        digest, size = value.get("digest"), value.get("size")
        if not isinstance(digest, str) or not is_digest(digest):
            raise ManifestError(f"manifest {self._digest}: {field} has no valid digest")
        if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= _MAX_SIZE:
            raise ManifestError(f"manifest {self._digest}: {field} has no valid size")
        media_type = value.get("mediaType")
        if isinstance(media_type, str) and media_type and not is_media_type(media_type):
            raise ManifestError(f"manifest {self._digest}: {field} has a mediaType that is none")
        return Descriptor(
            digest, size, media_type if isinstance(media_type, str) else "", _platform(value.get("platform"))
        )


def _platform(value: object) -> str | None:
    """Return ``os/architecture[/variant]``, as the field's tools write a platform; None where it is none."""
    if not isinstance(value, dict):
        return None
    parts = [value.get("os"), value.get("architecture"), value.get("variant")]
    named = [part for part in parts if isinstance(part, str) and part]
    if any(len(p) > _MAX_PLATFORM_PART or not p.isascii() or not p.isprintable() for p in named):
        return None
    return "/".join(named) or None
