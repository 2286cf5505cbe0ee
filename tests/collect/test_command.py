"""Collections by commands: the real collector, and processes that misbehave."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from reaper.collect import CollectError, CommandCollector, Tally, stored_sizes
from reaper.collect.procedure import ignore_progress
from reaper.core.errors import InvalidInputError
from tests.collect.storage import Storage


@pytest.fixture
def storage(tmp_path: Path, distribution: Path) -> Storage:
    return Storage(tmp_path, distribution)


def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait for ``condition``, which has to come true in time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def is_running(pid: int) -> bool:
    """Tell whether a process runs; one that has ended and waits for its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def script(folder: Path, text: str) -> str:
    """Write an executable shell script."""
    path = folder / "script.sh"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_a_dry_run_removes_nothing_and_the_real_run_does(storage: Storage) -> None:
    kept = storage.add_image("team/app", [b"layer"])
    gone = [storage.add_blob(b"x" * size) for size in (10, 2000)]
    collector = CommandCollector(storage.command, blob_size=stored_sizes(storage.root))
    seen: list[Tally] = []

    dry = asyncio.run(collector.collect(dry_run=True, on_progress=seen.append))
    assert dry.tally == Tally(repositories=1, marked=3, blobs=2, size=2010, expected=2)
    assert all(storage.blob_path(digest).exists() for digest in [*kept, *gone])

    real = asyncio.run(collector.collect(dry_run=False, on_progress=seen.append))
    # A blob may be gone by the time its line is read: the sizes are those of the dry run.
    assert real.tally == dry.tally
    assert all(storage.blob_path(digest).exists() for digest in kept)
    assert not any(storage.blob_path(digest).exists() for digest in gone)
    assert seen[-1] == real.tally


def test_an_empty_storage_is_nothing_to_collect(storage: Storage) -> None:
    collected = asyncio.run(
        CommandCollector(storage.command).collect(dry_run=False, on_progress=ignore_progress)
    )
    assert collected.empty_storage
    assert collected.nothing


@pytest.mark.parametrize("text", ["exit 1", "echo 'Path not found: /x/repositories' >&2; exit 1", "exit 3"])
def test_no_other_failure_is(tmp_path: Path, text: str) -> None:
    collector = CommandCollector([script(tmp_path, text)])
    with pytest.raises(CollectError, match="ended with exit code"):
        asyncio.run(collector.collect(dry_run=False, on_progress=ignore_progress))


def test_a_failure_says_what_the_collector_said(storage: Storage) -> None:
    collector = CommandCollector([storage.binary, "garbage-collect", "/nowhere/config.yml"])
    with pytest.raises(CollectError, match=r"exit code 1: configuration error: open /nowhere/config\.yml"):
        asyncio.run(collector.collect(dry_run=False, on_progress=ignore_progress))


def test_a_command_that_is_not_there() -> None:
    collector = CommandCollector(["/nowhere/registry", "garbage-collect", "c.yml"])
    with pytest.raises(CollectError, match="/nowhere/registry could not be started: No such file"):
        asyncio.run(collector.collect(dry_run=False, on_progress=ignore_progress))


def test_silence_is_not_nothing(tmp_path: Path) -> None:
    collected = asyncio.run(
        CommandCollector([script(tmp_path, "exit 0")]).collect(dry_run=False, on_progress=ignore_progress)
    )
    assert not collected.nothing


@pytest.mark.parametrize("flag", ["-m", "--delete-untagged"])
def test_deleting_untagged_is_refused_for_2_x(storage: Storage, flag: str) -> None:
    collector = CommandCollector([*storage.command, flag])
    with pytest.raises(CollectError, match=r"distribution 2\.8\.2 removes the children of tagged indexes"):
        asyncio.run(collector.check())


def test_deleting_untagged_is_allowed_where_it_is_safe(tmp_path: Path) -> None:
    binary = script(tmp_path, "echo registry github.com/distribution/distribution/v3 v3.1.1")
    asyncio.run(CommandCollector([binary, "garbage-collect", "-m", "c.yml"]).check())


@pytest.mark.parametrize("text", ["echo something", "echo github.com/docker/distribution v3.1.1; exit 1"])
def test_deleting_untagged_is_refused_for_an_unknown_version(tmp_path: Path, text: str) -> None:
    collector = CommandCollector([script(tmp_path, text), "garbage-collect", "-m", "c.yml"])
    with pytest.raises(CollectError, match="version could not be determined"):
        asyncio.run(collector.check())
    hidden = CommandCollector(["sh", "-c", "registry garbage-collect -m c.yml"])
    with pytest.raises(CollectError, match="cannot be asked for"):
        asyncio.run(hidden.check())


