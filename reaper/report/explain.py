"""Why a tag or a manifest is kept or expires: every rule, what it saw, what it said."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, TextIO

from reaper.core.plan import ManifestDecision, RepositoryPlan
from reaper.core.reference import Reference
from reaper.core.retention import BUILT_IN, Decision, Decisions, TagDecision, Verdict
from reaper.core.snapshot import Snapshot
from reaper.core.times import Moment, created, pulled, pulled_digest, pushed, pushed_digest
from reaper.report.listing import Column
from reaper.report.text import rfc3339, timestamp

SCHEMA: Final = "reaper.explain/v1"

#: The columns of `verdict_rows`.
COLUMNS: Final = tuple(
    Column(key, key.replace("_", " "))
    for key in ("tag", "digest", "fate", "policy", "rule", "says", "saw", "expires_at")
)


def explanation(
    snapshot: Snapshot,
    decisions: Decisions,
    plan: RepositoryPlan,
    tags: Mapping[str, TagDecision],
    wanted: Reference,
) -> dict[str, Any]:
    """Return the explanation of what ``wanted`` names, ready for JSON; ``tags`` as they are to be shown.

    A reference without tag and digest explains every tag and every untagged manifest.
    """
    digest = snapshot.tags[wanted.tag].digest if wanted.tag else wanted.digest
    return {
        "schema": SCHEMA,
        "repository": snapshot.repository,
        "policies": list(decisions.policies),
        "tags": [
            _tag(snapshot, tags[name])
            for name in sorted(tags)
            if name == wanted.tag or (not wanted.tag and digest in (None, tags[name].digest))
        ],
        "manifests": [
            _manifest(snapshot, decisions, manifest)
            for manifest in plan.manifests
            if manifest.digest == digest or (digest is None and not manifest.tags)
        ],
    }


def _tag(snapshot: Snapshot, decision: TagDecision) -> dict[str, Any]:
    entry = snapshot.tags[decision.tag]
    return {
        "tag": decision.tag,
        "digest": decision.digest,
        "decision": decision.decision.value,
        "policy": decision.policy,
        "rule": decision.rule,
        "reason": decision.reason,
        "expires_at": _time(decision.expires_at),
        "created": _moment(created(snapshot, entry.digest)),
        "pushed": _moment(pushed(snapshot, entry)),
        "pulled_at": _at(pulled(snapshot, entry)),
        "size": snapshot.size(entry.digest),
        "verdicts": [_verdict(verdict) for verdict in decision.verdicts],
    }


def _verdict(verdict: Verdict) -> dict[str, Any]:
    return {
        "policy": verdict.policy,
        "rule": verdict.rule,
        "selected": verdict.selected,
        "keeps": verdict.keeps,
        "version": verdict.version,
        "saw": verdict.saw,
        "expires_at": _time(verdict.expires_at),
    }


def _manifest(snapshot: Snapshot, decisions: Decisions, judged: ManifestDecision) -> dict[str, Any]:
    digest = judged.digest
    entry = snapshot.manifests[digest]
    return {
        "digest": digest,
        "kind": judged.kind,
        "media_type": entry.manifest.media_type,
        "action": judged.action.value,
        "reason": judged.reason,
        "expires_at": _time(decisions.ends.get(digest)),
        "tags": list(judged.tags),
        "parents": list(snapshot.parents.get(digest, ())),
        "children": list(snapshot.children(digest)),
        "subject": entry.manifest.subject,
        "referrers": list(snapshot.referrers.get(digest, ())),
        "created": _moment(created(snapshot, digest)),
        "pushed": _moment(pushed_digest(snapshot, digest)),
        "pulled_at": _at(pulled_digest(snapshot, digest)),
        "untagged_since": _time(entry.untagged_since),
        "size": judged.size,
    }


def _at(moment: Moment | None) -> str | None:
    return None if moment is None else rfc3339(moment.time)


def _time(time: datetime | None) -> str | None:
    return None if time is None else rfc3339(time)


def _moment(moment: Moment | None) -> dict[str, str] | None:
    return None if moment is None else {"time": rfc3339(moment.time), "source": moment.origin}


def render_json(explained: Mapping[str, Any], out: TextIO) -> None:
    """Write the explanation as JSON, in ASCII: a name's control characters do nothing on a terminal."""
    json.dump(explained, out, indent=2)
    out.write("\n")


