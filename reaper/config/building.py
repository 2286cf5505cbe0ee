"""From the YAML parser's events to nodes, within bounds."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentEndEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

from reaper.config.errors import Problem, shown_key
from reaper.config.nodes import MappingNode, Node, Position, ScalarNode, SequenceNode
from reaper.config.scalars import Scalar, resolve

#: Values in a file, where every alias counts as what it stands for.
MAX_VALUES: Final = 100_000
#: Collections within collections, again through aliases.
MAX_DEPTH: Final = 50

# What escapes in a quoted scalar can smuggle in: no name, pattern or path has a use for it.
_FORBIDDEN: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_TAG: Final = "tag:yaml.org,2002:"
_KINDS: Final[dict[str, tuple[type, ...]]] = {
    "null": (type(None),),
    "bool": (bool,),
    "int": (int,),
    "float": (float, int),
}
# ruamel's texts are for people who write parsers, and quote the file, which may hold a secret.
_SYNTAX: Final = (
    ("mapping values are not allowed", "a ':' stands where it cannot", "quote text that contains ': '"),
    ("found character '\\t'", "a tab stands where it cannot", "indent with spaces"),
    ("that cannot start any token", "a value cannot begin with this character", "quote the value"),
    ("unexpected end of stream", "the quotation mark is never closed", None),
    ("expected ',' or ']'", "the list is never closed, or a comma is missing", "close it with ]"),
    ("expected ',' or '}'", "the mapping is never closed, or a comma is missing", "close it with }"),
    ("expected <block end>", "this line does not fit the ones before it", "check its indentation"),
    ("could not find expected ':'", "a key without its ':'", "write `key: value`"),
    ("unknown escape character", "an unknown escape after a backslash", "use single quotes"),
    ("tag handle", "YAML tags (!name) have no meaning here", "quote a value that begins with !"),
    ("expected URI", "YAML tags (!name) have no meaning here", "quote a value that begins with !"),
    ("sequence entries are not allowed", "a list item (-) stands where it cannot", "begin a line with it"),
    ("node content", "a value cannot begin here", None),
    ("<document start>", "this does not belong to what stands before it", "check the indentation"),
    ("comment or a line break", "the text of | or > begins on the next line", None),
    ("chomping or indentation", "the text of | or > begins on the next line", "quote the value"),
    ("expected alphabetic or numeric", "an anchor or alias without a name", "quote a value with * or &"),
)


class FatalError(Exception):
    """The rest of the file cannot be made sense of."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


