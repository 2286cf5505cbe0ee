"""The registries that are not distribution do what their options say."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from devtools import golang
from devtools.crane import Crane
from devtools.images import build_image
from devtools.postgresql import PostgresqlServer
from devtools.pusher import AnswerError, Pusher
from devtools.registries import GiteaServer, OciRegistryServer

pytestmark = pytest.mark.integration
IMAGE = build_image()
Make = Callable[..., OciRegistryServer]


@pytest.fixture(scope="session")
def binaries() -> tuple[Path, Path, Path]:
    """Of CUE Labs' registry, of Gitea, and of crane."""
    return golang.ociregistry(fetch=False), golang.gitea(fetch=False), golang.crane(fetch=False)


@pytest.fixture
def make(binaries: tuple[Path, Path, Path]) -> Iterator[Make]:
    """Start CUE Labs' registry with these options."""
    with ExitStack() as servers:

        def start(**options: Any) -> OciRegistryServer:
            return servers.enter_context(OciRegistryServer(binaries[0], **options))

        yield start


def test_it_lists_referrers_and_forgets_all_with_its_end(make: Make) -> None:
    server = make()
    pusher = Pusher(server.url)
    pusher.push("app", IMAGE, "a")
    pusher.request("GET", f"/v2/app/referrers/{IMAGE.digest}", {200})
    server.stop()
    server.start()
    assert pusher.repositories() == []


@pytest.mark.parametrize(("leave_tags", "left"), [(False, []), (True, ["a"])])
def test_tags_go_with_their_manifest_or_stay(make: Make, leave_tags: bool, left: list[str]) -> None:
    pusher = Pusher(make(leave_tags=leave_tags).url)
    pusher.push("app", IMAGE, "a")
    pusher.push("app", build_image(seed="other"), "b")
    assert pusher.delete("app", IMAGE.digest)
    assert pusher.tags("app") == [*left, "b"]
    assert pusher.get_manifest("app", "a") is None


def test_a_login_a_cap_on_pages_and_no_digests(make: Make) -> None:
    server = make(login=("me", "s3cret"), max_page_size=10, omit_digest=True)
    with pytest.raises(AnswerError) as refused:
        Pusher(server.url, "me", "wrong").tags("app")
    assert refused.value.status == 401
    pusher = Pusher(server.url, "me", "s3cret")
    pusher.push("app", IMAGE, "a")
    assert "docker-content-digest" not in pusher.request("GET", "/v2/app/manifests/a", {200}).headers
    pusher.request("GET", "/v2/_catalog?n=11", {400})


def test_gitea_keeps_address_and_content(
    binaries: tuple[Path, Path, Path], postgresql: PostgresqlServer, tmp_path: Path
) -> None:
    database = postgresql.make_database()
    with GiteaServer(binaries[1], database, tmp_path / "gitea", users={"me": "s3cret-enough"}) as server:
        pusher = Pusher(server.url, "me", "s3cret-enough")
        pusher.push("me/app", IMAGE, "a")
        with pytest.raises(AnswerError) as refused:
            Pusher(server.url).repositories()
        assert refused.value.status == 401
        address = server.url
        server.stop()
        server.start()
        assert server.url == address
        assert pusher.pull("me/app", "a") == IMAGE


def test_crane_says_what_is_there(make: Make, binaries: tuple[Path, Path, Path], tmp_path: Path) -> None:
    server = make()
    Pusher(server.url).push("app", IMAGE, "a", "b")
    crane = Crane(binaries[2], server.host, tmp_path)
    assert (crane.repositories(), crane.tags("app")) == (["app"], ["a", "b"])
    assert crane.digest("app", "a") == crane.digest("app", IMAGE.digest) == IMAGE.digest
