"""Generated registries and policies: the world that the core's properties are tested in."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

from reaper.core.manifest import (
    DOCKER_SCHEMA1_SIGNED,
    OCI_ARTIFACT,
    OCI_INDEX,
    OCI_MANIFEST,
    Descriptor,
    Kind,
    Manifest,
)
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
from reaper.core.snapshot import ManifestEntry, ProductView, Snapshot, TagEntry

NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)
REPOSITORY = "team/app"
#: A digest that no generated manifest has.
ABSENT = f"sha256:{hashlib.sha256(b'absent').hexdigest()}"
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


# One draw for each time, of few: round ages for equal times and times just at a rule's limit, and others.
_AGES = (
    *(timedelta(days=days) for days in (0, 1, 2, 7, 14, 30, 60) for _ in range(3)),
    *(timedelta(hours=hours) for hours in range(1, 60 * 24, 17)),
    *(timedelta(days=days, microseconds=1) for days in (0, 1, 7, 14)),
)
# Reproducible builds' dates, wrong clocks', and the first that is believed.
_ODD_DATES = (
    datetime(1, 1, 1, tzinfo=UTC),
    datetime(1970, 1, 1, tzinfo=UTC),
    datetime(1980, 1, 1, 0, 0, 1, tzinfo=UTC),
    datetime(2012, 12, 31, 23, 59, 59, tzinfo=UTC),
    datetime(2013, 1, 1, tzinfo=UTC),
    NOW + timedelta(seconds=1),
    NOW + timedelta(days=3),
    datetime(9999, 12, 31, tzinfo=UTC),
)
past = st.sampled_from([NOW - age for age in _AGES])
dates = st.sampled_from([*(NOW - age for age in _AGES), *_ODD_DATES * 2])
maybe_past = st.sampled_from([*[None] * 30, *(NOW - age for age in _AGES)])
products = st.one_of(
    st.none(),
    st.builds(ProductView, st.just("zot"), st.booleans(), maybe_past, maybe_past),
)
# What is known of a manifest, and of a tag.
_KNOWN = st.sampled_from(
    [
        "created seen",
        "created seen",
        "created seen pulled",
        "seen",
        "seen",
        "annotated seen",
        "created annotated",
        "seen event",
        "seen product pulled",
        "",
    ]
)
_KNOWN_OF_TAG = st.sampled_from(["seen", "seen", "seen pulled", "seen event", "seen product", ""])
names = st.one_of(
    st.sampled_from(["latest", "stable", "edge"]),
    st.builds("{}-{}".format, st.sampled_from(["main", "dev"]), st.integers(0, 12)),
    st.builds("v{}.{}.{}".format, st.integers(0, 2), st.integers(0, 3), st.integers(0, 2)),
    st.builds("{}.{}.0-rc.{}".format, st.integers(0, 2), st.integers(0, 3), st.integers(0, 2)),
)
_DOCUMENTS = (
    (Kind.UNKNOWN, "application/vnd.example.unknown"),
    (Kind.SCHEMA1, DOCKER_SCHEMA1_SIGNED),
    (Kind.ARTIFACT, OCI_ARTIFACT),
)


def _sharing(number: int) -> Manifest:
    """Return an image with a layer of its own, and one that every other image has as well."""
    layers = (digest((number, "layer")), digest((number % 2, "shared")))
    return manifest(("image", number), layers=tuple(Descriptor(d, 500, "layer") for d in layers))


@st.composite
def graphs(draw: st.DrawFn) -> list[Manifest]:
    """Manifests: images, nested indexes with shared and missing children, other kinds, and referrers.

    A referrer's subject may be an image, an index, a child, another referrer, or absent.
    """
    made = [_sharing(number) for number in range(draw(st.integers(1, 7)))]
    blobs = [blob.digest for m in made for blob in m.blobs]
    for number in range(draw(st.integers(0, 4))):
        parts = draw(st.lists(st.sampled_from(made), min_size=1, max_size=3, unique_by=lambda m: m.digest))
        missing = (child(manifest("missing")),) if draw(st.integers(0, 9)) == 0 else ()
        children = (*(child(part) for part in parts), *missing)
        made.append(manifest(("index", number), Kind.INDEX, children=children))
    for kind, media_type in draw(st.lists(st.sampled_from(_DOCUMENTS), max_size=2, unique=True)):
        known = [*(m.digest for m in made), *blobs]
        mentions = frozenset({draw(st.sampled_from(known))}) if kind is Kind.UNKNOWN else frozenset()
        made.append(manifest(kind, kind, media_type=media_type, mentions=mentions))
    for number in range(draw(st.integers(0, 3))):
        subject = draw(st.sampled_from([*(m.digest for m in made), ABSENT]))
        made.append(manifest(("referrer", number), subject=subject))
    return made


@st.composite
def snapshots(draw: st.DrawFn, *, known: bool = True) -> Snapshot:
    """A repository around a graph, with digests that tags share, and tags that name subjects.

    Those may name a digest that is absent, their own, or each other's. Without ``known`` no time is known.
    """
    made = draw(graphs())
    digests = [m.digest for m in made]
    tags = {
        name: draw(st.sampled_from(digests))
        for name in draw(st.lists(names, min_size=2, max_size=12, unique=True))
    }
    for _ in range(draw(st.integers(0, 3))):
        subject = draw(st.sampled_from([*digests, ABSENT]))
        suffix = draw(st.sampled_from(["", ".sig", ".att", ".sbom"]))
        tags[subject.replace(":", "-") + suffix] = draw(st.sampled_from(digests))
    entries = {m.digest: draw(_entries(m, set(tags.values()), known=known)) for m in made}
    return Snapshot(
        REPOSITORY,
        NOW,
        {name: draw(_tags(name, to, known=known)) for name, to in tags.items()},
        entries,
        missing=frozenset({manifest("missing").digest}),
        inventoried_since=draw(maybe_past),
        pulls_tracked_since=draw(maybe_past),
        product=draw(products) if known else None,
    )


@st.composite
def _entries(draw: st.DrawFn, of: Manifest, tagged: set[str], *, known: bool) -> ManifestEntry:
    what = draw(_KNOWN) if known else ""
    seen = draw(past) if "seen" in what else None
    return ManifestEntry(
        replace(of, created_annotation=draw(dates)) if "annotated" in what else of,
        config_created=draw(dates) if "created" in what and of.kind is Kind.IMAGE else None,
        first_seen=seen,
        untagged_since=draw(past) if seen and of.digest not in tagged else None,
        pushed_event=draw(past) if "event" in what else None,
        product_pushed=draw(past) if "product" in what else None,
        pulled=draw(past) if "pulled" in what else None,
        product_pulled=draw(past) if "product pulled" in what else None,
    )


@st.composite
def _tags(draw: st.DrawFn, name: str, to: str, *, known: bool) -> TagEntry:
    what = draw(_KNOWN_OF_TAG) if known else ""
    return TagEntry(
        name,
        to,
        first_seen=draw(past) if "seen" in what else None,
        pushed_event=draw(past) if "event" in what else None,
        product_pushed=draw(past) if "product" in what else None,
        pulled=draw(past) if "pulled" in what else None,
    )


durations = st.sampled_from(
    [*(timedelta(days=days) for days in (0, 1, 2, 7, 14, 30, 90)), timedelta(hours=7), timedelta(hours=500)]
)
simple_conditions: st.SearchStrategy[Condition] = st.one_of(
    st.builds(KeepNewest, st.integers(1, 4), st.sampled_from(Order)),
    st.builds(KeepWithin, durations, st.sampled_from(Clock), st.sampled_from(Origin)),
    st.builds(KeepPeriods, st.sampled_from(Period), st.integers(1, 4), st.sampled_from(Clock)),
    st.one_of(st.just(KeepAll()), st.builds(KeepPulledWithin, durations)),
)
#: Conditions that compare an image with others by their times.
rankings: st.SearchStrategy[Condition] = st.one_of(
    st.builds(KeepNewest, st.integers(1, 3), st.sampled_from([Order.PUSHED, Order.CREATED])),
    st.builds(KeepPeriods, st.sampled_from(Period), st.integers(1, 3), st.sampled_from(Clock)),
    st.builds(KeepWithin, durations, st.sampled_from(Clock), st.just(Origin.NEWEST)),
)
_pairs = st.tuples(simple_conditions, simple_conditions)
conditions: st.SearchStrategy[Condition] = st.one_of(
    simple_conditions,
    _pairs.map(AnyOf),
    _pairs.map(AllOf),
    st.tuples(simple_conditions, _pairs.map(AnyOf)).map(AllOf),
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
    """A policy, nearly always on the generated repository."""
    elsewhere = draw(st.integers(0, 9)) == 0
    return Policy(
        name=f"policy {draw(st.integers(0, 99))}",
        repositories=Selector((Glob("elsewhere/**" if elsewhere else "**"),)),
        rules=tuple(
            draw(st.lists(rules(condition), min_size=1, max_size=2, unique_by=lambda rule: rule.name))
        ),
        untagged_keep_within=draw(st.one_of(st.none(), durations)),
        minimum_age=draw(st.sampled_from([timedelta(), timedelta(), timedelta(days=1), timedelta(days=7)])),
        guard=Guard(),
        protections=draw(
            st.builds(
                Protections,
                latest=st.booleans(),
                in_use=st.booleans(),
                unknown_media_type=st.booleans(),
                immutable=st.sampled_from([None, None, Selector((Glob("v1*"),))]),
            )
        ),
        timezone=ZoneInfo(draw(st.sampled_from(["UTC", "Asia/Tokyo", "America/New_York"]))),
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
