"""The sentences of a report for people, the same in every format."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from reaper.core.duration import describe_age
from reaper.core.plan import Action
from reaper.core.retention import Decision
from reaper.report.model import CollectionReport, Outcome, RepositoryReport, RunReport
from reaper.report.text import count, human_bytes, timestamp
from reaper.report.view import Row, Selection

#: How to see what the limits leave out.
MORE: Final = "-v or --format json shows all"

_OUTCOMES: Final[Mapping[Outcome, str]] = {
    Outcome.DONE: "done",
    Outcome.PARTIAL: "partial, see the errors",
    Outcome.BLOCKED: "blocked by a guard rail",
    Outcome.FAILED: "failed",
    Outcome.INTERRUPTED: "interrupted",
}

_REVIEW: Final = "Review what expires below. If it is right, raise guard.{guard} in the policy"
#: The guard rail that nobody can let pass.
_UNKNOWN: Final = "in_use_unknown"
_ADVICE: Final[Mapping[str, str]] = {
    "max_deletions": _REVIEW.format(guard="max_deletions"),
    "max_share": _REVIEW.format(guard="max_share"),
    "min_tags": "Review what expires below. If it is right, lower guard.min_tags in the policy",
    "empty_match": (
        "Check the policy's repository patterns; if they may match nothing, set guard.min_repositories to 0"
    ),
    "clock": "Set the clock of the machine that reaper runs on",
    "max_newly_expired": "Look at what the changed policies expire below. If it is meant, let it pass once",
    "short_listing": (
        "Find out where they went: is it the same registry, with the same storage and the same rights? "
        "If somebody deleted them on purpose, let it pass once"
    ),
    _UNKNOWN: "Make the sources of images in use readable",
}
_ANY_ADVICE: Final = "Review what expires below"


@dataclass(frozen=True, slots=True)
class Hint:
    """What to do next: a sentence, and the command that does it where there is one."""

    text: str
    command: str = ""


def headline(report: RunReport) -> str:
    """Return what this is, and how it ended."""
    what = "Audit" if report.dry_run else "Run"
    return f"{what} of {report.registry}: {_OUTCOMES[report.outcome]}"


def when(report: RunReport) -> str:
    """Return which run it was, when, and how long it took."""
    took = describe_age(report.finished_at - report.started_at)
    return f"Run {report.run_id}, {timestamp(report.started_at)}, took {took}."


def result(report: RunReport) -> str:
    """Return what was done, or would be."""
    summary = report.summary
    deletes = count(summary.manifests_to_delete, "manifest")
    frees = f"a collection would then free {human_bytes(summary.reclaimable_bytes)}"
    plan = f"{count(summary.expired_tags, 'tag')} to expire, {deletes} to delete; {frees}."
    idle = not (summary.manifests_to_delete or summary.expired_tags)
    stopped = report.outcome in (Outcome.FAILED, Outcome.INTERRUPTED)
    if report.dry_run and stopped:
        return "Nothing was changed. The audit did not get to its end."
    if report.dry_run:
        return "Nothing was changed; nothing would be." if idle else f"Nothing was changed. The plan: {plan}"
    if report.outcome is Outcome.BLOCKED:
        return "Nothing was deleted." if idle else f"Nothing was deleted. The plan: {plan}"
    done = f"Deleted {summary.deleted_manifests:,} of {deletes}"
    if summary.untagged_tags:
        done += f", untagged {count(summary.untagged_tags, 'tag')}"
    if summary.skipped_manifests:
        done += f", skipped {count(summary.skipped_manifests, 'manifest')}"
    if stopped:
        return f"{done}, then stopped."
    if idle:
        return "Nothing expires; nothing was deleted."
    return f"{done}. The next collection frees {human_bytes(summary.reclaimable_bytes)}."


def figures(report: RunReport) -> list[tuple[str, str]]:
    """Return the summary as labels and numbers; none where the run failed before it read anything."""
    summary = report.summary
    if report.error is not None and not summary.repositories:
        return []
    shown = [
        ("Repositories", summary.repositories),
        ("Manifests", summary.manifests),
        ("Tags", summary.tags),
        ("To delete", summary.manifests_to_delete),
        ("Kept tags", summary.kept_tags),
        ("Deleted", summary.deleted_manifests),
        ("Expired tags", summary.expired_tags),
        ("Skipped", summary.skipped_manifests),
        ("Ignored tags", summary.ignored_tags),
        ("Untagged tags", summary.untagged_tags),
    ]
    return [
        *((label, f"{number:,}") for label, number in shown),
        ("Reclaimable", human_bytes(summary.reclaimable_bytes)),
        ("Errors", f"{summary.errors:,}"),
    ]


def before(report: RunReport) -> Iterator[str]:
    """Yield what the run did before it looked at anything: settling, collecting."""
    if report.settled:
        yield f"Finished or closed {count(report.settled, 'delete')} that an earlier run had begun."
    if report.collection is not None:
        yield from _collection(report.collection)


def _collection(collection: CollectionReport) -> Iterator[str]:
    freed = f"{count(collection.blobs, 'blob')}, {human_bytes(collection.bytes)}"
    detail = f": {collection.detail}" if collection.detail else ""
    yield f"Collection first ({collection.via}): {collection.outcome}; freed {freed}{detail}"
    for warning in collection.warnings:
        yield f"Warning from the collection: {warning}"


def guards_title(report: RunReport) -> str:
    """Return the heading over the guard rails."""
    rails = count(len(report.guards), "guard rail")
    return f"{rails} would block a run" if report.dry_run else f"Blocked by {rails}: nothing was deleted"


def advice(guard: str) -> str:
    """Return what to do about a guard rail."""
    return f"{_ADVICE.get(guard, _ANY_ADVICE)}, and run again."


def guard_advice(report: RunReport) -> list[str]:
    """Return what to do about the guard rails of a report, each thing once."""
    lines = list(dict.fromkeys(advice(trip.guard) for trip in report.guards))
    if report.plan_id is not None and any(trip.guard != _UNKNOWN for trip in report.guards):
        lines.append(f"To let just this plan pass, once: reaper run --accept {report.plan_id}")
    return lines


def repository_line(report: RunReport, repository: RepositoryReport) -> str:
    """Return a repository's part in the plan, or in what was done."""
    swept = not report.dry_run and report.outcome in (Outcome.DONE, Outcome.PARTIAL)
    expired = sum(tag.decision == Decision.EXPIRE for tag in repository.tags)
    deletes = sum(manifest.action == Action.DELETE for manifest in repository.manifests)
    tags, manifests = count(len(repository.tags), "tag"), count(len(repository.manifests), "manifest")
    parts = [
        f"{expired:,} of {tags} expired",
        f"{deletes:,} of {manifests} {'deleted' if swept else 'to delete'}",
    ]
    if repository.policies:
        noun = "policy" if len(repository.policies) == 1 else "policies"
        parts.append(f"{noun} {', '.join(repository.policies)}")
    return "; ".join(parts)


