"""Crane, as a second independent client: what it says that a registry holds."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from devtools.program import ended

_TIMEOUT = 120.0


class CraneError(Exception):
    """Crane refused; the message is its standard error."""


@dataclass(frozen=True, slots=True)
class Crane:
    """Calls of one crane binary against one registry, whose certificate need not be trusted.

    `docker_config` is a folder with Docker's ``config.json``, where the login is. Crane takes no token server
    on loopback, and there no next page over TLS.
    """

    binary: Path
    host: str
    docker_config: Path

    def repositories(self) -> list[str]:
        """The catalog, in the registry's order."""
        return self._run("catalog", self.host).split()

    def tags(self, repository: str) -> list[str]:
        """A repository's tags, in the registry's order."""
        return self._run("ls", f"{self.host}/{repository}").split()

    def digest(self, repository: str, reference: str) -> str:
        """What a tag or a digest stands for. Raises CraneError where that is nothing."""
        mark = "@" if ":" in reference else ":"
        return self._run("digest", f"{self.host}/{repository}{mark}{reference}").strip()

    def _run(self, *arguments: str) -> str:
        answer = ended(
            [self.binary, "--insecure", *arguments],
            env={**os.environ, "DOCKER_CONFIG": str(self.docker_config)},
            timeout=_TIMEOUT,
        )
        if answer.returncode != 0:
            raise CraneError(f"crane {' '.join(arguments)}: {answer.stderr.strip()}")
        return answer.stdout
