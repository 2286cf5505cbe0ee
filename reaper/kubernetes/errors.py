"""What can go wrong between reaper and a cluster."""

from __future__ import annotations

from reaper.core.errors import ReaperError


class ClusterError(ReaperError):
    """A cluster could not be asked, refused, or gave no usable answer. ``status``: HTTP's, if any."""

    def __init__(self, message: str, *, hint: str | None = None, status: int | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status = status


class ClusterUnreachableError(ClusterError):
    """No answer came in time, or the API server failed or was overloaded, and went on so.

    After a write nobody knows whether it was done.
    """


class ClusterLoginError(ClusterError):
    """The API server does not accept the login (401), or there is none to be had."""


class ClusterDeniedError(ClusterError):
    """The login is valid, but its roles do not allow this (403)."""


class ObjectNotFoundError(ClusterError):
    """The object is not there (404)."""


class UnknownResourceError(ObjectNotFoundError):
    """The cluster does not know the resource at all: its CustomResourceDefinition is not installed."""


class ConflictError(ClusterError):
    """The object was changed since it was read (409)."""


class AlreadyExistsError(ConflictError):
    """An object of this name is there already (409)."""


class InvalidAnswerError(ClusterError):
    """The answer is not what the Kubernetes API promises, so nothing may be concluded from it."""


class ExecInterruptedError(ClusterError):
    """The connection to a command ended before its exit was known: the command may still run."""


class ReadOnlyClientError(ClusterError):
    """A write through a client that may only read: a fault in reaper, stopped before it left."""