def test_a_dry_run_that_would_be_a_real_one_is_refused(tmp_path: Path) -> None:
    proof = tmp_path / "collected"
    collector = CommandCollector(["sh", "-c", f"touch {proof} # registry garbage-collect c.yml"])
    assert not collector.capabilities.dry_run
    with pytest.raises(CollectError, match="dry run is not possible"):
        asyncio.run(collector.collect(dry_run=True, on_progress=ignore_progress))
    assert not proof.exists()


def test_commands_that_make_no_procedure_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="empty"):
        CommandCollector([])
    with pytest.raises(InvalidInputError, match="needs both"):
        CommandCollector(["registry"], read_only_on=[["true"]])
    with pytest.raises(InvalidInputError, match="always a dry run"):
        CommandCollector(["registry", "garbage-collect", "-d", "c.yml"])


def stubborn(folder: Path) -> tuple[str, Path]:
    """Return a command that does not end, with a child that ignores a kind signal and writes its id."""
    child = folder / "child"
    # A subshell's own id is its child's parent's.
    deaf = f"trap '' TERM; echo $(exec sh -c 'echo $PPID') > {child}.new; mv {child}.new {child}; sleep 60"
    text = f"({deaf}) &\nwait"
    return script(folder, text), child


def test_a_time_limit_ends_the_whole_process_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reaper.process.TERMINATION_GRACE", 0.2)
    command, child = stubborn(tmp_path)
    collector = CommandCollector([command], timeout=1.0)
    with pytest.raises(CollectError, match=r"took longer than 1 seconds and was ended"):
        asyncio.run(collector.collect(dry_run=False, on_progress=ignore_progress))
    pid = int(child.read_text())
    until(lambda: not is_running(pid))


def test_a_cancellation_ends_the_whole_process_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reaper.process.TERMINATION_GRACE", 0.2)
    command, child = stubborn(tmp_path)

    async def cancel() -> None:
        collector = CommandCollector([command])
        task = asyncio.create_task(collector.collect(dry_run=False, on_progress=ignore_progress))
        await asyncio.to_thread(until, child.exists)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    pid = int(child.read_text())
    until(lambda: not is_running(pid))


def test_an_error_while_reading_the_output_ends_the_collector(tmp_path: Path) -> None:
    collector = CommandCollector([script(tmp_path, "while :; do echo line; done")])

    def fail(_tally: Tally) -> None:
        raise RuntimeError("the progress bar broke")

    with pytest.raises(RuntimeError, match="progress bar"):
        asyncio.run(collector.collect(dry_run=False, on_progress=fail))


def test_a_server_that_a_hook_starts_lives_on(tmp_path: Path) -> None:
    # It inherits the hook's output, which must neither be waited for nor be taken away from it.
    child = tmp_path / "child"
    text = f"(while :; do echo running; sleep 0.05; done) & echo $! > {child}"
    collector = CommandCollector(["true"], restart=[[script(tmp_path, text)]], hook_timeout=10.0)
    asyncio.run(collector.restart())
    pid = int(child.read_text())
    try:
        time.sleep(0.2)  # Long enough for several lines: this is about something that must not happen.
        assert is_running(pid)
    finally:
        os.kill(pid, signal.SIGKILL)


def test_a_hook_that_fails_says_which_and_why_and_no_arguments(tmp_path: Path) -> None:
    path = script(tmp_path, "echo no such deployment >&2; exit 4")
    collector = CommandCollector(["true"], restart=[["true"], [path, "--token", "hunter2"]])
    with pytest.raises(CollectError) as caught:
        asyncio.run(collector.restart())
    assert "command 2 of restart" in caught.value.message
    assert "exit code 4: no such deployment" in caught.value.message
    assert "hunter2" not in caught.value.message


def test_the_collector_of_a_killed_reaper_stops(storage: Storage, tmp_path: Path) -> None:
    """Otherwise a successor would make the registry writable while blobs are still being swept."""
    storage.add_image("team/app", [b"layer"])
    blobs = 3000
    for number in range(blobs):
        storage.add_blob(str(number).encode())
    program = f"""
import asyncio
from reaper.collect import CommandCollector
collector = CommandCollector({storage.command!r})
def tell(tally):
    if tally.blobs > 100:
        print("sweeping", flush=True)
asyncio.run(collector.collect(dry_run=False, on_progress=tell))
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as reaper:
        assert reaper.stdout is not None
        assert reaper.stdout.readline() == b"sweeping\n"
        threads = Path(f"/proc/{reaper.pid}/task").iterdir()
        collectors = {int(pid) for task in threads for pid in (task / "children").read_text().split()}
        reaper.kill()
    (collector,) = collectors
    until(lambda: not is_running(collector))
    left = sum(1 for _ in (storage.root / "docker/registry/v2/blobs").rglob("data"))
    assert left > blobs // 10, "the collector had ended before its reaper was killed, or went on"
