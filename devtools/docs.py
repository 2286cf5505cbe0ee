"""Writes the parts of docs/ and helm/ that follow from the code: ``python -m devtools.docs``.

These are the JSON Schemas, the tables of docs/settings.md, docs/metrics.md, and what the chart's files say
twice. Tests compare them with what the installed reaper says now.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from devtools import helm_docs

DOCS: Final = Path(__file__).resolve().parents[1] / "docs"
SETTINGS: Final = DOCS / "settings.md"
METRICS: Final = DOCS / "metrics.md"
#: What `reaper schema` prints, and each one's file.
SCHEMAS: Final = {
    what: DOCS / "schema" / f"{what}.schema.json" for what in ("policy", "settings", "tests", "report")
}
BEGIN: Final = "<!-- The tables are written by `python -m devtools.docs`. -->\n"
END: Final = "<!-- The end of the tables. -->\n"

_PLAIN: Final = {
    "boolean": "true or false",
    "integer": "whole number",
    "number": "number",
    "string": "text",
    "null": "null",
    "object": "mapping",
}


def schema_text(what: str) -> str:
    """Return the JSON Schema of ``what``, as the installed command prints it."""
    reaper = Path(sys.executable).with_name("reaper")
    ended = subprocess.run([reaper, "schema", what], capture_output=True, text=True, check=True)
    return ended.stdout


def metrics_page() -> str:
    """Return docs/metrics.md, as the installed package describes its metrics."""
    command = [sys.executable, "-m", "reaper.observe.metrics_reference"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def settings_page(page: str, schema: Mapping[str, Any]) -> str:
    """Return docs/settings.md, now ``page``, with the tables of ``schema`` in it."""
    before, _, rest = page.partition(BEGIN)
    after = rest.partition(END)[2]
    tables = "\n".join(_tables(schema, schema, ""))
    return f"{before}{BEGIN}\n{tables}\n{END}{after}"


def _tables(schema: Mapping[str, Any], root: Mapping[str, Any], path: str) -> Iterator[str]:
    """Yield a table of the mapping's keys, and then those of the mappings in it."""
    inner: list[tuple[str, Mapping[str, Any]]] = []
    if path:
        yield f"### `{path}`\n"
        yield f"{schema['description']}\n"
    yield "| key | value | default | meaning |"
    yield "| --- | --- | --- | --- |"
    for key, entry in schema["properties"].items():
        mapping, place = _mapping(entry, root), f"{path}.{key}".lstrip(".")
        if mapping is not None:
            inner.append((f"{place}[]" if entry.get("type") == "array" else place, mapping))
        meaning = entry.get("description") or (mapping or {}).get("description", "")
        value = _value(entry)
        if mapping is not None:
            what = "mapping" if "anyOf" in entry else value
            value = value.replace(what, f"[{what}](#{_anchor(inner[-1][0])})")
        cells = (f"`{key}`", value, _default(key, entry, schema), meaning)
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
    yield ""
    for place, mapping in inner:
        yield from _tables(mapping, root, place)


def _mapping(entry: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the mapping that ``entry`` is, may be, or is a list of; None when it is none of these."""
    for way in entry.get("anyOf", ()):
        if "$ref" in way:
            return _mapping(way, root)
    name = entry.get("$ref") or entry.get("items", {}).get("$ref")
    found: Mapping[str, Any] | None = root["$defs"][name.rpartition("/")[2]] if name else None
    return found


def _anchor(title: str) -> str:
    """Return the name that a heading has in links."""
    return re.sub(r"[^a-z0-9_-]", "", title)


def _value(entry: Mapping[str, Any]) -> str:
    """Return what may stand there, in a few words."""
    if "enum" in entry:
        *first, last = [f"`{value}`" for value in entry["enum"]]
        return f"{', '.join(first)} or {last}" if first else last
    if "anyOf" in entry:
        return " or ".join(dict.fromkeys(_value(way) for way in entry["anyOf"]))
    if "$ref" in entry:
        return "mapping"
    if entry["type"] == "array":
        return f"list of {_plural(_value(entry['items']))}"
    if entry["type"] == "string":
        return str(entry.get("title", "secret text" if entry.get("writeOnly") else "text"))
    kinds = entry["type"] if isinstance(entry["type"], list) else [entry["type"]]
    return " or ".join(_PLAIN[kind] for kind in kinds)


def _plural(words: str) -> str:
    first, of, rest = words.partition(" of ")
    return f"{first if first == 'text' or '`' in first else first + 's'}{of}{rest}"


def _default(key: str, entry: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    if key in schema.get("required", ()):
        return "required"
    if entry.get("default") in (None, [], ""):
        return ""
    default = entry["default"]
    return f"`{default if isinstance(default, str) else json.dumps(default)}`"


def main() -> None:
    """Write them."""
    for what, file in SCHEMAS.items():
        file.write_text(schema_text(what), encoding="utf-8")
    schema = json.loads(SCHEMAS["settings"].read_text(encoding="utf-8"))
    page = SETTINGS.read_text(encoding="utf-8")
    SETTINGS.write_text(settings_page(page, schema), encoding="utf-8")
    METRICS.write_text(metrics_page(), encoding="utf-8")
    for file, text in helm_docs.pages(schema_text("settings"), schema_text("policy")).items():
        file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
