"""What the API server behind the tests does not show: fields of features that are off, and broken shapes."""

from __future__ import annotations

from typing import Any

import pytest

from reaper.core.errors import InvalidInputError
from reaper.protect.pods import POD, WORKLOAD, images_at, images_in_revision, images_in_status


def test_an_image_volume_that_is_mounted_shows_its_digest() -> None:
    mounts = [{"name": "v", "volumeStatus": {"image": {"imageRef": "r/v@sha256:x"}}}, {"name": "w"}]
    status = {"containerStatuses": [{"name": "c", "image": "", "imageID": "", "volumeMounts": mounts}]}
    assert list(images_in_status({"status": status})) == ["r/v@sha256:x"]


def test_ephemeral_containers_have_statuses_of_their_own() -> None:
    status = {"ephemeralContainerStatuses": [{"image": "debug", "imageID": "sha256:y"}]}
    assert list(images_in_status({"status": status})) == ["debug", "sha256:y"]


@pytest.mark.parametrize(
    "pod", [{}, {"status": None}, {"status": {}}, {"status": {"containerStatuses": None}}]
)
def test_a_pod_that_has_not_begun_has_no_status(pod: dict[str, Any]) -> None:
    assert list(images_in_status(pod)) == []


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"spec": None},
        {"spec": {}},
        {"spec": {"containers": None}},
        {"spec": {"containers": [{"name": "a"}]}},
    ],
)
def test_what_is_absent_names_nothing(document: dict[str, Any]) -> None:
    assert list(images_at(POD, document)) == []


@pytest.mark.parametrize(
    "document",
    [
        {"spec": {"containers": {}}},
        {"spec": {"containers": ["nginx"]}},
        {"spec": {"containers": [{"image": 7}]}},
        {"spec": {"containers": [], "volumes": [{"image": "nginx"}]}},
        {"spec": {"containers": [], "volumes": [{"image": {"reference": ["nginx"]}}]}},
        {"spec": 7},
        {"spec": ["nginx"]},
        {"spec": {"image": "nginx"}},
    ],
)
def test_what_is_not_as_the_api_promises_is_an_error(document: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        list(images_at(POD, document))


def test_a_status_that_is_not_as_the_api_promises_is_an_error() -> None:
    broken: list[Any] = ["running", {"containerStatuses": {}}, {"containerStatuses": [{"image": 1}]}]
    for status in broken:
        with pytest.raises(InvalidInputError):
            list(images_in_status({"status": status}))


def test_something_else_on_the_way_is_an_error() -> None:
    with pytest.raises(InvalidInputError, match=r"spec\.template is not a mapping"):
        list(images_at(WORKLOAD, {"spec": {"template": "x"}}))


def revision(owner: str, spec: Any) -> dict[str, Any]:
    references = [{"kind": owner, "name": "x"}]
    return {"metadata": {"ownerReferences": references}, "data": {"spec": {"template": {"spec": spec}}}}


def test_a_revision_of_something_else_may_hold_anything() -> None:
    disk = {"domain": {"devices": {}}, "volumes": [{"containerDisk": {"image": "r/disk:1"}}]}
    assert list(images_in_revision(revision("VirtualMachine", disk))) == []
    assert list(images_in_revision(revision("CloneSet", {"containers": [{"image": "r/app:1"}]}))) == [
        "r/app:1"
    ]
    assert list(images_in_revision({"metadata": {}, "data": {"spec": "text"}})) == []
    assert list(images_in_revision({"metadata": {}})) == []


def test_a_revision_of_a_set_holds_its_template() -> None:
    assert list(images_in_revision(revision("DaemonSet", {"containers": [{"image": "r/app:1"}]}))) == [
        "r/app:1"
    ]
    with pytest.raises(InvalidInputError, match="no containers"):
        list(images_in_revision(revision("StatefulSet", {"domain": {}})))
