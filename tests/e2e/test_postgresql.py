"""The store in PostgreSQL: the same runs, and two daemons on one database."""

from __future__ import annotations

from pathlib import Path

import pytest

from devtools.postgresql import PostgresqlServer
from devtools.registry import RegistryServer
from tests.e2e.conftest import Site
from tests.e2e.daemon import serving

pytestmark = pytest.mark.integration


def test_a_run_and_its_undo_by_the_environment(site: Site, postgresql: PostgresqlServer) -> None:
    for age in (10, 20, 30):
        site.push("team/app", f"b{age}", age=age)
    site.rules("[{keep: {newest: 1}}]")
    env = {"REAPER_STORE__URL": postgresql.make_database()}
    ran = site.reaper("run", "--format", "json", env=env)
    assert (ran.code, ran.report["summary"]["deleted_manifests"]) == (0, 2), ran.err
    assert site.pusher.tags("team/app") == ["b10"]
    assert site.reaper("restore", "--run", ran.report["run_id"], env=env).code == 0
    assert sorted(site.pusher.tags("team/app")) == ["b10", "b20", "b30"]
    assert not (site.folder / "reaper.db").exists()


def test_of_two_daemons_only_one_sweeps(
    registry: RegistryServer, postgresql: PostgresqlServer, tmp_path: Path
) -> None:
    url = postgresql.make_database()
    sites = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        site = Site(registry, tmp_path / name)
        site.rules("[{keep: {newest: 1}}]", guard="{max_share: null}")
        site.settings |= {
            "store": {"url": url},
            "schedule": "0 0 29 2 *",
            "run_at_start": True,
            "dry_run": False,
            "guard": {"max_share": None},
        }
        sites.append(site)
    for number in range(60):
        sites[0].push("team/app", f"b{number}", age=10 + number)
    with serving(sites[0]) as one, serving(sites[1]) as two:
        daemons = (one, two)
        for daemon in daemons:
            daemon.wait_for("job_ended")
        assert [daemon.end() for daemon in daemons] == [0, 0]
        deleted = [line["digest"] for daemon in daemons for line in daemon.events("manifest_deleted")]
        assert len(deleted) == len(set(deleted)) == 59
        # The other one was refused, or came when the first had done everything.
        for daemon in daemons:
            mine = {line["run_id"] for line in daemon.events("manifest_deleted")}
            assert len(mine) <= 1
    assert sites[0].pusher.tags("team/app") == ["b0"]
