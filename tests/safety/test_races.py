"""Pushers that never rest while a run sweeps: no tag that is kept, or that they have pushed, is lost.

``REAPER_RACES`` is how many pushes there are to be (in all rounds of a test), ``REAPER_RACES_SEED`` where the
rounds' seeds begin: a failure names the seed of its round.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from devtools.images import Image, build_image, build_index, build_referrer, build_signature, signature_tag
from devtools.pusher import AnswerError, BrokenImageError, Pusher
from devtools.registry import RegistryServer
from devtools.registry_config import RegistryOptions as ServerOptions
from reaper.core.policy import Guard, KeepAll, Policy, Rule
from reaper.core.selectors import Glob, Selector
from reaper.planning import Scope
from reaper.registry import Deleted, RegistryClient, RegistryOptions, Resolved, parse_address
from reaper.report.model import Outcome
from reaper.run import Run, RunOptions, utc_now
from reaper.store import JournalEntry, State, Store, open_store
from reaper.sweep import restore
from reaper.web.notifications import parse_message

PUSHES = int(os.environ.get("REAPER_RACES", "500"))
SEED = int(os.environ.get("REAPER_RACES_SEED", "1"))
PUSHERS = 3
NO_GUARD = Guard(None, None, 0, 0, 0)
POLICY = Policy(
    "tidy",
    Selector((Glob("**"),)),
    (Rule("kept", KeepAll(), Selector((Glob("keep*"),))),),
    minimum_age=timedelta(),
    guard=NO_GUARD,
)
PART_IS_MISSING = (400, 404)
#: How often a pusher tries, where a part is deleted between two of its requests.
ATTEMPTS = 20


@dataclass(frozen=True)
class Push:
    """A tag that was put on an image, and when, on the clock of `time.monotonic`."""

    image: Image
    began: float
    ended: float


@dataclass(frozen=True)
class Delete:
    """When the listing before a delete was asked for, when it was sent, and when it was answered."""

    listed: float
    sent: float
    answered: float


class Watched(RegistryClient):
    """A client that notes when it lists and deletes."""

    def __init__(self, options: RegistryOptions) -> None:
        super().__init__(options)
        self.listed: dict[str, float] = {}
        self.deletes: dict[tuple[str, str], list[Delete]] = defaultdict(list)
        #: When each tag was looked at last, and when it was put back: from that look to the answer.
        self._looked: dict[tuple[str, str], float] = {}
        self.puts: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)

    async def head(self, repository: str, reference: str) -> Resolved | None:
        self._looked[repository, reference] = time.monotonic()
        return await super().head(repository, reference)

    async def put_manifest(
        self, repository: str, reference: str, content: bytes, media_type: str, *, once: bool = False
    ) -> str:
        place = repository, reference
        began = self._looked.get(place, time.monotonic())
        try:
            return await super().put_manifest(repository, reference, content, media_type, once=once)
        finally:
            self.puts[place].append((began, time.monotonic()))

    async def tags(self, repository: str) -> list[str]:
        self.listed[repository] = time.monotonic()
        return await super().tags(repository)

    async def delete_manifest(self, repository: str, digest: str) -> Deleted:
        listed, sent = self.listed[repository], time.monotonic()
        try:
            return await super().delete_manifest(repository, digest)
        finally:
            self.deletes[repository, digest].append(Delete(listed, sent, time.monotonic()))


class Ear:
    """Takes the registry's events, as `reaper serve` does, while it has a store to tell them to."""

    def __init__(self) -> None:
        self.store: Store | None = None
        self.registry = ""
        #: When a tag's last push was told of, on the clock of `time.monotonic`.
        self.heard: dict[tuple[str, str, str], float] = {}
        ear = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                now = utc_now()
                message = parse_message(body, dict(self.headers), now)
                if ear.store is not None:
                    ear.store.events.record(ear.registry, message.events, now)
                    for event in message.events:
                        ear.heard[event.repository, event.tag or "", event.digest] = time.monotonic()
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_args: object) -> None:
                """Keep quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/events"

    @contextmanager
    def listening(self) -> Iterator[None]:
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield
        finally:
            self._server.shutdown()
            thread.join()
            self._server.server_close()


class Round:
    """Two repositories, a run that sweeps them, and three pushers who each have tags of their own."""

    def __init__(self, pusher: Pusher, seed: int) -> None:
        self.pusher = pusher
        self.seed = seed
        chance = random.Random(seed)
        self.kept = [build_image(seed=f"{seed} kept {n}", layers=()) for n in range(4)]
        self.doomed = [build_image(seed=f"{seed} doomed {n}", layers=()) for n in range(4)]
        self.parts = [build_image(seed=f"{seed} part {n}", layers=()) for n in range(3)]
        self.indexes = [
            build_index([*chance.sample(self.parts, 2), chance.choice(self.kept)]) for _ in range(3)
        ]
        self.repositories = [f"race-{seed}/a", f"race-{seed}/b"]
        #: What each tag was put on, first to last.
        self.history: dict[tuple[str, str], list[Push]] = defaultdict(list)
        #: What has its layers in both repositories: a client uploads only the manifest.
        self._pushed = {image.digest for image in [*self.kept, *self.doomed, *self.parts, *self.indexes]}
        self.go, self.end = threading.Event(), threading.Event()
        self.failures: list[BaseException] = []

    def prepare(self) -> None:
        for repository in self.repositories:
            for number, image in enumerate(self.kept):
                self._begin_with(repository, f"keep-{number}", image)
            self._begin_with(repository, "keep-index", build_index(self.kept[:2]))
            for number, image in enumerate([*self.doomed, *self.indexes]):
                self._begin_with(repository, f"old-{number}", image)
            self._begin_with(repository, "old-also", self.doomed[0])
            # Of pusher 0, as the signatures of every third image are.
            self._begin_with(repository, signature_tag(self.doomed[0]), build_signature(self.doomed[0]))

    def _begin_with(self, repository: str, tag: str, image: Image) -> None:
        self.pusher.push(repository, image, tag)
        self.history[repository, tag].append(Push(image, 0.0, 0.0))

    def push(self, number: int) -> None:
        """Be one of the pushers."""
        chance = random.Random(f"{self.seed} {number}")
        mine = [place for place in sorted(self.history) if not place[1].startswith("sha256-")][
            number::PUSHERS
        ]
        self.go.wait()
        count = 0
        try:
            while not self.end.is_set():
                count += 1
                repository, tag, image = self._choose(chance, number, mine, f"new-{number}-{count}")
                began = time.monotonic()
                self._put(repository, tag, image)
                self.history[repository, tag].append(Push(image, began, time.monotonic()))
        except (AnswerError, OSError) as error:
            self.failures.append(error)

    def _choose(
        self, chance: random.Random, number: int, mine: list[tuple[str, str]], fresh: str
    ) -> tuple[str, str, Image]:
        repository, tag = chance.choice(mine)
        target = chance.choice([*self.doomed, *self.parts, *self.indexes])
        match chance.randrange(7):
            case 0:  # A tag, kept or not, moves onto something that stays.
                return repository, tag, chance.choice(self.kept)
            case 1:  # Onto what is deleted.
                return repository, tag, target
            case 2:  # To a new index with parts that are deleted.
                return repository, tag, build_index([target, chance.choice(self.kept)])
            case 3:
                return repository, fresh, build_index([chance.choice(self.parts), chance.choice(self.doomed)])
            case 4:
                return repository, fresh, target
            case 5:  # A signature, of those images that are this pusher's to sign.
                signed = chance.choice((self.doomed + self.parts)[number::PUSHERS])
                return repository, signature_tag(signed), build_signature(signed, identity=fresh)
            case _:
                return repository, fresh, build_referrer(target, content=fresh.encode())

    def _put(self, repository: str, tag: str, image: Image) -> None:
        """Put the tag on the image; push all of it when the registry misses a part, again and again."""
        for attempt in range(ATTEMPTS):
            try:
                if attempt or image.digest not in self._pushed:
                    self.pusher.push(repository, image, tag)
                else:
                    self.pusher.push_manifest(repository, tag, image.body, image.media_type)
            except AnswerError as error:
                if error.status not in PART_IS_MISSING or attempt == ATTEMPTS - 1:
                    raise
            else:
                return

    @contextmanager
    def pushing(self) -> Iterator[None]:
        """Let the pushers begin once `go` is set, and end with the block."""
        threads = [threading.Thread(target=self.push, args=(number,)) for number in range(PUSHERS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.end.set()
            self.go.set()
            for thread in threads:
                thread.join()

    def lost(self) -> dict[tuple[str, str], str]:
        """Return the tags that are not as their pusher left them, and what is wrong with each.

        What expired, and nobody has pushed again, is free to go.
        """
        found = {}
        for (repository, tag), pushes in self.history.items():
            if len(pushes) == 1 and not tag.startswith("keep"):
                continue
            try:
                pulled = self.pusher.pull(repository, tag)
            except BrokenImageError as error:
                found[repository, tag] = str(error)
                continue
            if pulled != pushes[-1].image:
                found[repository, tag] = f"it is on {pulled.digest}"
        return found

    def unseen(self, repository: str, tag: str, client: Watched, ear: Ear | None) -> str | None:
        """Return why no request could have shown what the tag was put on last, in time. None: it could."""
        pushes = self.history[repository, tag]
        planned, last = pushes[0], pushes[-1]
        deletes = client.deletes[repository, last.image.digest]
        told = None if ear is None else ear.heard.get((repository, tag, last.image.digest))
        if told is not None and told < client.listed[repository]:
            deletes = []
        if any(last.began <= delete.answered and last.ended >= delete.listed for delete in deletes):
            return "it came between the listing and the delete"
        if planned.began == 0.0 and planned.image == last.image and deletes:
            return "it was on the same digest before"
        if any(
            last.began <= answered and last.ended >= looked
            for looked, answered in client.puts[repository, tag]
        ):
            return "it was put back while it was pushed"
        if len(pushes) > 1 and any(
            last.began <= delete.answered and last.ended >= delete.sent
            for delete in client.deletes[repository, pushes[-2].image.digest]
        ):
            return "it was moved away while the registry deleted what it had been on"
        return None


@pytest.mark.parametrize("told", [False, True], ids=["listings alone", "with events"])
def test_no_tag_is_lost(
    distribution: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, told: bool
) -> None:
    ear = Ear()
    options = ServerOptions(notifications_url=ear.url if told else None)
    root = tmp_path_factory.mktemp("registry")
    with ear.listening(), RegistryServer(distribution, root, options) as server:
        pushes, windows, undone, seed = 0, 0, 0, SEED
        while pushes < PUSHES:
            race = Round(Pusher(server.url), seed)
            race.prepare()
            with open_store(f"sqlite:///{tmp_path}/{seed}.db") as store:
                ear.store, ear.registry = store, server.url
                client, entries = asyncio.run(sweep(server.url, store, race))
                ear.store = None
                assert race.failures == [], f"seed {seed}"
                lost = race.lost()
                for (repository, tag), wrong in lost.items():
                    why = race.unseen(repository, tag, client, ear if told else None)
                    pushed = race.history[repository, tag]
                    assert why is not None, f"seed {seed}: {repository}:{tag}: {wrong}; pushed: {pushed}"
                windows += len(lost)
                asyncio.run(undo(server.url, store, entries))
                for place in lost:
                    image = race.history[place][-1].image
                    assert race.pusher.pull(place[0], image.digest) == image, f"seed {seed}"
            pushes += sum(len(each) - (each[0].began == 0.0) for each in race.history.values())
            undone += sum(entry.state is State.RESTORED for entry in entries)
            shutil.rmtree(server.storage / "docker/registry/v2/repositories")
            seed += 1
    shutil.rmtree(root / "storage", ignore_errors=True)
    print(f"{pushes} pushes in {seed - SEED} rounds, {undone} deletes undone, {windows} tags lost in windows")  # noqa: T201


async def sweep(url: str, store: Store, race: Round) -> tuple[Watched, list[JournalEntry]]:
    """Carry a run out while the pushers push, and return its journal."""

    def progress(phase: str, done: int, total: int | None) -> None:
        if phase == "read" and done == total:
            race.go.set()

    async with Watched(RegistryOptions(parse_address(url))) as client:
        what = RunOptions(url, Scope([POLICY]), dry_run=False, guard=NO_GUARD, concurrency=4)
        with closing(Run(client, store, what, progress=progress)) as run:
            with race.pushing():
                report = await run.execute()
            errors = [error for repository in report for error in repository.errors]
            assert report.outcome is Outcome.DONE, f"seed {race.seed}: {report.error} {errors}"
            entries = store.journal.of_run(url, run.run_id)
    assert {entry.state for entry in entries} <= {State.DELETED, State.CANCELLED, State.RESTORED}
    planned = {image.digest for image in [*race.doomed, *race.parts, *race.indexes]}
    planned.add(build_signature(race.doomed[0]).digest)
    assert {entry.digest for entry in entries} <= planned
    return client, entries


async def undo(url: str, store: Store, entries: list[JournalEntry]) -> None:
    async with RegistryClient(RegistryOptions(parse_address(url))) as client:
        deleted = [entry for entry in entries if entry.state is State.DELETED]
        results = await restore(client, store, deleted, clock=utc_now)
    assert all(result.restored for result in results)