class Builder:
    """Builds the nodes of one document from the parser's events."""

    def __init__(self, text: str, name: str) -> None:
        self._name = name
        self._last = Position(1, 1)
        self._events = self._parse(text)
        self._anchors: dict[str, Node] = {}
        self.problems: list[Problem] = []

    def build(self) -> MappingNode:
        next(self._events)  # the stream's start
        start = next(self._events)
        if isinstance(start, StreamEndEvent):
            raise self._fatal(Position(1, 1), "the file is empty")
        if isinstance(start, DocumentStartEvent) and start.version not in (None, (1, 2)):
            raise self._fatal(_position(start), "only YAML 1.2 is read", "leave the %YAML line out")
        root = self._node(next(self._events), 1)
        end = next(self._events)
        after = next(self._events)
        if isinstance(end, DocumentEndEvent) and not isinstance(after, StreamEndEvent):
            hint = "make a file of each"
            raise self._fatal(_position(after), "a second document begins here; a file holds one", hint)
        if isinstance(root, ScalarNode) and root.value is None:
            raise self._fatal(root.position, "the file is empty")
        if not isinstance(root, MappingNode):
            kind = "a list" if isinstance(root, SequenceNode) else "text"
            raise self._fatal(root.position, f"the file holds {kind}; it has to be a mapping (`key: value`)")
        return root

    def _parse(self, text: str) -> Iterator[Event]:
        yaml = YAML(typ="safe", pure=True)
        yaml.version = None
        problem: Problem | None = None
        try:
            for event in yaml.parse(text):
                self._last = _position(event)
                yield event
        except MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            at = Position(mark.line + 1, mark.column + 1) if mark else self._last
            problem = self._syntax(at, str(error.problem or ""))
        except (YAMLError, ValueError, OverflowError):
            # The scanner's own slips on absurd escapes; they say nothing that helps.
            problem = self._syntax(self._last, "")
        if problem:
            raise FatalError(problem)

    def _syntax(self, at: Position, text: str) -> Problem:
        for part, message, suggestion in _SYNTAX:
            if part in text:
                return Problem(self._name, at.line, at.column, f"not valid YAML: {message}", suggestion)
        # What is left describes YAML's own grammar, up to where it tells what was found instead.
        text = re.sub(r",? but (?:found|got) .*", "", text, flags=re.DOTALL)
        text = re.sub(r"(['\"]).{2,}\1", "…", text, flags=re.DOTALL)
        message = f"not valid YAML: {text}" if text else "not valid YAML"
        return Problem(self._name, at.line, at.column, message)

    def _node(self, event: Event, depth: int) -> Node:
        """Build the node that begins with ``event``; its remaining events are consumed."""
        if depth > MAX_DEPTH:
            raise self._fatal(_position(event), f"more than {MAX_DEPTH} levels deep")
        node: Node
        if isinstance(event, AliasEvent):
            node = self._alias(event)
        elif isinstance(event, ScalarEvent):
            node = self._scalar(event)
        elif isinstance(event, SequenceStartEvent):
            node = self._sequence(event, depth)
        elif isinstance(event, MappingStartEvent):
            node = self._mapping(event, depth)
        else:  # pragma: no cover - the parser's grammar has no other node
            raise self._fatal(_position(event), "not valid YAML")
        if node.size > MAX_VALUES or node.height + depth - 1 > MAX_DEPTH:
            raise self._fatal(_position(event), "the file is too large once its aliases are expanded")
        anchor = getattr(event, "anchor", None)
        if anchor and not isinstance(event, AliasEvent):
            self._anchors[anchor] = node
        return node

    def _alias(self, event: AliasEvent) -> Node:
        found = self._anchors.get(event.anchor)
        if found is None:
            hint = "quote a value that begins with *"
            self._problem(_position(event), "an alias (*) without an anchor (&) before it", hint)
            return ScalarNode(_position(event), value="", text="")
        return found

    def _scalar(self, event: ScalarEvent) -> ScalarNode:
        at = _position(event)
        text: str = event.value
        if _FORBIDDEN.search(text):
            self._problem(at, "a control character or half a surrogate pair in a text")
            text = _FORBIDDEN.sub("", text)
        tag = None if event.tag is None else str(event.tag).removeprefix(_TAG)
        value: Scalar = text
        if tag not in (None, "!", "str") or (tag is None and event.implicit[0]):
            value = resolve(text)
        if tag not in (None, "!", "str") and not isinstance(value, _KINDS.get(tag or "", ())):
            self._problem(at, "this YAML tag (!) has no meaning here", "quote a value that begins with !")
        return ScalarNode(at, value=value, text=text)

    def _sequence(self, event: SequenceStartEvent, depth: int) -> SequenceNode:
        node = SequenceNode(_position(event))
        self._expect_tag(event, "seq")
        while not isinstance(first := next(self._events), SequenceEndEvent):
            item = self._node(first, depth + 1)
            node.items.append(item)
            _grow(node, item)
        return node

    def _mapping(self, event: MappingStartEvent, depth: int) -> MappingNode:
        node = MappingNode(_position(event))
        self._expect_tag(event, "map")
        while not isinstance(first := next(self._events), MappingEndEvent):
            at = _position(first)
            key = self._node(first, depth + 1)
            value = self._node(next(self._events), depth + 1)
            _grow(node, value)
            if not isinstance(key, ScalarNode):
                self._problem(at, "a key has to be text")
            elif key.text == "<<":
                self._problem(at, "merge keys (<<) are not part of YAML 1.2", "write the keys out")
            elif key.text in node.items:
                line = node.keys[key.text].line
                self._problem(
                    at, f"the key {shown_key(key.text)} is given twice", f"the first is in line {line}"
                )
            else:
                node.keys[key.text] = at
                node.items[key.text] = value
                if isinstance(value, ScalarNode) and value.value is None and not value.text:
                    # The parser sees the empty value only at the next token, lines below.
                    value.position = at
        return node

    def _expect_tag(self, event: MappingStartEvent | SequenceStartEvent, kind: str) -> None:
        if event.tag is not None and str(event.tag) not in ("!", _TAG + kind):
            self._problem(_position(event), "this YAML tag (!) has no meaning here", "leave the tag out")

    def _problem(self, at: Position, message: str, suggestion: str | None = None) -> None:
        self.problems.append(Problem(self._name, at.line, at.column, message, suggestion))

    def _fatal(self, at: Position, message: str, suggestion: str | None = None) -> FatalError:
        return FatalError(Problem(self._name, at.line, at.column, message, suggestion))


def _position(event: Event) -> Position:
    mark = event.start_mark
    return Position(mark.line + 1, mark.column + 1) if mark else Position(1, 1)


def _grow(node: Node, item: Node) -> None:
    node.size += item.size
    node.height = max(node.height, item.height + 1)
