"""The parser, on what the real collector prints."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from reaper.collect.base import Tally
from reaper.collect.output import OutputParser
from tests.collect.storage import Storage

# Printed by distribution 3.1.1 with --quiet on a registry that logs at info (the instance's id is left out).
QUIET = b"""\
time="2026-11-24T15:26:42Z" level=info msg="Deleting blob: /docker/registry/v2/blobs/sha256/3c/\
3c45db29c8ef328025296a2b8b1db1afe7229eedd84a62f5290a1f60c47c6ee6" go.version=go1.26.8
time="2026-11-24T15:26:42Z" level=info msg="Deleting layer link path: /docker/registry/v2/repositories/a/b/\
_layers/sha256/3c45db29c8ef328025296a2b8b1db1afe7229eedd84a62f5290a1f60c47c6ee6/link" go.version=go1.26.8
"""
LINKS = b"""\
a/b
a/b: marking manifest sha256:b677e1d12356f07cc5aa588cb70a627bc6ac184dc44d67a207abee5a6b4ced2a\x20

1 blobs marked, 0 blobs and 2 manifests eligible for deletion
a/b: layer link eligible for deletion: sha256:3c45db29c8ef328025296a2b8b1db1afe7229eedd84a62f5290a1f60c47c6ee6
"""


@pytest.fixture
def storage(tmp_path: Path, distribution: Path) -> Storage:
    return Storage(tmp_path, distribution)


def printed(storage: Storage, *flags: str) -> bytes:
    """What the collector prints, both streams as they come."""
    return subprocess.run(
        [*storage.command, *flags], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    ).stdout


@pytest.mark.parametrize("dry_run", [True, False])
@pytest.mark.parametrize("piece", [1, 7, 100_000])
def test_counts_what_the_collector_removes(storage: Storage, dry_run: bool, piece: int) -> None:
    storage.add_image("team/app", [b"layer", b"other layer"])
    sizes = {storage.add_blob(b"x" * size): size for size in (10, 200, 3000)}
    parser = OutputParser(sizes.get)
    output = printed(storage, "--dry-run") if dry_run else printed(storage)
    assert (b"Deleting blob" in output) is not dry_run
    for start in range(0, len(output), piece):
        parser.feed(output[start : start + piece])
    parser.finish()
    assert parser.tally == Tally(repositories=1, marked=4, blobs=3, size=3210, expected=3)
    assert parser.message == ""
    assert not parser.empty_storage


def test_a_size_that_is_not_known_is_said_to_be_unknown(storage: Storage) -> None:
    storage.add_image("team/app", [b"layer"])
    known = storage.add_blob(b"x" * 10)
    storage.add_blob(b"x" * 200)
    parser = OutputParser(lambda digest: 10 if digest == known else None)
    parser.feed(printed(storage, "--dry-run"))
    assert (parser.tally.blobs, parser.tally.size, parser.tally.unsized) == (2, 10, 1)


def test_an_empty_storage_is_recognised(storage: Storage) -> None:
    parser = OutputParser()
    output = printed(storage)
    assert not output.endswith(b"\n"), "2.x ends this message without a line's end"
    parser.feed(output)
    parser.finish()
    assert parser.empty_storage
    assert "Path not found: /docker/registry/v2/repositories" in parser.message


@pytest.mark.parametrize(
    "line",
    [
        b"failed to mark: s3aws: Path not found: /repositories/team/app/_manifests",
        b"error enumerating blobs: s3aws: Path not found: /docker/registry/v2/blobs",
        b"configuration error: open /docker/registry/v2/repositories: no such file or directory",
    ],
)
def test_another_missing_path_is_no_empty_storage(line: bytes) -> None:
    parser = OutputParser()
    parser.feed(line)
    parser.finish()
    assert not parser.empty_storage
    assert parser.message == line.decode()


def test_a_quiet_collector_is_counted_from_its_log() -> None:
    parser = OutputParser(lambda _: 5)
    parser.feed(QUIET)
    assert parser.tally == Tally(blobs=1, size=5, expected=None)
    assert parser.message == ""


def test_layer_links_are_no_blobs() -> None:
    parser = OutputParser()
    parser.feed(LINKS)
    assert parser.tally == Tally(repositories=1, marked=1, manifests=2, expected=0)


def test_memory_stays_bounded_without_line_ends() -> None:
    parser = OutputParser()
    for _ in range(10):
        parser.feed(b"x" * 60_000)
    parser.finish()
    for number in range(1000):
        parser.feed(f"a strange line, number {number}\n".encode())
    assert len(parser.message) < 10_000
    assert parser.message.endswith("number 999")
