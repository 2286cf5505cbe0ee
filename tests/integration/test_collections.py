"""Collections by the installed command: when they wait, what they free, and what a crash in one leaves."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from devtools.control import Control
from devtools.images import build_image, build_index
from devtools.registry import RegistryServer
from reaper.collect import Phase
from reaper.collection import cut_short
from reaper.store import open_store
from tests.collect.storage import blob_path
from tests.e2e.conftest import REAPER, Ended, Site

OLD, NEWER = build_image(seed="old", layers=[30_000]), build_image(seed="newer")


class Collected(Site):
    """A site with a collection by commands, which switch the registry through its `Control`."""

    def __init__(self, server: RegistryServer, control: Control, binary: Path, folder: Path) -> None:
        super().__init__(server, folder)
        self.control = control
        self.command = [str(binary), "garbage-collect", str(server.config_path)]
        self.collect("0s")
        self.pusher.push("app", OLD, "old")
        self.pusher.push("app", build_index([NEWER]), "new")
        self.rules("[{tags: {glob: new}, keep: all}]")

    def collect(self, undo_window: str, command: list[str] | None = None) -> None:
        """Configure the collection."""
        self.settings["registries"][0]["collect"] = {
            "via": "command",
            "command": command or self.command,
            "read_only": {"on": self.control.hook("on"), "off": self.control.hook("off")},
            "restart": self.control.hook("restart"),
            "undo_window": undo_window,
        }

    def gc(self, *arguments: str, code: int = 0) -> dict[str, Any]:
        """Run ``reaper gc`` and return its one row."""
        ended = self.reaper("gc", *arguments, "--format=json")
        assert ended.code == code, ended.err
        (row,) = ended.rows
        return row

    def phase(self) -> Phase | None:
        """Return where a collection stands by what is recorded."""
        with open_store(f"sqlite:///{self.folder}/reaper.db", read_only=True) as store:
            return cut_short(store, self.server.url)


@pytest.fixture
def site(registry: RegistryServer, distribution: Path, tmp_path: Path) -> Iterator[Collected]:
    control = Control(registry)
    try:
        yield Collected(registry, control, distribution, tmp_path)
    finally:
        # The kernel ends a registry with the thread that started it, which is the control's by now.
        registry.stop()
        control.close()


def test_what_can_be_undone_is_not_collected_until_it_is_told_to(site: Collected) -> None:
    site.collect("1d")
    site.json("run")
    disk = site.server.disk_usage()
    assert site.gc(code=3)["outcome"] == "postponed"
    report = site.json("run")
    assert report["collection"]["outcome"] == "postponed"
    assert "1 deletes can be undone until" in report["collection"]["detail"]
    assert (site.control.asked, site.server.disk_usage()) == ([], disk)
    assert site.reaper("restore", "app:old").code == 0
    assert site.pusher.pull("app", "old") == OLD

    site.json("run")
    row = site.gc("--ignore-undo-window")
    assert (row["outcome"], row["via"], row["detail"]) == ("done", "command", "collected and verified")
    assert site.control.asked == ["on", "restart", "off"]
    assert (row["blobs"], row["bytes"]) == (3, OLD.size)
    assert disk - site.server.disk_usage() == OLD.size
    nothing = site.reaper("restore", "app:old")
    assert nothing.code == 1
    assert "nothing to restore for app:old" in nothing.err
    # Without the restart, the registry would take this push for granted, and lose it.
    site.pusher.push("app", OLD, "old")
    assert site.pusher.pull("app", "old") == OLD
    assert site.pusher.pull("app", "new").children == (NEWER,)


def test_a_run_collects_what_earlier_runs_deleted_before_it_deletes_more(site: Collected) -> None:
    first = site.json("run")
    assert (first["collection"], first["summary"]["deleted_manifests"]) == (None, 1)
    second_image = build_image(seed="second", layers=[10_000])
    site.pusher.push("app", second_image, "old")
    report = site.json("run")
    collection = report["collection"]
    assert (collection["outcome"], collection["bytes"]) == ("done", OLD.size)
    assert report["summary"]["deleted_manifests"] == 1
    assert site.control.asked == ["on", "restart", "off"]
    # What this run deleted can be undone, and what the first did cannot.
    assert site.reaper("restore", "--run", report["run_id"]).code == 0
    assert site.reaper("restore", "--run", first["run_id"]).code == 1
    assert site.pusher.pull("app", "old") == second_image


def test_a_dry_run_only_says_what_it_would_free(site: Collected) -> None:
    site.json("run")
    disk = site.server.disk_usage()
    row = site.gc("--dry-run")
    assert (row["outcome"], row["blobs"], row["bytes"]) == ("done", 3, OLD.size)
    assert (site.control.asked, site.server.disk_usage()) == ([], disk)
    assert site.reaper("restore", "app:old").code == 0


def test_deleting_untagged_is_refused(site: Collected) -> None:
    site.collect("0s", [*site.command, "--delete-untagged"])
    site.json("run")
    for ended in (site.reaper("gc", "--dry-run"), site.reaper("run")):
        assert ended.code == 1
        assert "removes the children of tagged indexes" in ended.err
    assert site.pusher.pull("app", "new").children == (NEWER,)


def test_a_restore_after_somebody_else_s_collection_does_not_claim_to_have_worked(site: Collected) -> None:
    """The registry was not restarted, so it believes that it still has the layers."""
    site.json("run")
    site.server.garbage_collect()
    ended = site.reaper("restore", "app:old", "--format=json")
    assert ended.code == 4
    (row,) = ended.rows
    assert row["restored"] is False
    assert row["detail"].startswith(f"it is back, but cannot be pulled: {OLD.blobs[0].digest} ")


def test_a_registry_without_a_collection_of_its_own(site: Collected) -> None:
    del site.settings["registries"][0]["collect"]
    site.json("run")
    assert site.gc()["outcome"] == "none"
    assert site.json("run")["collection"] is None


def until(condition: Callable[[], bool]) -> None:
    """Wait for ``condition``, which has to come true in time."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def kill_while_collecting(site: Collected) -> None:
    """Start ``reaper gc``, and kill it with its collector while the registry is read-only."""
    flag = site.folder / "collecting"
    # The dry run goes through; the collection itself says that it began, and then does not end.
    script = site.folder / "collector.sh"
    script.write_text(
        f'#!/bin/sh\ncase "$*" in *--dry-run*) exec {site.command[0]} "$@";; esac\n'
        f"touch {flag}\nwhile :; do echo; sleep 0.05; done\n"
    )
    script.chmod(0o755)
    site.collect("0s", [str(script), *site.command[1:]])
    site.reaper("--version")  # This writes the settings.
    with subprocess.Popen([REAPER, "--config", site.folder / "reaper.yaml", "gc"]) as process:
        until(flag.exists)
        os.kill(process.pid, signal.SIGKILL)
    site.collect("0s")


