"""What a journal entry keeps besides the manifest.

Its times, so that a restored image is as old as it was; and what was to be deleted after it, so that what a
crash leaves over is known for what it is.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any, TypeVar

from reaper.core.plan import Action, Step
from reaper.store import PARTS, JournalEntry, ManifestRecord, RepositoryRecord, Store, TagRecord

Record = TypeVar("Record", TagRecord, ManifestRecord)


def remembered(record: RepositoryRecord, step: Step, parts: Sequence[str]) -> dict[str, Any]:
    """Return what ``record`` says of the step's manifest and tags, and its ``parts``, ready for JSON."""
    manifest = record.manifests.get(step.digest) if step.action is Action.DELETE else None
    tags = {name: _as_json(record.tags[name]) for name in step.tags if name in record.tags}
    return {"manifest": _as_json(manifest) if manifest else None, "tags": tags, PARTS: list(parts)}


def put_back(store: Store, entry: JournalEntry, tags_on_it: Collection[str], at: datetime) -> None:
    """Remember the times of a restored entry, and of the tags that are on it again, as they were before."""
    manifest = entry.plan.get("manifest")
    former = entry.plan.get("tags", {})
    tags = {name: _from_json(TagRecord, former[name]) for name in tags_on_it if name in former}
    manifests = {entry.digest: _from_json(ManifestRecord, manifest)} if manifest else {}
    if tags or manifests:
        store.observations.remember(entry.registry, entry.repository, at, tags, manifests)


def _as_json(record: TagRecord | ManifestRecord) -> dict[str, Any]:
    return {
        key: value.isoformat() if isinstance(value, datetime) else value
        for key, value in asdict(record).items()
    }


def _from_json(kind: type[Record], values: Mapping[str, Any]) -> Record:
    known = {field.name for field in fields(kind)}
    found: dict[str, Any] = {
        key: datetime.fromisoformat(value) if isinstance(value, str) and key != "digest" else value
        for key, value in values.items()
        if key in known
    }
    return kind(**found)
