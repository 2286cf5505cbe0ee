"""What the chart's files say twice; ``python -m devtools.docs`` brings it up to date.

The table in the chart's README is made of the comments in ``values.yaml`` (``# -- text`` before a key). The
part of ``values.schema.json`` that describes settings and policies is reaper's own schema.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

#: The chart.
CHART = Path(__file__).resolve().parent.parent / "helm" / "reaper"

_KEY = re.compile(r"( *)([A-Za-z_][\w-]*):")
_BEGIN, _END = "<!-- values -->\n", "<!-- /values -->\n"
_LONG = 60


def documented(text: str) -> dict[tuple[str, ...], str]:
    """Return what the comments of ``values.yaml`` say, by the path of the key below them."""
    found: dict[tuple[str, ...], str] = {}
    path: list[str] = []
    words: list[str] = []
    for line in text.splitlines():
        comment = line.strip()
        if comment.startswith("# -- "):
            words = [comment.removeprefix("# -- ")]
        elif comment.startswith("# ") and words:
            words.append(comment.removeprefix("# "))
        else:
            if key := _KEY.match(line):
                path[len(key[1]) // 2 :] = [key[2]]
                if words:
                    found[tuple(path)] = " ".join(words)
            words = []
    return found


def leaves(values: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the path of everything that is not a mapping with keys of its own."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key)


def read_values() -> dict[str, Any]:
    """Return the chart's defaults."""
    values: dict[str, Any] = YAML(typ="safe", pure=True).load(CHART / "values.yaml")
    return values


def pages(settings_schema: str, policy_schema: str) -> dict[Path, str]:
    """Return what the files should hold, by their paths. The schemas are reaper's own, as it prints them."""
    return {
        CHART / "README.md": readme(),
        CHART / "values.schema.json": schema(settings_schema, policy_schema),
    }


def readme() -> str:
    """Return the README with its table made anew."""
    text = (CHART / "README.md").read_text()
    head, _, rest = text.partition(_BEGIN)
    return head + _BEGIN + "".join(_rows()) + _END + rest.partition(_END)[2]


def schema(settings_schema: str, policy_schema: str) -> str:
    """Return ``values.schema.json`` with reaper's own schemas in it, which are given."""
    found = json.loads((CHART / "values.schema.json").read_text())
    settings, policy = json.loads(settings_schema), json.loads(policy_schema)
    del settings["$schema"], policy["$schema"]
    reference = {
        "type": "object",
        "additionalProperties": False,
        "properties": {"name": {"type": "string", "minLength": 1}, "key": {"type": "string", "minLength": 1}},
    }
    definitions = {
        "SecretReference": {**reference, "required": ["name"]},
        # Empty unless it is given.
        "OptionalReference": {**reference, "dependencies": {"key": ["name"]}},
        **settings.pop("$defs"),
        **policy.pop("$defs"),
        "Settings": settings,
        "PolicyFile": policy,
    }
    # Helm reads YAML 1.1, where on and off without quotes are truth values; the chart gives their names back.
    read_only = definitions["ReadOnlySettings"]
    read_only["properties"] |= {
        "true": read_only["properties"]["on"], "false": read_only["properties"]["off"],
    }  # fmt: skip
    del read_only["required"]
    notify = definitions["NotifySettings"]
    notify["properties"]["true"] = notify["properties"]["on"]
    return json.dumps({**found, "$defs": definitions}, indent=2, ensure_ascii=False) + "\n"


def _rows() -> Iterator[str]:
    yield "| value | default | |\n| --- | --- | --- |\n"
    said, values = documented((CHART / "values.yaml").read_text()), read_values()
    for path, text in said.items():
        value: Any = values
        for key in path:
            value = value[key]
        inner = any(other[: len(path)] == path for other in said if other != path)
        default = json.dumps(value, ensure_ascii=False)
        shown = "" if inner else f"`{default}`" if len(default) <= _LONG else "see values.yaml"
        yield f"| `{'.'.join(path)}` | {shown} | {text.replace('|', '&#124;')} |\n"
