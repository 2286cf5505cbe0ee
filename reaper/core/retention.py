"""Policies against a snapshot: what each tag's fate is, and why.

A tag is kept when any rule of any matching policy keeps it, when a built-in protection holds it, or while
it is younger than the minimum age. Referrers follow their subject. Everything else that a policy covers
expires. What follows for manifests is for `reaper.core.plan`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from reaper.core.duration import describe_age, format_duration
from reaper.core.keepers import Candidate, Context, judge, latest_expiry
from reaper.core.manifest import Kind
from reaper.core.policy import Policy, Rule
from reaper.core.reference import short
from reaper.core.snapshot import Snapshot, TagEntry
from reaper.core.times import Moment, Source, created, pulled, pulled_digest, pushed, pushed_digest

#: The policy name under which built-in protections appear in decisions.
BUILT_IN = "built-in"


class Decision(StrEnum):
    """What becomes of a tag, or of an untagged manifest."""

    KEEP = "keep"
    EXPIRE = "expire"
    IGNORE = "ignore"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one rule, or one built-in protection, said of one tag."""

    policy: str
    rule: str
    keeps: bool
    saw: str
    selected: bool = True
    expires_at: datetime | None = None

    def __str__(self) -> str:
        return f"{self.rule}: {self.saw}"


@dataclass(frozen=True, slots=True)
class TagDecision:
    """The fate of one tag. ``expires_at`` is when a kept tag would expire by time alone; None: never."""

    tag: str
    digest: str
    decision: Decision
    reason: str
    policy: str | None = None
    rule: str | None = None
    expires_at: datetime | None = None
    verdicts: tuple[Verdict, ...] = ()


@dataclass(frozen=True, slots=True)
class UntaggedDecision:
    """The fate of a manifest without a tag that nothing in its repository leads to."""

    digest: str
    decision: Decision
    reason: str
    policy: str | None = None


@dataclass(frozen=True, slots=True)
class Decisions:
    """All decisions on one repository, and ``kept``: the manifests that therefore stay."""

    policies: tuple[str, ...]
    tags: Mapping[str, TagDecision]
    untagged: Mapping[str, UntaggedDecision] = field(default_factory=dict)
    held: Mapping[str, str] = field(default_factory=dict)
    kept: frozenset[str] = frozenset()


def decide(
    policies: Sequence[Policy], snapshot: Snapshot, now: datetime, in_use: Mapping[str, str] | None = None
) -> Decisions:
    """Return the decisions of all ``policies`` that match the snapshot's repository.

    ``in_use`` maps each tag of this repository that is in use, and each digest (a manifest's or a config's),
    to who uses it.
    """
    matching = sorted((p for p in policies if p.matches(snapshot.repository)), key=lambda p: p.name)
    if not matching:
        reason = "no policy matches this repository"
        tags = {
            t.name: TagDecision(t.name, t.digest, Decision.IGNORE, reason) for t in snapshot.tags.values()
        }
        return Decisions((), tags, kept=frozenset(snapshot.manifests))
    return _Judge(matching, snapshot, now, in_use or {}).decide()


