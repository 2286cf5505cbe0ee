"""From decisions and plans to the report's model."""

from __future__ import annotations

from collections.abc import Mapping

from reaper.core.plan import RepositoryPlan
from reaper.core.retention import Decision, Decisions, TagDecision
from reaper.core.snapshot import Snapshot
from reaper.core.times import created, pulled, pushed
from reaper.report.model import ManifestReport, RepositoryReport, TagReport


def repository_report(
    snapshot: Snapshot, decisions: Decisions, plan: RepositoryPlan, tags: Mapping[str, TagDecision]
) -> RepositoryReport:
    """Return the report on one repository; ``tags`` are the decisions as they are to be shown."""
    sizes = {manifest.digest: manifest.size for manifest in plan.manifests}
    return RepositoryReport(
        name=snapshot.repository,
        policies=list(decisions.policies),
        tags=[_tag(snapshot, tags[name], sizes) for name in sorted(tags)],
        manifests=[
            ManifestReport(m.digest, m.kind, m.action.value, m.reason, list(m.tags), m.size)
            for m in plan.manifests
        ],
    )


def unread_report(
    repository: str, policies: list[str], tags: Mapping[str, str], problems: tuple[str, ...]
) -> RepositoryReport:
    """Return the report on a repository that could not be read completely: nothing in it is decided."""
    reason = "the repository could not be read completely"
    ignored = Decision.IGNORE.value
    return RepositoryReport(
        name=repository,
        policies=policies,
        tags=[TagReport(tag, digest, ignored, None, reason) for tag, digest in sorted(tags.items())],
        errors=list(problems),
    )


def _tag(snapshot: Snapshot, decision: TagDecision, sizes: Mapping[str, int]) -> TagReport:
    entry = snapshot.tags[decision.tag]
    built = created(snapshot, entry.digest)
    put, last = pushed(snapshot, entry), pulled(snapshot, entry)
    return TagReport(
        tag=decision.tag,
        digest=decision.digest,
        decision=decision.decision.value,
        rule=decision.rule,
        reason=decision.reason,
        created_at=built.time if built else None,
        pushed_at=put.time if put else None,
        pulled_at=last.time if last else None,
        size=sizes.get(entry.digest),
        expires_at=decision.expires_at,
        policy=decision.policy,
    )
