"""Policies against a snapshot: what each tag's fate is, and why.

A tag is kept when any rule of any matching policy keeps it, when a built-in protection holds it, or while
it is younger than the minimum age. Referrers follow their subject. Everything else that a policy covers
expires. What follows for manifests is for `reaper.core.plan`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from math import inf

from reaper.core.duration import describe_age, format_duration
from reaper.core.keepers import Candidate, Context, judge, latest_expiry
from reaper.core.manifest import Kind
from reaper.core.policy import Policy, Rule
from reaper.core.reference import short
from reaper.core.selectors import parse_version
from reaper.core.snapshot import Snapshot, TagEntry
from reaper.core.times import Moment, Source, created, pulled, pulled_digest, pushed, pushed_digest

#: The policy name under which built-in protections appear in decisions.
BUILT_IN = "built-in"
#: Why nothing is decided on a repository, where that is so.
NO_POLICY = "no policy matches this repository"
#: The rule under which it appears that a referrer follows its subject.
_REFERRER = "referrer"


class Decision(StrEnum):
    """What becomes of a tag, or of an untagged manifest."""

    KEEP = "keep"
    EXPIRE = "expire"
    IGNORE = "ignore"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one rule, or one built-in protection, said of one tag.

    ``version`` is the semantic version that the rule's selector read in the tag.
    """

    policy: str
    rule: str
    keeps: bool
    saw: str
    selected: bool = True
    expires_at: datetime | None = None
    version: str | None = None

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
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Decisions:
    """All decisions on one repository, and ``kept``: the manifests that therefore stay.

    ``ends`` says of each of these when time alone will end that; None: never.
    """

    policies: tuple[str, ...]
    tags: Mapping[str, TagDecision]
    untagged: Mapping[str, UntaggedDecision] = field(default_factory=dict)
    held: Mapping[str, str] = field(default_factory=dict)
    kept: frozenset[str] = frozenset()
    ends: Mapping[str, datetime | None] = field(default_factory=dict)


