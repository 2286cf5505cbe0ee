"""What registries send, as they send it."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from typing import Any

from tests.web.site import NOW

ENVELOPE = "application/vnd.docker.distribution.events.v2+json"
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


def digest(seed: object) -> str:
    """Return a digest that belongs to ``seed``."""
    return f"sha256:{hashlib.sha256(str(seed).encode()).hexdigest()}"


def notification(
    action: str = "pull",
    *,
    at: datetime | str = NOW,
    agent: str = "containers/5.30 (github.com/containers/image)",
    method: str = "GET",
    **target: Any,
) -> dict[str, Any]:
    """Return an event as distribution 2.8.2 was seen to send it."""
    of = digest("a")
    return {
        "id": "0f3b2d52-6a0b-4ff2-8d35-0a2f4d0c1f2e",
        "timestamp": at if isinstance(at, str) else at.isoformat(),
        "action": action,
        "target": {
            "mediaType": MANIFEST,
            "size": 424,
            "digest": of,
            "length": 424,
            "repository": "team/app",
            "url": f"http://127.0.0.1:5000/v2/team/app/manifests/{of}",
            **target,
        },
        "request": {
            "id": "9f3b2d52-6a0b-4ff2-8d35-0a2f4d0c1f2e",
            "addr": "127.0.0.1:38530",
            "host": "127.0.0.1:5000",
            "method": "PUT" if action == "push" else method,
            "useragent": agent,
        },
        "actor": {},
        "source": {"addr": "registry:5000", "instanceID": "1d3b2d52-6a0b-4ff2-8d35-0a2f4d0c1f2e"},
    }


def envelope(*events: Any) -> bytes:
    """Return distribution's message."""
    return json.dumps({"events": events}, indent=3).encode()


def cloud_event(kind: str = "zotregistry.image.updated", **data: Any) -> tuple[dict[str, str], bytes]:
    """Return the headers and the body of zot's message, in CloudEvents' binary mode, which its SDK sends."""
    headers = {
        "Content-Type": "application/json",
        "Ce-Id": "0f3b2d52-6a0b-4ff2-8d35-0a2f4d0c1f2e",
        "Ce-Source": "zotregistry.dev",
        "Ce-Specversion": "1.0",
        "Ce-Time": "2026-07-01T09:00:00.123456789Z",
        "Ce-Type": kind,
    }
    fields = {
        "name": "team/app",
        "reference": "v1",
        "digest": digest("a"),
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "manifest": '{"schemaVersion":2}',
    }
    return headers, json.dumps({**fields, **data}).encode()
