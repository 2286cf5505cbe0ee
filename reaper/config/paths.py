"""Paths in settings: ``~`` means the home folder, and what a file says is relative to that file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final

from reaper.config.fields import TextField
from reaper.core.errors import InvalidInputError

_SQLITE: Final = "sqlite:///"


def _path(text: str) -> Path:
    if not text:
        raise InvalidInputError("an empty path")
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise InvalidInputError("there is no home folder for ~", hint="write the path out") from None


#: A path of a file or folder. Whether it is there turns out when it is used.
FilePath = Annotated[Path, TextField(_path, "a path", Path)]


def anchored(data: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return the settings ``data`` of a file in ``folder``, with its relative paths made absolute.

    Whatever is not as settings should be is left as it is, for validation to find.
    """
    found = dict(data)
    _change(found, "policies", lambda value: _anchor_all(value, folder))
    _change(found, "store", lambda store: _anchored_store(store, folder))
    registries = found.get("registries")
    if isinstance(registries, list):
        found["registries"] = [_anchored_registry(registry, folder) for registry in registries]
    return found


def _anchored_registry(registry: Any, folder: Path) -> Any:
    if not isinstance(registry, Mapping):
        return registry
    found = dict(registry)
    for key in ("password_file", "token_file", "docker_config", "ca_file"):
        _change(found, key, lambda value: _anchor(value, folder))
    return found


def _anchored_store(store: Any, folder: Path) -> Any:
    url = store.get("url") if isinstance(store, Mapping) else None
    if not isinstance(url, str) or not url.startswith(_SQLITE) or url in (_SQLITE, f"{_SQLITE}:memory:"):
        return store
    return {**store, "url": _SQLITE + _anchor(url.removeprefix(_SQLITE), folder)}


def _change(data: dict[str, Any], key: str, change: Callable[[Any], Any]) -> None:
    if key in data:
        data[key] = change(data[key])


def _anchor_all(value: Any, folder: Path) -> Any:
    items = value if isinstance(value, list) else [value] if isinstance(value, str) else None
    return value if items is None else [_anchor(item, folder) for item in items]


def _anchor(value: Any, folder: Path) -> Any:
    if not isinstance(value, str) or not value or value.startswith("~"):
        return value
    return str(folder / value)
