"""The thin layer over a Kubernetes client that the rest uses, and the election of a leader.

- ``connect``: from a kubeconfig or a pod's service account to a ``ClusterClient``;
- ``ClusterClient``: what may be asked of a cluster, on plain JSON objects (``client``, ``resources``,
  ``errors``);
- ``LeaseElector``: one leader among several daemons, by a Lease (``lease``).

Importing this imports no Kubernetes client: the extra ``kubernetes`` is needed by ``connect`` alone.
"""

from reaper.kubernetes.client import ClusterClient, JsonObject, PatchType, Propagation
from reaper.kubernetes.connect import connect
from reaper.kubernetes.errors import (
    AlreadyExistsError,
    ClusterDeniedError,
    ClusterError,
    ClusterLoginError,
    ClusterUnreachableError,
    ConflictError,
    ExecInterruptedError,
    InvalidAnswerError,
    ObjectNotFoundError,
    ReadOnlyClientError,
    UnknownResourceError,
)
from reaper.kubernetes.lease import LeaseElector, LeaseTimes, NotLeaderError
from reaper.kubernetes.resources import Resource

__all__ = [
    "AlreadyExistsError",
    "ClusterClient",
    "ClusterDeniedError",
    "ClusterError",
    "ClusterLoginError",
    "ClusterUnreachableError",
    "ConflictError",
    "ExecInterruptedError",
    "InvalidAnswerError",
    "JsonObject",
    "LeaseElector",
    "LeaseTimes",
    "NotLeaderError",
    "ObjectNotFoundError",
    "PatchType",
    "Propagation",
    "ReadOnlyClientError",
    "Resource",
    "UnknownResourceError",
    "connect",
]
