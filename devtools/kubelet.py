"""What a kubelet gives a container: the files of its volumes, and its environment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

#: A mapping of objects: what each ConfigMap or Secret holds, by its kind and name.
Contents = Mapping[tuple[str, str], Mapping[str, str]]

#: Where a pod finds who it is.
TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount"

_VERSION = "..2026_01_02_03_04_05.678901234"


def contents_of(objects: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], Mapping[str, str]]:
    """Return what the ConfigMaps among the objects hold."""
    return {
        ("ConfigMap", found["metadata"]["name"]): found.get("data", {})
        for found in objects
        if found["kind"] == "ConfigMap"
    }


def mount(pod: Mapping[str, Any], container: Mapping[str, Any], contents: Contents, root: Path) -> None:
    """Make the files of the container's volumes below ``root``, each at the place where it is mounted.

    They are linked as a kubelet links them (``file`` to ``..data/file``, ``..data`` to a folder). An emptyDir
    and a claim are empty folders. ``pod`` is a pod's spec. Raises KeyError for what is missing.
    """
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    for place in container["volumeMounts"]:
        folder = root / place["mountPath"].lstrip("/")
        folder.mkdir(parents=True, exist_ok=True)
        files = dict(_files(volumes[place["name"]], contents))
        for path, text in files.items():
            file = folder / _VERSION / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        if files:
            (folder / "..data").symlink_to(_VERSION)
        for name in {path.partition("/")[0] for path in files}:
            (folder / name).symlink_to(f"..data/{name}")


def mount_token(token: str, authority: str, namespace: str, root: Path) -> None:
    """Make the files that a pod's service account is known by, at `TOKEN` below ``root``."""
    folder = root / TOKEN.lstrip("/")
    folder.mkdir(parents=True)
    for name, text in (("token", token), ("ca.crt", authority), ("namespace", namespace)):
        (folder / name).write_text(text)


def environment(container: Mapping[str, Any], contents: Contents) -> dict[str, str]:
    """Return the container's own variables. Raises KeyError for a reference to what is missing."""
    found: dict[str, str] = {}
    for source in container.get("envFrom", ()):
        reference = source["configMapRef"]
        held = contents.get(("ConfigMap", reference["name"]))
        if held is None and not reference.get("optional"):
            raise KeyError(reference["name"])
        found |= held or {}
    for variable in container.get("env", ()):
        if "value" in variable:
            found[variable["name"]] = variable["value"]
        else:
            reference = variable["valueFrom"]["secretKeyRef"]
            found[variable["name"]] = contents["Secret", reference["name"]][reference["key"]]
    return found


def _files(volume: Mapping[str, Any], contents: Contents) -> Iterator[tuple[str, str]]:
    """Yield the path and the text of each file in the volume."""
    for source in volume["projected"]["sources"] if "projected" in volume else (volume,):
        for field, kind, name in (("configMap", "ConfigMap", "name"), ("secret", "Secret", "secretName")):
            if field in source:
                reference = source[field]
                held = contents[kind, reference.get("name") or reference[name]]
                everything = [{"key": key, "path": key} for key in held]
                for item in reference.get("items", everything):
                    yield item["path"], held[item["key"]]
