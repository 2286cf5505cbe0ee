"""What kinds of objects are called in the API's addresses."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind of objects, such as ``Resource("apps", "v1", "deployments")``. The core's group is empty."""

    group: str
    version: str
    plural: str
    namespaced: bool = True

    def __str__(self) -> str:
        """Return the name that kubectl and roles use, such as ``deployments.apps``."""
        return f"{self.plural}.{self.group}" if self.group else self.plural


NAMESPACES = Resource("", "v1", "namespaces", namespaced=False)
PODS = Resource("", "v1", "pods")
POD_TEMPLATES = Resource("", "v1", "podtemplates")
REPLICATION_CONTROLLERS = Resource("", "v1", "replicationcontrollers")
PERSISTENT_VOLUME_CLAIMS = Resource("", "v1", "persistentvolumeclaims")
EVENTS = Resource("events.k8s.io", "v1", "events")
DEPLOYMENTS = Resource("apps", "v1", "deployments")
STATEFUL_SETS = Resource("apps", "v1", "statefulsets")
DAEMON_SETS = Resource("apps", "v1", "daemonsets")
REPLICA_SETS = Resource("apps", "v1", "replicasets")
CONTROLLER_REVISIONS = Resource("apps", "v1", "controllerrevisions")
JOBS = Resource("batch", "v1", "jobs")
CRON_JOBS = Resource("batch", "v1", "cronjobs")
LEASES = Resource("coordination.k8s.io", "v1", "leases")
ACCESS_REVIEWS = Resource("authorization.k8s.io", "v1", "selfsubjectaccessreviews", namespaced=False)
