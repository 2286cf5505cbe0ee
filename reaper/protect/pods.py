"""Where an object of Kubernetes names images. Source: the API reference of Kubernetes 1.36, core/v1.

Objects are plain JSON, so that a field of a newer Kubernetes is no error. What does not have the shape that
the API promises is one: nothing may be concluded from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from reaper.core.errors import InvalidInputError
from reaper.core.fieldpath import FieldPath, parse_field_path

_CONTAINERS: Final = ("containers", "initContainers", "ephemeralContainers")
_STATUSES: Final = ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses")

#: Where a pod's spec stands in each kind that has one.
POD: Final = (parse_field_path("spec"),)
WORKLOAD: Final = (parse_field_path("spec.template.spec"),)
CRON_JOB: Final = (parse_field_path("spec.jobTemplate.spec.template.spec"),)
POD_TEMPLATE: Final = (parse_field_path("template.spec"),)
_REVISION: Final = parse_field_path("data.spec.template.spec")
#: Whose revisions hold a template. Others put into ``data`` what they like.
_REVISED: Final = frozenset({"StatefulSet", "DaemonSet"})


def images_at(paths: Iterable[FieldPath], document: Mapping[str, Any]) -> Iterator[str]:
    """Yield the images at ``paths``, each of which leads to images, or to specs of pods.

    Raises:
        InvalidInputError: something else is there.
    """
    for path in paths:
        for value in path.values(document):
            if isinstance(value, str):
                if value:
                    yield value
            elif isinstance(value, dict):
                yield from _images_of_spec(value, str(path))
            else:
                hint = f"write {path}[*]" if isinstance(value, list) else None
                raise InvalidInputError(f"{path} is neither an image nor a pod's spec", hint=hint)


def images_in_status(pod: Mapping[str, Any]) -> Iterator[str]:
    """Yield the images that a pod runs: as its containers' statuses name them, and their digests.

    Raises:
        InvalidInputError: the status is not as the API promises.
    """
    status = _mapping(pod.get("status"), "status")
    for field in _STATUSES:
        for container in _items(status, field, "status"):
            yield from _text(container, "image", field)
            yield from _text(container, "imageID", field)
            for mount in _items(container, "volumeMounts", field):
                volume = _mapping(mount.get("volumeStatus"), f"{field}.volumeMounts.volumeStatus")
                image = _mapping(volume.get("image"), f"{field}.volumeMounts.volumeStatus.image")
                yield from _text(image, "imageRef", field)


def images_in_revision(revision: Mapping[str, Any]) -> Iterator[str]:
    """Yield the images of a ControllerRevision: what its owner goes back to at a rollback.

    Raises:
        InvalidInputError: it is a StatefulSet's or a DaemonSet's, and not as the API promises.
    """
    owners = _items(_mapping(revision.get("metadata"), "metadata"), "ownerReferences", "metadata")
    if any(owner.get("kind") in _REVISED for owner in owners):
        yield from images_at([_REVISION], revision)
        return
    try:
        specs = list(_REVISION.values(revision))
    except InvalidInputError:
        return
    for spec in specs:
        if isinstance(spec, dict) and any(field in spec for field in _CONTAINERS):
            yield from _images_of_spec(spec, str(_REVISION))


def _images_of_spec(spec: Mapping[str, Any], where: str) -> Iterator[str]:
    if spec and not any(field in spec for field in _CONTAINERS):
        raise InvalidInputError(f"{where} is neither an image nor a pod's spec: it has no containers")
    for field in _CONTAINERS:
        for container in _items(spec, field, where):
            yield from _text(container, "image", f"{where}.{field}")
    for volume in _items(spec, "volumes", where):
        yield from _text(_mapping(volume.get("image"), f"{where}.volumes.image"), "reference", where)


def _items(parent: Mapping[str, Any], field: str, where: str) -> Iterator[Mapping[str, Any]]:
    values = parent.get(field)
    if values is None:
        return
    if not isinstance(values, list):
        raise InvalidInputError(f"{where}.{field} is not a list")
    for value in values:
        yield _mapping(value, f"{where}.{field}")


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidInputError(f"{where} is not a mapping")
    return value


def _text(parent: Mapping[str, Any], field: str, where: str) -> Iterator[str]:
    value = parent.get(field)
    if value is None or value == "":
        return
    if not isinstance(value, str):
        raise InvalidInputError(f"{field} in {where} is not a text")
    yield value
