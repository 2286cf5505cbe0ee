"""Where logins come from: the files, the order of the sources, and what happens when something changes."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from reaper.core.errors import InvalidInputError, ReaperError
from reaper.registry import (
    Credentials,
    Finding,
    LoginError,
    Place,
    SettingsSource,
    logins_of,
    parse_address,
)
from reaper.registry.helper import Helpers
from reaper.registry.login_sources import FileSource, LoginSources
from tests.registry.programs import answer_login, write_helper

HOST = "reg.example:5000"
SECRET = "hunter2"
NOT_FOUND = "echo 'credentials not found in native keychain'; exit 1"


def auth(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def entry(user: str, password: str = SECRET) -> dict[str, str]:
    return {"auth": auth(f"{user}:{password}")}


def config(folder: Path, content: object, name: str = "config.json") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


def sources(
    chosen: Path | None = None, *, settings: Credentials | None = None, url: str = HOST
) -> LoginSources:
    place = Place(chosen, "--docker-config", chosen=True) if chosen else None
    return logins_of(parse_address(url), SettingsSource("the settings", lambda: settings), place)


def find(chosen: Path | None = None, repository: str | None = None, *, url: str = HOST) -> Credentials | None:
    return asyncio.run(sources(chosen, url=url).find(repository))


@contextmanager
def unprivileged() -> Iterator[None]:
    """Be nobody in the block, where the tests are run by root: root may read everything."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for credential helpers, on PATH."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    return folder


class TestFiles:
    @pytest.mark.parametrize("key", [HOST, f"https://{HOST}/v2/", f"http://{HOST}/v1/"])
    def test_a_password_may_hold_colons(self, tmp_path: Path, key: str) -> None:
        found = find(config(tmp_path, {"auths": {"other": {}, key: entry("me", "pass:word")}}))
        assert found is not None
        assert (found.username, found.password) == ("me", "pass:word")
        assert str(found) == f"user me from {tmp_path}/config.json, {HOST}"

    def test_tokens_and_plain_fields(self, tmp_path: Path) -> None:
        folder = config(
            tmp_path,
            {
                "auths": {
                    "a.example": {"auth": auth("00000000:"), "identitytoken": "idt"},
                    "b.example": {"registrytoken": "rt"},
                    "c.example": {"username": "u", "password": "p"},
                    "d.example": {},
                    "f.example": {"auth": auth("u:p\0\0"), "email": "x"},
                    "g.example": {"auth": auth("u:p")[:4] + "\n" + auth("u:p")[4:]},
                }
            },
        )
        found = {c: find(folder, url=f"{c}.example") for c in "abcdefg"}
        assert found["a"] is not None
        assert (found["a"].identity_token, found["a"].basic()) == ("idt", None)
        assert found["b"] is not None
        assert found["b"].token == "rt"
        for name in "cfg":
            login = found[name]
            assert login is not None
            assert (login.username, login.password) == ("u", "p")
        assert (found["d"], found["e"]) == (None, None)

    def test_a_path_in_a_key(self, tmp_path: Path) -> None:
        keys = {HOST: entry("all"), f"{HOST}/team": entry("team"), f"{HOST}/team/app": entry("app")}
        logins = sources(config(tmp_path, {"auths": keys}))
        users = {None: "all", "other": "all", "team/lib": "team", "team/app": "app"}

        async def work() -> None:
            for repository, user in users.items():
                login = await logins.find(repository)
                assert login is not None
                assert login.username == user

        asyncio.run(work())

    @pytest.mark.parametrize(
        ("name", "content"),
        [
            (".dockerconfigjson", {"auths": {HOST: entry("me")}}),
            (".dockercfg", {f"https://{HOST}/v1/": entry("me")}),
            ("any.name", {"auths": {HOST: entry("me")}}),
        ],
    )
    def test_a_kubernetes_secret(self, tmp_path: Path, name: str, content: object) -> None:
        """Mounted as a folder, its file is a link into another, as the kubelet makes it."""
        config(tmp_path / "..data", content, name)
        (tmp_path / name).symlink_to(f"..data/{name}")
        places = [tmp_path / name] if name == "any.name" else [tmp_path, tmp_path / name]
        for place in places:
            found = find(place)
            assert found is not None
            assert found.username == "me"

    @pytest.mark.parametrize(
        "content",
        [
            f"not json {SECRET}",
            "[]",
            '{"auths": []}',
            f'{{"auths": {{"{HOST}": "{SECRET}"}}}}',
            f'{{"auths": {{"{HOST}": {{"auth": "!{SECRET}"}}}}}}',
            f'{{"auths": {{"{HOST}": {{"auth": "{auth(SECRET)}"}}}}}}',
            f'{{"auths": {{"{SECRET}:{SECRET}@{HOST}": {{"auth": "!"}}}}}}',
            '{"credHelpers": 5}',
            f'{{"credHelpers": {{"{HOST}": "../{SECRET}"}}}}',
            '{"credsStore": ["pass"]}',
            '{"credsStore": "/bin/sh"}',
            '{"a": ' + "[" * 100_000,
            f'{{"auths": {{"x": "{"x" * 1024 * 1024}"}}}}',
        ],
    )
    def test_a_broken_file_is_an_error_that_tells_no_secret(self, tmp_path: Path, content: str) -> None:
        with pytest.raises(InvalidInputError) as caught:
            find(config(tmp_path, content))
        assert str(tmp_path) in caught.value.message
        assert SECRET not in f"{caught.value.message} {caught.value.hint}"
        assert caught.value.__context__ is None or caught.value.__suppress_context__

    def test_what_is_wrong_with_another_registry_is_not_ours(self, tmp_path: Path) -> None:
        auths = {"x.example": {"auth": "!"}, "y.example": 5, "[": {}, HOST: entry("me")}
        found = find(config(tmp_path, {"auths": auths, "credHelpers": {"x.example": "../x"}}))
        assert found is not None

    def test_secrets_do_not_show(self) -> None:
        shown = Credentials("here", "me", "hunter2", "hunter3", "hunter4")
        assert "hunter" not in f"{shown} {shown!r}"

    @pytest.mark.parametrize("token", ["hunter2\nX-Header: 1", "hünter2", "hunter2 ", "\thunter2"])
    def test_what_no_header_can_carry(self, tmp_path: Path, token: str) -> None:
        with pytest.raises(InvalidInputError) as caught:
            find(config(tmp_path, {"auths": {HOST: {"registrytoken": token}}}))
        assert (
            caught.value.message
            == f"the token from {tmp_path}/config.json, {HOST} has characters that no token has"
        )
        with pytest.raises(InvalidInputError, match="the user's name from x has a colon in it"):
            Credentials("x", "a:b", SECRET)


