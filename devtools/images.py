"""Generated images: real gzip'd layers, configs, manifests and indexes, the same bytes for the same seed."""

from __future__ import annotations

import gzip
import hashlib
import json
import random
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

Media = Literal["oci", "docker"]

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
OCI_EMPTY = "application/vnd.oci.empty.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
COSIGN_PAYLOAD = "application/vnd.dev.cosign.simplesigning.v1+json"

INDEXES = frozenset({OCI_INDEX, DOCKER_INDEX})
MANIFESTS = frozenset({OCI_MANIFEST, DOCKER_MANIFEST}) | INDEXES

_MANIFEST_OF: Mapping[Media, str] = {"oci": OCI_MANIFEST, "docker": DOCKER_MANIFEST}
_INDEX_OF: Mapping[Media, str] = {"oci": OCI_INDEX, "docker": DOCKER_INDEX}
_CONFIG_OF: Mapping[Media, str] = {"oci": OCI_CONFIG, "docker": DOCKER_CONFIG}
_LAYER_OF: Mapping[Media, str] = {"oci": OCI_LAYER, "docker": DOCKER_LAYER}
_BLOCK = 512


def digest_of(data: bytes) -> str:
    """The ``sha256:…`` digest of some bytes."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@dataclass(frozen=True, slots=True)
class Blob:
    """A config or a layer."""

    data: bytes = field(repr=False)
    media_type: str

    @property
    def digest(self) -> str:
        """The name it is stored under."""
        return digest_of(self.data)

    def descriptor(self) -> dict[str, Any]:
        """How a manifest refers to it."""
        return {"mediaType": self.media_type, "size": len(self.data), "digest": self.digest}


@dataclass(frozen=True, slots=True)
class Image:
    """A manifest with its blobs (config first, then layers), or an index with its children."""

    body: bytes = field(repr=False)
    media_type: str
    blobs: tuple[Blob, ...] = ()
    children: tuple[Image, ...] = ()

    @property
    def digest(self) -> str:
        """The digest of the manifest."""
        return digest_of(self.body)

    @property
    def manifest(self) -> dict[str, Any]:
        """The manifest, parsed."""
        parsed: dict[str, Any] = json.loads(self.body)
        return parsed

    @property
    def size(self) -> int:
        """The bytes of the manifest and all it refers to, each once."""
        images = [self]
        for image in images:  # grows while it is walked
            images += image.children
        parts = {image.digest: len(image.body) for image in images}
        parts |= {blob.digest: len(blob.data) for image in images for blob in image.blobs}
        return sum(parts.values())

    def descriptor(self) -> dict[str, Any]:
        """How an index or a referrer refers to it."""
        described: dict[str, Any] = {
            "mediaType": self.media_type,
            "size": len(self.body),
            "digest": self.digest,
        }
        if platform := self._platform():
            described["platform"] = platform
        return described

    def _platform(self) -> dict[str, str]:
        if not self.blobs or self.blobs[0].media_type not in {OCI_CONFIG, DOCKER_CONFIG}:
            return {}
        config = json.loads(self.blobs[0].data)
        return {key: config[key] for key in ("architecture", "os", "variant") if key in config}


def build_layer(content: int | bytes, *, seed: int | str = 0, media: Media = "oci") -> Blob:
    """A layer with one file in it: the given bytes, or so many generated from the seed."""
    data = random.Random(f"layer {seed}").randbytes(content) if isinstance(content, int) else content
    entry = tarfile.TarInfo(f"data/{seed}")
    entry.size = len(data)
    padding = -len(data) % _BLOCK
    archive = entry.tobuf(tarfile.USTAR_FORMAT) + data + bytes(padding + 2 * _BLOCK)
    # Stored, not compressed: random bytes do not shrink, and the result depends on no zlib's taste.
    return Blob(gzip.compress(archive, compresslevel=0, mtime=0), _LAYER_OF[media])


def build_image(
    *,
    layers: Sequence[int | bytes | Blob] = (1024,),
    seed: int | str = 0,
    created: datetime | None = None,
    media: Media = "oci",
    platform: str = "linux/amd64",
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    subject: Image | None = None,
    artifact_type: str | None = None,
    config_media_type: str | None = None,
) -> Image:
    """An image; a layer is a size, a file's content, or a blob (of any media type) that is used as it is.

    With a `config_media_type` that is not an image's, it is an artifact: its config is ``{}``. Raises
    ValueError for what a Docker manifest cannot say.
    """
    if media == "docker" and (annotations or subject or artifact_type):
        raise ValueError("a Docker manifest has no annotations, no subject and no artifact type")
    blobs = [
        layer if isinstance(layer, Blob) else build_layer(layer, seed=f"{seed} {number}", media=media)
        for number, layer in enumerate(layers)
    ]
    config_type = config_media_type or _CONFIG_OF[media]
    if config_type in _CONFIG_OF.values():
        config = Blob(_config(blobs, seed, created, platform, labels or {}), config_type)
    else:
        config = Blob(b"{}", config_type)
    manifest: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": _MANIFEST_OF[media],
        "artifactType": artifact_type,
        "config": config.descriptor(),
        "layers": [blob.descriptor() for blob in blobs],
        "subject": _reference(subject),
        "annotations": dict(annotations) if annotations else None,
    }
    return Image(_json(manifest), _MANIFEST_OF[media], (config, *blobs))


def build_index(
    children: Sequence[Image],
    *,
    media: Media = "oci",
    annotations: Mapping[str, str] | None = None,
    subject: Image | None = None,
    artifact_type: str | None = None,
) -> Image:
    """An index of images or indexes. Raises ValueError for what a Docker manifest list cannot say."""
    if media == "docker" and (annotations or subject or artifact_type):
        raise ValueError("a Docker manifest list has no annotations, no subject and no artifact type")
    index: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": _INDEX_OF[media],
        "artifactType": artifact_type,
        "manifests": [child.descriptor() for child in children],
        "subject": _reference(subject),
        "annotations": dict(annotations) if annotations else None,
    }
    return Image(_json(index), _INDEX_OF[media], (), tuple(children))


def build_signature(subject: Image, *, identity: str = "registry.example/image") -> Image:
    """A signature as cosign makes it (not one that verifies); it belongs under `signature_tag(subject)`."""
    payload = {
        "critical": {
            "identity": {"docker-reference": identity},
            "image": {"docker-manifest-digest": subject.digest},
            "type": "cosign container image signature",
        },
        "optional": None,
    }
    return build_image(seed=subject.digest, layers=[Blob(_json(payload), COSIGN_PAYLOAD)])


def build_referrer(
    subject: Image,
    *,
    artifact_type: str = "application/spdx+json",
    content: bytes = b'{"spdxVersion":"SPDX-2.3"}',
) -> Image:
    """An artifact that refers to `subject` as OCI 1.1 says: an SBOM, an attestation."""
    return build_image(
        layers=[Blob(content, artifact_type)],
        subject=subject,
        artifact_type=artifact_type,
        config_media_type=OCI_EMPTY,
    )


def signature_tag(subject: Image) -> str:
    """The tag where cosign looks for the signature."""
    return f"{fallback_tag(subject.digest)}.sig"


def fallback_tag(digest: str) -> str:
    """The tag of the index that lists a digest's referrers where the registry has no referrers API."""
    return digest.replace(":", "-")


def _config(
    layers: Sequence[Blob],
    seed: int | str,
    created: datetime | None,
    platform: str,
    labels: Mapping[str, str],
) -> bytes:
    system, architecture, *variant = platform.split("/")
    at = created.astimezone(UTC).isoformat().replace("+00:00", "Z") if created else None
    return _json(
        {
            "created": at,
            "architecture": architecture,
            "variant": variant[0] if variant else None,
            "os": system,
            "config": {"Env": [f"SEED={seed}"], "Labels": dict(labels) if labels else None},
            "rootfs": {"type": "layers", "diff_ids": [_diff_id(layer) for layer in layers]},
        }
    )


def _diff_id(layer: Blob) -> str:
    """The digest of what a layer unpacks to."""
    compressed = layer.data.startswith(b"\x1f\x8b")
    return digest_of(gzip.decompress(layer.data) if compressed else layer.data)


def _reference(subject: Image | None) -> dict[str, Any] | None:
    if subject is None:
        return None
    return {key: value for key, value in subject.descriptor().items() if key != "platform"}


def _json(value: dict[str, Any]) -> bytes:
    """Compact JSON without the top level's absent members."""
    return json.dumps(
        {key: member for key, member in value.items() if member is not None}, separators=(",", ":")
    ).encode()