def test_a_collection_that_is_killed_is_put_right_by_the_next_run(site: Collected) -> None:
    site.json("run")
    kill_while_collecting(site)
    assert site.phase() is Phase.COLLECTING
    assert refuses_pushes(site)
    site.control.asked.clear()
    report = site.json("run")
    # What was deleted may have been swept, so it can no longer be undone for certain, nor is it due.
    assert (report["outcome"], report["collection"]) == ("done", None)
    assert site.control.asked == ["restart", "off"]
    assert site.phase() is None
    site.pusher.push("app", OLD, "old")
    assert site.pusher.pull("app", "old") == OLD


def test_a_registry_that_a_crash_left_stopped_is_started_again(site: Collected) -> None:
    """The next run cannot reach it, and knows why."""
    site.json("run")
    with open_store(f"sqlite:///{site.folder}/reaper.db") as store:
        store.observations.set_fact(site.server.url, "collection_phase", Phase.MAKING_READ_ONLY.value)
    site.server.stop()
    ended: Ended = site.reaper("run")
    assert ended.code == 0, ended.err
    assert site.pusher.pull("app", "new").children == (NEWER,)


def refuses_pushes(site: Collected) -> bool:
    answer = site.pusher.request(
        "PUT", "/v2/app/manifests/x", {201, 405}, OLD.body, {"Content-Type": OLD.media_type}
    )
    return answer.status == 405


def test_a_manifest_that_a_collection_loses_is_named_and_put_back(site: Collected, tmp_path: Path) -> None:
    index = build_index([NEWER])
    site.json("run")
    site.collect("0s", faulty_collector(site, tmp_path, [index.digest, NEWER.digest]))
    row = site.gc(code=1)
    assert row["outcome"] == "failed"
    assert "damaged: app:new: manifest" in row["detail"]
    assert row["detail"].endswith("; it was put back")
    assert site.reaper("verify").code == 0
    site.collect("0s")
    assert site.gc()["outcome"] == "nothing"


def test_what_nothing_can_bring_back_stays_named(site: Collected, tmp_path: Path) -> None:
    layer = NEWER.blobs[1].digest
    site.json("run")
    site.collect("0s", faulty_collector(site, tmp_path, [NEWER.digest, layer]))
    row = site.gc(code=1)
    assert f"child {NEWER.digest} is not found" in row["detail"]
    assert "put back" not in row["detail"]
    assert site.reaper("verify").code == 1


def faulty_collector(site: Collected, folder: Path, swept: list[str]) -> list[str]:
    """Return the command of a collector that sweeps too much: ``swept`` go as well."""
    files = shlex.join(str(blob_path(site.server.storage, digest)) for digest in swept)
    script = folder / "collector"
    script.write_text(
        f'#!/bin/sh\n{shlex.join(site.command)} "$@" || exit\n'
        f'case "$*" in *dry-run*) ;; *) rm {files} ;; esac\n'
    )
    script.chmod(0o755)
    return [str(script)]
