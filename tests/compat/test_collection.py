"""Collections: by reaper's procedure where the registry has a collector, else none."""

from __future__ import annotations

from pathlib import Path

import pytest

from devtools.control import Control
from devtools.images import build_image, build_index
from devtools.registry import RegistryServer
from tests.compat.conftest import DISTRIBUTION_2, DISTRIBUTION_3, Fleet, Product, Scenario, each
from tests.e2e.conftest import Site

OLD, NEW = build_image(seed="old", layers=[30_000]), build_index([build_image(seed="new")])


@pytest.mark.parametrize("product", [DISTRIBUTION_2, DISTRIBUTION_3], ids=lambda product: product.name)
def test_a_collection_by_commands(product: Product, fleet: Fleet, tmp_path: Path) -> None:
    binary = fleet.binaries[product]
    with RegistryServer(binary) as server, Control(server) as control:
        site = Site(server, tmp_path)
        site.settings["registries"][0]["collect"] = {
            "via": "command",
            "command": [str(binary), "garbage-collect", str(server.config_path)],
            "read_only": {"on": control.hook("on"), "off": control.hook("off")},
            "restart": control.hook("restart"),
            "undo_window": "0s",
        }
        site.pusher.push("app", OLD, "old")
        site.pusher.push("app", NEW, "new")
        site.rules("[{tags: {glob: new}, keep: all}]")
        site.json("run")
        before = server.disk_usage()
        ended = site.reaper("gc", "--format=json")
        assert ended.code == 0, ended.err
        (row,) = ended.rows
        assert (row["outcome"], row["detail"]) == ("done", "collected and verified")
        assert control.asked == ["on", "restart", "off"]
        assert row["bytes"] == OLD.size
        # Distribution 3 also removes the repository's links to the layers.
        assert 0 <= before - server.disk_usage() - OLD.size < 1000
        assert site.reaper("restore", "app:old").code == 1
        # Without the restart, the registry would take this push for granted, and lose it.
        site.pusher.push("app", OLD, "old")
        assert site.pusher.pull("app", "old") == OLD
        assert site.pusher.pull("app", "new") == NEW
        # The kernel ends a registry with the thread that started it, which is the control's by now.
        server.stop()


@each("plain", having=lambda product: not product.collects)
def test_a_registry_that_collects_by_itself(scenario: Scenario) -> None:
    ended = scenario.reaper("gc", "--format=json")
    assert ended.code == 0, ended.err
    assert ended.rows[0]["outcome"] == "none"
