"""What several of the store's tests use."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

from reaper.store import Action, NewEntry

REGISTRY = "https://registry.example.com"
AT = datetime(2026, 3, 1, 2, 0, 0, 123456, tzinfo=UTC)
HOUR = timedelta(hours=1)


def digest(seed: object) -> str:
    """Return a digest that belongs to ``seed``."""
    return f"sha256:{hashlib.sha256(str(seed).encode()).hexdigest()}"


def new_entry(seed: object = "a", **changes: Any) -> NewEntry:
    """Return an entry for the journal, about the digest of ``seed``."""
    values: dict[str, Any] = {
        "registry": REGISTRY,
        "repository": "team/app",
        "digest": digest(seed),
        "action": Action.DELETE,
        "media_type": "application/vnd.oci.image.manifest.v1+json",
        "content": b'{"schemaVersion": 2,\r\n "x": "\xc3\xa9\x00"}',
        "tags": ("v1", "v1.0"),
        "policy": "services",
        "rule": "releases",
        "reason": "older than 14d",
        "run_id": "run-1",
        "created_at": AT,
        "plan": {"parents": [digest("index")]},
        "reclaimable_bytes": 10,
    }
    return NewEntry(**(values | changes))


PRELUDE = """
import os, resource, signal, sys, time
from datetime import UTC, datetime
from reaper.store import *
from tests.store.helpers import AT, HOUR, REGISTRY, digest, new_entry
"""


def start(program: str, *arguments: str) -> subprocess.Popen[str]:
    """Start a Python process of its own; the program finds `PRELUDE` done."""
    return subprocess.Popen(
        [sys.executable, "-c", PRELUDE + program, *arguments],
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        text=True,
    )


def run(program: str, *arguments: str) -> tuple[int, str]:
    """Run a Python process to its end; return how it ended and what it printed."""
    with start(program, *arguments) as process:
        output, _ = process.communicate(timeout=60)
    return process.returncode, output
