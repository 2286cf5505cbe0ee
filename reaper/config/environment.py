"""Settings from ``REAPER_*`` environment variables, and what is nearly one of them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource

from reaper.config.errors import nearest

PREFIX: Final = "REAPER_"
DELIMITER: Final = "__"
#: Names the settings file.
CONFIG: Final = "REAPER_CONFIG"
#: Variables of reaper's that are no settings.
_OTHERS: Final = frozenset({CONFIG, "REAPER_CACHE", "REAPER_REGISTRY_BINARY"})
# Kubernetes makes these for a service that is called reaper.
_SERVICE: Final = re.compile(r"REAPER(_[A-Z0-9]+)*_(SERVICE_(HOST|PORT)(_\w+)?|PORT(_\d+_\w+)?)")
_NEAR: Final = 0.8


def variables(model: type[BaseModel], path: tuple[str, ...] = ()) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the name of the variable for each key of ``model``, and the way to that key."""
    for name, info in model.model_fields.items():
        steps = (*path, name)
        yield PREFIX + DELIMITER.join(steps).upper(), steps
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            yield from variables(info.annotation, steps)


def variable_of(model: type[BaseModel], given: Mapping[str, Any], path: tuple[str | int, ...]) -> str | None:
    """Return the variable that the value at ``path`` came from, or None.

    ``given`` is what the environment gave.
    """
    names = {steps: name for name, steps in variables(model)}
    data: Any = given
    steps: tuple[str, ...] = ()
    for step in path:
        if not isinstance(data, Mapping) or not isinstance(step, str):
            break
        if step not in data:
            return None
        data = data[step]
        steps = (*steps, step)
    present = {name.upper() for name in os.environ}
    while steps:
        name = names.get(steps)
        if name in present:
            return name
        steps = steps[:-1]
    return None


def near_misses(model: type[BaseModel], environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return a warning for each variable whose name is nearly that of a setting."""
    known = {name for name, _ in variables(model)}
    warnings = []
    for name in sorted(environment):
        upper = name.upper()
        if not upper.startswith(PREFIX) or upper in known | _OTHERS or _SERVICE.fullmatch(upper):
            continue
        bare = {option.removeprefix(PREFIX): option for option in known}
        found = nearest(upper.removeprefix(PREFIX), bare, cutoff=_NEAR)
        section = upper.partition(DELIMITER)[0]
        if found:
            hint = f"did you mean {bare[found]}?"
        elif DELIMITER in upper and section in known:
            inner = sorted(option for option in known if option.startswith(section + DELIMITER))
            hint = f"there are {', '.join(inner)}" if inner else f"{section} takes all of it, as JSON"
        else:
            continue
        warnings.append(f"{name} is no setting and has no effect; {hint}")
    return tuple(warnings)


class Environment(EnvSettingsSource):
    """The environment's settings. Other ``REAPER_*`` variables and empty ones are left alone."""

    def __init__(self, settings_cls: type[BaseSettings]) -> None:
        super().__init__(settings_cls, case_sensitive=False)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        known = {name.lower() for name, _ in variables(self.settings_cls)}
        return {name: value for name, value in super()._load_env_vars().items() if name in known and value}

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        """Decode JSON. What is not JSON is left to validation, which says what was expected instead."""
        try:
            return super().decode_complex_value(field_name, field, value)
        except ValueError:
            return value
