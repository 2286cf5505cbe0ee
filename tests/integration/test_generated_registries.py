"""Generated registries, for real: what is kept can be pulled, and what is deleted is gone."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from devtools.control import Control
from devtools.images import Image, build_image, build_index, build_referrer, build_signature, signature_tag
from devtools.pusher import Pusher
from devtools.registry import RegistryServer
from devtools.skopeo import Skopeo
from reaper.collect import CommandCollector, Outcome
from reaper.collection import Collection
from reaper.core.policy import Guard, KeepNewest, KeepPeriods, KeepWithin, Order, Period, Policy, Rule
from reaper.core.reference import subject_of_tag
from reaper.core.selectors import Glob, Selector, Semver
from reaper.planning import Scope
from reaper.registry import RegistryClient, RegistryOptions, parse_address
from reaper.report.model import CollectionReport, RunReport
from reaper.run import Run, RunOptions, utc_now
from reaper.store import open_store
from reaper.sweep import restore

NO_GUARD = Guard(None, None, 0, 0, 0)
NOW = datetime.now(UTC)


@dataclass(frozen=True)
class Blueprint:
    """A registry to build: what each repository's tags are on, and what refers to what."""

    #: For each repository: tag -> number of an image (0-5) or index (6-9).
    tags: dict[str, dict[str, int]]
    #: The parts of each index: numbers of images, or of indexes before it.
    indexes: tuple[tuple[int, ...], ...]
    ages: tuple[int | None, ...]
    signed: frozenset[int]
    referred: frozenset[int]


names = st.one_of(
    st.sampled_from(["latest", "edge"]),
    st.builds("main-{}".format, st.integers(0, 9)),
    st.builds("v{}.{}.0".format, st.integers(0, 2), st.integers(0, 2)),
)
blueprints = st.builds(
    Blueprint,
    tags=st.dictionaries(
        st.sampled_from(["team/app", "team/web", "lib"]),
        st.dictionaries(names, st.integers(0, 9), min_size=1, max_size=7),
        min_size=1,
        max_size=3,
    ),
    indexes=st.tuples(
        *(st.lists(st.integers(0, 5 + n), min_size=1, max_size=3, unique=True).map(tuple) for n in range(4))
    ),
    ages=st.tuples(*(st.one_of(st.none(), st.integers(2, 400)) for _ in range(6))),
    signed=st.frozensets(st.integers(0, 9), max_size=3),
    referred=st.frozensets(st.integers(0, 9), max_size=2),
)
rules = st.lists(
    st.sampled_from(
        [
            Rule("newest", KeepNewest(2)),
            Rule("releases", KeepNewest(2, Order.SEMVER), Selector((Semver(">=0.1.0"),))),
            Rule("young", KeepWithin(timedelta(days=60))),
            Rule("monthly", KeepPeriods(Period.MONTHLY, 2)),
            Rule("main", KeepNewest(1, Order.NAME), Selector((Glob("main-*"),))),
        ]
    ),
    min_size=1,
    max_size=2,
    unique_by=lambda rule: rule.name,
)


def build(blueprint: Blueprint) -> list[Image]:
    """Return all images and indexes of the blueprint; a layer is shared by every other image."""
    made: list[Image] = []
    for number, age in enumerate(blueprint.ages):
        created = datetime(1970, 1, 1, tzinfo=UTC) if age is None else NOW - timedelta(days=age)
        made.append(build_image(seed=number % 2, created=created, labels={"number": str(number)}))
    for parts in blueprint.indexes:
        made.append(build_index([made[part] for part in parts]))
    return made


def push(pusher: Pusher, blueprint: Blueprint, images: list[Image]) -> None:
    for repository, tags in blueprint.tags.items():
        for tag, number in tags.items():
            pusher.push(repository, images[number], tag)
        for number in blueprint.signed & set(tags.values()):
            pusher.push_signature(repository, images[number])
        for number in blueprint.referred & set(tags.values()):
            pusher.push_referrer(repository, build_referrer(images[number]))


async def run_and_collect(
    server: RegistryServer, control: Control, binary: Path, policy: Policy, folder: Path
) -> tuple[RunReport, CollectionReport]:
    with open_store(f"sqlite:///{folder}/reaper.db") as store:
        async with RegistryClient(RegistryOptions(parse_address(server.url))) as client:
            run = Run(client, store, RunOptions(server.url, Scope([policy]), dry_run=False, guard=NO_GUARD))
            report = await run.execute()
            # What it reads from disk is needed after the store is closed.
            report = RunReport(
                **{
                    field: getattr(report, field)
                    for field in report.__dataclass_fields__
                    if field != "repositories"
                },
                repositories=list(report),
            )
            run.close()
            collector = CommandCollector(
                [str(binary), "garbage-collect", str(server.config_path)],
                read_only_on=[control.hook("on")],
                read_only_off=[control.hook("off")],
                restart=[control.hook("restart")],
            )
            collection = Collection(
                client, store, collector, registry=server.url, undo_window=timedelta(), clock=utc_now
            )
            return report, await collection.now()


