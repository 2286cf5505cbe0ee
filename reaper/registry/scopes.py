"""The scopes of tokens (distribution's token scope documentation)."""

from __future__ import annotations

CATALOG = "registry:catalog:*"


def pull(repository: str) -> str:
    """Return what reading needs."""
    return f"repository:{repository}:pull"


def push(repository: str) -> str:
    """Return what putting back needs."""
    return f"repository:{repository}:pull,push"


def delete(repository: str) -> str:
    """Return what deleting needs."""
    return f"repository:{repository}:pull,delete"


def repository_of(scope: str) -> str | None:
    """Return the repository that ``scope`` is about, or None where it is about none."""
    kind, _, rest = scope.partition(":")
    return rest.rpartition(":")[0] if kind == "repository" else None
