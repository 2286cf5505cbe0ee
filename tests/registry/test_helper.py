"""Credential helpers: real programs, as shell scripts."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from reaper.registry import Credentials, LoginError
from reaper.registry.helper import Helpers, is_helper
from tests.registry.programs import answer, answer_login, write_helper

SECRET = "hunter2-in-the-clear"
FILE = Path("/somewhere/config.json")
NOT_FOUND = "credentials not found in native keychain"

MakeHelper = Callable[[str, str], Path]


@pytest.fixture
def make_helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeHelper:
    """Put ``docker-credential-NAME`` with the given shell script on PATH."""
    folder = tmp_path / "helpers"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)

    def make(name: str, script: str) -> Path:
        return write_helper(folder, name, script)

    return make


def ask(
    name: str = "test",
    server: str = "reg.example:5000",
    *,
    limit: float = 30.0,
    helpers: Helpers | None = None,
) -> Credentials | None:
    return asyncio.run((helpers or Helpers(limit)).ask(name, server, FILE))


def test_the_server_is_on_standard_input_and_get_the_only_argument(
    make_helper: MakeHelper, tmp_path: Path
) -> None:
    script = f'echo "$*" > {tmp_path}/arguments; cat > {tmp_path}/input; '
    make_helper("test", script + answer({"Username": "me", "Secret": SECRET}))
    found = ask()
    assert found is not None
    assert (found.username, found.password, found.identity_token) == ("me", SECRET, None)
    assert str(found) == f"user me from docker-credential-test, which {FILE} names"
    assert (tmp_path / "arguments").read_text() == "get\n"
    assert (tmp_path / "input").read_text() == "reg.example:5000"


def test_a_token_instead_of_a_user(make_helper: MakeHelper) -> None:
    make_helper("test", answer({"ServerURL": "x", "Username": "<token>", "Secret": SECRET}))
    found = ask()
    assert found is not None
    assert (found.username, found.password, found.identity_token) == (None, None, SECRET)


@pytest.mark.parametrize(
    "script",
    [
        f"echo {NOT_FOUND}; exit 1",
        f"echo 'Error: {NOT_FOUND}' >&2; exit 1",
        "echo 'Credentials not found in keychain'; exit 2",
        answer({"ServerURL": "reg.example", "Username": "", "Secret": ""}),
        answer({}),
    ],
)
def test_there_is_none(make_helper: MakeHelper, script: str) -> None:
    make_helper("test", script)
    assert ask() is None


@pytest.mark.parametrize(
    ("script", "wrong"),
    [
        (f"echo {SECRET}; exit 3", "ended with exit code 3"),
        (f"echo {SECRET} >&2; exit 1", "ended with exit code 1"),
        (f"echo {SECRET}; kill -9 $$", "ended with signal 9"),
        (f"echo {SECRET}", "does not answer with JSON"),
        (f'echo \'{{"Secret": "{SECRET}\'', "does not answer with JSON"),
        (answer([SECRET]), "does not answer with an object"),
        (answer({"Secret": SECRET}), "answers without Username"),
        (answer({"Username": SECRET}), "answers without Secret"),
        (answer({"Username": "me", "Secret": {"is": SECRET}}), "something else than a name and a secret"),
        ("true", "does not answer with JSON"),
        (f"printf '\\377{SECRET}'", "does not answer with JSON"),
        (f"yes {SECRET}", "printed more than"),
        (f"echo {SECRET}; exec sleep 1000", "took longer than"),
    ],
)
def test_what_goes_wrong_is_told_without_the_output(make_helper: MakeHelper, script: str, wrong: str) -> None:
    make_helper("test", script)
    with pytest.raises(LoginError) as caught:
        ask(limit=2.0 if "sleep" in script else 30.0)
    assert wrong in caught.value.message
    assert f"docker-credential-test, which {FILE} names," in caught.value.message
    assert caught.value.hint == "`echo reg.example:5000 | docker-credential-test get` shows why"
    error: BaseException | None = caught.value
    while error is not None:
        assert SECRET not in f"{error} {error!r} {error.__dict__}"
        error = error.__cause__ or error.__context__


def test_one_that_is_missing_or_cannot_be_run(make_helper: MakeHelper) -> None:
    with pytest.raises(LoginError, match=r"docker-credential-nowhere, which .* is not on PATH"):
        ask("nowhere")
    program = make_helper("test", "true")
    program.write_text("#!/nowhere/interpreter\n")
    with pytest.raises(LoginError, match="could not be started"):
        ask()


def test_there_is_no_room_for_what_it_says(make_helper: MakeHelper, monkeypatch: pytest.MonkeyPatch) -> None:
    make_helper("test", answer_login("me", SECRET))
    monkeypatch.setattr("tempfile.tempdir", "/nowhere")
    with pytest.raises(LoginError, match="no temporary file can be made: No such file"):
        ask()


def test_there_is_no_room_for_what_it_is_asked(
    make_helper: MakeHelper, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_helper("test", answer_login("me", SECRET))
    with Path("/dev/full").open("r+b", buffering=0) as full:
        monkeypatch.setattr("tempfile.TemporaryFile", lambda **_: full)
        with pytest.raises(LoginError, match="no temporary file can be written"):
            ask()


def test_a_helper_that_hangs_is_ended_with_its_children(make_helper: MakeHelper, tmp_path: Path) -> None:
    make_helper("test", f"sleep 1000 & echo $! > {tmp_path}/child; wait")
    with pytest.raises(LoginError, match="took longer than 1 seconds"):
        ask(limit=1.0)
    child = int((tmp_path / "child").read_text())
    deadline = time.monotonic() + 30
    while _runs(child):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def test_answers_are_remembered_for_a_while(make_helper: MakeHelper, tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    make_helper("test", f"cat >> {calls}; echo >> {calls}; " + answer({"Username": "me", "Secret": SECRET}))
    now = [0.0]
    helpers = Helpers(clock=lambda: now[0])
    for server in ("one", "one", "two", "one"):
        ask(server=server, helpers=helpers)
    assert calls.read_text().split() == ["one", "two"]
    now[0] = 899.0
    ask(server="one", helpers=helpers)
    now[0] = 900.0
    ask(server="one", helpers=helpers)
    assert calls.read_text().split() == ["one", "two", "one"]
    helpers.forget()
    ask(server="one", helpers=helpers)
    assert len(calls.read_text().split()) == 4


def test_a_failure_is_remembered_for_a_moment(make_helper: MakeHelper, tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    make_helper("test", f"cat >> {calls}; exit 7")
    now = [0.0]
    helpers = Helpers(clock=lambda: now[0])
    for now[0] in (0.0, 14.0, 15.0):
        with pytest.raises(LoginError, match="exit code 7"):
            ask(server="x", helpers=helpers)
    assert calls.read_text() == "xx"


def test_a_known_answer_outlives_a_failure_until_it_is_refused(make_helper: MakeHelper) -> None:
    now = [0.0]
    helpers = Helpers(clock=lambda: now[0])
    make_helper("test", answer_login("me", SECRET))
    known = ask(helpers=helpers)
    make_helper("test", "exit 7")
    with capture_logs() as logs:
        for now[0] in (900.0, 914.0, 915.0):
            assert ask(helpers=helpers) == known
    assert [each["helper"] for each in logs if each["log_level"] == "warning"] == ["test", "test"]
    make_helper("test", answer_login("me", "another"))
    now[0] = 930.0
    assert ask(helpers=helpers) != known
    make_helper("test", "exit 7")
    helpers.forget()
    with pytest.raises(LoginError, match="exit code 7"):
        ask(helpers=helpers)


@pytest.mark.parametrize(
    ("name", "valid"),
    [
        ("pass", True),
        ("ecr-login", True),
        ("osxkeychain2", True),
        ("", False),
        ("../evil", False),
        ("a/b", False),
        ("a b", False),
        ("a;b", False),
        ("a\n", False),
        (".", False),
        ("-x", False),
        ("é", False),
    ],
)
def test_names(name: str, valid: bool) -> None:
    assert is_helper(name) is valid