class TestHelpers:
    def test_its_own_helper_then_the_one_for_all_then_the_file(self, tmp_path: Path, programs: Path) -> None:
        write_helper(programs, "own", answer_login("own", SECRET))
        write_helper(programs, "all", answer_login("all", SECRET))
        document = {
            "auths": {HOST: entry("file"), "b.example": entry("file"), "c.example": entry("file")},
            "credHelpers": {HOST: "own", "c.example": ""},
            "credsStore": "all",
        }
        folder = config(tmp_path / "docker", document)
        for url, user in {HOST: "own", "b.example": "all", "c.example": "file"}.items():
            found = find(folder, url=url)
            assert found is not None
            assert found.username == user

    def test_where_a_helper_has_none_the_file_and_the_next_source_are_looked_at(
        self, tmp_path: Path, programs: Path, home: Path
    ) -> None:
        write_helper(programs, "none", NOT_FOUND)
        folder = config(tmp_path / "docker", {"credsStore": "none", "auths": {HOST: entry("file"), "b": {}}})
        config(home / ".docker", {"auths": {"b": entry("home")}})
        users = [login and login.username for login in (find(folder), find(folder, url="b"), find(url="c"))]
        assert users == ["file", "home", None]

    def test_a_helper_for_some_repositories(self, tmp_path: Path, programs: Path) -> None:
        write_helper(
            programs, "echo", """printf '{"Username": "%s", "Secret": "x"}' "$(cat | tr /: __)" """.strip()
        )
        folder = config(
            tmp_path / "docker", {"credHelpers": {f"https://{HOST}/v2/team": "echo"}, "credsStore": "echo"}
        )
        users = [login and login.username for login in (find(folder), find(folder, "team/app"))]
        assert users == ["reg.example_5000", "reg.example_5000_team"]

    def test_a_failing_helper_names_itself_and_the_file(self, tmp_path: Path, programs: Path) -> None:
        write_helper(programs, "bad", f"echo {SECRET}; exit 4")
        folder = config(tmp_path / "docker", {"credsStore": "bad"})
        with pytest.raises(LoginError) as caught:
            find(folder)
        assert f"docker-credential-bad, which {folder}/config.json names" in caught.value.message
        assert SECRET not in caught.value.message


