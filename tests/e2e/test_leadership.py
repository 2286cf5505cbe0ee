"""Several daemons in one cluster: a Lease on a real API server decides who writes."""

from __future__ import annotations

import secrets
import signal
from pathlib import Path

import pytest

from devtools.kubernetes import ADMIN, KubernetesServer
from devtools.postgresql import PostgresqlServer
from devtools.registry import RegistryServer
from tests.e2e.conftest import Site
from tests.e2e.daemon import DaemonProcess, serving

pytestmark = pytest.mark.integration

NEVER = "0 0 29 2 *"


class Replicas:
    """Two daemons' settings around one registry, one database and one Lease."""

    def __init__(
        self,
        registry: RegistryServer,
        url: str,
        kubernetes: KubernetesServer,
        folder: Path,
    ) -> None:
        self.kubernetes = kubernetes
        self.lease = f"reaper-{secrets.token_hex(4)}"
        self.sites = []
        for name in ("one", "two"):
            (folder / name).mkdir()
            site = Site(registry, folder / name)
            site.rules("[{keep: {newest: 1}}]", guard="{max_share: null}")
            site.settings |= {
                "store": {"url": url},
                "schedule": NEVER,
                "run_at_start": True,
                "dry_run": False,
                "guard": {"max_share": None},
                "leader_election": {
                    "enabled": True,
                    "name": self.lease,
                    "namespace": "default",
                    "identity": name,
                    "kubeconfig": str(kubernetes.kubeconfig(ADMIN)),
                    "lease_duration": "10s",
                    "renew_deadline": "8s",
                    "retry_period": "1s",
                },
            }
            self.sites.append(site)

    def push(self, count: int) -> None:
        for number in range(count):
            self.sites[0].push("team/app", f"b{number}", age=10 + number)

    @property
    def path(self) -> str:
        return f"/apis/coordination.k8s.io/v1/namespaces/default/leases/{self.lease}"


@pytest.fixture
def replicas(
    registry: RegistryServer, postgresql: PostgresqlServer, kubernetes: KubernetesServer, tmp_path: Path
) -> Replicas:
    return Replicas(registry, postgresql.make_database(), kubernetes, tmp_path)


def tags(replicas: Replicas) -> list[str]:
    return replicas.sites[0].pusher.tags("team/app")


def deleted(daemon: DaemonProcess) -> list[str]:
    return [line["digest"] for line in daemon.events("manifest_deleted")]


def test_a_leader_that_dies_is_succeeded_and_its_work_finished(replicas: Replicas) -> None:
    replicas.push(60)
    with serving(replicas.sites[0]) as one:
        one.wait_for("leadership_gained")
        with serving(replicas.sites[1]) as two:
            two.wait_for("daemon_started")
            assert two.get("/readyz")[0] == 200
            assert two.metric("reaper_leader") == 0
            one.wait_for("manifest_deleted")
            assert one.end(signal.SIGKILL) == -signal.SIGKILL
            two.wait_for("leadership_gained")
            two.wait_for("job_ended", outcome="done")
            assert tags(replicas) == ["b0"]
            assert two.metric("reaper_leader") == 1
            both = deleted(one) + deleted(two)
            assert len(both) == len(set(both))
            # Of a delete whose answer the dead leader never logged, the journal knows all the same.
            journal = [
                row
                for run in replicas.sites[1].reaper("runs", "--format", "json").rows
                for row in replicas.sites[1].reaper("runs", "show", run["run"], "--format", "json").rows
            ]
            assert {row["state"] for row in journal} <= {"deleted", "cancelled"}
            assert len({row["digest"] for row in journal if row["state"] == "deleted"}) == 59
            assert two.end() == 0


def test_a_leader_that_ends_hands_over_at_once(replicas: Replicas) -> None:
    replicas.push(2)
    with serving(replicas.sites[0]) as one:
        one.wait_for("job_ended", outcome="done")
        with serving(replicas.sites[1]) as two:
            two.wait_for("daemon_started")
            assert one.end() == 0
            two.wait_for("leadership_gained")
            assert two.end() == 0
    assert tags(replicas) == ["b0"]


def test_losing_the_lease_stops_the_sweep_before_the_next_delete(replicas: Replicas) -> None:
    replicas.push(200)
    with serving(replicas.sites[0]) as one:
        one.wait_for("manifest_deleted")
        taken = {"spec": {"holderIdentity": "somebody else"}}
        kind = "application/merge-patch+json"
        replicas.kubernetes.request("PATCH", replicas.path, taken, content_type=kind)
        one.wait_for("leadership_lost")
        one.wait_for("job_ended")
        names = [line["event"] for line in one.lines]
        # One may have been on its way.
        assert names[names.index("leadership_lost") :].count("manifest_deleted") <= 1
        assert len(tags(replicas)) == 200 - len(deleted(one)) > 1
        assert one.get("/readyz")[0] == 200
        assert one.end() == 0
