"""Bad input gets one clear line and the right exit code, never a traceback."""

from __future__ import annotations

import os
import pty
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import trustme

from devtools.registry import RegistryServer
from devtools.registry_config import RegistryOptions
from tests.conftest import MakeRegistry
from tests.e2e.conftest import REAPER, Ended, Site, run_reaper

POLICY = """\
version: 1
policies:
  - name: p
    repositories: {include: ['**']}
    rules: [{keep: {newest: 1}}]
"""


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    file = tmp_path / "p.yaml"
    file.write_text(POLICY)
    return file


def audit(url: str, policy: Path) -> Ended:
    return run_reaper("--dry-run", "--registry", url, "--policies", str(policy))


def one_line(ended: Ended) -> str:
    """Return the one line that reaper says on standard error (a hint may follow, indented)."""
    lines = [line for line in ended.err.splitlines() if line.startswith("reaper: ")]
    assert len(lines) == 1, ended.err
    return lines[0]


def test_on_a_terminal_what_went_wrong_is_said_once(policy: Path) -> None:
    main, side = pty.openpty()
    try:
        command = [str(REAPER), "--dry-run", "--registry", "http://127.0.0.1:1", "--policies", str(policy)]
        ended = subprocess.run(
            command, stdout=side, stderr=subprocess.PIPE, text=True, timeout=60, check=False
        )
        shown = os.read(main, 100_000).decode()
    finally:
        os.close(main)
        os.close(side)
    assert ended.returncode == 1
    assert (shown + ended.stderr).count("cannot be reached") == 1, shown + ended.stderr