def verdict_rows(explained: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a row for each verdict on each tag, and for each tag and manifest that no rule judged."""
    for tag in explained["tags"]:
        own = {"tag": tag["tag"], "digest": tag["digest"], "fate": tag["decision"]}
        for verdict in tag["verdicts"]:
            given = {key: verdict[key] for key in ("policy", "rule", "expires_at")}
            yield {**own, **given, "says": _says(verdict), "saw": _saw(verdict)}
        if not tag["verdicts"]:
            given = {key: tag[key] for key in ("policy", "rule", "expires_at")}
            yield {**own, **given, "says": None, "saw": tag["reason"]}
    for manifest in explained["manifests"]:
        if not manifest["tags"]:
            own = {"digest": manifest["digest"], "fate": manifest["action"]}
            yield {**own, "saw": manifest["reason"], "expires_at": manifest["expires_at"]}


_WORDS: Final = {
    Decision.KEEP.value: "is kept",
    Decision.EXPIRE.value: "expires",
    Decision.IGNORE.value: "is ignored",
}


def render_text(explained: Mapping[str, Any]) -> Iterator[str]:
    """Yield the explanation as lines of text for people; the names in it are as the registry has them."""
    repository = explained["repository"]
    if not explained["tags"] and not explained["manifests"]:
        yield f"{repository} has no tags, and no manifests that reaper knows of"
    for number, tag in enumerate(explained["tags"]):
        if number:
            yield ""
        yield f"{repository}:{tag['tag']} {_WORDS[tag['decision']]}"
        yield _line("because", tag["reason"])
        yield _line("digest", tag["digest"])
        yield from _times(tag)
        if tag["decision"] == Decision.KEEP.value:
            yield _line("expires", _shown(tag["expires_at"]) or "never by time alone")
        yield from _verdict_lines(tag["verdicts"])
    for number, manifest in enumerate(explained["manifests"]):
        if number or explained["tags"]:
            yield ""
        yield f"{repository}@{manifest['digest']}: {manifest['action']}"
        yield _line("because", manifest["reason"])
        yield _line("type", f"{manifest['kind']}, {manifest['media_type']}")
        yield from _times(manifest)
        if not manifest["tags"]:
            if manifest["action"] == "keep":
                yield _line("expires", _shown(manifest["expires_at"]) or "never by time alone")
            if not manifest["parents"] and not manifest["subject"]:
                yield _line("untagged", f"since {_shown(manifest['untagged_since']) or 'an unknown time'}")
        for what, label in (("parents", "part of"), ("children", "child"), ("referrers", "referrer")):
            for digest in manifest[what]:
                yield _line(label, digest)
        if manifest["subject"]:
            yield _line("refers to", manifest["subject"])


def _line(label: str, text: str) -> str:
    return f"  {label:<10} {text}"


def _times(of: Mapping[str, Any]) -> Iterator[str]:
    for what in ("created", "pushed"):
        moment = of[what]
        yield _line(what, "unknown" if moment is None else f"{_shown(moment['time'])} ({moment['source']})")
    yield _line("pulled", _shown(of["pulled_at"]) or "unknown")


def _shown(time: str | None) -> str | None:
    """Return a time as the explanation has it, to the second."""
    return None if time is None else timestamp(datetime.fromisoformat(time))


def _verdict_lines(verdicts: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for policy in dict.fromkeys(verdict["policy"] for verdict in verdicts):
        yield f"  {policy}" if policy == BUILT_IN else f"  policy {policy}"
        for verdict in verdicts:
            if verdict["policy"] == policy:
                until = f", until {_shown(verdict['expires_at'])}" if verdict["expires_at"] else ""
                yield f"    {verdict['rule']}: {_says(verdict)}: {_saw(verdict)}{until}"


def _says(verdict: Mapping[str, Any]) -> str:
    if verdict["keeps"]:
        return "keeps"
    return "does not keep" if verdict["selected"] else "not selected"


def _saw(verdict: Mapping[str, Any]) -> str:
    # What a rule says of a tag that it does not select has the version in it.
    version = f"version {verdict['version']}; " if verdict["version"] and verdict["selected"] else ""
    return f"{version}{verdict['saw']}"
