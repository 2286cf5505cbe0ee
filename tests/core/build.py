"""Short ways to write a snapshot by hand."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from reaper.core.duration import parse_duration
from reaper.core.manifest import Manifest
from reaper.core.policy import Condition, Policy, Rule
from reaper.core.retention import Decisions, decide
from reaper.core.selectors import Glob, Selector
from reaper.core.snapshot import ManifestEntry, Snapshot, TagEntry
from tests.core.generate import NOW, REPOSITORY, manifest


def ago(text: str) -> datetime:
    """Return the instant ``text`` (a duration) before now."""
    return NOW - parse_duration(text)


def image(
    seed: str, created: str | datetime | None = None, *, seen: str = "1h", **fields: object
) -> ManifestEntry:
    """Return an image built at ``created`` and first seen at the first inventory, ``seen`` ago."""
    return entry(manifest(seed, **fields), created, seen=seen)  # type: ignore[arg-type]  # fields vary by kind


def entry(of: Manifest, created: str | datetime | None = None, *, seen: str = "1h") -> ManifestEntry:
    """Return what is known of the manifest ``of``."""
    built = ago(created) if isinstance(created, str) else created
    return ManifestEntry(of, config_created=built, first_seen=ago(seen), untagged_since=ago(seen))


def snapshot(
    tags: Mapping[str, ManifestEntry],
    *untagged: ManifestEntry,
    first_inventory: str = "1h",
    tag_seen: Mapping[str, str] | None = None,
    pulls_tracked: str | None = None,
    pulled: Mapping[str, str] | None = None,
) -> Snapshot:
    """Return the repository that has ``tags``, first inventoried ``first_inventory`` ago."""
    seen = tag_seen or {}
    pulls = {name: ago(age) for name, age in (pulled or {}).items()}
    return Snapshot(
        REPOSITORY,
        NOW,
        {
            name: TagEntry(
                name, e.digest, first_seen=ago(seen.get(name, first_inventory)), pulled=pulls.get(name)
            )
            for name, e in tags.items()
        },
        {e.digest: e for e in (*tags.values(), *untagged)},
        inventoried_since=ago(first_inventory),
        pulls_tracked_since=ago(pulls_tracked) if pulls_tracked else None,
    )


def policy(*keeps: Condition | Rule, name: str = "p", minimum_age: str = "0s", **fields: object) -> Policy:
    """Return a policy on every repository, with a rule for each of ``keeps``."""
    rules = tuple(
        keep if isinstance(keep, Rule) else Rule(f"rule {number}", keep)
        for number, keep in enumerate(keeps, 1)
    )
    return Policy(
        name=name,
        repositories=Selector((Glob("**"),)),
        rules=rules,
        minimum_age=parse_duration(minimum_age),
        **fields,  # type: ignore[arg-type]  # passed through
    )


def kept(decisions: Decisions) -> set[str]:
    """Return the tags that are kept."""
    return {name for name, tag in decisions.tags.items() if tag.decision == "keep"}


def judge(snapshot: Snapshot, *policies: Policy) -> Decisions:
    """Return the decisions of ``policies`` now."""
    return decide(policies, snapshot, NOW)


DAY = timedelta(days=1)
