"""The JSON Schemas of policy files and of settings, for editors and for checks without reaper."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from reaper.core.duration import format_duration


class _Generator(GenerateJsonSchema):
    """An optional key may be left out, but only where its model says so may it be null."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        """Return the schema of what is not null."""
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        """Leave out a default that says nothing: null (left out), and a mapping whose keys have their own."""
        default = schema.get("default")
        if default is None or isinstance(default, BaseModel):
            return self.generate_inner(schema["schema"])
        return super().default_schema(schema)

    def encode_default(self, dft: Any) -> Any:
        """Write a default as a file would."""
        if isinstance(dft, timedelta):
            return format_duration(dft)
        return str(dft) if isinstance(dft, ZoneInfo) else super().encode_default(dft)

    def field_title_should_be_set(self, schema: Any) -> bool:
        """Leave out titles that only repeat the key."""
        del schema
        return False


def policy_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a policy file, shorthand forms included.

    It says what a mapping may look like. What takes more than that (the syntax of patterns, names of time
    zones, uniqueness of names, the groups of a regex) only `reaper.config.policies.load_policies` checks.
    """
    from reaper.config.policies import PolicyFile

    return _schema(PolicyFile)


def settings_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a settings file; `reaper.config.settings` checks more than it."""
    from reaper.config.settings import Settings

    return _schema(Settings)


def policy_tests_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a file of policy tests."""
    from reaper.config.policy_tests import PolicyTestFile

    return _schema(PolicyTestFile)


def _schema(model: type[BaseModel]) -> dict[str, Any]:
    schema = model.model_json_schema(schema_generator=_Generator)
    return {"$schema": GenerateJsonSchema.schema_dialect, **schema}
