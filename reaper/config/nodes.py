"""A YAML file's values with their places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from reaper.config.errors import Problem
from reaper.config.scalars import Scalar

#: Where a value is: keys and indexes from the document's root.
Steps = Sequence[str | int]


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a file, counted from 1."""

    line: int
    column: int


@dataclass(slots=True)
class Node:
    """A value and where it is. ``size`` and ``height`` count what is in it, through aliases too."""

    position: Position
    size: int = 1
    height: int = 1


@dataclass(slots=True)
class ScalarNode(Node):
    """A scalar; ``text`` is as the file writes it, without quotes."""

    value: Scalar = None
    text: str = ""


@dataclass(slots=True)
class SequenceNode(Node):
    """A list."""

    items: list[Node] = field(default_factory=list)


@dataclass(slots=True)
class MappingNode(Node):
    """A mapping; ``keys`` has the places of the keys."""

    items: dict[str, Node] = field(default_factory=dict)
    keys: dict[str, Position] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Document:
    """A file's content. ``problems`` do not stop it from being read: the rest can be checked as well."""

    file: str
    root: MappingNode
    problems: tuple[Problem, ...] = ()

    @property
    def data(self) -> dict[str, Any]:
        """The content as plain dicts, lists and scalars; what an alias stands for is there once."""
        return {key: _plain(node) for key, node in self.root.items.items()}

    def find(self, path: Steps) -> tuple[Node, Position]:
        """Return the value at ``path``, and the place of its key (of itself in a list).

        A step that the file does not have is skipped: a missing key is at its mapping, and the expansion
        of a shorthand (``tags: v*`` for ``tags: {glob: v*}``) is at what was written.
        """
        node: Node = self.root
        key = node.position
        for step in path:
            if isinstance(node, MappingNode) and isinstance(step, str) and step in node.items:
                key = node.keys[step]
                node = node.items[step]
            elif isinstance(node, SequenceNode) and isinstance(step, int) and step < len(node.items):
                node = node.items[step]
                key = node.position
        return node, key


def _plain(node: Node) -> Any:
    if isinstance(node, MappingNode):
        return {key: _plain(item) for key, item in node.items.items()}
    if isinstance(node, SequenceNode):
        return [_plain(item) for item in node.items]
    return node.value if isinstance(node, ScalarNode) else None