def decide(
    policies: Sequence[Policy], snapshot: Snapshot, now: datetime, in_use: Mapping[str, str] | None = None
) -> Decisions:
    """Return the decisions of all ``policies`` that match the snapshot's repository.

    ``in_use`` maps each tag of this repository that is in use, and each digest (a manifest's or a config's),
    to who uses it.
    """
    matching = sorted((p for p in policies if p.matches(snapshot.repository)), key=lambda p: p.name)
    if not matching:
        tags = {
            t.name: TagDecision(t.name, t.digest, Decision.IGNORE, NO_POLICY) for t in snapshot.tags.values()
        }
        ends = dict.fromkeys(snapshot.manifests)
        return Decisions((), tags, kept=frozenset(ends), ends=ends)
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
        self._loose = list(self._loose_manifests())
        self._led_to = self._find_led_to()

    def decide(self) -> Decisions:
        snapshot = self._snapshot
        rules = self._rules()
        verdicts = {tag.name: self._verdicts(tag, rules[tag.name]) for tag in snapshot.tags.values()}
        untagged = {digest: self._untagged(digest) for digest in self._loose}
        held = {digest: (reason, ends) for digest, reason, ends in self._held()}
        roots = [
            (tag.digest, latest_expiry(verdict.expires_at for verdict in keeping))
            for tag in snapshot.tags.values()
            if (keeping := [verdict for verdict in verdicts[tag.name] if verdict.keeps])
        ]
        roots += [(d.digest, d.expires_at) for d in untagged.values() if d.decision is Decision.KEEP]
        ends = self._ends([*roots, *((digest, until) for digest, (_, until) in held.items())])
        return Decisions(
            tuple(policy.name for policy in self._policies),
            {tag.name: self._tag(tag, verdicts[tag.name], ends) for tag in snapshot.tags.values()},
            untagged,
            {digest: reason for digest, (reason, _) in held.items()},
            frozenset(ends),
            ends,
        )

    def _ends(self, roots: Iterable[tuple[str, datetime | None]]) -> dict[str, datetime | None]:
        """Return every manifest that stays, and when time alone will end that.

        A manifest stays as long as the longest-lasting of what leads to it.
        """
        ends: dict[str, datetime | None] = {}
        for digest, until in sorted(roots, key=lambda root: _lasting(root[1]), reverse=True):
            ends |= dict.fromkeys(self._snapshot.closure([digest], known=ends), until)
        return ends

    def _rules(self) -> Mapping[str, list[Verdict]]:
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
                version = _version(rule, candidate.tag)
                what = f"version {version}" if version else "not a semantic version"
                saw = f"the tag is not in {rule.tags}" + (f": {what}" if rule.tags.reads_versions else "")
                found[candidate.tag].append(
                    Verdict(policy.name, rule.name, False, saw, selected=False, version=version)
                )
                continue
            groups[match.get(rule.group_by, "") if rule.group_by else ""].append(candidate)
        for value, group in groups.items():
            context = Context(
                now=self._now,
                timezone=policy.timezone,
                group=f"{rule.group_by}={value}" if rule.group_by else "",
                pulls_tracked_since=self._snapshot.pulls_tracked_since,
                product=self._snapshot.product,
            )
            for tag, finding in judge(rule.keep, group, context).items():
                verdict = Verdict(
                    policy.name,
                    rule.name,
                    finding.keeps,
                    finding.saw,
                    expires_at=finding.expires_at,
                    version=_version(rule, tag),
                )
                found[tag].append(verdict)

    def _verdicts(self, tag: TagEntry, rules: Sequence[Verdict]) -> tuple[Verdict, ...]:
        """Return all that is said of one tag, but for what its subject's fate means for it."""
        protections = self._protections(tag)
        if tag.subject is None:
            age = self._age(tag) if pushed(self._snapshot, tag) else []
            return (*rules, *protections, *self._too_young(age))
        young = self._follower_too_young(tag.digest, self._age(tag))
        if tag.subject in self._led_to:
            return (*protections, *young)
        # The subject may be about to be pushed: the specification lets referrers come first.
        absent = tag.subject not in self._snapshot.manifests
        what = f"its subject {short(tag.subject)} is {'not here' if absent else 'a referrer of its own'},"
        alone = self._without_tag(tag.digest, tag.first_seen, what)
        keeps = alone.decision is Decision.KEEP
        policy = alone.policy or self._policies[0].name
        orphan = Verdict(policy, _REFERRER, keeps, alone.reason, expires_at=alone.expires_at)
        return (*protections, *young, orphan)

    def _tag(
        self, tag: TagEntry, verdicts: Sequence[Verdict], ends: Mapping[str, datetime | None]
    ) -> TagDecision:
        subject = tag.subject or self._subject(tag.digest)
        if subject is not None and subject in ends:
            saw = f"refers to {short(subject)}, which is kept"
            verdicts = (*verdicts, Verdict(BUILT_IN, _REFERRER, True, saw, expires_at=ends[subject]))
        keeping = [verdict for verdict in verdicts if verdict.keeps]
        if keeping:
            # The longest-lasting keep explains the decision; names decide between equals, never the order.
            best = min(keeping, key=_by_strength)
            until = latest_expiry(verdict.expires_at for verdict in keeping)
            return TagDecision(
                tag.name,
                tag.digest,
                Decision.KEEP,
                str(best),
                best.policy,
                best.rule,
                until,
                tuple(verdicts),
            )
        judged = [verdict for verdict in verdicts if verdict.selected]
        rule = judged[0].rule if len(judged) == 1 else None
        return TagDecision(
            tag.name,
            tag.digest,
            Decision.EXPIRE,
            self._expiry_reason(tag, subject, judged, kept=tag.digest in ends),
            policy=judged[0].policy if judged else self._policies[0].name,
            rule=rule if tag.subject is None else _REFERRER,
            verdicts=tuple(verdicts),
        )

    def _expiry_reason(
        self, tag: TagEntry, subject: str | None, judged: Sequence[Verdict], *, kept: bool
    ) -> str:
        names = {verdict.policy for verdict in judged}
        said = "; ".join(f"{v.policy}/{v}" if len(names) > 1 else str(v) for v in judged)
        if subject is not None and subject in self._led_to:
            refers = f"refers to {short(subject)}, which expires"
            if tag.subject is not None:
                return f"{refers}, but its manifest is kept" if kept else refers
            return f"{refers}; no rule keeps it: {said}" if said else refers
        if tag.subject is not None:
            return judged[0].saw
        if said:
            return f"no rule keeps it: {said}"
        return f"no rule selects it; pushed {pushed(self._snapshot, tag)}"

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

    def _follower_too_young(self, digest: str, moments: Sequence[Moment]) -> Iterator[Verdict]:
        """Yield the same for a child or a referrer, which has its owner's age unless it is known to be new.

        Signatures and children rarely carry a date: were they young at the first inventory, each would
        outlive the image it belongs to.
        """
        known = [moment for moment in moments if moment.source is not Source.FIRST_INVENTORY]
        built = created(self._snapshot, digest)
        if not known and built is not None:
            # A product does not know when it came: its build says at least that it is not older.
            known = [built]
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

    def _find_led_to(self) -> Set[str]:
        """Return every manifest whose fate follows from that of an ordinary tag or a loose manifest.

        The others are led to only by referrers' tags in a circle, or whose subject is not here: such a tag
        has nothing to follow.
        """
        tags = self._snapshot.tags.values()
        roots = [tag.digest for tag in tags if tag.subject is None]
        orphans = [tag.digest for tag in tags if tag.subject not in self._snapshot.manifests]
        return self._snapshot.closure([*roots, *orphans, *self._loose])

    def _untagged(self, digest: str) -> UntaggedDecision:
        entry = self._snapshot.manifests[digest]
        if _unknown(entry.manifest.kind) and any(p.protections.unknown_media_type for p in self._policies):
            return UntaggedDecision(digest, Decision.KEEP, f"manifest of type {entry.manifest.media_type}")
        return self._without_tag(digest, entry.untagged_since, "untagged")

    def _without_tag(self, digest: str, since: datetime | None, what: str) -> UntaggedDecision:
        owner = self._snapshot.left_over.get(digest)
        if owner is not None:
            reason = f"left over from {short(owner)}, which was deleted"
            return UntaggedDecision(digest, Decision.EXPIRE, reason, self._policies[0].name)
        covering = [policy for policy in self._policies if policy.untagged_keep_within is not None]
        if not covering:
            return UntaggedDecision(
                digest, Decision.KEEP, f"{what} and no policy says how long to keep those"
            )
        if since is None:
            return UntaggedDecision(digest, Decision.KEEP, f"{what} since an unknown time")
        waits = [self._minimum_age, *(p.untagged_keep_within or timedelta() for p in covering)]
        wait = max(waits)
        source, last = Source.SEEN_NEW.value, pulled_digest(self._snapshot, digest)
        if last is not None and last.time > since:
            # What is deployed by its digest has no tag, and is pulled again wherever it is started.
            since, source, what = last.time, last.origin, f"{what} and not pulled"
        ends = since + wait
        keeps = self._now < ends
        relation = "younger" if keeps else "older"
        reason = f"{what} for {describe_age(self._now - since)} ({source}), {relation} than"
        return UntaggedDecision(
            digest,
            Decision.KEEP if keeps else Decision.EXPIRE,
            f"{reason} {format_duration(wait)}",
            covering[0].name,
            ends if keeps else None,
        )

    def _held(self) -> Iterator[tuple[str, str, datetime | None]]:
        """Yield manifests that stay on their own account, whatever leads to them.

        Each comes with the reason, and when time alone will end that.
        """
        protections = [policy.protections for policy in self._policies]
        for digest, entry in self._snapshot.manifests.items():
            user = self._users.get(digest)
            if user is not None:
                yield digest, f"in use by {user}", None
            elif _unknown(entry.manifest.kind) and any(p.unknown_media_type for p in protections):
                yield digest, f"manifest of type {entry.manifest.media_type}", None
            elif digest not in self._snapshot.tags_of:
                moment = pushed_digest(self._snapshot, digest)
                young = next(self._follower_too_young(digest, [moment] if moment else []), None)
                if young is not None:
                    yield digest, str(young), young.expires_at

    def _subject(self, digest: str) -> str | None:
        entry = self._snapshot.manifests.get(digest)
        return entry.manifest.subject if entry is not None else None


def _version(rule: Rule, tag: str) -> str | None:
    """Return the semantic version that the rule's selector reads in ``tag``, where it reads any."""
    version = parse_version(tag) if rule.tags.reads_versions else None
    return None if version is None else str(version)


def _lasting(ends: datetime | None) -> float:
    """Return a sort key: None, never, is later than any."""
    return inf if ends is None else ends.timestamp()


def _by_strength(verdict: Verdict) -> tuple[float, str, str]:
    return (-_lasting(verdict.expires_at), verdict.policy, verdict.rule)


def _unknown(kind: Kind) -> bool:
    return kind in (Kind.UNKNOWN, Kind.SCHEMA1)
