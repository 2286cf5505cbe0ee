"""What is in a repository, and what an image is made of, as rows for a listing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from reaper.core.manifest import Descriptor, Kind
from reaper.core.snapshot import Snapshot
from reaper.core.times import created, pushed

# What BuildKit calls the platform of an attestation that it keeps among an index's images.
_NO_PLATFORM: Final = "unknown/unknown"


def tag_rows(snapshot: Snapshot) -> Iterator[dict[str, Any]]:
    """Yield each tag, by name: its digest, times, size, platforms, and how many referrers it has."""
    for name, entry in sorted(snapshot.tags.items()):
        built, put = created(snapshot, entry.digest), pushed(snapshot, entry)
        yield {
            "tag": name,
            "digest": entry.digest,
            "created": built.time if built else None,
            "pushed": put.time if put else None,
            "size": snapshot.size(entry.digest),
            "platforms": platforms(snapshot, entry.digest),
            "referrers": len(referrers(snapshot, entry.digest)),
        }


def part_rows(snapshot: Snapshot, digest: str) -> Iterator[dict[str, Any]]:
    """Yield the manifest, and below it (``depth``) what it is made of and what refers to it."""
    return _below(snapshot, Descriptor(digest, 0, ""), None, ())


def platforms(snapshot: Snapshot, digest: str) -> list[str]:
    """Return the platforms that an image, or an index at any depth, is for; each once, in its order."""
    found: dict[str, None] = {}
    seen: set[str] = set()
    pending: list[tuple[str, str | None]] = [(digest, None)]
    while pending:
        current, said = pending.pop()
        entry = snapshot.manifests.get(current)
        if entry is not None and entry.manifest.kind is Kind.INDEX:
            if current not in seen:
                seen.add(current)
                pending += [(child.digest, child.platform) for child in reversed(entry.manifest.children)]
            continue
        platform = said or (entry.platform if entry else None)
        if platform and platform != _NO_PLATFORM:
            found[platform] = None
    return list(found)


def referrers(snapshot: Snapshot, digest: str) -> list[str]:
    """Return what refers to ``digest``.

    The index that clients keep under the tag ``sha256-<hex>``, where the registry has no referrers API, is no
    referrer itself: it lists them.
    """
    fallback = snapshot.tags.get(digest.replace(":", "-"))
    found: set[str] = set()
    for referrer in snapshot.referrers.get(digest, ()):
        entry = snapshot.manifests.get(referrer)
        listing = fallback is not None and fallback.digest == referrer
        if listing and entry is not None and entry.manifest.kind is Kind.INDEX:
            found.update(child for child in snapshot.children(referrer) if child in snapshot.manifests)
        else:
            found.add(referrer)
    return sorted(found)


def _below(
    snapshot: Snapshot, of: Descriptor, role: str | None, path: tuple[str, ...]
) -> Iterator[dict[str, Any]]:
    """Yield what ``of`` describes, in its ``role`` (else its kind), and all below it.

    ``path`` is the way that led there: tags may name subjects in a circle.
    """
    depth = len(path)
    entry = snapshot.manifests.get(of.digest)
    if entry is None:
        yield _row("missing", of, of.platform, depth)
        return
    manifest = entry.manifest
    own = Descriptor(of.digest, manifest.size, manifest.media_type)
    part = role or manifest.kind.value
    if of.digest in path:
        yield _row(f"{part} (see above)", own, of.platform, depth)
        return
    yield _row(part, own, of.platform or entry.platform, depth)
    if manifest.config is not None:
        yield _row("config", manifest.config, None, depth + 1)
    for layer in manifest.layers:
        yield _row("layer", layer, None, depth + 1)
    for child in manifest.children:
        yield from _below(snapshot, child, None, (*path, of.digest))
    for referrer in referrers(snapshot, of.digest):
        yield from _below(snapshot, Descriptor(referrer, 0, ""), "referrer", (*path, of.digest))


def _row(part: str, of: Descriptor, platform: str | None, depth: int) -> dict[str, Any]:
    return {
        "part": part,
        "depth": depth,
        "digest": of.digest,
        "type": of.media_type,
        "platform": platform,
        "size": of.size,
    }
