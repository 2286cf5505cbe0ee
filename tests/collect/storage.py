"""A storage of distribution's filesystem driver, written without a registry, and its collector."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from reaper.core.manifest import OCI_MANIFEST
from reaper.core.reference import digest_of


def blob_path(root: Path, digest: str) -> Path:
    """Return the file that holds a blob's, or a manifest's, bytes."""
    algorithm, _, value = digest.partition(":")
    return root / "docker" / "registry" / "v2" / "blobs" / algorithm / value[:2] / value / "data"


def add_blob(root: Path, content: bytes) -> str:
    """Store a blob that nothing needs."""
    digest = digest_of(content)
    path = blob_path(root, digest)
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    return digest


class Storage:
    """A storage folder with the configuration that names it, and ``binary`` to collect it with."""

    def __init__(self, folder: Path, binary: Path) -> None:
        self.binary = str(binary)
        self.root = folder / "storage"
        self.root.mkdir()
        self.config = folder / "collector.yml"
        settings = {
            "version": "0.1",
            "storage": {"filesystem": {"rootdirectory": str(self.root)}, "delete": {"enabled": True}},
            "http": {"addr": "127.0.0.1:0"},
        }
        self.config.write_text(json.dumps(settings))

    @property
    def command(self) -> list[str]:
        return [self.binary, "garbage-collect", str(self.config)]

    def blob_path(self, digest: str) -> Path:
        return blob_path(self.root, digest)

    def add_blob(self, content: bytes) -> str:
        """Store a blob that nothing needs."""
        return add_blob(self.root, content)

    def add_image(self, repository: str, layers: Sequence[bytes]) -> list[str]:
        """Store an image and return the digests of all that it needs, its manifest first."""
        config = b"{}"
        needed = [self.add_blob(config), *(self.add_blob(layer) for layer in layers)]
        descriptors = [
            {"mediaType": "application/octet-stream", "digest": digest, "size": len(content)}
            for digest, content in zip(needed, [config, *layers], strict=True)
        ]
        manifest = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": descriptors[0],
            "layers": descriptors[1:],
        }
        digest = self.add_blob(json.dumps(manifest).encode())
        home = self.root / "docker" / "registry" / "v2" / "repositories" / repository
        self._link(home / "_manifests" / "revisions", digest)
        for blob in needed:
            self._link(home / "_layers", blob)
        return [digest, *needed]

    @staticmethod
    def _link(folder: Path, digest: str) -> None:
        algorithm, _, value = digest.partition(":")
        path = folder / algorithm / value / "link"
        path.parent.mkdir(parents=True)
        path.write_text(digest)
