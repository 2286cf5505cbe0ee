"""Generated registries and policies: the world that the core's properties are tested in."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

from reaper.core.manifest import OCI_INDEX, OCI_MANIFEST, Descriptor, Kind, Manifest
from reaper.core.policy import (
    AllOf,
    AnyOf,
    Clock,
    Condition,
    Guard,
    KeepAll,
    KeepNewest,
    KeepPeriods,
    KeepPulledWithin,
    KeepWithin,
    Order,
    Origin,
    Period,
    Policy,
    Protections,
    Rule,
)
from reaper.core.selectors import Glob, Regex, Selector, Semver
from reaper.core.snapshot import ManifestEntry, Snapshot, TagEntry

NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)
REPOSITORY = "team/app"
BRANCH = Selector((Regex(r"(?P<branch>[a-z]+)-\d+"),))


def digest(seed: object) -> str:
    """Return a digest that stands for ``seed``."""
    return f"sha256:{hashlib.sha256(repr(seed).encode()).hexdigest()}"


def manifest(seed: object, kind: Kind = Kind.IMAGE, **fields: object) -> Manifest:
    """Return an image (with a config and a layer of its own), or another kind of manifest."""
    defaults: dict[str, object] = {"media_type": OCI_INDEX if kind is Kind.INDEX else OCI_MANIFEST}
    if kind is Kind.IMAGE:
        defaults["config"] = Descriptor(
            digest((seed, "config")), 10, "application/vnd.oci.image.config.v1+json"
        )
        defaults["layers"] = (Descriptor(digest((seed, "layer")), 1000, "layer"),)
    return Manifest(digest=digest(seed), kind=kind, size=100, **{**defaults, **fields})  # type: ignore[arg-type]  # fields vary by kind


def child(of: Manifest) -> Descriptor:
    """Return the descriptor that an index has of ``of``."""
    return Descriptor(of.digest, of.size, of.media_type)


ages = st.one_of(
    st.integers(0, 60 * 24).map(lambda hours: timedelta(hours=hours)),
    st.just(timedelta(days=365 * 56)),
    st.just(timedelta(days=-3)),
)
times = st.one_of(st.none(), ages.map(lambda age: NOW - age))
past = st.integers(0, 60 * 24).map(lambda hours: NOW - timedelta(hours=hours))
names = st.one_of(
    st.sampled_from(["latest", "stable", "edge"]),
    st.builds("{}-{}".format, st.sampled_from(["main", "dev"]), st.integers(0, 12)),
    st.builds("v{}.{}.{}".format, st.integers(0, 2), st.integers(0, 3), st.integers(0, 2)),
    st.builds("{}.{}.0-rc.{}".format, st.integers(0, 2), st.integers(0, 3), st.integers(0, 2)),
)


@st.composite
def snapshots(draw: st.DrawFn, *, times: st.SearchStrategy[datetime | None] = times) -> Snapshot:
    """A repository: images, nested indexes with shared children, referrers, shared digests, odd dates."""
    images = [manifest(("image", number)) for number in range(draw(st.integers(1, 7)))]
    layers: list[Manifest] = list(images)
    for number in range(draw(st.integers(0, 4))):
        parts = draw(st.lists(st.sampled_from(layers), min_size=1, max_size=3, unique_by=lambda m: m.digest))
        layers.append(manifest(("index", number), Kind.INDEX, children=tuple(child(part) for part in parts)))
    if draw(st.booleans()):
        layers.append(
            manifest("odd", Kind.UNKNOWN, mentions=frozenset({draw(st.sampled_from(layers)).digest}))
        )
    tags: dict[str, str] = {}
    for name in draw(st.lists(names, max_size=10, unique=True)):
        tags[name] = draw(st.sampled_from(layers)).digest
    for number in range(draw(st.integers(0, 3))):
        absent = digest("absent")
        subject = draw(st.sampled_from([*(m.digest for m in layers), absent]))
        scheme = draw(st.sampled_from(["", ".sig", ".att", "field"]))
        if scheme == "field":
            layers.append(manifest(("referrer", number), subject=subject))
            if draw(st.booleans()):
                tags[f"sbom-{number}"] = layers[-1].digest
        else:
            layers.append(manifest(("referrer", number)))
            tags[subject.replace(":", "-") + scheme] = layers[-1].digest
    inventoried = draw(st.one_of(st.none(), past))
    tagged = set(tags.values())
    entries = {
        m.digest: ManifestEntry(
            m,
            config_created=draw(times),
            first_seen=draw(times),
            untagged_since=None if m.digest in tagged else draw(times),
            pushed_event=draw(st.one_of(st.none(), times)),
            pulled=draw(st.one_of(st.none(), times)),
        )
        for m in layers
    }
    return Snapshot(
        REPOSITORY,
        NOW,
        {
            name: TagEntry(name, to, first_seen=draw(times), pulled=draw(st.one_of(st.none(), times)))
            for name, to in tags.items()
        },
        entries,
        inventoried_since=inventoried,
        pulls_tracked_since=draw(st.one_of(st.none(), past)),
    )


durations = st.integers(0, 90).map(lambda days: timedelta(days=days))
simple_conditions: st.SearchStrategy[Condition] = st.one_of(
    st.just(KeepAll()),
    st.builds(KeepNewest, st.integers(1, 5), st.sampled_from(Order)),
    st.builds(KeepWithin, durations, st.sampled_from(Clock), st.sampled_from(Origin)),
    st.builds(KeepPulledWithin, durations),
    st.builds(KeepPeriods, st.sampled_from(Period), st.integers(1, 5), st.sampled_from(Clock)),
)
conditions: st.SearchStrategy[Condition] = st.recursive(
    simple_conditions,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: AnyOf(tuple(parts))),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: AllOf(tuple(parts))),
    ),
    max_leaves=4,
)
selectors = st.sampled_from(
    [
        Selector(),
        Selector((Glob("v*"),)),
        Selector((Semver(">=1.0.0"),)),
        Selector((Semver("0.x || 2.x", prerelease=True),)),
        Selector((Glob("*"),), (Glob("main-*"),)),
        BRANCH,
    ]
)


@st.composite
def rules(draw: st.DrawFn, condition: st.SearchStrategy[Condition] = conditions) -> Rule:
    """A rule with any selector; one over branches may be grouped."""
    tags = draw(selectors)
    group = "branch" if tags is BRANCH and draw(st.booleans()) else None
    return Rule(f"rule {draw(st.integers(0, 99))}", draw(condition), tags, group)


@st.composite
def policies(draw: st.DrawFn, condition: st.SearchStrategy[Condition] = conditions) -> Policy:
    """A policy on the generated repository."""
    return Policy(
        name=f"policy {draw(st.integers(0, 99))}",
        repositories=Selector((Glob("**"),)),
        rules=tuple(draw(st.lists(rules(condition), min_size=1, max_size=3))),
        untagged_keep_within=draw(st.one_of(st.none(), durations)),
        minimum_age=draw(st.sampled_from([timedelta(), timedelta(hours=24), timedelta(days=7)])),
        guard=Guard(),
        protections=draw(
            st.sampled_from(
                [
                    Protections(),
                    Protections(latest=False),
                    Protections(latest=False, unknown_media_type=False),
                    Protections(immutable=Selector((Glob("v1*"),))),
                ]
            )
        ),
        timezone=ZoneInfo(draw(st.sampled_from(["UTC", "Asia/Tokyo"]))),
    )


policy_sets = st.lists(policies(), min_size=1, max_size=3, unique_by=lambda policy: policy.name)


def without(snapshot: Snapshot, digests: set[str], tags: set[str]) -> Snapshot:
    """Return the snapshot after ``digests`` and ``tags`` were deleted, at the same moment."""
    left = {
        name: tag for name, tag in snapshot.tags.items() if name not in tags and tag.digest not in digests
    }
    tagged = {tag.digest for tag in left.values()}
    entries = {}
    for key, entry in snapshot.manifests.items():
        if key in digests:
            continue
        newly_untagged = key not in tagged and key in snapshot.tags_of
        entries[key] = replace(entry, untagged_since=snapshot.taken_at) if newly_untagged else entry
    return replace(snapshot, tags=left, manifests=entries)
