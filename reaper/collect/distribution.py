"""What reaper knows about the collector of the reference registry (distribution): its versions and flags."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

#: The subcommand; what stands before it in a command is the registry's binary, and what reaches it.
SUBCOMMAND: Final = "garbage-collect"

# `registry github.com/docker/distribution v2.8.3`, Debian's `… 2.8.2+ds1`,
# `… github.com/distribution/distribution/v3 v3.1.1+unknown`.
_VERSION: Final = re.compile(
    r"github\.com/(?:docker|distribution)/distribution(?:/v\d+)?\s+v?(\d+)\.(\d+)\.(\d+)(-\S+)?"
)


@dataclass(frozen=True, slots=True, order=True)
class Version:
    """A version of distribution."""

    major: int
    minor: int
    patch: int
    prerelease: bool = False

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}{' (pre-release)' if self.prerelease else ''}"

    @property
    def breaks_indexes(self) -> bool:
        """Whether ``--delete-untagged`` removes the children of tagged indexes.

        distribution issue #3178, fixed by #4285 between the pre-releases of 3.0.0.
        """
        return self.major < 3 or (self.prerelease and (self.major, self.minor, self.patch) == (3, 0, 0))


def version_in(text: str) -> Version | None:
    """Return the version that ``registry --version`` printed, or None when it is not distribution's."""
    match = _VERSION.search(text)
    if match is None:
        return None
    return Version(int(match[1]), int(match[2]), int(match[3]), prerelease=match[4] is not None)


def version_command(command: Sequence[str]) -> list[str] | None:
    """Return the command that asks the collector in ``command`` for its version, or None.

    ``docker exec c registry garbage-collect config.yml`` becomes ``docker exec c registry --version``.
    """
    if SUBCOMMAND not in command[1:]:
        return None
    return [*command[: command.index(SUBCOMMAND, 1)], "--version"]


def dry_run_command(command: Sequence[str]) -> list[str] | None:
    """Return ``command`` as a dry run, or None where it hides the collector, in a script for instance.

    The flag stands directly behind the subcommand: at the end of ``sh -c '…'``, it would change nothing.
    """
    if SUBCOMMAND not in command[1:]:
        return None
    after = command.index(SUBCOMMAND, 1) + 1
    return [*command[:after], "--dry-run", *command[after:]]


def deletes_untagged(command: Sequence[str]) -> bool:
    """Tell whether ``command`` mentions ``--delete-untagged``, even inside a script's text."""
    return _has_flag(_words(command[1:]), "m", "--delete-untagged")


def is_dry_run(command: Sequence[str]) -> bool:
    """Tell whether ``command`` would only ever be a dry run."""
    if SUBCOMMAND not in command[1:]:
        return False
    return _has_flag(_words(command[command.index(SUBCOMMAND, 1) :]), "d", "--dry-run")


def _words(arguments: Iterable[str]) -> Iterator[str]:
    for argument in arguments:
        yield from argument.split()


def _has_flag(words: Iterable[str], short: str, long: str) -> bool:
    """Find a flag as pflag reads it: ``--long``, ``--long=true``, ``-s``, or among others as in ``-ds``."""
    # A false value is Go's strconv.ParseBool's; whatever else stands there is taken as true.
    false = {"0", "f", "F", "false", "FALSE", "False"}
    for word in words:
        name, _, value = word.strip("'\"").partition("=")
        shorts = name[1:] if re.fullmatch(r"-[a-zA-Z]+", name) else ""
        if (name == long or short in shorts) and value not in false:
            return True
    return False
