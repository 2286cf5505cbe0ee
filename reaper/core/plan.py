"""Plans: which manifests a repository's decisions delete, in which order, on which preconditions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from reaper.core.errors import ReaperError
from reaper.core.reference import short
from reaper.core.retention import NO_POLICY, Decision, Decisions, TagDecision
from reaper.core.snapshot import Snapshot

#: The reason for leaving an expired tag whose digest another tag keeps, on a registry that cannot untag.
SHARED_DIGEST = "shared-digest"


class Action(StrEnum):
    """What becomes of a manifest."""

    KEEP = "keep"
    DELETE = "delete"
    UNTAG = "untag"
    SKIP = "skip"


class Untag(StrEnum):
    """How an expired tag is taken off a manifest that stays.

    ALONE: the registry deletes a tag and leaves its manifest. PLACEHOLDER: where it cannot, the tag is moved
    onto a manifest of no use, which is deleted with it. NO: the tag is left.
    """

    NO = "no"
    ALONE = "alone"
    PLACEHOLDER = "placeholder"


class PlanError(ReaperError):
    """The decisions and the graph contradict each other: a fault in reaper, caught before any delete."""


@dataclass(frozen=True, slots=True)
class ManifestDecision:
    """What becomes of one manifest, and why. ``tags`` are all tags on it; ``size`` is in bytes."""

    digest: str
    kind: str
    action: Action
    reason: str
    tags: tuple[str, ...]
    size: int


@dataclass(frozen=True, slots=True)
class Step:
    """One change to the registry, and what must still be true directly before it.

    ``action`` is DELETE (the manifest, with all of ``tags``) or UNTAG (one tag of a manifest that stays).
    ``tags``: for DELETE, exactly the tags that the digest may have; for UNTAG, the one tag to remove.
    ``after``: the parents and subjects in this plan that must be gone first; when one of them stays,
    this step is cancelled. ``placeholder``: the tag may be removed by way of a placeholder.
    """

    action: Action
    digest: str
    media_type: str
    tags: tuple[str, ...]
    reason: str
    policy: str
    rule: str | None = None
    after: tuple[str, ...] = ()
    placeholder: bool = False


@dataclass(frozen=True, slots=True)
class RepositoryPlan:
    """One repository's decisions on manifests, and the steps that carry them out, in order."""

    repository: str
    manifests: tuple[ManifestDecision, ...]
    steps: tuple[Step, ...]

    @property
    def deletions(self) -> int:
        """The number of manifests that the plan deletes."""
        return sum(step.action is Action.DELETE for step in self.steps)


def build_plan(
    snapshot: Snapshot, decisions: Decisions, *, can_untag: bool, placeholder: bool = False
) -> RepositoryPlan:
    """Return the plan that follows from ``decisions``.

    ``can_untag`` tells whether a tag can be taken off a manifest that stays; ``placeholder``: perhaps only by
    way of a placeholder.

    Raises:
        PlanError: a manifest would be deleted without a decision that says so.
    """
    return _Planner(snapshot, decisions, can_untag=can_untag, placeholder=placeholder).build()