@contextmanager
def answering(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[str]:
    """Serve ``answer`` to every GET and HEAD on loopback."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            answer(self)

        do_HEAD = do_GET  # noqa: N815 - http.server's own name

        def log_message(self, *_args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_an_unreachable_registry(policy: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        ended = audit(f"http://127.0.0.1:{taken.getsockname()[1]}", policy)
    assert ended.code == 1
    assert "127.0.0.1" in one_line(ended)


def test_a_wrong_password(make_registry: MakeRegistry, tmp_path: Path, policy: Path) -> None:
    server = make_registry(RegistryOptions(htpasswd={"reaper": "right"}))
    settings = tmp_path / "reaper.yaml"
    settings.write_text(
        f"registries: [{{name: main, url: '{server.url}', username: reaper, password: wrong-hunter2}}]\n"
    )
    ended = run_reaper("--config", str(settings), "--dry-run", "--policies", str(policy))
    assert ended.code == 1
    assert "hunter2" not in ended.err + ended.out
    assert "401" in one_line(ended) or "password" in ended.err


def test_html_instead_of_json(policy: Path) -> None:
    def page(request: BaseHTTPRequestHandler) -> None:
        body = b"<!doctype html><title>Welcome</title>"
        request.send_response(200)
        request.send_header("Content-Type", "text/html")
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        if request.command == "GET":
            request.wfile.write(body)

    with answering(page) as url:
        ended = audit(url, policy)
    assert ended.code == 1
    assert "not a registry" in one_line(ended).lower() or "html" in one_line(ended).lower()


def test_plain_http_where_https_is_asked_for(registry: RegistryServer, policy: Path) -> None:
    ended = audit(registry.url.replace("http://", "https://"), policy)
    assert ended.code == 1
    assert "tls" in ended.err.lower() or "https" in ended.err.lower()


def test_a_certificate_that_nobody_trusts(make_registry: MakeRegistry, tmp_path: Path, policy: Path) -> None:
    certificate = trustme.CA().issue_cert("127.0.0.1")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "certificate.pem")
    server = make_registry(RegistryOptions(tls=(tmp_path / "certificate.pem", tmp_path / "key.pem")))
    ended = audit(server.url, policy)
    assert ended.code == 1
    assert "its certificate is not trusted" in one_line(ended)
    assert "ca_file" in ended.err


@pytest.mark.parametrize("url", ["http://", "ftp://x", "http://user:hunter2@127.0.0.1:1", "::", "http://a b"])
def test_a_bad_url(url: str, policy: Path) -> None:
    ended = audit(url, policy)
    assert ended.code == 2, ended.err
    assert "hunter2" not in ended.err
    one_line(ended)


def test_a_manifest_of_200_megabytes(policy: Path) -> None:
    digest = "sha256:" + "a" * 64

    def answer(request: BaseHTTPRequestHandler) -> None:
        path = request.path.partition("?")[0]
        bodies = {
            "/v2/": b"{}",
            "/v2/_catalog": b'{"repositories":["big"]}',
            "/v2/big/tags/list": b'{"name":"big","tags":["v1"]}',
        }
        manifest = path.startswith("/v2/big/manifests/")
        if not manifest and path not in bodies:
            request.send_error(404)
            return
        request.send_response(200)
        request.send_header(
            "Content-Type", "application/vnd.oci.image.manifest.v1+json" if manifest else "application/json"
        )
        request.send_header("Docker-Content-Digest", digest)
        request.send_header("Content-Length", str(200 * 2**20 if manifest else len(bodies[path])))
        request.end_headers()
        if request.command == "HEAD":
            return
        if not manifest:
            request.wfile.write(bodies[path])
            return
        request.close_connection = True
        try:
            for _ in range(200):
                request.wfile.write(b" " * 2**20)
        except ConnectionError:
            return

    with answering(answer) as url:
        ended = run_reaper(
            "--dry-run", "--registry", url, "--policies", str(policy), "--format", "json", timeout=60
        )
    assert ended.code == 4, ended.err
    repository = ended.report["repositories"][0]
    assert repository["tags"][0]["decision"] == "ignore"
    assert any("bytes" in error for error in repository["errors"])


def test_deletes_disabled_on_the_server(make_registry: MakeRegistry, tmp_path: Path) -> None:
    site = Site(make_registry(RegistryOptions(delete_enabled=False)), tmp_path)
    site.push("app", "old", age=50)
    site.push("app", "new", age=10)
    site.rules("[{keep: {newest: 1}}]")
    ended = site.reaper("run", "--format", "json")
    assert ended.code == 1
    assert "REGISTRY_STORAGE_DELETE_ENABLED" in ended.err
    assert ended.report["outcome"] == "failed"
    assert set(site.pusher.tags("app")) == {"old", "new"}


def test_a_registry_in_read_only_mode(make_registry: MakeRegistry, tmp_path: Path) -> None:
    server = make_registry(RegistryOptions())
    site = Site(server, tmp_path)
    site.push("app", "old", age=50)
    site.push("app", "new", age=10)
    server.restart(readonly=True)
    site.rules("[{keep: {newest: 1}}]")
    ended = site.reaper("run")
    assert ended.code == 1
    assert "read-only" in ended.err


@pytest.mark.parametrize("what", ["folder", "binary", "missing", "empty", "no rules"])
def test_a_policy_file_that_is_none(what: str, tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    if what == "folder":
        file.mkdir()
    elif what == "binary":
        file.write_bytes(bytes(range(256)))
    elif what == "empty":
        file.write_text("")
    elif what == "no rules":
        file.write_text("version: 1\npolicies: [{name: p, repositories: {include: ['**']}, rules: []}]\n")
    ended = run_reaper("check", str(file))
    assert ended.code == 2, ended.err
    assert "bad.yaml" in ended.err


@pytest.mark.parametrize(
    "store", ["sqlite:////proc/reaper.db", "sqlite:////dev/full", "nonsense", "sqlite:////etc"]
)
def test_a_store_that_cannot_be_written(store: str, registry: RegistryServer, policy: Path) -> None:
    ended = run_reaper(
        "run", "--registry", registry.url, "--policies", str(policy), env={"REAPER_STORE__URL": store}
    )
    assert ended.code in {1, 2}, ended.err
    one_line(ended)


@pytest.mark.parametrize("limit", [0, 60_000])
def test_a_disk_that_fills_up_under_the_store(
    limit: int, registry: RegistryServer, policy: Path, tmp_path: Path
) -> None:
    """As far as a limit on the size of files is like a full disk: SQLite and Python meet both as an error."""
    line = f"ulimit -f {limit // 1024}; exec {REAPER} run --registry {registry.url} --policies {policy}"
    ended = subprocess.run(
        ["bash", "-c", line],
        env={**os.environ, "REAPER_STORE__URL": f"sqlite:///{tmp_path}/full.db"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    assert ended.stderr.splitlines()[0].startswith(f"reaper: the database {tmp_path}/full.db cannot")


def test_no_policies_and_no_command(registry: RegistryServer) -> None:
    assert run_reaper("--dry-run", "--registry", registry.url).code == 2
    assert run_reaper().code == 2
    assert run_reaper("frobnicate").code == 2


def test_all_errors_of_a_policy_file_come_at_once(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(
        "version: 1\npolicies:\n  - name: p\n    repositoris: {include: ['**']}\n    rules:\n"
        "      - keep: {newest: 0}\n      - keep: {within: 14 days}\n"
    )
    ended = run_reaper("check", str(file))
    assert ended.code == 2
    assert "p.yaml:4:5" in ended.err
    assert "repositories" in ended.err
    assert "p.yaml:6:" in ended.err
    assert "p.yaml:7:" in ended.err
