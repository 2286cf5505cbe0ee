"""Why a tag or a manifest is kept or expires: every rule, what it saw, what it said."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, TextIO

from reaper.core.plan import RepositoryPlan
from reaper.core.reference import Reference
from reaper.core.retention import Decision, Decisions, TagDecision, Verdict
from reaper.core.snapshot import Snapshot
from reaper.core.times import Moment, created, pulled, pushed, pushed_digest

SCHEMA = "reaper.explain/v1"


def explanation(
    snapshot: Snapshot, decisions: Decisions, plan: RepositoryPlan, wanted: Reference
) -> dict[str, Any]:
    """Return the explanation of what ``wanted`` names, ready for JSON.

    A reference without tag and digest explains every tag and every untagged manifest.
    """
    digests = {wanted.digest} if wanted.digest else set()
    if wanted.tag:
        digests.add(snapshot.tags[wanted.tag].digest)
    tags = [
        decisions.tags[name]
        for name in sorted(decisions.tags)
        if (name == wanted.tag if wanted.tag else not digests or snapshot.tags[name].digest in digests)
    ]
    return {
        "schema": SCHEMA,
        "repository": snapshot.repository,
        "policies": list(decisions.policies),
        "tags": [_tag(snapshot, decision) for decision in tags],
        "manifests": [
            _manifest(snapshot, plan, manifest.digest)
            for manifest in plan.manifests
            if manifest.digest in digests or (not digests and not manifest.tags)
        ],
    }


def _tag(snapshot: Snapshot, decision: TagDecision) -> dict[str, Any]:
    entry = snapshot.tags[decision.tag]
    return {
        "tag": decision.tag,
        "digest": decision.digest,
        "decision": decision.decision.value,
        "rule": decision.rule,
        "reason": decision.reason,
        "expires_at": _time(decision.expires_at),
        "created": _moment(created(snapshot, entry.digest)),
        "pushed": _moment(pushed(snapshot, entry)),
        "pulled_at": _time(pulled(snapshot, entry)),
        "size": snapshot.size(entry.digest),
        "verdicts": [_verdict(verdict) for verdict in decision.verdicts],
    }


def _verdict(verdict: Verdict) -> dict[str, Any]:
    return {
        "policy": verdict.policy,
        "rule": verdict.rule,
        "selected": verdict.selected,
        "keeps": verdict.keeps,
        "saw": verdict.saw,
        "expires_at": _time(verdict.expires_at),
    }


def _manifest(snapshot: Snapshot, plan: RepositoryPlan, digest: str) -> dict[str, Any]:
    judged = next(manifest for manifest in plan.manifests if manifest.digest == digest)
    entry = snapshot.manifests[digest]
    return {
        "digest": digest,
        "kind": judged.kind,
        "media_type": entry.manifest.media_type,
        "action": judged.action.value,
        "reason": judged.reason,
        "tags": list(judged.tags),
        "parents": list(snapshot.parents.get(digest, ())),
        "children": list(snapshot.children(digest)),
        "subject": entry.manifest.subject,
        "referrers": list(snapshot.referrers.get(digest, ())),
        "created": _moment(created(snapshot, digest)),
        "pushed": _moment(pushed_digest(snapshot, digest)),
        "untagged_since": _time(entry.untagged_since),
        "size": judged.size,
    }


def _time(time: Any) -> str | None:
    return None if time is None else time.strftime("%Y-%m-%dT%H:%M:%SZ")


def _moment(moment: Moment | None) -> dict[str, str | None] | None:
    return None if moment is None else {"time": _time(moment.time), "source": moment.source.value}


def render_json(explained: dict[str, Any], out: TextIO) -> None:
    """Write the explanation as JSON."""
    json.dump(explained, out, indent=2, ensure_ascii=False)
    out.write("\n")


_WORDS = {
    Decision.KEEP.value: "is kept",
    Decision.EXPIRE.value: "expires",
    Decision.IGNORE.value: "is ignored",
}


def render_text(explained: dict[str, Any]) -> Iterator[str]:
    """Yield the explanation as lines of text for people; the names in it are as the registry has them."""
    repository = explained["repository"]
    for tag in explained["tags"]:
        yield f"{repository}:{tag['tag']} {_WORDS[tag['decision']]}"
        yield f"  because  {tag['reason']}"
        yield f"  digest   {tag['digest']}"
        yield f"  created  {_shown(tag['created'])}"
        yield f"  pushed   {_shown(tag['pushed'])}"
        yield f"  pulled   {tag['pulled_at'] or 'unknown'}"
        if tag["decision"] == Decision.KEEP.value:
            yield f"  expires  {tag['expires_at'] or 'never by time alone'}"
        yield from _verdict_lines(tag["verdicts"])
        yield ""
    for manifest in explained["manifests"]:
        yield f"{repository}@{manifest['digest']}: {manifest['action']}"
        yield f"  because  {manifest['reason']}"
        yield f"  type     {manifest['kind']}, {manifest['media_type']}"
        yield f"  created  {_shown(manifest['created'])}"
        yield f"  pushed   {_shown(manifest['pushed'])}"
        if not manifest["tags"]:
            yield f"  untagged since {manifest['untagged_since'] or 'an unknown time'}"
        for what in ("parents", "children", "referrers"):
            for digest in manifest[what]:
                yield f"  {what:<9}{digest}"
        if manifest["subject"]:
            yield f"  subject  {manifest['subject']}"
        yield ""


def _verdict_lines(verdicts: Sequence[dict[str, Any]]) -> Iterator[str]:
    for policy in dict.fromkeys(verdict["policy"] for verdict in verdicts):
        yield f"  {policy}" if policy == "built-in" else f"  policy {policy}"
        for verdict in verdicts:
            if verdict["policy"] == policy:
                word = "keeps" if verdict["keeps"] else "-" if not verdict["selected"] else "does not keep"
                until = f", until {verdict['expires_at']}" if verdict["expires_at"] else ""
                yield f"    {verdict['rule']}: {word}: {verdict['saw']}{until}"


def _shown(moment: dict[str, str] | None) -> str:
    return "unknown" if moment is None else f"{moment['time']} ({moment['source']})"
