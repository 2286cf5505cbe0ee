"""What registries send about pushes and pulls, in distribution's envelope and in zot's CloudEvents.

Distribution sends an event again and again until it is answered with 2xx or 3xx, and nothing else before:
what is refused holds up all that comes after it. So only a message that is no message of a registry is
refused; an event in it that says nothing of use is left out.

Sources: distribution, ``notifications/event.go`` and ``docs/about/notifications.md``; zot,
``pkg/extensions/events``; CloudEvents 1.0, HTTP protocol binding.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlsplit

from reaper.core.errors import InvalidInputError
from reaper.core.manifest import MANIFEST_TYPES, base_media_type, parse_time
from reaper.core.reference import is_digest, is_repository, is_tag
from reaper.store import EventKind, ManifestEvent

#: What becomes of an event. Nothing follows from one of a layer, a delete, or reaper's own request.
RECORDED: Final = "recorded"
IGNORED: Final = "ignored"
#: What the kinds of events are counted as. A layer is mounted in the course of a push.
_ACTIONS: Final = {"push": "push", "mount": "push", "pull": "pull", "delete": "delete"}

_STRUCTURED: Final = "application/cloudevents+json"
_BATCH: Final = "application/cloudevents-batch+json"
#: The end of a CloudEvent's type; what stands before it can be configured (zot's ``typePrefix``).
_CLOUD_ACTIONS: Final = {".image.updated": "push", ".image.deleted": "delete"}
_OURS: Final = "reaper/"
#: Clients whose HEAD is the first half of a pull: the second is left out where the node has the image.
_RUNTIMES: Final = ("containerd/", "docker/")


@dataclass(slots=True)
class Message:
    """What one message tells.

    ``counts`` are its events by action (push, pull, delete) and outcome. ``pulls_heard`` is the latest
    pull in it, whoever pulled.
    """

    events: list[ManifestEvent] = field(default_factory=list)
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    pulls_heard: datetime | None = None

    def add(self, event: ManifestEvent) -> None:
        """Add an event that is to be remembered."""
        self.events.append(event)
        self.counts[event.kind.value, RECORDED] += 1

    def ignore(self, action: str | None) -> None:
        """Count an event that nothing follows from; of an unknown action it is not even counted."""
        if action is not None:
            self.counts[action, IGNORED] += 1


def parse_message(body: bytes, headers: Mapping[str, str], now: datetime) -> Message:
    """Return what the message tells; ``headers`` by their names in lower case, ``now`` is when it came.

    Raises:
        InvalidInputError: it is neither an envelope of distribution's nor a CloudEvent.
    """
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidInputError("the body is not JSON") from error
    content_type = base_media_type(headers.get("content-type", ""))
    message = Message()
    if "ce-type" in headers:
        attributes = {name: headers.get(f"ce-{name}") for name in ("type", "time")}
        _add_cloud_event(message, {**attributes, "data": document}, now)
    elif content_type in (_STRUCTURED, _BATCH):
        for event in _objects(document if content_type == _BATCH else [document]):
            _add_cloud_event(message, event, now)
    else:
        if not isinstance(document, dict) or not isinstance(document.get("events"), list):
            raise InvalidInputError("the body is neither an envelope of events nor a CloudEvent")
        for event in _objects(document["events"]):
            _add_notification(message, event, now)
    return message


def _objects(values: object) -> Iterator[Mapping[str, Any]]:
    if not isinstance(values, list):
        raise InvalidInputError("the body is not a list of events")
    for value in values:
        if not isinstance(value, dict):
            raise InvalidInputError("an event is not an object")
        yield value


def _add_notification(message: Message, event: Mapping[str, Any], now: datetime) -> None:
    target, request = _object(event.get("target")), _object(event.get("request"))
    stated = _text(event.get("action"))
    action = _ACTIONS.get(stated)
    kind = next((kind for kind in EventKind if kind == stated), None)
    at = parse_time(event.get("timestamp")) or now
    found = None
    if kind is not None and _is_manifest(target):
        found = _event(kind, target.get("repository"), target.get("digest"), target.get("tag"), at)
    if found is None:
        message.ignore(action)
        return
    if found.kind is EventKind.PULL:
        message.pulls_heard = at if message.pulls_heard is None else max(message.pulls_heard, at)
    if _counts(found.kind, _text(request.get("method")), _text(request.get("useragent"))):
        message.add(found)
    else:
        message.ignore(action)


def _counts(kind: EventKind, method: str, agent: str) -> bool:
    """Tell whether a request shows that somebody needs the image, or made it."""
    if agent.startswith(_OURS):
        return False
    return kind is EventKind.PUSH or method.upper() != "HEAD" or agent.startswith(_RUNTIMES)


def _add_cloud_event(message: Message, event: Mapping[str, Any], now: datetime) -> None:
    """Add an event of zot's, which tells of no pulls."""
    stated, data = _text(event.get("type")), _object(event.get("data"))
    action = next((action for end, action in _CLOUD_ACTIONS.items() if stated.endswith(end)), None)
    reference = _text(data.get("reference"))
    tag = None if is_digest(reference) else reference
    at = parse_time(event.get("time")) or now
    found = _event(EventKind.PUSH, data.get("name"), data.get("digest"), tag, at)
    if found is not None and action == EventKind.PUSH:
        message.add(found)
    else:
        message.ignore(action)


def _event(
    kind: EventKind, repository: object, digest: object, tag: object, at: datetime
) -> ManifestEvent | None:
    """Return the event, or None where it names nothing that could be in a registry."""
    name, of, under = _text(repository), _text(digest), _text(tag)
    if not is_repository(name) or not is_digest(of) or (under and not is_tag(under)):
        return None
    return ManifestEvent(kind, name, of, at, under or None)


def _is_manifest(target: Mapping[str, Any]) -> bool:
    """Tell whether an event is about a manifest: the others are about blobs."""
    if base_media_type(_text(target.get("mediaType"))) in MANIFEST_TYPES:
        return True
    try:
        return "/manifests/" in urlsplit(_text(target.get("url"))).path
    except ValueError:
        return False


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