class _Judge:
    """One repository's judgement: holds what every step of it needs."""

    def __init__(
        self, policies: Sequence[Policy], snapshot: Snapshot, now: datetime, in_use: Mapping[str, str]
    ) -> None:
        self._policies = policies
        self._snapshot = snapshot
        self._now = now
        self._in_use = in_use if any(policy.protections.in_use for policy in policies) else {}
        self._users = self._find_users()
        self._minimum_age = max(policy.minimum_age for policy in policies)

    def decide(self) -> Decisions:
        snapshot = self._snapshot
        verdicts = self._verdicts()
        tags = {
            tag.name: self._tag(tag, verdicts[tag.name])
            for tag in snapshot.tags.values()
            if tag.subject is None
        }
        attached = {
            tag.name: decision
            for tag in snapshot.tags.values()
            if tag.subject is not None and (decision := self._on_its_own(tag, tag.subject)) is not None
        }
        untagged = {digest: self._untagged(digest) for digest in self._loose_manifests()}
        held = dict(self._held())
        roots = [d.digest for d in (*tags.values(), *attached.values()) if d.decision is Decision.KEEP]
        roots += [d.digest for d in untagged.values() if d.decision is Decision.KEEP]
        kept = snapshot.closure([*roots, *held])
        for tag in snapshot.tags.values():
            if tag.subject is not None and tag.name not in attached:
                attached[tag.name] = self._follow(tag, tag.subject, kept, tags)
        for name, decision in tags.items():
            subject = self._subject(decision.digest)
            if decision.decision is Decision.EXPIRE and subject in kept:
                tags[name] = self._kept_with(decision, subject, tags)
        return Decisions(
            tuple(policy.name for policy in self._policies),
            {**tags, **attached},
            untagged,
            held,
            frozenset(kept),
        )

    def _verdicts(self) -> Mapping[str, list[Verdict]]:
        """Return what every rule of every policy says of every ordinary tag."""
        snapshot = self._snapshot
        moments = {digest: created(snapshot, digest) for digest in snapshot.tags_of}
        candidates = [
            Candidate(
                tag=tag.name,
                digest=tag.digest,
                pushed=pushed(snapshot, tag),
                created=moments[tag.digest],
                pulled=pulled(snapshot, tag),
                referrer=self._subject(tag.digest) is not None,
            )
            for tag in snapshot.tags.values()
            if tag.subject is None
        ]
        found: dict[str, list[Verdict]] = defaultdict(list)
        for policy in self._policies:
            for rule in policy.rules:
                self._apply(policy, rule, candidates, found)
        return found

    def _apply(
        self, policy: Policy, rule: Rule, candidates: Sequence[Candidate], found: dict[str, list[Verdict]]
    ) -> None:
        groups: dict[str, list[Candidate]] = defaultdict(list)
        for candidate in candidates:
            match = rule.tags.select(candidate.tag)
            if match is None:
                saw = f"the tag is not in {rule.tags}"
                found[candidate.tag].append(Verdict(policy.name, rule.name, False, saw, selected=False))
                continue
            groups[match.get(rule.group_by, "") if rule.group_by else ""].append(candidate)
        for value, group in groups.items():
            context = Context(
                now=self._now,
                timezone=policy.timezone,
                group=f"{rule.group_by}={value}" if rule.group_by else "",
                pulls_tracked_since=self._snapshot.pulls_tracked_since,
            )
            for tag, finding in judge(rule.keep, group, context).items():
                verdict = Verdict(
                    policy.name, rule.name, finding.keeps, finding.saw, expires_at=finding.expires_at
                )
                found[tag].append(verdict)

    def _tag(self, tag: TagEntry, rules: Sequence[Verdict]) -> TagDecision:
        verdicts = (*rules, *self._protections(tag), *self._too_young(self._age(tag)))
        keeping = [verdict for verdict in verdicts if verdict.keeps]
        if keeping:
            # The longest-lasting keep explains the decision; names decide between equals, never the order.
            best = min(keeping, key=_by_strength)
            expires_at = latest_expiry(verdict.expires_at for verdict in keeping)
            return TagDecision(
                tag.name, tag.digest, Decision.KEEP, str(best), best.policy, best.rule, expires_at, verdicts
            )
        judged = [verdict for verdict in rules if verdict.selected]
        return TagDecision(
            tag.name,
            tag.digest,
            Decision.EXPIRE,
            self._expiry_reason(tag, judged),
            policy=self._policies[0].name,
            rule=judged[0].rule if len(judged) == 1 else None,
            verdicts=verdicts,
        )

    def _expiry_reason(self, tag: TagEntry, judged: Sequence[Verdict]) -> str:
        names = {verdict.policy for verdict in judged}
        said = "; ".join(f"{v.policy}/{v}" if len(names) > 1 else str(v) for v in judged)
        if said:
            return f"no rule keeps it: {said}"
        moment = pushed(self._snapshot, tag)
        return f"no rule selects it; pushed {moment or 'at an unknown time'}"

    def _protections(self, tag: TagEntry) -> Iterator[Verdict]:
        on = [policy.protections for policy in self._policies]
        if tag.name == "latest" and any(p.latest for p in on):
            yield Verdict(BUILT_IN, "latest", True, "the tag latest is protected")
        user = self._in_use.get(tag.name) or self._users.get(tag.digest)
        if user is not None:
            yield Verdict(BUILT_IN, "in-use", True, f"in use by {user}")
        for policy in self._policies:
            immutable = policy.protections.immutable
            if immutable is not None and immutable.select(tag.name) is not None:
                yield Verdict(BUILT_IN, "immutable", True, f"immutable in policy {policy.name}: {immutable}")
        entry = self._snapshot.manifests.get(tag.digest)
        if entry is None or (_unknown(entry.manifest.kind) and any(p.unknown_media_type for p in on)):
            media_type = entry.manifest.media_type if entry else "unread"
            yield Verdict(BUILT_IN, "unknown-media-type", True, f"manifest of type {media_type}")

    def _find_users(self) -> Mapping[str, str]:
        """Return each manifest that is in use by a digest, and by whom.

        That is its own digest or its config's, which some runtimes show instead. An index is in use with
        any of its children, since a runtime may show the child that it chose.
        """
        if not self._in_use:
            return {}
        snapshot = self._snapshot
        users: dict[str, str] = {}
        for digest, entry in snapshot.manifests.items():
            config = entry.manifest.config
            user = self._in_use.get(digest) or (self._in_use.get(config.digest) if config else None)
            if user is not None:
                users[digest] = user
        tagged = {
            tag.digest: self._in_use[tag.name] for tag in snapshot.tags.values() if tag.name in self._in_use
        }
        pending = list({**tagged, **users}.items())
        while pending:
            digest, user = pending.pop()
            for parent in snapshot.parents.get(digest, ()):
                if parent not in users:
                    users[parent] = f"{user}, which needs its part {short(digest)}"
                    pending.append((parent, user))
        return users

    def _age(self, tag: TagEntry) -> list[Moment]:
        moments = (pushed(self._snapshot, tag), pushed_digest(self._snapshot, tag.digest))
        return [moment for moment in moments if moment is not None]

    def _too_young(self, moments: Sequence[Moment]) -> Iterator[Verdict]:
        """Yield the protection of what is younger than the minimum age, or of no known age."""
        if not moments:
            yield Verdict(BUILT_IN, "unknown-time", True, "nothing is known of when it was pushed")
            return
        latest = max(moments, key=lambda moment: moment.time)
        ends = latest.time + self._minimum_age
        if self._now < ends:
            age = describe_age(self._now - latest.time)
            saw = f"pushed {age} ago, {latest}, younger than {format_duration(self._minimum_age)}"
            yield Verdict(BUILT_IN, "minimum-age", True, saw, expires_at=ends)

    def _follower_too_young(self, moments: Sequence[Moment]) -> Iterator[Verdict]:
        """Yield the same for a child or a referrer, which has its owner's age unless it is known to be new.

        Signatures and children rarely carry a date: were they young at the first inventory, each would
        outlive the image it belongs to.
        """
        known = [moment for moment in moments if moment.source is not Source.FIRST_INVENTORY]
        if known:
            yield from self._too_young(known)

    def _loose_manifests(self) -> Iterator[str]:
        """Yield the manifests that no tag, no parent and no subject in the repository leads to."""
        snapshot = self._snapshot
        for digest in sorted(snapshot.manifests):
            subject = self._subject(digest)
            if digest in snapshot.tags_of or digest in snapshot.parents:
                continue
            if subject is None or subject not in snapshot.manifests:
                yield digest

    def _untagged(self, digest: str) -> UntaggedDecision:
        entry = self._snapshot.manifests[digest]
        if _unknown(entry.manifest.kind) and any(p.protections.unknown_media_type for p in self._policies):
            return UntaggedDecision(digest, Decision.KEEP, f"manifest of type {entry.manifest.media_type}")
        return self._without_tag(digest, entry.untagged_since, "untagged")

    def _on_its_own(self, tag: TagEntry, subject: str) -> TagDecision | None:
        """Judge a referrer's tag that something protects, or whose subject is not there; else None."""
        verdicts = (*self._protections(tag), *self._follower_too_young(self._age(tag)))
        if verdicts:
            best = min(verdicts, key=_by_strength)
            ends = latest_expiry(verdict.expires_at for verdict in verdicts)
            return TagDecision(
                tag.name, tag.digest, Decision.KEEP, str(best), best.policy, best.rule, ends, verdicts
            )
        if subject in self._snapshot.manifests:
            return None
        # The subject may be about to be pushed: the specification lets referrers come first.
        found = self._without_tag(tag.digest, tag.first_seen, f"its subject {short(subject)} is not here,")
        return TagDecision(tag.name, tag.digest, found.decision, found.reason, found.policy, "referrer")

    def _without_tag(self, digest: str, since: datetime | None, what: str) -> UntaggedDecision:
        covering = [policy for policy in self._policies if policy.untagged_keep_within is not None]
        if not covering:
            return UntaggedDecision(
                digest, Decision.KEEP, f"{what} and no policy says how long to keep those"
            )
        if since is None:
            return UntaggedDecision(digest, Decision.KEEP, f"{what} since an unknown time")
        waits = [self._minimum_age, *(p.untagged_keep_within or timedelta() for p in covering)]
        wait = max(waits)
        source, last = Source.SEEN_NEW, pulled_digest(self._snapshot, digest)
        if last is not None and last > since:
            # What is deployed by its digest has no tag, and is pulled again wherever it is started.
            since, source, what = last, Source.PULL_EVENT, f"{what} and not pulled"
        keeps = self._now < since + wait
        relation = "younger" if keeps else "older"
        reason = f"{what} for {describe_age(self._now - since)} ({source}), {relation} than"
        decision = Decision.KEEP if keeps else Decision.EXPIRE
        return UntaggedDecision(digest, decision, f"{reason} {format_duration(wait)}", covering[0].name)

    def _held(self) -> Iterator[tuple[str, str]]:
        """Yield manifests that stay on their own account, whatever leads to them, each with the reason."""
        protections = [policy.protections for policy in self._policies]
        for digest, entry in self._snapshot.manifests.items():
            user = self._users.get(digest)
            if user is not None:
                yield digest, f"in use by {user}"
            elif _unknown(entry.manifest.kind) and any(p.unknown_media_type for p in protections):
                yield digest, f"manifest of type {entry.manifest.media_type}"
            elif digest not in self._snapshot.tags_of:
                moment = pushed_digest(self._snapshot, digest)
                young = next(self._follower_too_young([moment] if moment else []), None)
                if young is not None:
                    yield digest, str(young)

    def _follow(
        self, tag: TagEntry, subject: str, kept: set[str], tags: Mapping[str, TagDecision]
    ) -> TagDecision:
        """Judge a referrer's tag by its subject's fate."""
        decision = TagDecision(
            tag.name,
            tag.digest,
            Decision.EXPIRE,
            f"refers to {short(subject)}, which expires",
            policy=self._policies[0].name,
            rule="referrer",
        )
        if subject in kept:
            return self._kept_with(decision, subject, tags)
        if tag.digest in kept:
            reason = f"refers to {short(subject)}, which expires, but its manifest is kept"
            return replace(decision, reason=reason)
        return decision

    def _kept_with(
        self, decision: TagDecision, subject: str | None, tags: Mapping[str, TagDecision]
    ) -> TagDecision:
        owners = [tags[name] for name in self._snapshot.tags_of.get(subject or "", ()) if name in tags]
        ends = [owner.expires_at for owner in owners if owner.decision is Decision.KEEP]
        return replace(
            decision,
            decision=Decision.KEEP,
            reason=f"refers to {short(subject or '')}, which is kept",
            policy=BUILT_IN,
            rule="referrer",
            expires_at=latest_expiry(ends) if ends else None,
        )

    def _subject(self, digest: str) -> str | None:
        entry = self._snapshot.manifests.get(digest)
        return entry.manifest.subject if entry is not None else None


def _by_strength(verdict: Verdict) -> tuple[bool, float, str, str]:
    ends = verdict.expires_at
    return (ends is not None, -ends.timestamp() if ends else 0.0, verdict.policy, verdict.rule)


def _unknown(kind: Kind) -> bool:
    return kind in (Kind.UNKNOWN, Kind.SCHEMA1)