def more_rows(hidden: Sequence[Row]) -> str:
    """Return how many rows of a repository are left out; empty where none is."""
    tags = sum(row.tagged for row in hidden)
    kinds = [count(tags, "tag")] if tags else []
    if tags < len(hidden):
        kinds.append(count(len(hidden) - tags, "untagged manifest"))
    return f"... and {' and '.join(kinds)} more: {MORE}" if hidden else ""


def more_errors(hidden: int) -> str:
    """Return how many errors are left out; empty where none is."""
    return f"... and {count(hidden, 'error')} more: {MORE}" if hidden else ""


def more_repositories(selection: Selection) -> Iterator[str]:
    """Yield how many repositories are left out, once ``selection`` was iterated."""
    if selection.left_out:
        more = count(selection.left_out, "repository", "repositories")
        yield f"... and {more} more, with {count(selection.left_out_rows, 'change')}: {MORE}"
    if selection.quiet:
        yield f"Without changes: {count(selection.quiet, 'repository', 'repositories')}."


def why(row: Row) -> str:
    """Return a row's reason, and until when it stays where time alone ends that."""
    return row.reason if row.expires_at is None else f"{row.reason}; until {timestamp(row.expires_at)}"


def hints(report: RunReport) -> Iterator[Hint]:
    """Yield what to do next."""
    summary = report.summary
    stopped = report.outcome in (Outcome.FAILED, Outcome.INTERRUPTED)
    if stopped and not report.dry_run:
        yield Hint("The next run first finishes or closes what this one had begun:", "reaper run")
    if report.outcome is Outcome.PARTIAL:
        yield Hint("What could not be read was left as it is. Resolve the errors and run again.")
    plans_something = summary.manifests_to_delete or summary.expired_tags
    if report.dry_run and plans_something and not stopped and not report.guards:
        yield Hint("To do this, with the same options:", "reaper run")
    if not report.dry_run and (summary.deleted_manifests or summary.untagged_tags):
        yield Hint("To undo it, until the next collection:", f"reaper restore --run {report.run_id}")
