"""Settings of the election among several daemons in a cluster."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from pydantic import ConfigDict, Field

from reaper.config.fields import SomeDuration
from reaper.config.model import Checked, Fault
from reaper.config.paths import FilePath


class LeaderElectionSettings(Checked):
    """A Lease (coordination.k8s.io/v1) decides which of several daemons writes."""

    model_config = ConfigDict(title="Leader election")

    enabled: bool = Field(default=False, description="Whether a Lease decides who writes.")
    namespace: str | None = Field(default=None, description="The Lease's namespace; the pod's own if absent.")
    name: str = Field(default="reaper", min_length=1, description="The Lease's name.")
    identity: str | None = Field(default=None, description="Who this is; the host's name if absent.")
    kubeconfig: FilePath | None = Field(
        default=None, description="How to reach the cluster; the pod's service account if absent."
    )
    context: str | None = Field(default=None, description="The context in the kubeconfig.")
    lease_duration: SomeDuration = Field(
        default=timedelta(seconds=15), description="How long others wait for a leader that fell silent."
    )
    renew_deadline: SomeDuration = Field(
        default=timedelta(seconds=10), description="When a leader that cannot renew stops to write."
    )
    retry_period: SomeDuration = Field(
        default=timedelta(seconds=2), description="How long to wait between two tries."
    )

    @classmethod
    def faults(cls, data: Mapping[str, Any]) -> Iterator[Fault]:
        """Yield times that would let two lead at once."""
        names = ("lease_duration", "renew_deadline", "retry_period")
        lease, deadline, retry = (_seconds(data.get(name), cls.model_fields[name].default) for name in names)
        if lease is not None and deadline is not None and deadline >= lease:
            hint = "a leader has to stop before others may begin"
            yield Fault("renew_deadline must be shorter than lease_duration", hint, ("renew_deadline",))
        if deadline is not None and retry is not None and retry * 2 > deadline:
            hint = "give it the time for two tries at least"
            yield Fault("retry_period is longer than half of renew_deadline", hint, ("retry_period",))


def _seconds(value: Any, default: timedelta) -> float | None:
    from reaper.core.duration import parse_duration
    from reaper.core.errors import InvalidInputError

    if value is None:
        return default.total_seconds()
    try:
        return parse_duration(value).total_seconds() if isinstance(value, str) else None
    except InvalidInputError:
        return None
