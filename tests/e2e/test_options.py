"""Options before and after the command's name, mistakes in them, and where the report goes."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.e2e.conftest import REAPER, Site, run_installed, run_reaper

RULES = "[{keep: {newest: 1}}]"


@pytest.fixture
def two_builds(site: Site) -> Site:
    """A site with one image to delete."""
    site.push("app", "old", age=50)
    site.push("app", "new", age=10)
    site.rules(RULES)
    return site


def test_dry_run_before_the_command_holds(two_builds: Site) -> None:
    seen = len(two_builds.server.access_log())
    assert two_builds.json("--dry-run", "run")["dry_run"] is True
    assert two_builds.reaper("--dry-run", "--exit-code", "run").code == 10
    assert two_builds.reaper("--dry-run", "gc").code == 0
    assert {access.method for access in two_builds.server.access_log()[seen:]} <= {"GET", "HEAD"}
    assert set(two_builds.pusher.tags("app")) == {"old", "new"}


@pytest.mark.parametrize("command", [["restore", "app"], ["ls"], ["version"]])
def test_dry_run_is_never_ignored(command: list[str]) -> None:
    ended = run_reaper("--dry-run", *command)
    assert ended.code == 2
    assert f"reaper: --dry-run says nothing to `{command[0]}`" in ended.err


def test_options_may_stand_before_or_after_the_command(two_builds: Site) -> None:
    assert two_builds.reaper("--format", "json", "ls").rows == two_builds.reaper("ls", "-f", "json").rows
    assert two_builds.reaper("-f", "csv", "ls", "-f", "json").rows  # the later one holds


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["frobnicate"], "no such command 'frobnicate'"),
        (["--dryrun"], "no such option: --dryrun"),
        (["run", "extra"], "(extra)"),
        (["explain"], "REPOSITORY"),
        (["ls", "--format", "xml"], "'xml'"),
        (["runs", "--limit", "0"], "--limit"),
    ],
)
def test_a_mistake_in_the_options_is_one_line_and_a_hint(arguments: list[str], says: str) -> None:
    ended = run_reaper(*arguments)
    assert (ended.code, ended.out) == (2, "")
    line, hint = ended.err.splitlines()
    assert line.startswith("reaper: ")
    assert says in line
    assert "--help` lists the options" in hint


@pytest.mark.parametrize("output", [".", "missing/report.json"])
def test_an_output_that_cannot_be_written_is_refused_before_anything_happens(
    output: str, two_builds: Site
) -> None:
    ended = two_builds.reaper("run", "--output", str(two_builds.folder / output))
    assert ended.code == 2
    assert ended.err.startswith(f"reaper: cannot write {two_builds.folder / output}")
    assert set(two_builds.pusher.tags("app")) == {"old", "new"}


def test_the_report_goes_to_the_output_alone(two_builds: Site) -> None:
    shown = two_builds.reaper("--dry-run", "--format", "csv")
    file = two_builds.folder / "report.csv"
    ended = two_builds.reaper("--dry-run", "--format", "csv", "--output", str(file))
    assert (ended.code, ended.out, ended.err) == (0, "", "")
    assert file.read_bytes().decode().splitlines()[0] == shown.out.splitlines()[0]


def test_a_full_disk_behind_the_output_is_one_line(two_builds: Site) -> None:
    ended = two_builds.reaper("--dry-run", "--output", "/dev/full")
    assert ended.code == 1
    assert ended.err == "reaper: cannot write /dev/full: No space left on device\n"


def shell(line: str) -> subprocess.CompletedProcess[str]:
    """Run ``line``, in which ``reaper`` is the installed command."""
    return subprocess.run(
        ["bash", "-c", f'reaper() {{ {REAPER} "$@"; }}; {line}'],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ,
        timeout=60,
    )


@pytest.mark.parametrize("command", ["--version", "version", "--help", "schema", "runs", "runs -f json"])
def test_a_full_disk_behind_standard_output_is_one_line(command: str, home: Path) -> None:
    ended = shell(f"REAPER_STORE__URL=sqlite:///{home}/reaper.db reaper {command} > /dev/full")
    assert (ended.returncode, ended.stderr) == (
        1,
        "reaper: cannot write standard output: No space left on device\n",
    )


def test_a_reader_that_has_seen_enough_is_no_error_to_talk_about() -> None:
    ended = shell("reaper schema | head -n 1; echo ${PIPESTATUS[0]}")
    assert ended.stdout.splitlines()[0] == "{"
    assert ended.stderr == ""


@pytest.mark.parametrize(
    ("closed", "code", "out", "err"),
    [
        ("<&-", 0, "runs", ""),
        ("2>&-", 0, "runs", ""),
        (">&-", 1, "", "reaper: cannot write standard output: Bad file descriptor\n"),
        (">&- 2>&- <&-", 1, "", ""),
    ],
)
def test_streams_that_are_closed(closed: str, code: int, out: str, err: str, home: Path) -> None:
    ended = shell(f"REAPER_STORE__URL=sqlite:///{home}/reaper.db reaper runs {closed}")
    assert (ended.returncode, ended.stdout.partition("\n")[0], ended.stderr) == (code, out, err)


def test_what_the_terminals_encoding_lacks_is_spelled_out(two_builds: Site) -> None:
    two_builds.rules("[{name: 'größte ✓', keep: {newest: 1}}]")
    settings = str(two_builds.write_settings())
    for arguments in (("--dry-run",), ("--dry-run", "--format", "csv"), ("explain", "app")):
        ended = run_installed("--config", settings, *arguments, env={"PYTHONIOENCODING": "ascii"})
        assert ended.code == 0, ended.err
        assert r"gr\xf6\xdfte \u2713" in ended.out
