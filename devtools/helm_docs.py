"""``python -m devtools.helm_docs``: bring up to date what the chart's files say twice.

The table in the chart's README is made of the comments in ``values.yaml`` (``# -- text`` before a key). The
part of ``values.schema.json`` that describes settings and policies is reaper's own schema.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
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


def readme() -> str:
    """Return the README with its table made anew."""
    text = (CHART / "README.md").read_text()
    head, _, rest = text.partition(_BEGIN)
    return head + _BEGIN + "".join(_rows()) + _END + rest.partition(_END)[2]


def schema() -> str:
    """Return ``values.schema.json`` with reaper's own schemas in it."""
    found = json.loads((CHART / "values.schema.json").read_text())
    settings, policy = _reaper_schema("settings"), _reaper_schema("policy")
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


def _reaper_schema(what: str) -> dict[str, Any]:
    reaper = Path(sys.executable).with_name("reaper")
    answer = subprocess.run([str(reaper), "schema", what], capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(answer.stdout)
    del found["$schema"]
    return found


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


def main() -> int:
    """Write both files."""
    for name, text in (("README.md", readme()), ("values.schema.json", schema())):
        (CHART / name).write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
