"""The scopes of tokens (distribution's token scope documentation)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

CATALOG = "registry:catalog:*"
#: ``type:name:actions``; a name may hold colons, a type may say its class: ``repository(plugin)``.
_SCOPE = re.compile(r"[a-z0-9]+(?:\([a-z0-9]+\))?:[!#-\[\]-~]+:[a-z0-9_*]+(?:,[a-z0-9_*]+)*", re.ASCII)
#: More than any request needs; what a challenge says is not kept beyond it.
_MOST = 8


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


def valid(text: str) -> list[str]:
    """Return the scopes in ``text``, which a challenge names with spaces between them (RFC 6750, 3)."""
    return [scope for scope in text.split(" ") if _SCOPE.fullmatch(scope)][:_MOST]


def covers(asked: Iterable[str], wanted: str) -> bool:
    """Tell whether a token for the scopes ``asked`` is one for ``wanted``."""
    resource, actions = _split(wanted)
    held = {action for scope in asked for r, found in [_split(scope)] if r == resource for action in found}
    return set(actions) <= held


def union(asked: Sequence[str], named: Iterable[str]) -> tuple[str, ...]:
    """Return ``asked`` with what ``named`` adds, each resource once.

    What is about a resource that was not asked for comes first: some token servers see the first alone.
    """
    found = {resource: list(actions) for resource, actions in map(_split, asked)}
    first: dict[str, list[str]] = {}
    for scope in named:
        resource, actions = _split(scope)
        held = found[resource] if resource in found else first.setdefault(resource, [])
        held.extend(action for action in actions if action not in held)
    return tuple(f"{resource}:{','.join(actions)}" for resource, actions in {**first, **found}.items())


def actions_beyond(scope: str, scopes: Iterable[str]) -> list[str]:
    """Return the actions that ``scopes`` hold for the resource of ``scope``, without its own."""
    resource, own = _split(scope)
    held = [action for other, actions in map(_split, scopes) if other == resource for action in actions]
    return [action for action in held if action not in own]


def kind_of(scope: str) -> str:
    """Return what requests like that of ``scope`` have in common: the type of resource, and the actions."""
    return f"{scope.partition(':')[0]}:{scope.rpartition(':')[2]}"


def _split(scope: str) -> tuple[str, list[str]]:
    resource, _, actions = scope.rpartition(":")
    return resource, actions.split(",")
