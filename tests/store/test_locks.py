"""One writer, among real processes."""

from __future__ import annotations

import os
from datetime import timedelta

import pytest
from sqlalchemy import update

from reaper.store import LockedError, Store, locks, open_store, process, tables
from tests.store.helpers import AT, start

HOLD = """
store = open_store(sys.argv[1])
sys.stdin.readline()
try:
    lock = store.locks.acquire("writer", "run 7", AT)
    print("held", flush=True)
except LockedError as error:
    print(error, flush=True)
sys.stdin.readline()
"""


def move_elsewhere(store: Store) -> None:
    with store._database.writing() as connection:
        connection.execute(update(tables.locks).values(host="elsewhere", pid=1))


def test_two_processes_want_it(url: str) -> None:
    open_store(url).close()
    processes = [start(HOLD, url) for _ in range(2)]
    lines = []
    for each in processes:
        assert each.stdin is not None
        each.stdin.write("\n")
        each.stdin.flush()
    for each in processes:
        assert each.stdout is not None
        lines.append(each.stdout.readline().strip())
    assert sorted(line == "held" for line in lines) == [False, True]
    winner = processes[lines.index("held")]
    (refused,) = (line for line in lines if line != "held")
    assert f"process {winner.pid} on " in refused
    assert "since 2026-03-01 02:00:00Z (run 7)" in refused
    with open_store(url) as store:
        # It lives: how long it has been silent does not matter where that can be seen.
        with pytest.raises(LockedError, match="run 7"):
            store.locks.acquire("writer", "run 8", AT + timedelta(days=1))
        winner.kill()
        # Not yet waited for: a zombie holds nothing.
        os.waitid(os.P_PID, winner.pid, os.WEXITED | os.WNOWAIT)
        lock = store.locks.acquire("writer", "run 8", AT)
        assert lock.taken_over_from is not None
        assert f"process {winner.pid}" in lock.taken_over_from
        lock.release()
    for each in processes:
        with each:
            each.communicate("\n")


def test_it_is_given_back(store: Store) -> None:
    with store.locks.acquire("writer", "a", AT) as lock:
        assert lock.taken_over_from is None
        with pytest.raises(LockedError) as caught:
            store.locks.acquire("writer", "b", AT)
        assert caught.value.hint
        store.locks.acquire("another", "b", AT).release()
        lock.renew(AT + timedelta(seconds=20))
    with store.locks.acquire("writer", "b", AT):
        pass


def test_a_later_process_of_the_same_number_is_another(store: Store) -> None:
    if not process.this_process().started:
        pytest.skip("needs /proc")
    old = store.locks.acquire("writer", "a", AT)
    with store._database.writing() as connection:
        connection.execute(update(tables.locks).values(process_started="1"))
    with store.locks.acquire("writer", "b", AT) as new:
        assert new.taken_over_from is not None
        with pytest.raises(LockedError, match=r"was lost: process .* \(b\) has taken it over"):
            old.renew(AT)
        old.release()
        new.renew(AT)


def test_a_holder_elsewhere_is_dead_when_it_is_silent(store: Store) -> None:
    old = store.locks.acquire("writer", "a", AT)
    move_elsewhere(store)
    old.renew(AT + timedelta(seconds=30))
    silent = AT + timedelta(seconds=30) + locks.ABANDONED_AFTER
    with pytest.raises(LockedError, match="process 1 on elsewhere"):
        store.locks.acquire("writer", "b", silent)
    new = store.locks.acquire("writer", "b", silent + timedelta(microseconds=1))
    with pytest.raises(LockedError, match="was lost"):
        old.renew(silent)
    new.release()
    with pytest.raises(LockedError, match="released by another"):
        old.renew(silent)


def test_another_pid_namespace_is_elsewhere(store: Store) -> None:
    """Two containers of one host name both have a process 1, and neither can see the other's."""
    with store.locks.acquire("writer", "a", AT):
        with store._database.writing() as connection:
            connection.execute(update(tables.locks).values(process_space="other", pid=2**22 + 1))
        with pytest.raises(LockedError):
            store.locks.acquire("writer", "b", AT)


def test_a_process_without_proc(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    from pathlib import Path

    monkeypatch.setattr(process, "_PROC", Path(str(tmp_path)))
    here = process.this_process()
    assert (here.started, here.space) == ("", "")
    assert here.shares_space_with(process.this_process())
    assert not here.is_gone()
    with start("pass") as child:
        child.communicate()
    assert process.Process(here.host, child.pid, "", "").is_gone()
