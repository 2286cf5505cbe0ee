"""Opening: what works, and one clear line for each thing that does not."""

from __future__ import annotations

import os
import sqlite3
import stat
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from reaper.store import CachedManifest, Store, StoreError, database, open_store
from tests.store.helpers import AT, REGISTRY, digest, run, start

SECRET = "s3cret"


def refusal(url: str, *, read_only: bool = False) -> StoreError:
    with pytest.raises(StoreError) as caught:
        open_store(url, read_only=read_only)
    assert caught.value.hint
    assert "\n" not in caught.value.message
    assert SECRET not in f"{caught.value} {caught.value.hint}"
    return caught.value


def test_makes_the_folder_for_its_owner_only(sqlite_url: str, tmp_path: Path) -> None:
    open_store(sqlite_url).close()
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700


def test_commits_wait_for_the_disk(sqlite_url: str) -> None:
    with open_store(sqlite_url) as store, store._database.reading() as connection:
        pragmas = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 20_000}


def test_closing_leaves_one_file(sqlite_url: str, tmp_path: Path) -> None:
    with open_store(sqlite_url) as store:
        store.observations.set_fact(REGISTRY, "phase", "read-only")
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["reaper.db"]
    with open_store(sqlite_url) as store:
        assert store.observations.fact(REGISTRY, "phase") == "read-only"


def test_a_path_may_hold_any_letter(tmp_path: Path) -> None:
    path = tmp_path / "a b#ü" / "x'.db"
    open_store(f"sqlite:///{path}").close()
    assert path.is_file()


def test_the_second_opening_needs_no_alembic(sqlite_url: str) -> None:
    open_store(sqlite_url).close()
    code, output = run("open_store(sys.argv[1]).close(); print('alembic' in sys.modules)", sqlite_url)
    assert (code, output) == (0, "False\n")


def test_ping(store: Store) -> None:
    store.ping()


@pytest.mark.parametrize(
    "url",
    [
        f"mysql://user:{SECRET}@host/db",
        f"user:{SECRET}@host",
        f"postgresql://user:{SECRET}@host:port/db",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///x.db?mode=memory",
        "",
    ],
)
def test_a_url_that_is_not_understood(url: str) -> None:
    assert "sqlite:///FILE" in (refusal(url).hint or "")


def test_postgresql_without_its_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    assert "psycopg" in refusal(f"postgresql://user:{SECRET}@host/db").message


def test_a_file_in_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("x")
    assert "a file is in its place" in refusal(f"sqlite:///{tmp_path}/state/reaper.db").message
    assert "a file is in its place" in refusal(f"sqlite:///{tmp_path}/state/sub/reaper.db").message


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc")
def test_a_folder_that_cannot_be_made() -> None:
    assert "cannot be made" in refusal("sqlite:////proc/reaper/reaper.db").message
    assert "cannot be opened" in refusal("sqlite:////proc/reaper.db").message


def test_a_folder_in_place_of_the_file(tmp_path: Path) -> None:
    assert "is a folder" in refusal(f"sqlite:///{tmp_path}").message


def test_a_text_file_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("do not overwrite me\n" * 100)
    assert "is not a database" in refusal(f"sqlite:///{path}").message
    assert path.read_text() == "do not overwrite me\n" * 100


def test_another_programs_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE tags (id)")
    other.close()
    assert "belongs to another program" in refusal(f"sqlite:///{path}").message
    other = sqlite3.connect(path)
    assert other.execute("SELECT name FROM sqlite_master").fetchall() == [("tags",)]
    other.close()


def test_a_damaged_database(sqlite_url: str, tmp_path: Path) -> None:
    with open_store(sqlite_url) as store:
        store.manifests.save(CachedManifest(digest(n), "x", os.urandom(2000)) for n in range(200))
    path = tmp_path / "state/reaper.db"
    content = bytearray(path.read_bytes())
    content[40 * 4096 : 80 * 4096] = b"\xff" * (40 * 4096)
    path.write_bytes(content)
    with open_store(sqlite_url) as store, pytest.raises(StoreError, match="is damaged"):
        store.manifests.load(digest(n) for n in range(200))


def test_damaged_content(sqlite_url: str) -> None:
    with open_store(sqlite_url) as store:
        store.manifests.save([CachedManifest(digest(1), "x", b"{}")])
        with store._database.writing() as connection:
            connection.exec_driver_sql("UPDATE manifests SET content = x'00'")
        with pytest.raises(StoreError, match="is damaged"):
            store.manifests.load([digest(1)])


def test_a_full_disk(sqlite_url: str) -> None:
    with open_store(sqlite_url) as store:
        with store._database.reading() as connection:
            connection.exec_driver_sql("PRAGMA max_page_count=60")
        big = [CachedManifest(digest(n), "x", os.urandom(4000)) for n in range(200)]
        with pytest.raises(StoreError, match="the disk is full"):
            store.manifests.save(big)
        # All or nothing, and usable again.
        assert store.manifests.load(entry.digest for entry in big) == {}
        store.manifests.save(big[:1])


