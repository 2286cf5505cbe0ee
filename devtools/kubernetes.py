"""A real Kubernetes API server on loopback: etcd and kube-apiserver, for tests.

There are no controllers, no scheduler and no kubelets: objects stay as they were written. A Deployment gets
no ReplicaSet, a Job no Pod, a deleted owner leaves its dependents, and ``status`` is what a test puts there.
"""

from __future__ import annotations

import atexit
import csv
import functools
import json
import os
import secrets
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.client import HTTPException, HTTPSConnection
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.request import urlopen

import trustme
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from devtools import die_with_parent
from devtools.ports import free_port

#: May do everything.
ADMIN = "admin"
#: Is known, and may do nothing.
NOBODY = "nobody"
_USERS: dict[str, Sequence[str]] = {ADMIN: ["system:masters"], NOBODY: []}
_READY_TIMEOUT = 120.0
_REQUEST_TIMEOUT = 30.0
_POLL = 0.02
_PORT_ATTEMPTS = 10
_PORT_TAKEN = "address already in use"


class KubernetesError(Exception):
    """The server did not start; the message ends with its log."""


class AnswerError(Exception):
    """The API server refused a request."""

    def __init__(self, request: str, status: int, body: str) -> None:
        super().__init__(f"{request}: {status} {body}")
        self.status = status


