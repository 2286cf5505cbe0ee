"""What a change of policies would newly delete, or newly keep."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from reaper.core.comparison import Change, Turn
from reaper.report.listing import Column
from reaper.report.text import count, human_bytes
from reaper.report.words import MORE

SCHEMA: Final = "reaper.diff/v1"
#: How many changes of a repository people read.
LIMIT: Final = 10
COLUMNS: Final = (
    *(Column(key, key.replace("_", " ")) for key in ("repository", "tag", "digest", "turn")),
    Column("size", "size", "right", unit="bytes"),
    Column("reason_before", "before"),
    Column("reason_after", "after"),
)
_SIGNS: Final = {Turn.EXPIRES: "-", Turn.KEPT: "+"}


def repository_lines(repository: str, changes: Sequence[Change], *, verbose: bool) -> Iterator[str]:
    """Yield one repository's changes: ``-`` what newly expires, ``+`` what is newly kept."""
    limit = len(changes) if verbose else LIMIT
    yield repository
    for change in changes[:limit]:
        name = change.tag if change.tag is not None else change.digest
        yield f"  {_SIGNS[change.turn]} {name} ({human_bytes(change.size)})"
        yield f"      before: {change.reason_before}"
        yield f"      after:  {change.reason_after}"
    if changes[limit:]:
        yield f"  ... and {count(len(changes) - limit, 'change')} more: {MORE}"
    yield ""


def total_lines(totals: Mapping[str, int]) -> Iterator[str]:
    """Yield the changes in numbers."""
    expired, kept = totals["newly_expired_tags"], totals["newly_kept_tags"]
    deleted, spared = totals["newly_deleted_manifests"], totals["newly_kept_manifests"]
    compared = count(totals["repositories"], "repository", "repositories")
    if not (expired or kept or deleted or spared):
        yield f"Nothing changes in {compared}."
        return
    yield f"In {compared}:"
    yield f"  - {count(expired, 'tag')} newly expired, {count(deleted, 'manifest')} newly deleted"
    yield f"  + {count(kept, 'tag')} newly kept, {count(spared, 'manifest')} no longer deleted"
    before, after = totals["reclaimable_before"], totals["reclaimable_after"]
    yield f"A collection would then free {human_bytes(after)} instead of {human_bytes(before)}."


def rows(changes: Sequence[Change]) -> Iterator[dict[str, Any]]:
    """Yield each change as a record."""
    for change in changes:
        yield {
            "repository": change.repository,
            "tag": change.tag,
            "digest": change.digest,
            "turn": change.turn.value,
            "size": change.size,
            "reason_before": change.reason_before,
            "reason_after": change.reason_after,
        }
