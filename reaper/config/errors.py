"""What is wrong with a policy file or with settings: every problem, each with its place."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from reaper.core.errors import InvalidInputError


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, where it is, and what would be right.

    ``file`` is a file's path, or names what else the value came from (an environment variable).
    ``line`` and ``column`` count from 1; None where there is no such place.
    """

    file: str
    line: int | None
    column: int | None
    message: str
    suggestion: str | None = None

    @property
    def place(self) -> str:
        """The place as editors and compilers write it: ``file:line:column``."""
        return ":".join(str(part) for part in (self.file, self.line, self.column) if part is not None)

    def __str__(self) -> str:
        return f"{self.place}: {self.message}" + (f"; {self.suggestion}" if self.suggestion else "")


class ConfigurationError(InvalidInputError):
    """Policy files or settings are not valid; ``problems`` has everything that is wrong with them, once."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        # What an anchor holds is read again for each of its aliases.
        self.problems = tuple(dict.fromkeys(problems))
        if len(self.problems) == 1:
            problem = self.problems[0]
            super().__init__(f"{problem.place}: {problem.message}", hint=problem.suggestion)
        else:
            lines = "".join(f"\n  {problem}" for problem in self.problems)
            super().__init__(f"the configuration has {len(self.problems)} problems:{lines}")


def shown_key(key: str) -> str:
    """Return ``key`` for a message. What follows a ':' in it is a value that lacks its space."""
    return repr(key.partition(":")[0][:60])


def nearest(word: str, options: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """Return the option that ``word`` was probably meant to be, whatever its case, or None."""
    by_case = {option.casefold(): option for option in options}
    found = difflib.get_close_matches(word.casefold(), by_case, n=1, cutoff=cutoff)
    return by_case[found[0]] if found else None


def did_you_mean(word: str, options: Iterable[str]) -> str | None:
    """Return a suggestion for a mistyped ``word``, or None when no option is near."""
    found = nearest(word, options)
    return f"did you mean {found!r}?" if found else None
