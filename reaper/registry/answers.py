"""What answers mean, as the OCI distribution specification 1.1 has it."""

from __future__ import annotations

import json
from typing import Any

from reaper.core.manifest import base_media_type, is_media_type
from reaper.core.reference import is_digest
from reaper.registry.errors import (
    DeletesDisabledError,
    NotARegistryError,
    ProtocolError,
    ReadOnlyRegistryError,
    RegistryError,
)
from reaper.registry.exchange import Answer


class Answers:
    """Reads the answers of the registry at ``url``."""

    def __init__(self, url: str) -> None:
        self.url = url

    def json(self, answer: Answer, path: str) -> dict[str, Any]:
        try:
            document = json.loads(answer.body)
        except (ValueError, RecursionError) as error:
            raise self.not_a_registry(answer, path) from error
        if not isinstance(document, dict):
            raise ProtocolError(f"{self.url}{path}: the answer is not a JSON object")
        return document

    def expect(self, answer: Answer, status: int, path: str) -> None:
        if answer.status == status:
            return
        if base_media_type(answer.headers.get("Content-Type", "")) == "text/html":
            raise self.not_a_registry(answer)
        raise RegistryError(
            f"{path}: unexpected answer {answer.status}{_said(answer.body)}", status=answer.status
        )

    def not_a_registry(self, answer: Answer, path: str = "/v2/") -> NotARegistryError:
        kind = _shown(base_media_type(answer.headers.get("Content-Type", "")), 100) or "no type"
        hint = "is this the registry's own address, without a path?"
        # Go's words, and nginx's, to who speaks plain HTTP to a port for TLS.
        if b"HTTPS server" in answer.body or b"HTTPS port" in answer.body:
            hint = "it speaks HTTPS: write its URL with https://"
        return NotARegistryError(
            f"{self.url} is not a registry: {path} answers {answer.status} with {kind} instead of JSON",
            hint=hint,
            status=answer.status,
        )

    def refuse_405(self, answer: Answer) -> None:
        if is_read_only(answer):
            raise ReadOnlyRegistryError(
                f"{self.url} is in read-only mode",
                hint="a collection may be under way; else unset REGISTRY_STORAGE_MAINTENANCE_READONLY",
                status=405,
            )
        if answer.status == 405:
            raise DeletesDisabledError(
                f"{self.url} allows no deletes (405)",
                hint="set storage.delete.enabled: true in the registry's configuration, "
                "or REGISTRY_STORAGE_DELETE_ENABLED=true; some products never allow it",
                status=405,
            )

    def media_type(self, answer: Answer, path: str) -> str:
        found: str | None = answer.headers.get("Content-Type")
        if not found or not is_media_type(found):
            raise ProtocolError(f"{path}: the registry does not say the manifest's type")
        if base_media_type(found) == "text/html":
            raise self.not_a_registry(answer, path)
        return found

    def check_digest(self, digest: str, reference: str, path: str) -> None:
        if not is_digest(digest):
            raise ProtocolError(f"{path}: the registry names an invalid digest {digest[:80]!r}")
        if is_digest(reference) and digest != reference:
            raise ProtocolError(f"{path}: the registry answers with another manifest, {digest}")


def is_read_only(answer: Answer) -> bool:
    allowed = {method.strip().upper() for method in answer.headers.get("Allow", "").split(",")}
    return answer.status == 405 and "GET" in allowed and "DELETE" not in allowed


def _said(body: bytes) -> str:
    """Return the first error's code and message (distribution-spec, "Error Codes"), where there is one."""
    try:
        errors = json.loads(body)["errors"]
        first = errors[0]
        return f": {_shown(str(first['code']), 60)}: {_shown(str(first.get('message', '')), 200)}"
    except (ValueError, KeyError, IndexError, TypeError, RecursionError, AttributeError):
        return ""


def _shown(text: str, length: int) -> str:
    """Return so much of what a server said as fits into an error, without what does not print."""
    return "".join(char if char.isprintable() else "?" for char in text[:length])
