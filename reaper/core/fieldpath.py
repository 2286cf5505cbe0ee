"""Paths to fields of an object, such as ``spec.template.spec`` or ``spec.steps[*].image``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from reaper.core.errors import InvalidInputError

_STEP: Final = re.compile(r"""\.?(?:([A-Za-z0-9_-]+)|\[(\*|'[^']+'|"[^"]+")\])""")
_HINT: Final = "write fields with dots between, [*] for each of a list or mapping, ['a.b/c'] for odd names"


@dataclass(frozen=True, slots=True)
class FieldPath:
    """The fields to go through, the outermost first; None stands for each item of a list or mapping."""

    steps: tuple[str | None, ...]

    def __str__(self) -> str:
        return _written(self.steps)

    def values(self, document: Any) -> Iterator[Any]:
        """Yield what stands at the path; nothing where a field is absent or null.

        Raises:
            InvalidInputError: something on the way is not what the path takes it for.
        """
        found = [document]
        for depth, step in enumerate(self.steps):
            found = [value for above in found for value in self._below(above, step, depth)]
        yield from found

    def _below(self, above: Any, step: str | None, depth: int) -> Iterator[Any]:
        if isinstance(above, dict):
            values = above.values() if step is None else [above.get(step)]
        elif isinstance(above, list) and step is None:
            values = above
        else:
            wanted = "a list or mapping" if step is None else "a mapping"
            place = _written(self.steps[:depth])
            hint = f"write {place}[*]" if isinstance(above, list) else None
            raise InvalidInputError(f"{place or 'the object'} is not {wanted}", hint=hint)
        yield from (value for value in values if value is not None)


def parse_field_path(text: str) -> FieldPath:
    """Return the path that ``text`` writes.

    Raises:
        InvalidInputError: it is none.
    """
    steps: list[str | None] = []
    position = 0
    given = text.strip().removeprefix("$")
    while position < len(given):
        match = _STEP.match(given, position)
        if match is None or (match[1] and position and not match[0].startswith(".")):
            raise InvalidInputError(f"{text!r} is not a path to a field", hint=_HINT)
        steps.append(match[1] or (None if match[2] == "*" else match[2][1:-1]))
        position = match.end()
    if not steps:
        raise InvalidInputError("an empty path", hint=_HINT)
    return FieldPath(tuple(steps))


def _written(steps: tuple[str | None, ...]) -> str:
    text = ""
    for step in steps:
        if step is None:
            text += "[*]"
        elif re.fullmatch(r"[A-Za-z0-9_-]+", step):
            text += f".{step}" if text else step
        else:
            text += f"['{step}']" if "'" not in step else f'["{step}"]'
    return text
