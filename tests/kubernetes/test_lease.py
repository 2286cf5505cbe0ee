"""The elector's own rules, one by one, with a real API server."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

import reaper.kubernetes.lease
from devtools.kubernetes import NOBODY
from reaper.kubernetes import (
    ClusterClient,
    ClusterDeniedError,
    ClusterUnreachableError,
    ConflictError,
    LeaseElector,
    LeaseTimes,
    NotLeaderError,
    ObjectNotFoundError,
)
from reaper.kubernetes.resources import LEASES
from tests.kubernetes.conftest import Cluster

pytestmark = pytest.mark.integration
#: So long that nothing happens because a Lease ran out.
SLOW = LeaseTimes(60, 40, 0.1)
QUICK = LeaseTimes(2, 1, 0.1)


class Altered:
    """A client whose answers a test can spoil; all else goes to the real one."""

    def __init__(self, client: ClusterClient) -> None:
        self._client = client
        self.requests = 0
        self.spoil_replace: Callable[[], Coroutine[Any, Any, None]] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    async def get(self, *arguments: Any, **options: Any) -> Any:
        self.requests += 1
        return await self._client.get(*arguments, **options)

    async def replace(self, *arguments: Any, **options: Any) -> Any:
        self.requests += 1
        answer = await self._client.replace(*arguments, **options)
        if self.spoil_replace is not None:
            await self.spoil_replace()
        return answer


@asynccontextmanager
async def campaigning(
    client: Any, namespace: str, identity: str = "me", times: LeaseTimes = SLOW, **options: Any
) -> AsyncIterator[LeaseElector]:
    """An elector that runs during the block."""
    elector = LeaseElector(
        client, namespace=namespace, name="lease", identity=identity, times=times, **options
    )
    task = asyncio.create_task(elector.run())
    try:
        yield elector
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - of what is under test, which has no event for it
            await asyncio.sleep(0.01)


async def lease(client: ClusterClient, namespace: str) -> dict[str, Any]:
    return await client.get(LEASES, "lease", namespace=namespace)


@pytest.mark.parametrize("times", [(10, 10, 2), (10, 12, 2), (15, 10, 6), (15, 10, 0), (15, -1, -2)], ids=str)
def test_times_that_would_let_two_lead_are_refused(times: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="renew_deadline < duration"):
        LeaseTimes(*times)


def test_the_lease_says_who_leads_and_since_when(cluster: Cluster, namespace: str) -> None:
    async def work(client: ClusterClient) -> None:
        async with campaigning(client, namespace, "one") as one:
            await one.until_leader()
            first = await lease(client, namespace)
            assert re.fullmatch(r"one_[0-9a-f-]{36}", first["spec"]["holderIdentity"])
            assert first["spec"]["leaseDurationSeconds"] == 60
            assert first["spec"]["leaseTransitions"] == 0
            assert one.holder == one.identity
            assert one.is_leader
            assert one.seconds_left > 30
            later = first
            while later["spec"]["renewTime"] == first["spec"]["renewTime"]:
                later = await lease(client, namespace)
            assert later["spec"]["renewTime"] > first["spec"]["renewTime"]
            assert later["spec"]["acquireTime"] == first["spec"]["acquireTime"]
            assert one.last_renewal_age is not None
            assert one.renewal_seconds is not None
        with pytest.raises(NotLeaderError):
            one.check()
        assert "holderIdentity" not in (await lease(client, namespace))["spec"]
        async with campaigning(client, namespace, "two") as two:
            await two.until_leader()
            second = await lease(client, namespace)
            assert second["spec"]["holderIdentity"] == two.identity
            assert second["spec"]["leaseTransitions"] == two.transitions == 1
            assert second["spec"]["leaseDurationSeconds"] == 60

    cluster.run(work)


def test_a_candidate_waits_and_says_for_whom(cluster: Cluster, namespace: str) -> None:
    async def work(client: ClusterClient) -> None:
        async with campaigning(client, namespace, "one") as one:
            await one.until_leader()
            async with campaigning(client, namespace, "two") as two:
                await eventually(lambda: two.holder == one.identity)
                assert not two.is_leader
                assert two.seconds_left == 0
                with pytest.raises(NotLeaderError, match=f"does not lead; {one.identity} does"):
                    two.check()
            assert one.is_leader
            assert (await lease(client, namespace))["spec"]["holderIdentity"] == one.identity

    cluster.run(work)


def test_a_frozen_process_is_refused_without_any_request(
    cluster: Cluster, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(client: ClusterClient) -> None:
        altered = Altered(client)
        lost: list[str] = []
        async with campaigning(altered, namespace, on_lost=lost.append) as elector:
            await elector.until_leader()
            elector.check()
            now, before = reaper.kubernetes.lease._now, altered.requests
            monkeypatch.setattr(reaper.kubernetes.lease, "_now", lambda: now() + SLOW.renew_deadline)
            with pytest.raises(NotLeaderError, match="not renewed for 40"):
                elector.check()
            assert not elector.is_leader
            assert altered.requests == before
            await elector.until_lost()
            assert lost == ["it could not be renewed in time"]
            with pytest.raises(NotLeaderError):
                elector.check()
            await elector.until_leader()  # nobody else wanted it
            elector.check()

    cluster.run(work)


def test_time_counts_from_when_the_renewal_was_sent(cluster: Cluster, namespace: str) -> None:
    async def work(client: ClusterClient) -> None:
        altered = Altered(client)
        async with campaigning(altered, namespace) as elector:
            await elector.until_leader()

            async def late() -> None:
                await asyncio.sleep(0.5)

            altered.spoil_replace = late
            await eventually(lambda: (elector.renewal_seconds or 0) >= 0.5)
            assert elector.last_renewal_age is not None
            assert elector.last_renewal_age >= 0.5

    cluster.run(work)


def test_whoever_finds_another_holder_stops_at_once(cluster: Cluster, namespace: str) -> None:
    async def work(client: ClusterClient) -> None:
        lost: list[str] = []
        async with campaigning(client, namespace, on_lost=lost.append) as elector:
            await elector.until_leader()
            patch = {"spec": {"holderIdentity": "a-thief"}}
            await client.patch(LEASES, "lease", patch, namespace=namespace)
            async with asyncio.timeout(SLOW.renew_deadline / 2):
                await elector.until_lost()
            assert "a-thief holds the Lease" in lost[0]
            assert elector.holder == "a-thief"
        assert (await lease(client, namespace))["spec"]["holderIdentity"] == "a-thief"

    cluster.run(work)


def test_a_change_by_others_and_a_lost_answer_end_no_leadership(cluster: Cluster, namespace: str) -> None:
    async def work(client: ClusterClient) -> None:
        altered = Altered(client)
        lost: list[str] = []
        async with campaigning(altered, namespace, on_lost=lost.append) as elector:
            await elector.until_leader()
            note = {"metadata": {"annotations": {"note": "seen"}}}
            await client.patch(LEASES, "lease", note, namespace=namespace)

            async def vanish() -> None:
                altered.spoil_replace = None
                raise ClusterUnreachableError("the answer was lost")

            altered.spoil_replace = vanish
            await eventually(lambda: elector.problem is not None)
            await eventually(lambda: elector.problem is None and (elector.last_renewal_age or 9) < 0.09)
            kept = await lease(client, namespace)
            assert kept["metadata"]["annotations"] == {"note": "seen"}
            assert kept["spec"]["holderIdentity"] == elector.identity
        assert lost == ["it ends"]

    cluster.run(work)


def test_of_two_claims_on_one_version_one_is_refused(cluster: Cluster, namespace: str) -> None:
    async def work(client: ClusterClient) -> None:
        async with campaigning(client, namespace) as elector:
            await elector.until_leader()
        free = await lease(client, namespace)
        await client.replace(LEASES, {**free, "spec": {**free["spec"], "holderIdentity": "faster"}})
        with pytest.raises(ConflictError):
            await client.replace(LEASES, {**free, "spec": {**free["spec"], "holderIdentity": "slower"}})

    cluster.run(work)


def test_a_silent_holder_gets_the_time_that_it_was_promised(cluster: Cluster, namespace: str) -> None:
    async def work(client: ClusterClient) -> None:
        async with campaigning(client, namespace, "one", LeaseTimes(4, 1, 0.1)) as one:
            await one.until_leader()
        patch = {"spec": {"holderIdentity": "silent", "leaseDurationSeconds": 4}}
        await client.patch(LEASES, "lease", patch, namespace=namespace)
        began = asyncio.get_running_loop().time()
        async with campaigning(client, namespace, "two", QUICK) as two:  # which would wait for 2 s only
            await two.until_leader()
            assert asyncio.get_running_loop().time() - began >= 4

    cluster.run(work)


def test_a_deleted_lease_ends_the_leadership(cluster: Cluster, namespace: str) -> None:
    async def work(client: ClusterClient) -> None:
        lost: list[str] = []
        async with campaigning(client, namespace, on_lost=lost.append) as elector:
            await elector.until_leader()
            assert await client.delete(LEASES, "lease", namespace=namespace)
            await eventually(lambda: bool(lost))
            assert lost == ["the Lease was deleted"]
            await elector.until_leader()
            assert (await lease(client, namespace))["spec"]["holderIdentity"] == elector.identity

    cluster.run(work)


def test_missing_roles_are_told_at_once(cluster: Cluster, namespace: str) -> None:
    async def work(client: ClusterClient) -> None:
        elector = LeaseElector(client, namespace=namespace, name="lease", identity="me")
        with pytest.raises(
            ClusterDeniedError, match=r'User "nobody" cannot get resource "leases"'
        ) as failure:
            await elector.run()
        assert failure.value.hint == "allow it in a Role or ClusterRole"
        with pytest.raises(NotLeaderError, match="nobody does"):
            elector.check()

    cluster.run(work, user=NOBODY)


def test_roles_taken_away_end_the_leadership_in_time(cluster: Cluster, namespace: str) -> None:
    server = cluster.server
    rbac = {"apiVersion": "rbac.authorization.k8s.io/v1"}
    named = {"name": "lease", "namespace": namespace}
    subject = {"kind": "User", "name": NOBODY, "apiGroup": "rbac.authorization.k8s.io"}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "lease"}
    # The least that suffices: `create` cannot be bound to a name.
    group = {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"]}
    rules = [
        group | {"verbs": ["create"]},
        group | {"verbs": ["get", "update"], "resourceNames": ["lease"]},
    ]
    binding = rbac | {
        "kind": "RoleBinding",
        "metadata": named,
        "subjects": [subject],
        "roleRef": reference,
    }
    server.apply(rbac | {"kind": "Role", "metadata": named, "rules": rules}, binding)

    async def work(client: ClusterClient) -> None:
        lost: list[str] = []
        async with campaigning(client, namespace, times=QUICK, on_lost=lost.append) as elector:
            await elector.until_leader()
            await asyncio.to_thread(server.request, "DELETE", server.path(binding))
            await elector.until_lost()
            assert lost == ["it could not be renewed in time"]
            await eventually(lambda: isinstance(elector.problem, ClusterDeniedError))

    cluster.run(work, user=NOBODY)


def test_a_missing_namespace_is_told_at_once(cluster: Cluster) -> None:
    async def work(client: ClusterClient) -> None:
        elector = LeaseElector(client, namespace="absent", name="lease", identity="me")
        with pytest.raises(ObjectNotFoundError, match='namespaces "absent" not found'):
            await elector.run()

    cluster.run(work)


def test_a_candidate_survives_an_unreachable_api_server(cluster: Cluster, namespace: str) -> None:
    async def work(client: ClusterClient) -> None:
        altered = Altered(client)

        async def refuse() -> None:
            raise ClusterUnreachableError("down")

        async with campaigning(client, namespace) as first:  # so that there is a Lease to replace
            await first.until_leader()
        altered.spoil_replace = refuse
        async with campaigning(altered, namespace, "second") as second:
            await eventually(lambda: second.problem is not None)
            assert not second.is_leader
            altered.spoil_replace = None
            await second.until_leader()
            await eventually(lambda: second.problem is None)

    cluster.run(work)
