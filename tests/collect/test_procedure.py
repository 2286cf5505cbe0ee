"""The procedure's order, and what it does when a step fails. The real registry is in test_with_registry."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace

import pytest

from reaper.collect import (
    Capabilities,
    Collected,
    CollectError,
    CollectionResult,
    Mode,
    NoneCollector,
    Outcome,
    Phase,
    StuckReadOnlyError,
    Tally,
    Waits,
    recover,
    run_procedure,
)
from reaper.collect.base import Progress
from reaper.core.errors import ReaperError

QUICK = Waits(settle=0.2, poll=0.001, watch=0.005)
TALLY = Tally(repositories=1, marked=4, blobs=2, size=30, unsized=1, expected=2)

Step = Callable[[], Awaitable[None]]


async def nothing_happens() -> None:
    pass


def fails(text: str) -> Step:
    async def fail() -> None:
        raise CollectError(text)

    return fail


@dataclass
class World:
    """A registry, its collector, and a diary of everything that was done to them."""

    can: Capabilities = field(default_factory=lambda: Capabilities(read_only=True, restart=True))
    mode: Mode = Mode.WRITABLE
    answers: bool = True
    #: The modes that the hooks lead to; None when they have no effect.
    on_makes: Mode | None = Mode.READ_ONLY
    off_makes: Mode | None = Mode.WRITABLE
    before_on: Step = nothing_happens
    before_off: Step = nothing_happens
    before_restart: Step = nothing_happens
    while_collecting: Step = nothing_happens
    refusal: CollectError | None = None
    found: Collected = field(default_factory=lambda: Collected(TALLY))
    unrecordable: frozenset[Phase] = frozenset()
    damages: Sequence[str] = ()
    diary: list[str] = field(default_factory=list)
    via: str = "test"

    @property
    def capabilities(self) -> Capabilities:
        return self.can

    async def check(self) -> None:
        if self.refusal is not None:
            raise self.refusal

    async def collect(self, *, dry_run: bool, on_progress: Progress) -> Collected:
        if dry_run:
            self.diary.append("preview")
            return self.found
        self.diary.append(f"collect while {self.mode}")
        on_progress(replace(TALLY, blobs=1))
        try:
            await self.while_collecting()
        except asyncio.CancelledError:
            self.diary.append("collector killed")
            raise
        return self.found

    async def read_only_on(self) -> None:
        self.diary.append("on")
        await self.before_on()
        self.mode = self.on_makes or self.mode

    async def read_only_off(self) -> None:
        self.diary.append("off")
        await self.before_off()
        self.mode = self.off_makes or self.mode

    async def restart(self) -> None:
        self.diary.append(f"restart while {self.mode}")
        await self.before_restart()

    async def probe(self) -> Mode:
        if not self.answers:
            raise ReaperError("connection refused")
        return self.mode

    async def record(self, phase: Phase) -> None:
        if phase in self.unrecordable:
            raise ReaperError("disk full")
        self.diary.append(f"phase {phase}")

    async def verify(self) -> Sequence[str]:
        self.diary.append(f"verify while {self.mode}")
        return self.damages

    async def run(self, *, dry_run: bool = False, has_repositories: bool = True) -> CollectionResult:
        async def ask() -> bool:
            return has_repositories

        return await run_procedure(
            self,
            probe_mode=self.probe,
            record_phase=self.record,
            verify=self.verify,
            has_repositories=ask,
            dry_run=dry_run,
            waits=QUICK,
        )


def test_the_whole_procedure_in_its_order() -> None:
    world = World()
    result = asyncio.run(world.run())
    assert world.diary == [
        "preview",
        "phase making-read-only",
        "on",
        "phase collecting",
        "collect while read-only",
        "phase restarting",
        "restart while read-only",
        "phase making-writable",
        "off",
        "phase verifying",
        "verify while writable",
        "phase finished",
    ]
    assert (result.outcome, result.via, result.detail) == (Outcome.DONE, "test", "collected and verified")
    assert (result.blobs, result.bytes, result.blobs_of_unknown_size) == (2, 30, 1)
    assert result.began
    assert result.warnings == ()


def test_a_registry_that_collects_by_itself_is_left_alone() -> None:
    world = World()
    result = asyncio.run(run_procedure(NoneCollector(), probe_mode=world.probe, record_phase=world.record))
    assert result.outcome is Outcome.NONE
    assert world.diary == []


def test_a_dry_run_touches_nothing() -> None:
    world = World()
    result = asyncio.run(world.run(dry_run=True))
    assert world.diary == ["preview"]
    assert (result.outcome, result.dry_run, result.blobs, result.bytes) == (Outcome.DONE, True, 2, 30)


@pytest.mark.parametrize("found", [Collected(Tally(), empty_storage=True), Collected(Tally(expected=0))])
def test_nothing_to_collect_touches_nothing(found: Collected) -> None:
    world = World(found=found)
    result = asyncio.run(world.run(has_repositories=False))
    assert world.diary == ["preview"]
    assert result.outcome is Outcome.NOTHING


def test_a_silent_collector_is_run_and_said_to_be_silent() -> None:
    world = World(found=Collected(Tally()))
    result = asyncio.run(world.run())
    assert "collect while read-only" in world.diary
    assert result.outcome is Outcome.DONE
    assert any("printed no summary" in warning for warning in result.warnings)


def test_an_empty_storage_beside_a_full_catalog_is_another_storage() -> None:
    world = World(found=Collected(Tally(), empty_storage=True))
    with pytest.raises(CollectError, match="empty storage, but the registry has repositories"):
        asyncio.run(world.run(has_repositories=True))
    assert world.diary == ["preview"]


def test_a_refused_collection_touches_nothing() -> None:
    world = World(refusal=CollectError("refused"))
    with pytest.raises(CollectError, match="refused"):
        asyncio.run(world.run())
    assert world.diary == []


def test_a_registry_that_somebody_made_read_only_is_left_alone() -> None:
    world = World(mode=Mode.READ_ONLY)
    with pytest.raises(CollectError, match="read-only already"):
        asyncio.run(world.run())
    assert world.diary == ["preview"]


def test_without_hooks_the_risks_are_said() -> None:
    world = World(can=Capabilities(dry_run=False))
    result = asyncio.run(world.run())
    assert world.diary == [
        "phase collecting",
        "collect while writable",
        "phase verifying",
        "verify while writable",
        "phase finished",
    ]
    assert result.outcome is Outcome.DONE
    read_only, restart, preview = result.warnings
    assert "read_only is not configured" in read_only
    assert "restart is not configured" in restart
    assert "no dry run came first" in preview


def test_a_registry_that_stays_writable_is_not_collected() -> None:
    world = World(on_makes=None)
    result = asyncio.run(world.run())
    assert not any("collect while" in line for line in world.diary)
    assert world.diary[-3:] == ["phase making-writable", "off", "phase finished"]
    assert result.outcome is Outcome.FAILED
    assert not result.began
    assert "to be read-only, but it is writable" in result.detail


def test_one_read_only_replica_among_writable_ones_is_no_proof() -> None:
    world = World()
    modes = itertools.cycle([Mode.WRITABLE, Mode.READ_ONLY])

    async def alternate() -> Mode:
        return next(modes)

    with pytest.raises(StuckReadOnlyError):
        asyncio.run(run_procedure(world, probe_mode=alternate, record_phase=world.record, waits=QUICK))
    assert not any("collect while" in line for line in world.diary)


@pytest.mark.parametrize("restart", [True, False])
def test_after_a_failed_collection_the_registry_is_put_back(restart: bool) -> None:
    world = World(
        can=Capabilities(read_only=True, restart=restart), while_collecting=fails("the collector ended")
    )
    result = asyncio.run(world.run())
    assert ("restart while read-only" in world.diary) is restart
    assert world.diary[-5:] == [
        "phase making-writable",
        "off",
        "phase verifying",
        "verify while writable",
        "phase finished",
    ]
    assert (result.outcome, result.detail, result.blobs) == (Outcome.FAILED, "the collector ended", 1)
    assert result.began


def test_an_unexpected_error_puts_it_back_as_well() -> None:
    async def explode() -> None:
        raise RuntimeError("a bug")

    world = World(while_collecting=explode)
    with pytest.raises(RuntimeError, match="a bug"):
        asyncio.run(world.run())
    assert world.diary[-1] == "off"
    assert world.mode is Mode.WRITABLE


def test_a_cancellation_kills_the_collector_and_puts_it_back() -> None:
    world = World()

    async def cancel() -> None:
        collecting = asyncio.Event()

        async def wait() -> None:
            collecting.set()
            await asyncio.Event().wait()

        world.while_collecting = wait
        task = asyncio.create_task(world.run())
        await collecting.wait()

        async def cancelled_again() -> None:
            task.cancel()
            await asyncio.sleep(0.01)

        world.before_off = cancelled_again
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    assert world.diary[-5:] == [
        "collector killed",
        "phase restarting",
        "restart while read-only",
        "phase making-writable",
        "off",
    ]
    assert world.mode is Mode.WRITABLE


def test_a_registry_that_turns_writable_stops_the_collection() -> None:
    world = World()

    async def heal() -> None:
        world.mode = Mode.WRITABLE
        await asyncio.Event().wait()

    world.while_collecting = heal
    result = asyncio.run(world.run())
    assert "collector killed" in world.diary
    assert (result.outcome, result.detail) == (
        Outcome.FAILED,
        "the registry became writable during the collection, which was stopped",
    )


def test_a_registry_that_stops_answering_does_not() -> None:
    world = World()

    async def vanish() -> None:
        world.answers = False
        await asyncio.sleep(10 * QUICK.watch)
        world.answers = True

    world.while_collecting = vanish
    assert asyncio.run(world.run()).outcome is Outcome.DONE


def test_a_failed_restart_still_makes_it_writable_and_says_what_to_do() -> None:
    world = World(before_restart=fails("no such service"))
    result = asyncio.run(world.run())
    assert world.mode is Mode.WRITABLE
    assert result.outcome is Outcome.FAILED
    assert "no such service" in result.detail
    assert "restart the registry by hand now, before anything is pushed" in result.detail


@pytest.mark.parametrize("off_makes", [None, Mode.READ_ONLY])
def test_a_registry_that_stays_read_only_is_loud(off_makes: Mode | None) -> None:
    world = World(off_makes=off_makes)
    with pytest.raises(StuckReadOnlyError, match="may still be read-only") as caught:
        asyncio.run(world.run())
    assert caught.value.hint is not None
    assert "make the registry writable by hand now" in caught.value.hint
    assert world.diary[-2:] == ["phase making-writable", "off"], "a successor must try again"


def test_what_the_hooks_say_counts_less_than_the_probe() -> None:
    async def work_and_fail() -> None:
        world.mode = Mode.WRITABLE
        raise CollectError("exit code 1")

    world = World(before_off=work_and_fail)
    result = asyncio.run(world.run())
    assert (result.outcome, result.detail) == (Outcome.FAILED, "exit code 1")


def test_disabled_deletes_are_as_good_as_writable() -> None:
    world = World(mode=Mode.DELETES_DISABLED, off_makes=Mode.DELETES_DISABLED)
    assert asyncio.run(world.run()).outcome is Outcome.DONE


def test_damage_makes_the_outcome_failed() -> None:
    world = World(damages=["team/app:1 layer sha256:… is missing"])
    result = asyncio.run(world.run())
    assert result.outcome is Outcome.FAILED
    assert "damaged: team/app:1 layer" in result.detail


def test_no_phase_no_procedure() -> None:
    world = World(unrecordable=frozenset({Phase.MAKING_READ_ONLY}))
    with pytest.raises(ReaperError, match="disk full"):
        asyncio.run(world.run())
    assert world.diary == ["preview"]


@pytest.mark.parametrize("phase", [Phase.COLLECTING, Phase.RESTARTING, Phase.MAKING_WRITABLE, Phase.FINISHED])
def test_a_phase_that_cannot_be_recorded_later_keeps_nothing_from_being_put_back(phase: Phase) -> None:
    world = World(unrecordable=frozenset({phase}))
    result = asyncio.run(world.run())
    assert world.mode is Mode.WRITABLE
    assert result.outcome is Outcome.FAILED
    assert "disk full" in result.detail
    assert any("collect while" in line for line in world.diary) is (phase is not Phase.COLLECTING)


@pytest.mark.parametrize(
    ("phase", "done"),
    [
        (Phase.MAKING_READ_ONLY, ["phase making-writable", "off"]),
        (
            Phase.COLLECTING,
            ["phase restarting", "restart while read-only", "phase making-writable", "off"],
        ),
        (
            Phase.RESTARTING,
            ["phase restarting", "restart while read-only", "phase making-writable", "off"],
        ),
        (Phase.MAKING_WRITABLE, ["phase making-writable", "off"]),
        (Phase.VERIFYING, []),
        (Phase.FINISHED, []),
    ],
)
def test_a_successor_puts_the_registry_back(phase: Phase, done: list[str]) -> None:
    world = World(mode=Mode.READ_ONLY)
    problems = asyncio.run(
        recover(phase, world, probe_mode=world.probe, record_phase=world.record, waits=QUICK)
    )
    assert problems == []
    assert world.diary == [*done, "phase finished"]


def test_a_successor_that_cannot_is_loud_and_leaves_the_phase() -> None:
    world = World(mode=Mode.READ_ONLY, off_makes=None)
    with pytest.raises(StuckReadOnlyError):
        asyncio.run(
            recover(Phase.COLLECTING, world, probe_mode=world.probe, record_phase=world.record, waits=QUICK)
        )
    assert "phase finished" not in world.diary


STOPS = Capabilities(read_only=True, stops=True)


def test_a_registry_that_is_stopped_is_collected_once_it_is_silent() -> None:
    world = World(can=STOPS)

    async def stop() -> None:
        world.answers = False

    async def start() -> None:
        world.answers = True

    world.before_on, world.before_off = stop, start
    result = asyncio.run(world.run())
    assert (result.outcome, result.warnings) == (Outcome.DONE, ())
    assert not [entry for entry in world.diary if entry.startswith("restart")]


def test_a_stopped_registry_that_still_answers_is_not_collected() -> None:
    world = World(can=STOPS)
    result = asyncio.run(world.run())
    assert result.outcome is Outcome.FAILED
    assert "for the registry to stop answering, but it is read-only" in result.detail
    assert not [entry for entry in world.diary if entry.startswith("collect")]