class KubernetesServer:
    """An empty cluster with RBAC, its data below one folder. Use it as a context manager.

    Its users are known by static tokens: ADMIN, NOBODY, and those in `users`, given with their groups; a
    user may be named ``system:serviceaccount:NAMESPACE:NAME``. They may do what roles allow.

    The processes end with their owner, at exit, and (on Linux) when their starter is killed; the thread that
    starts them must live as long as they are needed: that is what the kernel watches.
    """

    def __init__(
        self,
        apiserver: Path,
        etcd: Path,
        root: Path | None = None,
        users: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        """`root` stays when given; otherwise a temporary folder is made and removed by `__exit__`."""
        self._binaries = {"etcd": etcd.resolve(), "kube-apiserver": apiserver.resolve()}
        self._owns_root = root is None
        self.root = Path(tempfile.mkdtemp(prefix="reaper-kubernetes-")) if root is None else root
        self._groups = {**_USERS, **(users or {})}
        self._tokens = {user: secrets.token_hex(16) for user in self._groups}
        self._etcd: _Child | None = None
        self._apiserver: _Child | None = None
        self._store = ""
        self._port: int | None = None
        self._plurals: dict[tuple[str, str], tuple[str, bool]] = {}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if self._owns_root:
            shutil.rmtree(self.root, ignore_errors=True)

    @property
    def url(self) -> str:
        """Where the API server answers; the same after a restart."""
        if self._port is None:
            raise KubernetesError("the API server has not been started")
        return f"https://127.0.0.1:{self._port}"

    @property
    def authority(self) -> Path:
        """The certificate that a client has to trust."""
        return self.root / "ca.crt"

    @property
    def pid(self) -> int | None:
        """The API server's process, None while stopped."""
        return self._apiserver.pid if self._apiserver else None

    def start(self) -> None:
        """Start, and return once it is ready. Raises KubernetesError when it does not get so."""
        if self._etcd is not None or self._apiserver is not None:
            raise KubernetesError("the server is running already")
        if self._port is None:
            self._write_files()
        try:
            self._start_etcd()
            self._start_apiserver()
        except BaseException:  # not left running, whatever happened
            self.stop()
            raise

    def stop(self) -> None:
        """End both processes; what was written is there again after `start`."""
        for child in (self._apiserver, self._etcd):
            if child is not None:
                child.kill()
        self._apiserver = self._etcd = None

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Hold the API server still: connections stay open, and nothing is answered."""
        pid = self.pid
        if pid is None:
            raise KubernetesError("the API server is not running")
        os.kill(pid, signal.SIGSTOP)
        try:
            _wait_until_stopped(pid)  # a thread may be about to answer
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    def expire_lists(self) -> None:
        """Forget the past, as a cluster does every few minutes: lists under way cannot be read on (410)."""
        note = {"name": f"forgotten-{secrets.token_hex(4)}"}
        self.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": note})  # it has to be in the past
        now = _ask_etcd(self._store, "kv/range", {"key": "AA=="})["header"]["revision"]
        _ask_etcd(self._store, "kv/compaction", {"revision": now, "physical": True})

    def kubeconfig(self, user: str = ADMIN, *, namespace: str = "default", token: str | None = None) -> Path:
        """Write a kubeconfig with one context for the user (or for a token), named after it."""
        name = user.replace(":", "-")
        settings = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": name,
            "contexts": [
                {"name": name, "context": {"cluster": "test", "user": name, "namespace": namespace}}
            ],
            "clusters": [
                {
                    "name": "test",
                    "cluster": {"server": self.url, "certificate-authority": str(self.authority)},
                }
            ],
            "users": [{"name": name, "user": {"token": token or self._tokens[user]}}],
        }
        path = self.root / f"{name}.kubeconfig"
        path.write_text(json.dumps(settings, indent=2))  # JSON is YAML
        return path

    def service_account_token(self, namespace: str, name: str) -> str:
        """Return a token of a service account that exists, as a pod of it would get."""
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
        token: str = self.request("POST", path, request)["status"]["token"]
        return token

    def apply(self, *objects: Mapping[str, Any]) -> None:
        """Create or change objects by server-side apply, with their status where they have one."""
        for item in objects:
            path = self.path(item)
            self._apply(path, {key: value for key, value in item.items() if key != "status"})
            if "status" in item:
                self._apply(f"{path}/status", item)

    def path(self, item: Mapping[str, Any]) -> str:
        """Where the object with this apiVersion, kind, name and namespace stands (``default`` if none)."""
        version, kind, metadata = item["apiVersion"], item["kind"], item["metadata"]
        prefix = f"/apis/{version}" if "/" in version else f"/api/{version}"
        if (version, kind) not in self._plurals:
            for resource in self.request("GET", prefix)["resources"]:
                if "/" not in resource["name"]:
                    known = (resource["name"], resource["namespaced"])
                    self._plurals[version, resource["kind"]] = known
        plural, namespaced = self._plurals[version, kind]
        namespace = f"/namespaces/{metadata.get('namespace', 'default')}" if namespaced else ""
        return f"{prefix}{namespace}/{plural}/{metadata['name']}"

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        user: str = ADMIN,
        content_type: str = "application/json",
    ) -> Any:
        """Send a request, independently of reaper's own client; returns the JSON or text of the answer.

        Raises AnswerError for a status that is no success.
        """
        context = ssl.create_default_context(cafile=str(self.authority))
        connection = HTTPSConnection("127.0.0.1", self._port, timeout=_REQUEST_TIMEOUT, context=context)
        headers = {"Authorization": f"Bearer {self._tokens[user]}", "Content-Type": content_type}
        try:
            data = None if body is None else json.dumps(body)
            connection.request(method, path, data, headers)
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        if not 200 <= answer.status < 300:
            raise AnswerError(f"{method} {path}", answer.status, text)
        return json.loads(text) if answer.getheader("Content-Type", "").endswith("json") else text

    def log(self) -> str:
        """What the API server has logged."""
        return _read(self.root / "kube-apiserver.log")

    def _apply(self, path: str, item: Mapping[str, Any]) -> None:
        query = "?fieldManager=devtools&force=true"
        self.request("PATCH", path + query, item, content_type="application/apply-patch+yaml")

    def _write_files(self) -> None:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(self.authority))
        issued = authority.issue_cert("127.0.0.1", "localhost")
        issued.private_key_and_cert_chain_pem.write_to_path(str(self.root / "server.pem"))
        key = ec.generate_private_key(ec.SECP256R1())
        (self.root / "service-account.key").write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
        )
        with (self.root / "tokens.csv").open("w", newline="") as file:
            for user, token in self._tokens.items():
                csv.writer(file).writerow([token, user, user, ",".join(self._groups[user])])

    def _start_etcd(self) -> None:
        for _ in range(_PORT_ATTEMPTS):
            url, name = f"http://127.0.0.1:{free_port()}", secrets.token_hex(8)
            arguments = [
                f"--name={name}",
                f"--initial-cluster={name}=http://127.0.0.1:0",
                "--initial-advertise-peer-urls=http://127.0.0.1:0",
                f"--data-dir={self.root / 'etcd'}",
                f"--listen-client-urls={url}",
                f"--advertise-client-urls={url}",
                "--listen-peer-urls=http://127.0.0.1:0",
                "--heartbeat-interval=10",  # it elects itself, and need not take a second for it
                "--election-timeout=50",
            ]
            self._etcd = self._launch("etcd", arguments)
            if self._etcd.wait_until(functools.partial(_is_etcd, url, name)):
                self._store = url
                return
            self._etcd = None
        raise KubernetesError(f"no port for etcd in {_PORT_ATTEMPTS} attempts")

    def _start_apiserver(self) -> None:
        keep_port = self._port is not None
        for _ in range(_PORT_ATTEMPTS):
            if not keep_port:
                self._port = free_port()
            arguments = [
                f"--etcd-servers={self._store}",
                "--bind-address=127.0.0.1",
                "--advertise-address=127.0.0.1",
                f"--secure-port={self._port}",
                f"--tls-cert-file={self.root / 'server.pem'}",
                f"--tls-private-key-file={self.root / 'server.pem'}",
                f"--cert-dir={self.root}",
                "--service-account-issuer=https://kubernetes.default.svc",
                f"--service-account-key-file={self.root / 'service-account.key'}",
                f"--service-account-signing-key-file={self.root / 'service-account.key'}",
                f"--token-auth-file={self.root / 'tokens.csv'}",
                "--authorization-mode=RBAC",
                # Lists that are read in pages come from the store, and expire with it: see `expire_lists`.
                "--feature-gates=ListFromCacheSnapshot=false",
                # There is no controller that would make each namespace's default account.
                "--disable-admission-plugins=ServiceAccount",
                "--endpoint-reconciler-type=none",
                "--service-cluster-ip-range=10.0.0.0/24",
            ]
            self._apiserver = self._launch("kube-apiserver", arguments)
            if self._apiserver.wait_until(self._ready):
                return
            self._apiserver = None
            if keep_port:
                time.sleep(_POLL * 10)  # whoever holds our old port for a moment has to let go of it
        raise KubernetesError(f"no port for the API server in {_PORT_ATTEMPTS} attempts")

    def _ready(self) -> bool:
        try:
            self.request("GET", "/readyz")
            self.request("GET", "/api/v1/namespaces/default")  # made some moments later
        except (OSError, HTTPException, AnswerError):
            return False
        return True

    def _launch(self, name: str, arguments: Sequence[str]) -> _Child:
        return _Child(self._binaries[name], arguments, self.root / f"{name}.log")


class _Child:
    """A server's process, which does not outlive this one."""

    def __init__(self, binary: Path, arguments: Sequence[str], log: Path) -> None:
        self._name = binary.name
        self._log = log
        self._log_start = log.stat().st_size if log.exists() else 0
        command = [sys.executable, "-ISB", die_with_parent.__file__, str(binary), *arguments]
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command, cwd=log.parent, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        self.pid = self._process.pid
        atexit.register(self.kill)

    def wait_until(self, ready: Callable[[], bool]) -> bool:
        """Return True once it is ready, False when its port was taken. Raises KubernetesError otherwise."""
        try:
            return self._wait_until(ready)
        except BaseException:  # not left running, whatever happened
            self.kill()
            raise

    def kill(self) -> None:
        """End it at once: nothing that it could still do is worth waiting for."""
        atexit.unregister(self.kill)
        self._process.kill()
        self._process.wait()

    def _wait_until(self, ready: Callable[[], bool]) -> bool:
        deadline = time.monotonic() + _READY_TIMEOUT
        # Another process may have got the port first: then that one answers, and ours says so and exits.
        while not ready() or self._process.poll() is not None:
            if self._process.poll() is not None:
                if _PORT_TAKEN not in self._tail():
                    raise KubernetesError(f"{self._name} exited at its start\n{self._tail()}")
                self.kill()
                return False
            if time.monotonic() > deadline:
                raise KubernetesError(
                    f"{self._name} is not ready after {_READY_TIMEOUT:.0f} s\n{self._tail()}"
                )
            time.sleep(_POLL)
        return True

    def _tail(self) -> str:
        return _read(self._log)[self._log_start :][-8000:]


def _wait_until_stopped(pid: int) -> None:
    deadline = time.monotonic() + _READY_TIMEOUT
    for thread in Path(f"/proc/{pid}/task").glob("*/stat"):
        while thread.exists() and thread.read_text().rpartition(")")[2].split()[0] != "T":
            if time.monotonic() > deadline:
                raise KubernetesError(f"process {pid} does not stop")
            time.sleep(_POLL)


def _is_etcd(url: str, name: str) -> bool:
    """Whether the etcd of this name answers; another's may have got the port first."""
    try:
        return [member["name"] for member in _ask_etcd(url, "cluster/member/list", {})["members"]] == [name]
    except (OSError, HTTPException):
        return False


def _ask_etcd(url: str, path: str, body: object) -> Any:
    with urlopen(f"{url}/v3/{path}", json.dumps(body).encode(), timeout=_REQUEST_TIMEOUT) as answer:
        return json.load(answer)


def _read(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""
