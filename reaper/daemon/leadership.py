"""Who may write, when there is more than one daemon."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from reaper.config.leadership import LeaderElectionSettings

if TYPE_CHECKING:
    from reaper.kubernetes import LeaseElector


class Leadership(Protocol):
    """The right to change registries, among several daemons."""

    @property
    def leads(self) -> bool | None:
        """Whether this daemon has it; None where there is no election."""
        ...

    def check(self) -> None:
        """Return while the right is certain, whatever the network does. Safe from any thread.

        Raises:
            ReaperError: it is not; nothing may be changed.
        """

    async def hold(self, on_change: Callable[[bool], None], on_renewed: Callable[[float], None]) -> None:
        """Take part in the election until cancelled, then give the right back.

        ``on_change`` is called when the right has come (True) or gone, ``on_renewed`` with the seconds that
        a renewal took.

        Raises:
            ReaperError: taking part is not possible as things are set up.
        """


class Alone:
    """No election: this daemon may always write, and the store's lock keeps others out."""

    leads: bool | None = None

    def check(self) -> None:
        """Return."""

    async def hold(self, on_change: Callable[[bool], None], on_renewed: Callable[[float], None]) -> None:
        """Wait until cancelled."""
        del on_change, on_renewed
        await asyncio.Event().wait()


class Elected:
    """A Lease decides (`reaper.kubernetes.lease`)."""

    def __init__(self, settings: LeaderElectionSettings) -> None:
        """Raise InvalidInputError when the cluster's configuration, or the package for it, is not there."""
        from reaper.kubernetes import LeaseElector, LeaseTimes, connect

        self._client = connect(settings.kubeconfig, settings.context)
        self._on_change: Callable[[bool], None] = lambda _leads: None
        self._elector: LeaseElector = LeaseElector(
            self._client,
            namespace=settings.namespace or self._client.namespace,
            name=settings.name,
            identity=settings.identity or socket.gethostname(),
            times=LeaseTimes(
                settings.lease_duration.total_seconds(),
                settings.renew_deadline.total_seconds(),
                settings.retry_period.total_seconds(),
            ),
            on_gained=lambda: self._on_change(True),
            on_lost=lambda _reason: self._on_change(False),
        )

    @property
    def leads(self) -> bool | None:
        """Whether this daemon leads now."""
        return self._elector.is_leader

    def check(self) -> None:
        """Return while this daemon leads. Raises NotLeaderError when it does not."""
        self._elector.check()

    async def hold(self, on_change: Callable[[bool], None], on_renewed: Callable[[float], None]) -> None:
        """Campaign until cancelled, then give the Lease back.

        Raises:
            ClusterError: the roles, the login or the namespace are wrong.
        """
        self._on_change = on_change
        async with self._client:
            campaign = asyncio.create_task(self._elector.run())
            try:
                last = None
                while not campaign.done():
                    await asyncio.wait([campaign], timeout=self._elector.times.retry_period)
                    age, took = self._elector.last_renewal_age, self._elector.renewal_seconds
                    if took is not None and took != last and age is not None:
                        last = took
                        on_renewed(took)
                await campaign
            finally:
                campaign.cancel()
                await asyncio.gather(campaign, return_exceptions=True)


def leadership_of(settings: LeaderElectionSettings) -> Leadership:
    """Return who decides whether this daemon may write.

    Raises:
        InvalidInputError: the cluster's configuration, or the package for it, is not there.
    """
    return Elected(settings) if settings.enabled else Alone()
