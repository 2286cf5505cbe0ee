"""Pushers that come between, whatever reaper does, and the proof that nothing of theirs is lost."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from devtools.images import Image
from devtools.pusher import Pusher
from devtools.registry import RegistryServer

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(_HERE):
            item.add_marker(pytest.mark.integration)


@pytest.fixture(scope="package")
def shared_registry(distribution: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    """A distribution 2.8 with its descriptor cache; each test has repositories of its own in it."""
    root = tmp_path_factory.mktemp("registry")
    with RegistryServer(distribution, root) as server:
        yield server
    shutil.rmtree(root / "storage", ignore_errors=True)


def steps_of(pusher: Pusher, repository: str, image: Image, tag: str | None) -> list[Callable[[], object]]:
    """Return what a push consists of, in its order: a call for each blob and manifest, the tag's the last."""
    steps: list[Callable[[], object]] = []
    for child in image.children:
        steps += steps_of(pusher, repository, child, None)
    steps += [partial(pusher.push_blob, repository, blob) for blob in image.blobs]
    references = [image.digest] if tag is None else [image.digest, tag]
    for reference in references:
        steps.append(partial(pusher.push_manifest, repository, reference, image.body, image.media_type))
    return steps