@settings(max_examples=12)
@given(blueprint=blueprints, rules=rules)
def test_what_is_kept_pulls_and_what_is_deleted_is_gone(
    distribution: Path, skopeo: Skopeo, blueprint: Blueprint, rules: list[Rule]
) -> None:
    policy = Policy(
        "generated",
        Selector((Glob("team/*"),)),
        tuple(rules),
        untagged_keep_within=timedelta(),
        minimum_age=timedelta(),
        guard=NO_GUARD,
    )
    with (
        TemporaryDirectory() as name,
        RegistryServer(distribution, Path(name) / "registry") as server,
        Control(server) as control,
    ):
        pusher = Pusher(server.url)
        images = build(blueprint)
        push(pusher, blueprint, images)
        before = {repository: set(pusher.tags(repository)) for repository in blueprint.tags}
        report, collection = asyncio.run(run_and_collect(server, control, distribution, policy, Path(name)))
        assert report.outcome == "done", (report.error, report.guards)
        assert collection.outcome in {Outcome.DONE, Outcome.NOTHING}, collection.detail
        server.restart()
        for repository in report:
            left = set(pusher.tags(repository.name))
            decided = {tag.tag: tag for tag in repository.tags}
            assert decided.keys() == before[repository.name]
            for judged in decided.values():
                if judged.decision != "expire":
                    assert judged.tag in left, judged
            for tag in left:
                assert pusher.pull(repository.name, tag).digest == decided[tag].digest
                if subject_of_tag(tag) is None:
                    skopeo.inspect(f"docker://{server.host}/{repository.name}:{tag}")
            for manifest in repository.manifests:
                there = pusher.get_manifest(repository.name, manifest.digest) is not None
                assert there is (manifest.action != "delete"), manifest
        if not blueprint.tags.keys() - {"lib"}:
            assert report.summary.deleted_manifests == 0


async def run_and_restore(server: RegistryServer, policy: Policy, folder: Path) -> tuple[int, int]:
    """Run, restore all that the run deleted, and run again; return how much each run deleted."""
    with open_store(f"sqlite:///{folder}/reaper.db") as store:
        async with RegistryClient(RegistryOptions(parse_address(server.url))) as client:
            deleted = []
            for _ in range(2):
                run = Run(
                    client, store, RunOptions(server.url, Scope([policy]), dry_run=False, guard=NO_GUARD)
                )
                report = await run.execute()
                run.close()
                assert report.outcome == "done", report.error
                deleted.append(report.summary.deleted_manifests)
                entries = store.journal.undoable(server.url)
                assert len(entries) == deleted[-1]
                results = await restore(client, store, entries, clock=utc_now)
                assert all(result.restored for result in results)
            first, second = deleted
            return first, second


@settings(max_examples=6)
@given(blueprint=blueprints, rules=rules)
def test_a_restore_brings_everything_back_and_the_next_run_decides_the_same(
    distribution: Path, blueprint: Blueprint, rules: list[Rule]
) -> None:
    policy = Policy(
        "generated",
        Selector((Glob("**"),)),
        tuple(rules),
        untagged_keep_within=timedelta(),
        minimum_age=timedelta(),
        guard=NO_GUARD,
    )
    with TemporaryDirectory() as name, RegistryServer(distribution, Path(name) / "registry") as server:
        pusher = Pusher(server.url)
        images = build(blueprint)
        push(pusher, blueprint, images)
        before = {
            (repository, tag): pusher.pull(repository, tag)
            for repository in blueprint.tags
            for tag in pusher.tags(repository)
        }
        first, second = asyncio.run(run_and_restore(server, policy, Path(name)))
        assert first == second
        after = {
            (repository, tag): pusher.pull(repository, tag)
            for repository in blueprint.tags
            for tag in pusher.tags(repository)
        }
        assert after == before


def test_a_signature_goes_with_its_image(distribution: Path, tmp_path: Path) -> None:
    old = build_image(seed=1, created=NOW - timedelta(days=90))
    new = build_image(seed=2, created=NOW - timedelta(days=9))
    with RegistryServer(distribution, tmp_path / "registry") as server, Control(server) as control:
        pusher = Pusher(server.url)
        for tag, image in (("old", old), ("new", new)):
            pusher.push("team/app", image, tag)
            pusher.push_signature("team/app", image)
        policy = Policy(
            "p", Selector((Glob("**"),)), (Rule("r", KeepNewest(1)),), minimum_age=timedelta(hours=24)
        )
        report, _ = asyncio.run(run_and_collect(server, control, distribution, policy, tmp_path))
        assert report.summary.deleted_manifests == 2
        assert set(pusher.tags("team/app")) == {"new", signature_tag(new)}
        assert pusher.get_manifest("team/app", build_signature(old).digest) is None