class TestSources:
    def test_each_counts_before_the_next(
        self, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "auth.json"))
        monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
        files = [
            config(tmp_path / "chosen", {"auths": {HOST: entry("chosen")}}) / "config.json",
            config(tmp_path, {"auths": {HOST: entry("auth file")}}, "auth.json") / "auth.json",
            config(tmp_path / "docker", {"auths": {HOST: entry("folder")}}) / "config.json",
            config(home / ".docker", {"auths": {HOST: entry("home")}}) / "config.json",
            config(home / ".run/containers", {"auths": {HOST: entry("running")}}, "auth.json") / "auth.json",
            config(home / ".config/containers", {"auths": {HOST: entry("own")}}, "auth.json") / "auth.json",
        ]
        users = ["settings", "chosen", "auth file", "folder", "home", "running", "own", None]

        def rest() -> Iterator[str | None]:
            login = Credentials("the settings", "settings", SECRET)
            for number in range(len(files) + 2):
                if number > 1:
                    # Emptied, not removed: what was chosen has to be there.
                    files[number - 2].write_text('{"auths": {}}')
                logins = sources(tmp_path / "chosen", settings=login if number == 0 else None)
                found = asyncio.run(logins.find(None))
                looks = asyncio.run(logins.looks(None))
                assert [look.finding for look in looks] == [
                    *[Finding.NO_LOGIN] * number,
                    *[Finding.LOGIN] * (number < 7),
                    *[Finding.NOT_ASKED] * (6 - number),
                ]
                assert [look.login for look in looks if look.login] == ([found] if found else [])
                yield found.username if found else None

        assert list(rest()) == users
        names = [look.source for look in asyncio.run(sources(tmp_path / "chosen").looks(None))]
        assert names == [
            "the settings",
            f"{files[0]} (--docker-config)",
            f"{files[1]} ($REGISTRY_AUTH_FILE)",
            f"{files[2]} ($DOCKER_CONFIG)",
            f"{files[3]} (Docker's own)",
            f"{files[4]} (containers' own)",
            f"{files[5]} (containers' own)",
        ]

    def test_one_file_is_one_source(self, home: Path) -> None:
        """The tests' DOCKER_CONFIG is the usual folder."""
        config(home / ".docker", {"auths": {}})
        looks = asyncio.run(sources(home / ".docker").looks(None))
        assert [(look.source, look.finding) for look in looks] == [
            ("the settings", Finding.NO_LOGIN),
            (f"{home}/.docker/config.json (--docker-config)", Finding.NO_LOGIN),
            (f"{home}/.run/containers/auth.json (containers' own)", Finding.ABSENT),
            (f"{home}/.config/containers/auth.json (containers' own)", Finding.ABSENT),
        ]

    def test_without_a_home_or_a_runtime_folder(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        for name in ("XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "DOCKER_CONFIG"):
            monkeypatch.delenv(name)
        names = [look.source for look in asyncio.run(sources().looks(None))]
        assert f"/run/containers/{os.getuid()}/auth.json (containers' own)" in names
        assert any(name.endswith("/.config/containers/auth.json (containers' own)") for name in names)

        def homeless() -> Path:
            raise RuntimeError("Could not determine home directory.")

        monkeypatch.setattr(Path, "home", homeless)
        names = [look.source for look in asyncio.run(sources().looks(None))]
        assert names == ["the settings", f"/run/containers/{os.getuid()}/auth.json (containers' own)"]

    def test_what_was_chosen_must_be_there_and_the_rest_need_not(self, tmp_path: Path) -> None:
        assert find() is None
        with pytest.raises(InvalidInputError, match="is not there") as caught:
            find(tmp_path / "none")
        assert caught.value.hint is not None
        assert "--docker-config" in caught.value.hint

    def test_a_folder_where_a_file_should_be(self, home: Path) -> None:
        (home / ".docker" / "config.json").mkdir(parents=True)
        with pytest.raises(InvalidInputError, match=r"cannot read .*: Is a directory"):
            find()

    def test_what_may_not_be_read(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """As in a container whose user is not the one that HOME belongs to."""
        monkeypatch.delenv("DOCKER_CONFIG")
        file = config(home / ".docker", {"auths": {HOST: entry("me")}}) / "config.json"
        file.chmod(0)
        with unprivileged():
            looks = asyncio.run(sources().looks(None))
            with pytest.raises(InvalidInputError, match=r"cannot read .*: Permission denied"):
                find(file)
        assert looks[1].finding is Finding.UNREADABLE
        assert looks[2].finding in (Finding.ABSENT, Finding.UNREADABLE)

    def test_paths_with_logins_of_their_own_are_told(self, tmp_path: Path) -> None:
        keys = {f"{HOST}/prefix/team": entry("a"), f"{HOST}/prefix/v2": {}, f"{HOST}/other": entry("b")}
        helpers = {f"https://{HOST}/v2/prefix/lib": "x"}
        folder = config(tmp_path, {"auths": keys, "credHelpers": helpers})
        for url, below in {
            HOST: ("other", "prefix/lib", "prefix/team"),
            f"{HOST}/prefix": ("prefix/lib", "prefix/team"),
        }.items():
            look = asyncio.run(sources(folder, url=url).looks(None))[1]
            assert (look.finding, look.below) == (Finding.NO_LOGIN, below)

    def test_where_looking_ends_with_an_error(self, tmp_path: Path) -> None:
        looks = asyncio.run(sources(config(tmp_path, "{")).looks(None))
        assert [look.finding for look in looks[:3]] == [Finding.NO_LOGIN, Finding.FAILED, Finding.NOT_ASKED]
        assert looks[1].error is not None
        assert looks[1].error.message == f"{tmp_path}/config.json is not JSON"


class TestChanges:
    """What was read counts until a login is refused."""

    @staticmethod
    def logins(folder: Path, now: list[float]) -> LoginSources:
        address, helpers = parse_address(HOST), Helpers()
        source = FileSource(Place(folder, "--docker-config", chosen=True), address, helpers)
        return LoginSources([source], helpers, clock=lambda: now[0])

    def test_a_changed_file(self, tmp_path: Path) -> None:
        config(tmp_path, {"auths": {HOST: entry("me", "old")}})
        now = [0.0]
        logins = self.logins(tmp_path, now)

        async def work() -> None:
            old = await logins.find(None)
            config(tmp_path, {"auths": {HOST: entry("me", "new")}})
            assert await logins.find("app") == old
            assert await logins.find(None, refused=old) == old, "it was read just now"
            now[0] = 5.0
            new, other = await asyncio.gather(logins.find(None, refused=old), logins.find("app", refused=old))
            assert new is not None
            assert new.password == "new"
            assert other == new
            now[0] = 10.0
            assert await logins.find(None, refused=old) == new, "another one is known already"
            assert await logins.find(None, refused=new) == new, "nothing has changed"

        asyncio.run(work())

    def test_a_helpers_new_answer(self, tmp_path: Path, programs: Path) -> None:
        write_helper(programs, "cloud", answer_login("AWS", "old"))
        folder = config(tmp_path / "docker", {"credHelpers": {HOST: "cloud"}})
        now = [0.0]
        logins = self.logins(folder, now)

        async def work() -> list[str | None]:
            old = await logins.find(None)
            write_helper(programs, "cloud", answer_login("AWS", "new"))
            now[0] = 5.0
            same = await logins.find(None)
            new = await logins.find(None, refused=old)
            return [login.password if login else None for login in (old, same, new)]

        assert asyncio.run(work()) == ["old", "old", "new"]

    def test_settings(self) -> None:
        secrets = iter(["old", "new"])

        def read() -> Credentials:
            return Credentials("the settings", "me", next(secrets))

        logins = LoginSources([SettingsSource("the settings", read)], clock=iter([0.0, 9.0, 9.0]).__next__)

        async def work() -> None:
            old = await logins.find(None)
            new = await logins.find(None, refused=old)
            assert old is not None
            assert new is not None
            assert (old.password, new.password) == ("old", "new")

        asyncio.run(work())

    def test_a_secret_that_cannot_be_read(self) -> None:
        def read() -> Credentials:
            raise ReaperError("the secret file /x is empty")

        logins = LoginSources([SettingsSource("the settings", read)])
        with pytest.raises(ReaperError, match="is empty"):
            asyncio.run(logins.find(None))
