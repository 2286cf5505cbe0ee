"""Credential helpers for tests: shell scripts that are real programs."""

from __future__ import annotations

import json
from pathlib import Path


def write_helper(folder: Path, name: str, script: str) -> Path:
    """Write the helper ``name``, which runs ``script``, into a folder that is on PATH, and return it."""
    program = folder / f"docker-credential-{name}"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return program


def answer(content: object) -> str:
    """Return the script that reads the server and answers with ``content``."""
    return f"cat > /dev/null; printf '%s' '{json.dumps(content)}'"


def answer_login(username: str, secret: str) -> str:
    """Return the script that answers with a login."""
    return answer({"ServerURL": "anything", "Username": username, "Secret": secret})
