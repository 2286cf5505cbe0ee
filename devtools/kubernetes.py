"""A real Kubernetes API server on loopback: etcd and kube-apiserver, for tests.

There are no controllers, no scheduler and no kubelets: objects stay as they were written. A Deployment gets
no ReplicaSet, a Job no Pod, a deleted owner leaves its dependents, and ``status`` is what a test puts there.
"""

from __future__ import annotations

import csv
import json
import os
import secrets
import signal
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.client import HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any, ClassVar
from urllib.request import urlopen

import trustme
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from devtools.server import Server, ServerError

#: May do everything.
ADMIN = "admin"
#: Is known, and may do nothing.
NOBODY = "nobody"
_USERS: dict[str, Sequence[str]] = {ADMIN: ["system:masters"], NOBODY: []}
_REQUEST_TIMEOUT = 30.0


class AnswerError(Exception):
    """The API server refused a request."""

    def __init__(self, request: str, status: int, body: str) -> None:
        super().__init__(f"{request}: {status} {body}")
        self.status = status


class KubernetesServer(Server):
    """An empty cluster with RBAC: an API server, with an etcd of its own below its folder.

    Its users are known by static tokens: ADMIN, NOBODY, and those in `users`, given with their groups; a
    user may be named ``system:serviceaccount:NAMESPACE:NAME``. They may do what roles allow.
    """

    name: ClassVar[str] = "kube-apiserver"
    patience: ClassVar[float] = 120.0
    polite: ClassVar[bool] = False

    def __init__(
        self,
        apiserver: Path,
        etcd: Path,
        root: Path | None = None,
        users: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        super().__init__(root)
        self._binary = apiserver.resolve()
        self._etcd = _Etcd(etcd, self.root)
        self._groups = {**_USERS, **(users or {})}
        self._tokens = {user: secrets.token_hex(16) for user in self._groups}
        self._plurals: dict[tuple[str, str], tuple[str, bool]] = {}

    @property
    def url(self) -> str:
        """Where the API server answers; the same after a restart."""
        return f"https://{self.host}"

    @property
    def authority(self) -> Path:
        """The certificate that a client has to trust."""
        return self.root / "ca.crt"

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Hold the API server still: connections stay open, and nothing is answered."""
        pid = self.pid
        if pid is None:
            raise ServerError("the API server is not running")
        os.kill(pid, signal.SIGSTOP)
        try:
            # A thread may be about to answer.
            self.wait_for(lambda: _is_stopped(pid), f"process {pid} does not stop")
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    def expire_lists(self) -> None:
        """Forget the past, as a cluster does every few minutes: lists under way cannot be read on (410)."""
        note = {"name": f"forgotten-{secrets.token_hex(4)}"}
        self.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": note})  # it has to be in the past
        now = self._etcd.ask("kv/range", {"key": "AA=="})["header"]["revision"]
        self._etcd.ask("kv/compaction", {"revision": now, "physical": True})

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
        connection = HTTPSConnection("127.0.0.1", self.port, timeout=_REQUEST_TIMEOUT, context=context)
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

    def _apply(self, path: str, item: Mapping[str, Any]) -> None:
        query = "?fieldManager=devtools&force=true"
        self.request("PATCH", path + query, item, content_type="application/apply-patch+yaml")

    def _prepare(self) -> None:
        super()._prepare()
        if not self.authority.exists():
            self._write_files()
        self._etcd.start()

    def _end(self, *, force: bool) -> None:
        """End both processes; what was written is there again after `start`."""
        super()._end(force=force)
        self._etcd.stop()

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

    def _command(self) -> Sequence[str | Path]:
        return [
            self._binary,
            f"--etcd-servers={self._etcd.url}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--secure-port={self.port}",
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

    def _answers(self) -> bool:
        try:
            self.request("GET", "/readyz")
            self.request("GET", "/api/v1/namespaces/default")  # made some moments later
        except (OSError, HTTPException, AnswerError):
            return False
        return True


class _Etcd(Server):
    """The API server's store, which it alone knows."""

    name: ClassVar[str] = "etcd"
    patience: ClassVar[float] = 120.0
    polite: ClassVar[bool] = False

    def __init__(self, binary: Path, root: Path) -> None:
        super().__init__(root)
        self._binary = binary.resolve()
        self._identity = secrets.token_hex(8)

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    def ask(self, path: str, body: object) -> Any:
        with urlopen(f"{self.url}/v3/{path}", json.dumps(body).encode(), timeout=_REQUEST_TIMEOUT) as answer:
            return json.load(answer)

    def _command(self) -> Sequence[str | Path]:
        return [
            self._binary,
            f"--name={self._identity}",
            f"--initial-cluster={self._identity}=http://127.0.0.1:0",
            "--initial-advertise-peer-urls=http://127.0.0.1:0",
            f"--data-dir={self.root / 'etcd'}",
            f"--listen-client-urls={self.url}",
            f"--advertise-client-urls={self.url}",
            "--listen-peer-urls=http://127.0.0.1:0",
            "--heartbeat-interval=10",  # it elects itself, and need not take a second for it
            "--election-timeout=50",
        ]

    def _answers(self) -> bool:
        try:
            members = self.ask("cluster/member/list", {})["members"]
        except (OSError, HTTPException):
            return False
        return [member["name"] for member in members] == [self._identity]


def _is_stopped(pid: int) -> bool:
    """Whether none of the process's threads runs."""
    threads = Path(f"/proc/{pid}/task").glob("*/stat")
    return all(
        not thread.exists() or thread.read_text().rpartition(")")[2].split()[0] == "T" for thread in threads
    )
