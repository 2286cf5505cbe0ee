"""What comes into use while a run deletes, against a real registry; a file says what is in use."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from devtools.images import Image, build_image, build_index
from devtools.pusher import Pusher
from devtools.registry import RegistryServer
from reaper.core.alias import parse_alias
from reaper.core.policy import Guard, KeepNewest, Policy, Protections, Rule
from reaper.core.selectors import Glob, Selector
from reaper.planning import Scope
from reaper.protect import Aliases, FileSource, Protector
from reaper.registry import RegistryClient, RegistryOptions, parse_address
from reaper.report.model import Outcome, RepositoryReport, RunReport
from reaper.run import Run, RunOptions, utc_now
from reaper.store import Store, open_store

pytestmark = pytest.mark.integration

Progress = Callable[[str, int, int | None], None]

NO_GUARD = Guard(None, None, 0, 0, 0)


class World:
    """A registry with old images in two repositories, and a file that says what is in use."""

    def __init__(self, server: RegistryServer, store: Store, folder: Path) -> None:
        self.server = server
        self.host = server.url.removeprefix("http://")
        self.pusher = Pusher(server.url)
        self.store = store
        self.file = folder / "images.txt"
        self.file.touch()
        self.images: dict[str, Image] = {}
        self.repositories: list[RepositoryReport] = []

    def push(self, repository: str, *tags: str) -> None:
        """Push an image for each tag, the first as the newest."""
        for number, tag in enumerate(tags):
            created = datetime.now(UTC) - timedelta(days=10 + number)
            image = build_image(seed=len(self.images), created=created)
            self.pusher.push(repository, image, tag)
            self.images[f"{repository}:{tag}"] = image

    def uses(self, *references: str) -> None:
        """Say in the file what is in use, all at once."""
        new = self.file.with_suffix(".new")
        new.write_text("".join(f"{reference}\n" for reference in references))
        new.replace(self.file)

    def run(
        self,
        progress: Progress = lambda *_: None,
        *,
        dry_run: bool = False,
        protections: Protections | None = None,
    ) -> RunReport:
        """Keep the newest of each repository."""
        policy = Policy(
            name="all",
            repositories=Selector((Glob("**"),)),
            rules=(Rule("newest", KeepNewest(1)),),
            minimum_age=timedelta(),
            protections=protections or Protections(),
            guard=Guard(None, None, 0, 0, 0),
        )
        protector = Protector(
            [FileSource(self.file)],
            aliases=Aliases([parse_alias(self.host)]),
            memory=self.store.in_use,
            grace=timedelta(days=7),
            clock=utc_now,
        )

        async def work() -> RunReport:
            options = RegistryOptions(parse_address(self.server.url))
            async with RegistryClient(options) as client:
                run = Run(
                    client,
                    self.store,
                    RunOptions(
                        self.server.url, Scope([policy]), dry_run=dry_run, guard=Guard(None, None, 0, 0, 0)
                    ),
                    protector=protector,
                    progress=progress,
                )
                report = await run.execute()
                self.repositories = list(report)
                run.close()
                return report

        return asyncio.run(work())

    def skipped(self, repository: str) -> dict[str, str]:
        """Return the skipped tags of a repository, each with the reason."""
        (report,) = (one for one in self.repositories if one.name == repository)
        return {(m.tags or [m.digest])[0]: m.reason for m in report.manifests if m.action == "skip"}


@pytest.fixture
def world(registry: RegistryServer, tmp_path: Path) -> Iterator[World]:
    with open_store(f"sqlite:///{tmp_path}/reaper.db") as store:
        yield World(registry, store, tmp_path)


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is in use is read before every step."""
    monkeypatch.setattr("reaper.protect.watch.FRESH_FOR", 0.0)
    monkeypatch.setattr("reaper.protect.watch.SHARE", 0.0)


def after(deletes: int, action: Callable[[], Any]) -> Progress:
    """Return a progress that acts when so many deletes were done."""

    def progress(phase: str, done: int, _total: int | None) -> None:
        if (phase, done) == ("delete", deletes):
            action()

    return progress


def test_nothing_in_use_is_deleted(world: World) -> None:
    world.push("app", "v3", "v2", "v1")
    world.uses(f"{world.host}/app:v1")
    report = world.run()
    assert report.outcome is Outcome.DONE
    assert sorted(world.pusher.tags("app")) == ["v1", "v3"]
    tag = next(tag for tag in world.repositories[0].tags if tag.tag == "v1")
    assert tag.reason == f"in-use: in use by file {world.file}, line 1"


def test_an_image_that_comes_into_use_before_the_first_delete_is_kept(world: World, always: None) -> None:
    world.push("a", "v3", "v2", "v1")
    world.push("b", "v2", "v1")

    def progress(phase: str, done: int, total: int | None) -> None:
        if phase == "read" and done == total:
            world.uses(f"{world.host}/a:v1")

    report = world.run(progress)
    assert report.outcome is Outcome.DONE
    assert sorted(world.pusher.tags("a")) == ["v1", "v2", "v3"]
    assert world.pusher.tags("b") == ["v2"]
    why = f"cancelled: since the plan was made it has come into use by file {world.file}, line 1; planned"
    assert all(reason.startswith(why) for reason in world.skipped("a").values())
    assert (report.summary.deleted_manifests, report.summary.skipped_manifests) == (1, 2)


