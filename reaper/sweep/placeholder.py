"""Takes a tag off where a registry cannot delete a tag alone: by way of a placeholder.

The tag is moved onto a manifest of its own that is of no use, and that manifest is deleted by its digest,
which takes the tag with it. No other tag is ever on it. docs/decisions/0024-placeholders-are-opt-in.md says
what a push in the wrong moment loses.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import structlog

from reaper.core.manifest import OCI_MANIFEST
from reaper.core.reference import digest_of
from reaper.registry import (
    Deleted,
    DeletesDisabledError,
    ReadOnlyRegistryError,
    RegistryClient,
    RegistryError,
)
from reaper.store import JournalEntry
from reaper.sweep.put import put

_log = structlog.get_logger(__name__)

#: In a journal entry's ``plan``: the digest of the placeholder that the tag may be on.
PLACEHOLDER: Final = "placeholder"
ARTIFACT_TYPE: Final = "application/vnd.reaper.placeholder.v1"
#: image-spec 1.1, manifest.md, "Guidance for an Empty Descriptor".
EMPTY: Final = b"{}"
_EMPTY_TYPE: Final = "application/vnd.oci.empty.v1+json"
_ATTEMPTS: Final = 3


@dataclass(frozen=True, slots=True)
class Placeholder:
    """A manifest that holds nothing, unlike any other."""

    content: bytes
    digest: str


def new_placeholder(run_id: str, tag: str, digest: str) -> Placeholder:
    """Return one for ``tag``, which is on ``digest``; a person who finds it can tell what it was for."""
    empty = {"mediaType": _EMPTY_TYPE, "digest": digest_of(EMPTY), "size": len(EMPTY)}
    document: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": ARTIFACT_TYPE,
        "config": empty,
        "layers": [empty],
        "annotations": {
            "reaper.placeholder": uuid.uuid4().hex,
            "reaper.run": run_id,
            "reaper.tag": tag,
            "reaper.digest": digest,
        },
    }
    content = json.dumps(document, separators=(",", ":")).encode()
    return Placeholder(content, digest_of(content))


async def remove(
    client: RegistryClient, repository: str, placeholder: str, may_write: Callable[[], None]
) -> None:
    """Delete a placeholder, and with it the tag that is on it. It may be gone.

    Sent again where no answer comes: nobody else needs it, so a late delete does no harm.

    Raises:
        DeletesDisabledError: the registry deletes nothing, whether it says so or not.
        RegistryError: it could not be deleted.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        may_write()
        try:
            await _delete(client, repository, placeholder)
        except (DeletesDisabledError, ReadOnlyRegistryError):
            raise
        except RegistryError:
            if attempt == _ATTEMPTS:
                raise
        else:
            return


async def _delete(client: RegistryClient, repository: str, placeholder: str) -> None:
    deleted = await client.delete_manifest(repository, placeholder)
    if deleted is Deleted.ABSENT and await client.head(repository, placeholder) is not None:
        said = f"{client.url} does not delete {placeholder}: it answers 404, and has it"
        raise DeletesDisabledError(said, status=404)


async def finish(client: RegistryClient, entry: JournalEntry, may_write: Callable[[], None]) -> None:
    """Finish what was cut short between the placeholder's push and its delete; nothing where it was not.

    To move the tag back could overwrite a push that came since; to delete the placeholder cannot. Only where
    the registry allows no deletes any more, the tag goes back to where it was.

    Raises:
        RegistryError: it could not be looked up, deleted or put back.
    """
    placeholder = entry.plan.get(PLACEHOLDER)
    if placeholder is None or await client.head(entry.repository, placeholder) is None:
        return
    tag = entry.tags[0]
    try:
        await remove(client, entry.repository, placeholder, may_write)
    except DeletesDisabledError:
        await move_back(client, entry.repository, tag, placeholder, entry.content, entry.media_type)
    _log.info("placeholder_settled", repository=entry.repository, tag=tag, digest=placeholder)


async def move_back(
    client: RegistryClient, repository: str, tag: str, placeholder: str, content: bytes, media_type: str
) -> None:
    """Put a tag back onto its manifest, if it is on the placeholder.

    Raises:
        RegistryError: it could not be looked up or put back.
    """
    held = await client.head(repository, tag)
    if held is not None and held.digest == placeholder:
        await put(client, repository, tag, content, media_type)
