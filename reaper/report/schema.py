"""The JSON Schema of the JSON report, from the model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

from pydantic import TypeAdapter

from reaper.core.manifest import Kind
from reaper.core.plan import Action
from reaper.core.retention import Decision
from reaper.report.model import SCHEMA, RunReport

#: What each member means: type, then field.
DESCRIPTIONS: Final[Mapping[str, Mapping[str, str]]] = {
    "RunReport": {
        "run_id": "Names the run, for `reaper restore --run` and `reaper runs show`.",
        "registry": "The registry's URL.",
        "dry_run": "True for an audit: nothing was changed.",
        "started_at": "When the run began. Decisions and ages are as of this time.",
        "finished_at": "When the run ended.",
        "outcome": "How the run ended.",
        "summary": "The run in numbers.",
        "guards": "The guard rails that the plan ran into. Where there is one, nothing was deleted.",
        "collection": "The collection that the run began with; null when none was due.",
        "settled": "How many deletes that an earlier run had begun were finished or closed.",
        "error": "Why the run failed; null unless it did.",
        "notes": "What a reader should know about the figures.",
        "plan_id": "Names the plan; the same changes and guard rails have the same name.",
        "repositories": "Every repository that the run was about.",
    },
    "Summary": {
        "repositories": "Repositories in the report.",
        "tags": "Tags in them.",
        "manifests": "Manifests in them, children included.",
        "kept_tags": "Tags that a rule or a protection keeps.",
        "expired_tags": "Tags that a policy covers and nothing keeps.",
        "ignored_tags": "Tags that no policy covers, or that could not be judged.",
        "manifests_to_delete": "Manifests that the plan deletes.",
        "deleted_manifests": "Manifests that were deleted. 0 in a dry run.",
        "reclaimable_bytes": (
            "What a collection frees once the plan is carried out: each blob once, and only blobs that "
            "nothing kept in any repository refers to."
        ),
        "errors": "Errors in all repositories.",
        "untagged_tags": "Tags that were removed from a manifest that stays.",
        "skipped_manifests": "Manifests whose delete was cancelled or failed.",
    },
    "GuardReport": {
        "guard": "The guard rail: max_deletions, max_share, min_tags, empty_match or clock.",
        "message": "Its limit, and the figures that broke it.",
        "repository": "The repository; null where it concerns the whole run.",
    },
    "CollectionReport": {
        "via": "The procedure, as in the settings' `collect.via`.",
        "outcome": "How it ended.",
        "blobs": "Blobs that it deleted.",
        "bytes": "Bytes that it freed, as far as sizes are known.",
        "detail": "More about the outcome; may be empty.",
        "warnings": "What it noticed on the way.",
    },
    "RepositoryReport": {
        "name": "The repository's name.",
        "policies": "The policies that match it, by name.",
        "tags": "Every tag, sorted by name.",
        "manifests": "Every manifest; empty where the repository could not be read completely.",
        "errors": "What could not be read, or failed.",
    },
    "TagReport": {
        "tag": "The tag's name.",
        "digest": "The digest it points to.",
        "decision": "keep; expire: a policy covers it and nothing keeps it; ignore: not judged.",
        "rule": "The rule, or built-in protection, that decided; null where several did, or none.",
        "reason": "The rule, what it saw, and the source of the time it saw.",
        "created_at": "When the image was built; null when unknown.",
        "pushed_at": "When the tag was put on its digest, as well as is known; null when unknown.",
        "pulled_at": "When it was last pulled; null when unknown.",
        "size": "What a pull transfers, in bytes, all platforms; null when unknown.",
        "expires_at": "When a kept tag would expire by time alone; null when never.",
        "policy": "The policy that decided, or `built-in`; null where none did.",
    },
    "ManifestReport": {
        "digest": "The manifest's digest.",
        "kind": "What it is.",
        "action": (
            "keep; delete: with all its tags; untag: it stays, its expired tags go; skip: a planned step was "
            "cancelled or failed. Unless `outcome` is done or partial, delete and untag are the plan."
        ),
        "reason": "Why.",
        "tags": "All tags on it.",
        "size": "What a pull transfers, in bytes.",
    },
}

#: The model writes these as plain strings.
_ENUMS: Final[Mapping[tuple[str, str], type[StrEnum]]] = {
    ("TagReport", "decision"): Decision,
    ("ManifestReport", "action"): Action,
    ("ManifestReport", "kind"): Kind,
}


def report_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of the JSON report.

    Every member is always written, so every one is required; members that a later version adds are allowed.
    """
    generated = TypeAdapter(RunReport).json_schema(mode="serialization")
    types = {name: _described(name, entry) for name, entry in generated["$defs"].items()}
    report = _described("RunReport", generated)
    properties = {"schema": {"const": SCHEMA, "description": "The version of this contract."}}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Report of a reaper run",
        "description": "What `reaper run --format json` writes.",
        "type": "object",
        "properties": properties | report["properties"],
        "required": [*properties, *report["required"]],
        "$defs": types,
    }


def schema_text() -> str:
    """Return the schema as it is kept in ``docs/schema/report.schema.json``."""
    return json.dumps(report_schema(), indent=2, ensure_ascii=False) + "\n"


def _described(name: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return a type's schema as readers of a report need it: with what each member means."""
    if "properties" not in entry:
        return {key: value for key, value in entry.items() if key != "title"}
    properties = {field: _member(name, field, schema) for field, schema in entry["properties"].items()}
    return {"type": "object", "properties": properties, "required": list(properties)}


def _member(name: str, field: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in schema.items() if key not in ("title", "default")}
    enum = _ENUMS.get((name, field))
    if enum is not None:
        kept["enum"] = [member.value for member in enum]
    for part in (kept, *kept.get("anyOf", ())):
        if part.get("format") == "date-time":
            part["pattern"] = "Z$"
        if part.get("type") == "integer":
            part["minimum"] = 0
    return kept | {"description": DESCRIPTIONS[name][field]}
