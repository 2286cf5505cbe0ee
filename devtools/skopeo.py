"""Skopeo, as the independent client that images have to satisfy."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devtools.program import ended

_TIMEOUT = 300.0


class SkopeoError(Exception):
    """Skopeo refused; the message is its standard error."""


@dataclass(frozen=True, slots=True)
class Skopeo:
    """Calls of one skopeo binary, for registries whose TLS need not be checked.

    `authfile` is where the logins are, if not where skopeo looks for them.
    """

    binary: Path
    authfile: Path | None = None

    def inspect(self, image: str) -> dict[str, Any]:
        """What skopeo tells about ``docker://HOST/NAME:TAG`` (of an index: the child for this machine)."""
        answer: dict[str, Any] = json.loads(self.run("inspect", "--tls-verify=false", image))
        return answer

    def tags(self, repository: str) -> list[str]:
        """The tags of ``docker://HOST/NAME``, in the registry's order."""
        answer = json.loads(self.run("list-tags", "--tls-verify=false", repository))
        tags: list[str] = answer["Tags"]
        return tags

    def copy(self, source: str, target: str, *, every_platform: bool = False) -> None:
        """Copy an image; an index with all its children if asked."""
        every = ["--all"] if every_platform else []
        self.run(
            "copy", "--quiet", "--src-tls-verify=false", "--dest-tls-verify=false", *every, source, target
        )

    def run(self, *arguments: str) -> str:
        """Run skopeo; returns its standard output. Raises SkopeoError when it fails."""
        answer = ended(
            [self.binary, "--insecure-policy", *arguments],
            env={**os.environ, **({"REGISTRY_AUTH_FILE": str(self.authfile)} if self.authfile else {})},
            timeout=_TIMEOUT,
        )
        if answer.returncode != 0:
            raise SkopeoError(f"skopeo {' '.join(arguments)}: {answer.stderr.strip()}")
        return answer.stdout
