"""The JSON Schema of policy files, for editors and for checks without reaper."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from reaper.config.policies import PolicyFile


class _Generator(GenerateJsonSchema):
    """An optional key may be left out, but only where it says so may it be null."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        """Return the schema of what is not null."""
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        """Leave out the default null, which means nothing but "left out"."""
        found = super().default_schema(schema)
        if found.get("default", 0) is None:
            del found["default"]
        return found


def policy_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a policy file, shorthand forms included.

    It says what a mapping may look like. What takes more than that (the syntax of patterns, names of time
    zones, uniqueness of names, the groups of a regex) only `reaper.config.policies.load_policies` checks.
    """
    schema = PolicyFile.model_json_schema(schema_generator=_Generator)
    definitions = schema["$defs"]
    for key in ("max_deletions", "max_share"):
        limit = definitions["GuardModel"]["properties"][key]
        limit["type"] = [limit["type"], "null"]
    return {"$schema": GenerateJsonSchema.schema_dialect, **schema}
