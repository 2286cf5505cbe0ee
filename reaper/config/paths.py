"""Paths in settings: ``~`` means the home folder, and what a file says is relative to that file."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final

from reaper.config.fields import TextField
from reaper.config.model import Shorthand
from reaper.core.errors import InvalidInputError

_SQLITE: Final = "sqlite:///"
_REGISTRY_FILES: Final = (
    "password_file",
    "token_file",
    "docker_config",
    "ca_file",
    "client_cert_file",
    "client_key_file",
    "certs_dir",
)
_WEB_FILES: Final = ("token_file", "events_secret_file")
_NOTIFY_FILES: Final = ("url_file",)
_REPOSITORY_FILES: Final = ("file",)
_PRODUCT_FILES: Final = ("password_file", "token_file")
_CLUSTER_FILES: Final = ("kubeconfig",)
_COLLECT_FILES: Final = {
    "docker": ("socket",),
    "kubernetes": _CLUSTER_FILES,
    "webhook": ("token_file",),
}


def _path(text: str) -> Path:
    if not text:
        raise InvalidInputError("an empty path")
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise InvalidInputError("there is no home folder for ~", hint="write the path out") from None


#: A path of a file or folder. Whether it is there turns out when it is used.
FilePath = Annotated[Path, TextField(_path, "a path", Path)]


def _as_paths(value: Any) -> Any:
    """Return the list that a single path, or the environment's ``A:B``, stands for."""
    return [part for part in value.split(os.pathsep) if part] if isinstance(value, str) else value


#: Paths; a single one may stand for the list of it.
FilePaths = Annotated[list[FilePath], Shorthand(_as_paths, (), "a list of paths", list, "items")]


def anchored(data: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return the settings ``data`` of a file in ``folder``, with its relative paths made absolute.

    Whatever is not as settings should be is left as it is, for validation to find.
    """
    found = dict(data)
    _change(found, "policies", lambda value: _anchor_all(value, folder))
    _change(found, "store", lambda store: _anchored_store(store, folder))
    _change(found, "web", lambda web: _anchored_keys(web, folder, _WEB_FILES))
    _change(found, "leader_election", lambda election: _anchored_keys(election, folder, _CLUSTER_FILES))
    _change(
        found, "notify", lambda notify: _each(notify, lambda one: _anchored_keys(one, folder, _NOTIFY_FILES))
    )
    _change(found, "in_use", lambda in_use: _anchored_in_use(in_use, folder))
    _change(found, "registries", lambda all_: _each(all_, lambda one: _anchored_registry(one, folder)))
    return found


def _each(values: Any, change: Callable[[Any], Any]) -> Any:
    return [change(value) for value in values] if isinstance(values, list) else values


def _anchored_registry(registry: Any, folder: Path) -> Any:
    found = _anchored_keys(registry, folder, _REGISTRY_FILES)
    if isinstance(found, dict):
        _change(found, "policies", lambda value: _anchor_all(value, folder))
        _change(found, "collect", lambda collect: _anchored_collect(collect, folder))
        _change(found, "repositories", lambda one: _anchored_keys(one, folder, _REPOSITORY_FILES))
        _change(found, "product", lambda one: _anchored_keys(one, folder, _PRODUCT_FILES))
    return found


def _anchored_collect(collect: Any, folder: Path) -> Any:
    if not isinstance(collect, Mapping):
        return collect
    found = dict(collect)
    for section, keys in _COLLECT_FILES.items():
        _change(found, section, partial(_anchored_keys, folder=folder, keys=keys))
    return found


def _anchored_in_use(in_use: Any, folder: Path) -> Any:
    if not isinstance(in_use, Mapping):
        return in_use
    found = dict(in_use)
    _change(found, "files", lambda value: _anchor_all(value, folder))
    _change(
        found, "clusters", lambda all_: _each(all_, lambda one: _anchored_keys(one, folder, _CLUSTER_FILES))
    )
    return found


def _anchored_keys(data: Any, folder: Path, keys: tuple[str, ...]) -> Any:
    if not isinstance(data, Mapping):
        return data
    found = dict(data)
    for key in keys:
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