def test_an_image_that_comes_into_use_in_the_middle_of_its_repository_is_kept(
    world: World, always: None
) -> None:
    world.push("a", "v9", *(f"v{number}" for number in range(8)))
    doomed = {image.digest: tag.partition(":")[2] for tag, image in world.images.items() if tag != "a:v9"}
    # Steps go by digest.
    last = max(doomed)
    world.run(after(3, lambda: world.uses(last)))
    assert set(world.pusher.tags("a")) == {"v9"} | {doomed[digest] for digest in sorted(doomed)[3:]}
    assert world.skipped("a").keys() == {doomed[digest] for digest in sorted(doomed)[3:]}


def test_a_config_or_a_part_that_comes_into_use_keeps_its_image(world: World, always: None) -> None:
    world.push("new", "v1")
    old = datetime.now(UTC) - timedelta(days=50)
    image = build_image(seed=90, created=old)
    world.pusher.push("configs", image, "old")
    parts = [build_image(seed=91 + n, created=old) for n in range(2)]
    world.pusher.push("indexes", build_index(parts), "old")
    for repository in ("configs", "indexes"):
        world.push(repository, "new")
    config = image.blobs[0].digest

    def progress(phase: str, done: int, total: int | None) -> None:
        if phase == "read" and done == total:
            world.uses(config, parts[1].digest)

    world.run(progress)
    assert set(world.pusher.tags("configs")) == {"old", "new"}
    assert set(world.pusher.tags("indexes")) == {"old", "new"}
    assert all("old" in world.skipped(repository) for repository in ("configs", "indexes"))


def test_what_comes_into_use_elsewhere_stops_nothing(world: World, always: None) -> None:
    world.push("a", "v3", "v2", "v1")
    report = world.run(after(1, lambda: world.uses("nginx", f"{world.host}/other:v1", "sha256:" + "0" * 64)))
    assert report.summary.deleted_manifests == 2
    assert world.pusher.tags("a") == ["v3"]


def test_where_no_policy_protects_what_is_in_use_nothing_is_skipped(world: World, always: None) -> None:
    world.push("a", "v3", "v2", "v1")
    off = Protections(in_use=False)
    report = world.run(
        after(1, lambda: world.uses(f"{world.host}/a:v1", f"{world.host}/a:v2")), protections=off
    )
    assert report.summary.deleted_manifests == 2


def test_a_source_that_cannot_be_read_blocks_the_run_and_the_audit(world: World) -> None:
    world.push("a", "v2", "v1")
    world.file.unlink()
    for dry_run in (True, False):
        report = world.run(dry_run=dry_run)
        assert report.outcome is Outcome.BLOCKED
        assert [(guard.guard, guard.repository) for guard in report.guards] == [("in_use_unknown", None)]
        assert "cannot be read: No such file" in report.guards[0].message
        assert report.summary.deleted_manifests == 0
    assert sorted(world.pusher.tags("a")) == ["v1", "v2"]


def test_a_source_that_is_lost_before_the_first_delete_blocks(world: World, always: None) -> None:
    world.push("a", "v2", "v1")

    def progress(phase: str, done: int, total: int | None) -> None:
        if phase == "read" and done == total:
            world.file.unlink()

    report = world.run(progress)
    assert report.outcome is Outcome.BLOCKED
    assert [guard.guard for guard in report.guards] == ["in_use_unknown"]
    assert sorted(world.pusher.tags("a")) == ["v1", "v2"]


def test_a_source_that_is_lost_in_the_middle_stops_the_sweep(world: World, always: None) -> None:
    world.push("a", "v3", "v2", "v1")
    world.push("b", "v2", "v1")
    report = world.run(after(1, world.file.unlink))
    assert report.outcome is Outcome.PARTIAL
    assert [guard.guard for guard in report.guards] == ["in_use_unknown"]
    assert report.guards[0].message.startswith("images in use could not be read again: file")
    assert (report.summary.deleted_manifests, report.summary.skipped_manifests) == (1, 2)
    assert len(world.pusher.tags("a")) == 2
    assert sorted(world.pusher.tags("b")) == ["v1", "v2"]
    assert "could not be read again" in world.skipped("b")["v1"]
    # The next run does the rest.
    world.uses()
    assert world.run().summary.deleted_manifests == 2


def test_a_warning_stands_among_the_notes(world: World) -> None:
    world.push("team/app", "v1")
    world.uses("registry.internal:5000/team/app:v1")
    report = world.run(dry_run=True)
    (note,) = report.notes
    assert "come from registry.internal:5000, where 1 repository is called as here (team/app)" in note
