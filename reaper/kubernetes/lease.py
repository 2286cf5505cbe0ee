"""One leader among several processes, by a Lease (coordination.k8s.io/v1), as client-go's elector does it.

::

    elector = LeaseElector(client, namespace="reaper", name="reaper", identity=pod_name)
    task = asyncio.create_task(elector.run())      # campaigns, leads, campaigns again; ends when cancelled
    await elector.until_leader()
    ...
    elector.check()                                # directly before each write
    await client_of_the_registry.delete(...)
    ...
    task.cancel()                                  # last, when nothing writes any more: gives the Lease back

What makes it safe for something that deletes:

- Time is this process's own, monotonic, and goes on while it or its machine is suspended. The times in the
  Lease are for people: a holder counts as silent when the *Lease has not changed* for its duration, as seen
  from here.
- Every write names the resourceVersion that it follows. Of two candidates one gets a conflict.
- A leader counts its time from when the last successful renewal was *sent*, and stops before others may
  begin: ``renew_deadline`` is shorter than ``duration``. ``check`` needs no request and no event loop for
  this: a process that was frozen and thaws is refused at once.
- Every request is bounded, so that a silent API server cannot keep a leader in office.

A write that has been sent can still arrive late. What is done under a check has to be short, compared with
``duration - renew_deadline``, and safe to do twice.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from reaper.core.errors import ReaperError
from reaper.kubernetes.client import ClusterClient, JsonObject
from reaper.kubernetes.errors import (
    ClusterDeniedError,
    ClusterError,
    ClusterLoginError,
    ConflictError,
    ObjectNotFoundError,
)
from reaper.kubernetes.resources import LEASES

_log = structlog.get_logger(__name__)
_NEVER = -math.inf
# What waiting does not cure, and what has to be seen by whoever starts this.
_MISTAKES = (ClusterDeniedError, ClusterLoginError, ObjectNotFoundError)


class NotLeaderError(ReaperError):
    """This process does not lead (any more): nothing may be written."""


@dataclass(frozen=True, slots=True)
class LeaseTimes:
    """The election's times, in seconds.

    ``duration``: how long others wait for a leader that fell silent (they round it up to whole seconds).
    ``renew_deadline``: when a leader that cannot renew stops. ``retry_period``: between two tries.
    """

    duration: float = 15.0
    renew_deadline: float = 10.0
    retry_period: float = 2.0

    def __post_init__(self) -> None:
        """Refuse times that would let two lead at once, or none for long."""
        if not 0 < self.retry_period * 2 <= self.renew_deadline < self.duration:
            raise ValueError("needed: 0 < 2 * retry_period <= renew_deadline < duration")


class LeaseElector:
    """A candidate. ``run`` it in the background; ask it before each write.

    ``on_gained`` and ``on_lost`` (with the reason) are called in the event loop and must not block.
    """

    def __init__(
        self,
        client: ClusterClient,
        *,
        namespace: str,
        name: str,
        identity: str,
        times: LeaseTimes | None = None,
        on_gained: Callable[[], None] | None = None,
        on_lost: Callable[[str], None] | None = None,
    ) -> None:
        """``identity`` is for people; what stands in the Lease is made unique to this object."""
        self.times = times or LeaseTimes()
        #: Who this is in the Lease.
        self.identity = f"{identity}_{uuid.uuid4()}"
        self._client = client
        self._namespace = namespace
        self._name = name
        self._on_gained = on_gained
        self._on_lost = on_lost
        self._leads = asyncio.Event()
        self._follows = asyncio.Event()
        self._follows.set()
        self._renewed = _NEVER
        self._lease: JsonObject | None = None
        self._lease_seen = _NEVER
        self._worked_once = False
        self._problem: ClusterError | None = None
        self._renewal_seconds: float | None = None

    @property
    def is_leader(self) -> bool:
        """Whether writing is allowed at this moment."""
        return self._leads.is_set() and self.seconds_left > 0

    @property
    def seconds_left(self) -> float:
        """How long writing will still be allowed if no renewal succeeds; 0 when it is not."""
        if not self._leads.is_set():
            return 0.0
        return max(0.0, self.times.renew_deadline - (_now() - self._renewed))

    @property
    def last_renewal_age(self) -> float | None:
        """Seconds since the last successful renewal was sent, None before the first."""
        return None if self._renewed == _NEVER else _now() - self._renewed

    @property
    def renewal_seconds(self) -> float | None:
        """How long the last successful renewal took, None before the first."""
        return self._renewal_seconds

    @property
    def transitions(self) -> int:
        """How often the Lease has changed hands, as it was last seen."""
        return _whole(_spec(self._lease).get("leaseTransitions"))

    @property
    def holder(self) -> str | None:
        """Who held the Lease when it was last seen; None for nobody."""
        found = _spec(self._lease).get("holderIdentity")
        return found if isinstance(found, str) and found else None

    @property
    def problem(self) -> ClusterError | None:
        """What went wrong at the last try; None when it went well."""
        return self._problem

    def check(self) -> None:
        """Return while writing is allowed. Sends nothing.

        Raises:
            NotLeaderError: this process does not lead, or could not renew for too long.
        """
        if not self._leads.is_set():
            raise NotLeaderError(f"{self.identity} does not lead; {self.holder or 'nobody'} does")
        age = _now() - self._renewed
        if age >= self.times.renew_deadline:
            raise NotLeaderError(f"the leadership was not renewed for {age:.1f} s: another may lead by now")

    async def until_leader(self) -> None:
        """Return as soon as this process leads."""
        await self._leads.wait()

    async def until_lost(self) -> None:
        """Return as soon as this process does not lead."""
        await self._follows.wait()

    async def run(self) -> None:
        """Campaign and lead until cancelled; then give the Lease back, for the next to lead at once.

        Trouble with the API server is logged (see ``problem``), and tried again.

        Raises:
            ClusterDeniedError, ClusterLoginError, ObjectNotFoundError: the roles, the login or the namespace
                are wrong, and were so from the start.
        """
        try:
            while True:
                await self._try()
                await asyncio.sleep(self._pause())
        finally:
            await self._release()

    async def _try(self) -> None:
        if self._leads.is_set() and not self.seconds_left:
            self._lose("it could not be renewed in time")
        try:
            await (self._renew() if self._leads.is_set() else self._campaign())
        except ClusterError as error:
            if isinstance(error, _MISTAKES) and not self._worked_once:
                raise
            if self._problem is None or self._problem.message != error.message:
                _log.warning("leader_election_failed", reason=error.message)
            self._problem = error
        else:
            self._problem = None
            self._worked_once = True

    def _pause(self) -> float:
        if self._leads.is_set():
            return min(self.times.retry_period, self.seconds_left)
        return self.times.retry_period * random.uniform(1.0, 1.5)  # noqa: S311 - lest all try at once

    async def _campaign(self) -> None:
        await self._look()
        if self._held_by_another():
            return
        sent = _now()
        try:
            claimed = await self._claim()
        except ConflictError:  # another candidate was faster
            return
        self._take(claimed, sent)
        self._follows.clear()
        self._leads.set()
        _log.info("leadership_gained", lease=self._name, identity=self.identity)
        if self._on_gained is not None:
            self._on_gained()

    async def _renew(self) -> None:
        sent = _now()
        try:
            renewed = await self._claim()
        except ConflictError as error:
            await self._settle(error)
        else:
            self._take(renewed, sent)

    async def _settle(self, conflict: ConflictError) -> None:
        """Find out what a conflict means: our own renewal whose answer was lost, or the end."""
        await self._look()
        if self._lease is None:
            self._lose("the Lease was deleted")
        elif self.holder != self.identity:
            self._lose(f"{self.holder or 'nobody'} holds the Lease ({conflict.message})")
        # Else nobody has held it in between: the name is this object's alone. The next try renews it.

    async def _look(self) -> None:
        """Read the Lease."""
        try:
            found = await self._client.get(
                LEASES, self._name, namespace=self._namespace, within=self._limit()
            )
        except ObjectNotFoundError:
            self._lease = None
        else:
            self._see(found)

    def _limit(self) -> float:
        """How long a request may take."""
        limit = self.times.renew_deadline / 2
        return min(limit, self.seconds_left) if self.is_leader else limit

    def _see(self, lease: JsonObject) -> None:
        """Note the Lease, and when it was first seen like this."""
        if self._lease is None or _version(lease) != _version(self._lease):
            self._lease_seen = _now()
        self._lease = lease

    def _take(self, lease: JsonObject, sent: float) -> None:
        """Note that our claim is stored."""
        self._see(lease)
        self._renewed = sent
        self._renewal_seconds = _now() - sent

    def _held_by_another(self) -> bool:
        if self.holder in {None, self.identity}:
            return False
        promised = _whole(_spec(self._lease).get("leaseDurationSeconds"))
        return _now() - self._lease_seen < max(promised, self.times.duration)

    async def _claim(self) -> JsonObject:
        """Write ourselves into the Lease that was last seen, or into a new one."""
        spec = _spec(self._lease)
        now = _micro_time()
        ours = self.holder == self.identity
        claim = {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": math.ceil(self.times.duration),
            "acquireTime": spec.get("acquireTime", now) if ours else now,
            "renewTime": now,
            "leaseTransitions": self.transitions + (self._lease is not None and not ours),
        }
        if self._lease is not None:
            body = {**self._lease, "spec": {**spec, **claim}}
            return await self._client.replace(LEASES, body, within=self._limit())
        body = {
            "apiVersion": f"{LEASES.group}/{LEASES.version}",
            "kind": "Lease",
            "metadata": {"name": self._name, "namespace": self._namespace},
            "spec": claim,
        }
        return await self._client.create(LEASES, body, namespace=self._namespace, within=self._limit())

    async def _release(self) -> None:
        """Give the Lease back, if it is ours; when that fails, it runs out."""
        if self._leads.is_set():
            self._lose("it ends")
        try:
            async with asyncio.timeout(self.times.renew_deadline / 2):
                while self.holder == self.identity and self._lease is not None:
                    try:
                        await self._give_back(self._lease)
                    except ConflictError:  # a renewal was under way when we were cancelled
                        await self._look()
        except (ClusterError, TimeoutError) as error:
            _log.warning("lease_not_released", reason=str(error) or "no answer")

    async def _give_back(self, lease: JsonObject) -> None:
        spec = {key: value for key, value in _spec(lease).items() if key != "holderIdentity"}
        body = {**lease, "spec": {**spec, "renewTime": _micro_time(), "leaseDurationSeconds": 1}}
        self._see(await self._client.replace(LEASES, body))

    def _lose(self, reason: str) -> None:
        self._leads.clear()
        self._follows.set()
        _log.warning("leadership_lost", lease=self._name, identity=self.identity, reason=reason)
        if self._on_lost is not None:
            self._on_lost(reason)


def _now() -> float:
    """Seconds on a clock that nobody sets and that counts suspended time too, where there is one."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


def _micro_time() -> str:
    """Return the wall clock's time as a MicroTime of the API."""
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _spec(lease: JsonObject | None) -> JsonObject:
    spec = (lease or {}).get("spec")
    return spec if isinstance(spec, dict) else {}


def _version(lease: JsonObject) -> object:
    return (lease.get("metadata") or {}).get("resourceVersion")


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0
