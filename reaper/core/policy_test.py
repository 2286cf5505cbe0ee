"""Policy tests: what policies would say of tags with given ages, beside what somebody expects."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from reaper.core.duration import format_duration
from reaper.core.manifest import OCI_MANIFEST, Kind, Manifest
from reaper.core.policy import Policy
from reaper.core.retention import NO_POLICY, Decision, decide
from reaper.core.snapshot import ManifestEntry, Snapshot, TagEntry

#: When a test takes place unless it says so: a Wednesday, so that it says the same every day.
DEFAULT_NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class ExpectedTag:
    """A tag, its times, and what should become of it. Tags of the same ``image`` share a digest.

    A time may be None: it is not known then.
    """

    tag: str
    image: str
    expected: Decision
    pushed: datetime | None = None
    created: datetime | None = None
    pulled: datetime | None = None


@dataclass(frozen=True, slots=True)
class ExpectedUntagged:
    """A manifest that has been without a tag for a while, and what should become of it."""

    since: timedelta
    expected: Decision


@dataclass(frozen=True, slots=True)
class Case:
    """One policy test: a repository at one moment. ``in_use`` are the tags that something runs."""

    name: str
    repository: str
    now: datetime = DEFAULT_NOW
    tags: tuple[ExpectedTag, ...] = ()
    untagged: tuple[ExpectedUntagged, ...] = ()
    in_use: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one tag, or (``tag`` None) of one untagged manifest, and why.

    ``number`` is its place among the case's tags or untagged manifests.
    """

    tag: str | None
    number: int
    expected: Decision
    found: Decision
    reason: str

    @property
    def passed(self) -> bool:
        """Whether it is as expected."""
        return self.expected is self.found


def run_case(policies: Sequence[Policy], case: Case) -> Iterator[Outcome]:
    """Yield what becomes of each tag and each untagged manifest of ``case``."""
    snapshot = _snapshot(case)
    users = dict.fromkeys(case.in_use, "the test")
    decisions = decide(policies, snapshot, case.now, users)
    for number, wanted in enumerate(case.tags):
        tag = decisions.tags[wanted.tag]
        yield Outcome(wanted.tag, number, wanted.expected, tag.decision, tag.reason)
    for number, untagged in enumerate(case.untagged):
        judged = decisions.untagged.get(_digest(_nobody(number)))
        if judged is None:
            yield Outcome(None, number, untagged.expected, Decision.IGNORE, NO_POLICY)
            continue
        age = format_duration(untagged.since)
        held = decisions.held.get(judged.digest)
        found, reason = (Decision.KEEP, held) if held else (judged.decision, judged.reason)
        yield Outcome(None, number, untagged.expected, found, f"after {age}: {reason}")


def _snapshot(case: Case) -> Snapshot:
    images: dict[str, ManifestEntry] = {}
    for tag in case.tags:
        known = images.get(tag.image)
        pushed = [time for time in (tag.pushed, known.pushed_event if known else None) if time is not None]
        images[tag.image] = ManifestEntry(
            _manifest(tag.image),
            config_created=tag.created or (known.config_created if known else None),
            # An image is there since its first tag.
            pushed_event=min(pushed, default=None),
        )
    for number, untagged in enumerate(case.untagged):
        since = case.now - untagged.since
        images[_nobody(number)] = ManifestEntry(
            _manifest(_nobody(number)), pushed_event=since, untagged_since=since
        )
    pulls = any(tag.pulled is not None for tag in case.tags)
    return Snapshot(
        case.repository,
        case.now,
        {
            tag.tag: TagEntry(tag.tag, _digest(tag.image), pushed_event=tag.pushed, pulled=tag.pulled)
            for tag in case.tags
        },
        {entry.digest: entry for entry in images.values()},
        # Where a test knows of one pull, it knows of all.
        pulls_tracked_since=datetime.min.replace(tzinfo=UTC) if pulls else None,
    )


def _nobody(number: int) -> str:
    # No tag and no name that a test gives has a line break.
    return f"\nuntagged {number}"


def _manifest(image: str) -> Manifest:
    return Manifest(_digest(image), OCI_MANIFEST, Kind.IMAGE, 0)


def _digest(image: str) -> str:
    return f"sha256:{hashlib.sha256(image.encode()).hexdigest()}"