class _Planner:
    def __init__(
        self, snapshot: Snapshot, decisions: Decisions, *, can_untag: bool, placeholder: bool
    ) -> None:
        self._snapshot = snapshot
        self._decisions = decisions
        self._can_untag = can_untag
        self._placeholder = placeholder
        self._doomed = frozenset(snapshot.manifests) - decisions.kept
        entries = snapshot.manifests
        unknown = sorted(d for d in entries if d in decisions.kept and entries[d].manifest.mentions)
        self._mentioned = {
            needed: digest for digest in unknown for needed in entries[digest].manifest.mentions
        }

    def build(self) -> RepositoryPlan:
        order = {digest: place for place, digest in enumerate(self._in_order())}
        steps = [self._deletion(digest, order) for digest in order]
        reasons = {step.digest: step.reason for step in steps}
        manifests = []
        for digest in sorted(self._snapshot.manifests):
            if digest in self._doomed:
                action, reason = Action.DELETE, reasons[digest]
            else:
                action, reason = self._kept(digest)
                if action is Action.UNTAG:
                    steps.extend(self._untags(digest))
            entry = self._snapshot.manifests[digest]
            tags = self._snapshot.tags_of.get(digest, ())
            manifests.append(
                ManifestDecision(
                    digest, entry.manifest.kind, action, reason, tags, self._snapshot.size(digest)
                )
            )
        return RepositoryPlan(self._snapshot.repository, tuple(manifests), tuple(steps))

    def _owners(self, digest: str) -> tuple[str, ...]:
        """Return what a manifest is part of: its parents, and the subjects it refers to, here or not."""
        return tuple(dict.fromkeys((*self._stated_owners(digest), *self._named_owners(digest))))

    def _stated_owners(self, digest: str) -> Iterator[str]:
        """Yield the owners that bytes name. They form no circle: a digest would have to contain itself."""
        yield from self._snapshot.parents.get(digest, ())
        subject = self._snapshot.manifests[digest].manifest.subject
        if subject is not None:
            yield subject

    def _named_owners(self, digest: str) -> Iterator[str]:
        """Yield the subjects that tags name. Anybody can push any tag, so these may form circles."""
        for tag in self._snapshot.tags_of.get(digest, ()):
            subject = self._snapshot.tags[tag].subject
            if subject is not None:
                yield subject

    def _in_order(self) -> Iterator[str]:
        """Yield the doomed manifests, each after its parents and its subject.

        Should the sweep stop half-way, a child is never missing from an index that is still there, and
        no image is left without its signatures.
        """
        waiting = {digest: {o for o in self._owners(digest) if o in self._doomed} for digest in self._doomed}
        followers: dict[str, list[str]] = {digest: [] for digest in waiting}
        for digest, owners in waiting.items():
            for owner in owners:
                followers[owner].append(digest)
        ready = sorted((digest for digest, owners in waiting.items() if not owners), reverse=True)
        while waiting:
            digest = ready.pop() if ready else self._out_of_a_circle(waiting)
            del waiting[digest]
            yield digest
            for follower in sorted(followers[digest], reverse=True):
                if follower in waiting:
                    waiting[follower].discard(digest)
                    if not waiting[follower]:
                        ready.append(follower)

    def _out_of_a_circle(self, waiting: Mapping[str, set[str]]) -> str:
        """Return a manifest that waits for no parent: only for what its tags name, which is a circle."""
        for digest in sorted(waiting):
            if not any(owner in waiting for owner in self._stated_owners(digest)):
                return digest
        raise PlanError(f"{self._snapshot.repository}: manifests that contain each other")

    def _deletion(self, digest: str, order: Mapping[str, int]) -> Step:
        tags = self._snapshot.tags_of.get(digest, ())
        owners = tuple(o for o in self._owners(digest) if o in order and order[o] < order[digest])
        judged = [self._decisions.tags[tag] for tag in tags]
        kept = [decision.tag for decision in judged if decision.decision is not Decision.EXPIRE]
        if kept:
            raise PlanError(
                f"{self._snapshot.repository}@{digest} would be deleted with its kept tag {kept[0]}"
            )
        media_type = self._snapshot.manifests[digest].manifest.media_type
        if judged:
            first = judged[0]
            reason = _reason(judged)
            return Step(
                Action.DELETE, digest, media_type, tags, reason, first.policy or "", first.rule, after=owners
            )
        untagged = self._decisions.untagged.get(digest)
        if untagged is not None and untagged.decision is Decision.EXPIRE:
            return Step(
                Action.DELETE, digest, media_type, (), untagged.reason, untagged.policy or "", "untagged"
            )
        if not owners:
            raise PlanError(f"{self._snapshot.repository}@{digest} would be deleted without a reason")
        relation = (
            "a referrer of" if owners[0] == self._snapshot.manifests[digest].manifest.subject else "part of"
        )
        reason = f"{relation} {short(owners[0])}, which is deleted"
        return Step(Action.DELETE, digest, media_type, (), reason, self._decisions.policies[0], after=owners)

    def _kept(self, digest: str) -> tuple[Action, str]:
        """Return the action on a manifest that stays, and why it stays."""
        judged = [self._decisions.tags[tag] for tag in self._snapshot.tags_of.get(digest, ())]
        expired = [decision.tag for decision in judged if decision.decision is Decision.EXPIRE]
        why = self._why_kept(digest, judged)
        if not expired:
            return Action.KEEP, why
        names = ", ".join(expired)
        if self._can_untag:
            way = ", if need be by a placeholder" if self._placeholder else ""
            return Action.UNTAG, f"{why}; untagged{way}: {names}"
        return Action.KEEP, f"{SHARED_DIGEST}: {why}; this registry cannot delete the tag alone: {names}"

    def _why_kept(self, digest: str, judged: list[TagDecision]) -> str:
        if not self._decisions.policies:
            return NO_POLICY
        for decision in judged:
            if decision.decision is Decision.KEEP:
                return f"tag {decision.tag} is kept by {decision.reason}"
        if digest in self._decisions.held:
            return self._decisions.held[digest]
        untagged = self._decisions.untagged.get(digest)
        if untagged is not None:
            return untagged.reason
        kept = self._decisions.kept
        for parent in self._snapshot.parents.get(digest, ()):
            if parent in kept:
                return f"part of {short(parent)}, which is kept"
        for owner in self._owners(digest):
            if owner in kept:
                return f"refers to {short(owner)}, which is kept"
        if digest in self._mentioned:
            return f"mentioned by {short(self._mentioned[digest])}, which is kept"
        raise PlanError(f"{self._snapshot.repository}@{digest} would be kept without a reason")

    def _untags(self, digest: str) -> Iterator[Step]:
        media_type = self._snapshot.manifests[digest].manifest.media_type
        for tag in self._snapshot.tags_of[digest]:
            decision = self._decisions.tags[tag]
            if decision.decision is Decision.EXPIRE:
                yield Step(
                    Action.UNTAG,
                    digest,
                    media_type,
                    (tag,),
                    decision.reason,
                    decision.policy or "",
                    decision.rule,
                    placeholder=self._placeholder,
                )


def _reason(judged: list[TagDecision]) -> str:
    reasons = dict.fromkeys(decision.reason for decision in judged)
    if len(reasons) == 1:
        return next(iter(reasons))
    return "; ".join(f"{decision.tag}: {decision.reason}" for decision in judged)


def explain_shared(
    decisions: Mapping[str, TagDecision], plan: RepositoryPlan, *, can_untag: bool
) -> Mapping[str, TagDecision]:
    """Return the decisions with `SHARED_DIGEST` in the reason of each expired tag that has to stay."""
    if can_untag:
        return decisions
    changed = dict(decisions)
    for manifest in plan.manifests:
        if manifest.action is not Action.KEEP:
            continue
        for tag in manifest.tags:
            if changed[tag].decision is Decision.EXPIRE:
                reason = f"{changed[tag].reason}; {SHARED_DIGEST}: the tag stays, its digest is kept"
                changed[tag] = replace(changed[tag], reason=reason)
    return changed
