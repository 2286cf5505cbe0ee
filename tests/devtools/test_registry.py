"""The real registry behind the tests does what its options say."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from devtools.images import build_image
from devtools.ports import free_port
from devtools.pusher import AnswerError, BrokenImageError, Pusher
from devtools.registry import Access, RegistryServer
from devtools.registry_config import RegistryOptions, TokenAuth
from devtools.server import ServerError
from tests.conftest import MakeRegistry
from tests.devtools.conftest import Certificates

pytestmark = pytest.mark.integration
ROOT = Path(__file__).resolve().parents[2]


def test_starts_empty_and_fast(registry: RegistryServer, pusher: Pusher) -> None:
    assert pusher.repositories() == []
    assert registry.disk_usage() == 0
    assert registry.url == f"http://{registry.host}"


def test_two_at_once_are_separate(make_registry: MakeRegistry) -> None:
    one, other = make_registry(), make_registry()
    Pusher(one.url).push("app", build_image(), "a")
    assert Pusher(other.url).repositories() == []


def test_restart_keeps_address_and_content(registry: RegistryServer, pusher: Pusher) -> None:
    image = build_image()
    pusher.push("app", image, "a")
    address, pid = registry.url, registry.pid
    registry.restart()
    assert registry.url == address
    assert registry.pid != pid
    assert pusher.pull("app", "a") == image


def test_a_crash_keeps_content(registry: RegistryServer, pusher: Pusher) -> None:
    pusher.push("app", build_image(), "a")
    registry.kill()
    assert registry.pid is None
    registry.start()
    assert pusher.tags("app") == ["a"]


def test_starting_twice_is_refused(registry: RegistryServer) -> None:
    with pytest.raises(ServerError, match="running already"):
        registry.start()


def test_a_refused_configuration_is_told(distribution: Path, tmp_path: Path) -> None:
    options = RegistryOptions(tls=(tmp_path / "absent.pem", tmp_path / "absent.key"))
    server = RegistryServer(distribution, tmp_path, options)
    with pytest.raises(ServerError, match=r"exited at its start[^$]*absent\.pem"):
        server.start()
    assert server.pid is None


def test_a_port_taken_meanwhile_is_no_failure(
    registry: RegistryServer, distribution: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken, free = int(registry.host.rpartition(":")[2]), free_port
    offered = [taken]
    monkeypatch.setattr("devtools.server.free_port", lambda: offered.pop() if offered else free())
    with RegistryServer(distribution, tmp_path) as server:
        assert not offered
        assert server.host != registry.host
        Pusher(server.url).push("app", build_image(), "a")
    assert Pusher(registry.url).repositories() == []


def test_own_folder_is_removed(distribution: Path) -> None:
    with RegistryServer(distribution) as server:
        root = server.root
        assert root.is_dir()
    assert not root.exists()


def test_access_log_shows_what_was_received(registry: RegistryServer, pusher: Pusher) -> None:
    assert registry.access_log() == []
    image = build_image()
    pusher.push("app", image, "a")
    pusher.delete("app", image.digest)
    log = registry.access_log()
    assert Access("PUT", "/v2/app/manifests/a", 201) in log
    assert log[-1] == ("DELETE", f"/v2/app/manifests/{image.digest}", 202)
    registry.stop()
    assert registry.access_log() == log


def test_deletes_can_be_disabled(make_registry: MakeRegistry) -> None:
    pusher = Pusher(make_registry(RegistryOptions(delete_enabled=False)).url)
    image = build_image()
    pusher.push("app", image, "a")
    with pytest.raises(AnswerError, match="UNSUPPORTED"):
        pusher.delete("app", image.digest)


def test_readonly_can_be_switched(registry: RegistryServer, pusher: Pusher) -> None:
    image = build_image()
    pusher.push("app", image, "a")
    registry.restart(readonly=True)
    with pytest.raises(AnswerError) as refused:
        pusher.delete("app", image.digest)
    assert refused.value.status == 405
    registry.restart(readonly=False)
    assert pusher.delete("app", image.digest)


def test_environment_overrides(make_registry: MakeRegistry) -> None:
    readonly = {"REGISTRY_STORAGE_MAINTENANCE_READONLY": '{"enabled":true}'}
    server = make_registry(RegistryOptions(environment=readonly))
    with pytest.raises(AnswerError) as refused:
        Pusher(server.url).push("app", build_image(), "a")
    assert refused.value.status == 405


def test_passwords(make_registry: MakeRegistry) -> None:
    server = make_registry(RegistryOptions(htpasswd={"reaper": "s3cret:ü", "other": "x"}))
    image = build_image()
    allowed = Pusher(server.url, "reaper", "s3cret:ü")
    allowed.push("app", image, "a")
    assert allowed.pull("app", "a") == image
    for refused in (Pusher(server.url), Pusher(server.url, "reaper", "x")):
        with pytest.raises(AnswerError) as answer:
            refused.tags("app")
        assert answer.value.status == 401
    assert Access("GET", "/v2/app/tags/list", 401) in server.access_log()


def test_token_challenge(make_registry: MakeRegistry, certificates: Certificates) -> None:
    token = TokenAuth(
        realm="http://127.0.0.1:9/token",
        service="registry",
        issuer="tests",
        rootcertbundle=certificates.certificate,
    )
    server = make_registry(RegistryOptions(token=token))
    challenge = Pusher(server.url).request("GET", "/v2/", {401}).headers["www-authenticate"]
    assert challenge == 'Bearer realm="http://127.0.0.1:9/token",service="registry"'


def test_tls(make_registry: MakeRegistry, certificates: Certificates) -> None:
    server = make_registry(RegistryOptions(tls=(certificates.certificate, certificates.key)))
    assert server.url.startswith("https://127.0.0.1:")
    pusher = Pusher(server.url, certificate_authority=certificates.authority)
    pusher.push("app", build_image(), "a")
    assert pusher.pull("app", "a") == build_image()


@pytest.mark.parametrize("relative", [False, True])
def test_prefix(make_registry: MakeRegistry, relative: bool) -> None:
    server = make_registry(RegistryOptions(http_prefix="/hub/", relative_urls=relative))
    assert server.url.endswith("/hub")
    pusher = Pusher(server.url)
    pusher.push("app", build_image(), "a")
    assert pusher.pull("app", "a") == build_image()
    assert Access("PUT", "/hub/v2/app/manifests/a", 201) in server.access_log()


def test_collection_removes_only_what_is_deleted(registry: RegistryServer, pusher: Pusher) -> None:
    kept, deleted = build_image(seed=1, layers=[10_000]), build_image(seed=2, layers=[50_000])
    pusher.push("app", kept, "kept")
    pusher.push("app", deleted, "deleted")
    pusher.delete("app", deleted.digest)
    before = registry.disk_usage()
    dry = registry.garbage_collect(dry_run=True)
    assert dry.returncode == 0
    assert f"blob eligible for deletion: {deleted.blobs[1].digest}" in dry.stdout
    assert registry.disk_usage() == before
    assert registry.garbage_collect().returncode == 0
    assert registry.disk_usage() <= before - deleted.size
    registry.restart()
    assert pusher.pull("app", "kept") == kept


def test_collection_of_untagged(registry: RegistryServer, pusher: Pusher) -> None:
    image = build_image()
    pusher.push("app", build_image(seed="tagged"), "a")
    pusher.push("app", image)
    assert registry.garbage_collect().returncode == 0
    assert pusher.pull("app", image.digest) == image
    assert registry.garbage_collect(delete_untagged=True).returncode == 0
    registry.restart()
    with pytest.raises(BrokenImageError):
        pusher.pull("app", image.digest)


@contextmanager
def receiver() -> Iterator[tuple[str, queue.Queue[tuple[str | None, bytes]]]]:
    """A server on loopback that keeps the authorization and the body of what is posted to it."""
    received: queue.Queue[tuple[str | None, bytes]] = queue.Queue()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.put(
                (self.headers["Authorization"], self.rfile.read(int(self.headers["Content-Length"])))
            )
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's own name
            """Nothing to the terminal."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/events", received
        finally:
            server.shutdown()
            thread.join()


def test_notifications(make_registry: MakeRegistry) -> None:
    with receiver() as (url, received):
        headers = {"Authorization": "Bearer abc"}
        server = make_registry(RegistryOptions(notifications_url=url, notifications_headers=headers))
        image = build_image()
        Pusher(server.url).push("app", image, "a")
        while True:
            authorization, body = received.get(timeout=20)
            assert authorization == "Bearer abc"
            targets = [event["target"] for event in json.loads(body)["events"]]
            if any(target.get("tag") == "a" and target["digest"] == image.digest for target in targets):
                break
        server.stop()


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait for a condition, at most some seconds."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "the condition was not met in time"
        time.sleep(0.02)


def test_dies_with_a_killed_owner(distribution: Path, tmp_path: Path) -> None:
    program = (
        "import sys, pathlib; from devtools.registry import RegistryServer\n"
        "server = RegistryServer(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])); server.start()\n"
        "print(server.pid, flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", program, str(distribution), str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        server = int(owner.stdout.readline())
        os.kill(server, 0)
        owner.send_signal(signal.SIGKILL)
    wait_for(lambda: not _runs(server))


def _runs(pid: int) -> bool:
    """Whether the process still does anything; one that nobody has waited for yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
