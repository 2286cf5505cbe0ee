"""Guard rails: when a plan is so surprising that a person should look at it first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from reaper.core.plan import RepositoryPlan
from reaper.core.policy import NEWLY_EXPIRED_FROM, VANISHED_FROM, Guard, Policy
from reaper.core.reference import subject_of_tag
from reaper.core.retention import Decision, Decisions
from reaper.core.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Trip:
    """A guard rail that a plan ran into. ``repository`` is None where it concerns the whole run."""

    guard: str
    message: str
    repository: str | None = None

    def __str__(self) -> str:
        return f"{self.repository}: {self.message}" if self.repository else self.message


@dataclass(frozen=True, slots=True)
class Tally:
    """What a plan does, in numbers. Referrers' tags are not counted: they follow their subjects."""

    manifests: int = 0
    deletions: int = 0
    tags: int = 0
    removed_tags: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.manifests + other.manifests,
            self.deletions + other.deletions,
            self.tags + other.tags,
            self.removed_tags + other.removed_tags,
        )


def tally(plan: RepositoryPlan) -> Tally:
    """Count what ``plan`` does to its repository."""
    tags = {
        tag
        for manifest in plan.manifests
        for tag in manifest.tags
        if subject_of_tag(tag) in (None, manifest.digest)
    }
    removed = {tag for step in plan.steps for tag in step.tags if tag in tags}
    return Tally(len(plan.manifests), plan.deletions, len(tags), len(removed))


def check_repository(plan: RepositoryPlan, policies: Sequence[Policy]) -> Iterator[Trip]:
    """Yield the guard rails of the policies on this repository that ``plan`` runs into."""
    if not plan.steps:
        return
    counted = tally(plan)
    seen: set[str] = set()
    for policy in sorted(policies, key=lambda policy: policy.name):
        if not policy.matches(plan.repository):
            continue
        guard = policy.guard
        left = counted.tags - counted.removed_tags
        found = list(_limits(counted, guard, f"policy {policy.name}", plan.repository))
        if left < guard.min_tags and counted.removed_tags:
            demand = f"policy {policy.name} demands {guard.min_tags}"
            message = f"{left} of {counted.tags} tags would be left; {demand}"
            found.append(Trip("min_tags", message, plan.repository))
        for trip in found:
            if trip.guard not in seen:
                seen.add(trip.guard)
                yield trip


def check_run(total: Tally, guard: Guard) -> Iterator[Trip]:
    """Yield the guard rails on the whole run that the sum of its plans runs into."""
    yield from _limits(total, guard, "the run's guard", None)


def check_matches(
    policies: Iterable[Policy], matched: Mapping[str, int], repositories: int
) -> Iterator[Trip]:
    """Yield a trip for each policy that matches fewer repositories than its guard demands.

    A mistyped pattern may switch off the very policy that keeps production's images. An empty registry
    is no surprise. ``matched`` counts the repositories each policy matches.
    """
    if repositories == 0:
        return
    for policy in policies:
        count = matched.get(policy.name, 0)
        if count < policy.guard.min_repositories:
            message = (
                f"policy {policy.name} matches {count} of {repositories} repositories, "
                f"and its guard demands {policy.guard.min_repositories}"
            )
            yield Trip("empty_match", message)


#: How far the clock may be from the registry's, which is read a moment earlier.
MAX_CLOCK_SKEW = timedelta(minutes=30)


def check_clock(now: datetime, last_run: datetime | None, registry: datetime | None = None) -> Iterator[Trip]:
    """Yield a trip when the clock is behind the end of the last run, or far from the ``registry``'s."""
    if last_run is not None and now < last_run:
        message = f"the clock says {now:%Y-%m-%d %H:%M:%SZ}; the last run ended {last_run:%Y-%m-%d %H:%M:%SZ}"
        yield Trip("clock", message)
    elif registry is not None and abs(now - registry) > MAX_CLOCK_SKEW:
        message = (
            f"the clock says {now:%Y-%m-%d %H:%M:%SZ}; the registry's says {registry:%Y-%m-%d %H:%M:%SZ}"
        )
        yield Trip("clock", message)


def check_policy_change(
    snapshot: Snapshot, decisions: Decisions, policies: Sequence[Policy]
) -> Iterator[Trip]:
    """Yield a trip when policies that were changed since the last run newly expire too many tags.

    Call it only when they were. What the last run kept is in the snapshot.
    """
    kept = [tag.name for tag in snapshot.tags.values() if tag.kept_before]
    expire = [name for name in kept if decisions.tags[name].decision is Decision.EXPIRE]
    limits = [policy.guard.max_newly_expired for policy in policies if policy.matches(snapshot.repository)]
    strictest = min((limit for limit in limits if limit is not None), default=None)
    if strictest is None or len(expire) < NEWLY_EXPIRED_FROM or len(expire) <= strictest * len(kept):
        return
    message = (
        f"the changed policies expire {len(expire)} of {len(kept)} tags ({len(expire) / len(kept):.0%}) that "
        f"the last run kept; the guard allows {strictest:.0%}"
    )
    yield Trip("max_newly_expired", message, snapshot.repository)


def check_listing(
    before: int, gone: int, guards: Iterable[Guard], repository: str | None = None
) -> Iterator[Trip]:
    """Yield a trip when a listing lacks too much of what the last inventory saw there.

    The listing is of the tags of ``repository``, or of the registry's repositories. What reaper itself
    deleted counts neither as seen nor as ``gone``.
    """
    limits = [guard.max_vanished for guard in guards]
    strictest = min((limit for limit in limits if limit is not None), default=None)
    if strictest is None or gone < VANISHED_FROM or gone <= strictest * before:
        return
    what = "repositories" if repository is None else "tags"
    message = (
        f"{gone} of {before} {what} ({gone / before:.0%}) that the last inventory saw are gone, and reaper "
        f"did not delete them; the guard allows {strictest:.0%}"
    )
    yield Trip("short_listing", message, repository)


def _limits(counted: Tally, guard: Guard, whose: str, repository: str | None) -> Iterator[Trip]:
    deletions = counted.deletions
    if guard.max_deletions is not None and deletions > guard.max_deletions:
        message = f"{deletions} manifests would be deleted; {whose} allows {guard.max_deletions}"
        yield Trip("max_deletions", message, repository)
    if guard.max_share is None:
        return
    for removed, all_of_them, what in (
        (deletions, counted.manifests, "manifests"),
        (counted.removed_tags, counted.tags, "tags"),
    ):
        if removed >= max(1, guard.share_from) and removed > guard.max_share * all_of_them:
            share = removed / all_of_them
            limit = f"{whose} allows {guard.max_share:.0%}"
            message = f"{removed} of {all_of_them} {what} ({share:.0%}) would go; {limit}"
            yield Trip("max_share", message, repository)
            return
