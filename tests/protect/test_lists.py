"""Files and commands that name images."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

from reaper.lines import MAX_BYTES
from reaper.protect.images import Gathering
from reaper.protect.lists import CommandSource, FileSource
from reaper.protect.source import Source, SourceError

LIST = """\
# what production may go back to
registry.example.com/team/app:v1
registry.example.com/team/app:v2   # until the migration

\tnginx
not an image#1
"""


def gather(source: Source) -> Gathering:
    return asyncio.run(source.gather())


def script(folder: Path, text: str) -> str:
    path = folder / "images"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def names(gathering: Gathering) -> dict[str, str]:
    return {str(image): users.first for image, users in gathering.images.items()}


def test_a_file_names_an_image_a_line(tmp_path: Path) -> None:
    path = tmp_path / "images.txt"
    path.write_text(LIST)
    found = gather(FileSource(path))
    assert names(found) == {
        "registry.example.com/team/app:v1": f"file {path}, line 2",
        "registry.example.com/team/app:v2": f"file {path}, line 3",
        "docker.io/library/nginx:latest": f"file {path}, line 5",
    }
    assert found.unreadable == 1
    assert found.examples == [f"'not an image#1' (file {path}, line 6)"]


def test_line_ends_and_marks_of_other_systems_are_no_obstacle(tmp_path: Path) -> None:
    path = tmp_path / "images.txt"
    path.write_bytes(b"\xef\xbb\xbfnginx:1\r\nnginx:2\r\n")
    assert names(gather(FileSource(path))).keys() == {
        "docker.io/library/nginx:1",
        "docker.io/library/nginx:2",
    }


def test_an_empty_file_names_nothing(tmp_path: Path) -> None:
    path = tmp_path / "images.txt"
    path.touch()
    assert names(gather(FileSource(path))) == {}


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"file .*/none cannot be read: No such file"):
        gather(FileSource(tmp_path / "none"))
    with pytest.raises(SourceError, match="cannot be read: Is a directory"):
        gather(FileSource(tmp_path))
    path = tmp_path / "binary"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SourceError, match="is not text in UTF-8"):
        gather(FileSource(path))


def test_a_file_without_end_is_an_error() -> None:
    with pytest.raises(SourceError, match=f"has more than {MAX_BYTES} bytes"):
        gather(FileSource(Path("/dev/zero")))


def test_a_command_prints_images_and_may_complain_besides(tmp_path: Path) -> None:
    command = script(tmp_path, "echo nginx:$1; echo a warning of its own >&2; echo '# done'")
    assert names(gather(CommandSource([command, "1.27"], limit=10))) == {
        "docker.io/library/nginx:1.27": f"command {command}, line 1"
    }


def test_a_command_that_fails_is_an_error_without_its_arguments(tmp_path: Path) -> None:
    command = script(tmp_path, "echo nginx; echo no login >&2; exit 3")
    with pytest.raises(SourceError, match="ended with exit code 3: no login") as caught:
        gather(CommandSource([command, "--token", "hunter2"], limit=10))
    assert "hunter2" not in caught.value.message
    with pytest.raises(SourceError, match="ended with signal 9"):
        gather(CommandSource([script(tmp_path, "echo nginx; kill -9 $$")], limit=10))
    with pytest.raises(SourceError, match="could not be started: No such file"):
        gather(CommandSource([str(tmp_path / "none")], limit=10))


def test_a_command_that_takes_too_long_is_ended_with_all_its_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reaper.process.TERMINATION_GRACE", 0.2)
    child = tmp_path / "child"
    command = script(tmp_path, f"echo nginx; (trap '' TERM; sleep 60) & echo $! > {child}; wait")
    with pytest.raises(SourceError, match="took longer than 1 seconds and was ended"):
        gather(CommandSource([command], limit=1))
    until_gone(int(child.read_text()))


def test_a_command_without_end_of_output_is_ended() -> None:
    with pytest.raises(SourceError, match=f"printed more than {MAX_BYTES} bytes and was ended"):
        gather(CommandSource(["sh", "-c", "exec cat /dev/zero"], limit=30, name="endless"))


def test_output_that_may_still_grow_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reaper.process._DRAIN", 0.2)
    child = tmp_path / "child"
    command = script(tmp_path, f"echo nginx; sleep 60 & echo $! > {child}")
    try:
        with pytest.raises(SourceError, match="something that it started holds its output open"):
            gather(CommandSource([command], limit=10))
    finally:
        os.kill(int(child.read_text()), 9)


def until_gone(pid: int) -> None:
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists():
        # A zombie has ended, and waits only for somebody to ask how.
        if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            return
        assert time.monotonic() < deadline, f"process {pid} lives on"
        time.sleep(0.02)