def test_a_limit_on_file_sizes(sqlite_url: str) -> None:
    open_store(sqlite_url).close()
    program = """
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
with open_store(sys.argv[1]) as store:
    try:
        store.manifests.save(CachedManifest(digest(n), "x", os.urandom(4000)) for n in range(200))
    except StoreError as error:
        print(error)
    print(len(store.manifests.load(digest(n) for n in range(200))))
"""
    code, output = run(program, sqlite_url)
    message, count = output.splitlines()
    assert code == 0
    assert "disk" in message
    assert count == "0"


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can become another user")
def test_a_file_that_only_another_may_write(tmp_path: Path) -> None:
    # Root may write anywhere, so the process becomes nobody, once it has imported everything.
    tmp_path.chmod(0o755)
    for folder in tmp_path.parents:
        if folder.stat().st_uid == 0 and any(part.startswith("pytest-") for part in folder.parts):
            folder.chmod(0o755)
    url = f"sqlite:///{tmp_path}/reaper.db"
    open_store(url).close()
    program = """
import alembic.command
open_store(sys.argv[1]).close()
os.seteuid(65534)
for url in sys.argv[1], sys.argv[1] + ".new", os.path.dirname(sys.argv[1]) + "/sub/x.db":
    try:
        with open_store(url) as store:
            store.observations.set_fact(REGISTRY, "a", "b")
    except StoreError as error:
        print(error)
try:
    with open_store(sys.argv[1], read_only=True) as store:
        print(store.observations.fact(REGISTRY, "a"))
except StoreError as error:
    print(error.hint)
"""
    with open_store(url) as store:
        store.observations.set_fact(REGISTRY, "a", "written before")
        assert run(program, url)[1].splitlines()[-1] == "written before"
    code, output = run(program, url)
    assert code == 0
    written, new, made, read = output.splitlines()
    assert "is read-only" in written
    assert "cannot be opened" in new
    assert "Permission denied" in made
    assert "even to read it" in read


def test_locked_by_another_program(sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_TIMEOUT", 0.05)
    with open_store(sqlite_url) as store:
        other = sqlite3.connect(tmp_path / "state/reaper.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="is locked by another process"):
            store.observations.set_fact(REGISTRY, "a", "b")
        # Readers do not wait for a writer.
        assert store.observations.fact(REGISTRY, "a") is None
        other.execute("ROLLBACK")
        other.close()
        store.observations.set_fact(REGISTRY, "a", "b")


def test_read_only(url: str) -> None:
    with open_store(url) as store:
        store.observations.set_fact(REGISTRY, "a", "b")
        with open_store(url, read_only=True) as reader:
            assert reader.observations.fact(REGISTRY, "a") == "b"
            with pytest.raises(StoreError, match="for reading only"):
                reader.observations.set_fact(REGISTRY, "a", "c")
            with pytest.raises(StoreError), reader._database.reading() as connection:
                connection.exec_driver_sql("DELETE FROM registry_facts")
    with open_store(url, read_only=True) as reader:
        assert reader.observations.fact(REGISTRY, "a") == "b"


def test_read_only_makes_nothing(sqlite_url: str, tmp_path: Path) -> None:
    assert "there is no database" in refusal(sqlite_url, read_only=True).message
    assert list(tmp_path.iterdir()) == []


def test_a_naive_datetime_is_a_mistake(sqlite_url: str) -> None:
    with open_store(sqlite_url) as store, pytest.raises(ValueError, match="no time zone"):
        store.observations.record(
            REGISTRY, "a", AT.replace(tzinfo=None), {"v1": digest(1)}, [], complete=True
        )


def test_many_threads(store: Store) -> None:
    barrier = threading.Barrier(8)

    def work(number: int) -> None:
        barrier.wait()
        for step in range(10):
            store.observations.record(
                REGISTRY, f"app{number}", AT, {f"v{step}": digest(step)}, [], complete=False
            )
            store.observations.load(REGISTRY, f"app{(number + 1) % 8}")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert [found.tag_count for found in store.observations.repositories(REGISTRY)] == [10] * 8


def test_processes_that_open_an_empty_database_together(url: str) -> None:
    program = """
sys.stdin.readline()
with open_store(sys.argv[1]) as store:
    store.observations.set_fact(REGISTRY, sys.argv[2], "here")
print("done")
"""
    processes = [start(program, url, str(number)) for number in range(3)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    outputs = []
    for process in processes:
        with process:
            outputs.append(process.communicate(timeout=60)[0])
    assert outputs == ["done\n"] * 3
    with open_store(url) as store:
        assert [store.observations.fact(REGISTRY, str(number)) for number in range(3)] == ["here"] * 3
