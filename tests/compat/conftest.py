"""The servers that one set of tests is run against, each started once, and an independent look at them."""

from __future__ import annotations

import base64
import json
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import pytest
import trustme

from devtools import golang, tools
from devtools.crane import Crane, CraneError
from devtools.postgresql import PostgresqlServer
from devtools.pusher import Pusher
from devtools.registries import GiteaServer, OciRegistryServer
from devtools.registry import RegistryServer
from devtools.registry_config import RegistryOptions
from devtools.skopeo import Skopeo
from devtools.token_server import TokenServer
from tests.e2e.conftest import Folder

_HERE: Final = Path(__file__).parent
USER: Final = "reaper"
PASSWORD: Final = "correct horse: 🐴"


@dataclass(frozen=True, slots=True)
class Product:
    """What is known of a registry's behaviour: measured, not promised.

    ``untags``: it can delete a tag and leave its manifest. ``referrers``: it lists referrers itself.
    ``collects``: by ``registry garbage-collect``, else by itself. ``told``: it sends distribution's events.
    ``undoes``: what is deleted can be pushed again without its blobs, until it is collected.
    """

    name: str
    flavours: tuple[str, ...]
    untags: bool
    referrers: bool
    collects: bool
    told: bool
    undoes: bool


DISTRIBUTION_2: Final = Product(
    "distribution-2.8", ("plain", "htpasswd", "tls", "token"), False, False, True, True, True
)
DISTRIBUTION_3: Final = replace(DISTRIBUTION_2, name="distribution-3.1", untags=True)
GITEA: Final = Product("gitea-1.26", ("plain", "tls"), True, False, False, False, False)
OCIREGISTRY: Final = Product(
    "ociregistry", ("plain", "htpasswd", "tls", "cloud", "left"), True, True, False, False, True
)
PRODUCTS: Final = (DISTRIBUTION_2, DISTRIBUTION_3, GITEA, OCIREGISTRY)


def each(*flavours: str, having: Callable[[Product], bool] = lambda _: True) -> pytest.MarkDecorator:
    """Run a test in every registry of these flavours whose product is ``having`` what it needs."""
    cases = [
        pytest.param((product, flavour), id=f"{product.name}-{flavour}")
        for product in PRODUCTS
        for flavour in product.flavours
        if flavour in flavours and having(product)
    ]
    return pytest.mark.parametrize("scenario", cases, indirect=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark them, so that ``-m "not integration"`` is the quick round."""
    for item in items:
        if item.path.is_relative_to(_HERE):
            item.add_marker(pytest.mark.integration)


@dataclass(frozen=True)
class Target:
    """A running registry, and how to get into it."""

    product: Product
    flavour: str
    url: str
    host: str
    #: What the settings have to say of it.
    settings: Mapping[str, Any]
    #: Docker's ``config.json`` with the login, if one is needed.
    login: Path
    authority: Path | None = None
    tokens: TokenServer | None = None

    def pusher(self, repository: str) -> Pusher:
        """An independent client that may do everything in the repository."""
        if self.tokens:
            everything = f"repository:{repository}:pull,push,delete"
            return Pusher(self.url, token=self.tokens.token("pusher", everything))
        user = USER if "username" in self.settings else None
        return Pusher(self.url, user, PASSWORD, certificate_authority=self.authority)


class Fleet:
    """Starts each server when it is first asked for."""

    def __init__(
        self, root: Path, servers: ExitStack, postgresql: PostgresqlServer, skopeo: Path, crane: Path
    ) -> None:
        self.skopeo = skopeo
        self.crane = crane
        #: The programs. They are found now, since tests have homes of their own.
        self.binaries = {
            DISTRIBUTION_2: tools.distribution_2(fetch=False),
            DISTRIBUTION_3: golang.distribution_3(fetch=False),
            GITEA: golang.gitea(fetch=False),
            OCIREGISTRY: golang.ociregistry(fetch=False),
        }
        self._root = root
        self._servers = servers
        self._postgresql = postgresql
        self._running: dict[tuple[str, str], Target] = {}

    def target(self, product: Product, flavour: str) -> Target:
        """The running server of this product and flavour."""
        key = (product.name, flavour)
        if key not in self._running:
            self._running[key] = self._start(product, flavour)
        return self._running[key]

    def _start(self, product: Product, flavour: str) -> Target:
        root = self._root / f"{product.name}-{flavour}"
        root.mkdir()
        tls, authority = _certificate(root) if flavour == "tls" else (None, None)
        tokens = None
        logs_in = True
        binary = self.binaries[product]
        server: RegistryServer | GiteaServer | OciRegistryServer
        if product is GITEA:
            # Its users own all repositories, so there is none without a login.
            database = self._postgresql.make_database()
            server = GiteaServer(binary, database, root, users={USER: PASSWORD}, tls=tls)
        elif product is OCIREGISTRY:
            logs_in = flavour == "htpasswd"
            server = OciRegistryServer(
                binary,
                root,
                tls=tls,
                login=(USER, PASSWORD) if logs_in else None,
                max_page_size=1000 if flavour == "cloud" else 0,
                omit_digest=flavour == "cloud",
                leave_tags=flavour == "left",
            )
        else:
            logs_in = flavour in ("htpasswd", "token")
            if flavour == "token":
                tokens = self._servers.enter_context(TokenServer({USER: PASSWORD}))
            server = RegistryServer(
                binary,
                root,
                RegistryOptions(
                    htpasswd={USER: PASSWORD} if flavour == "htpasswd" else None,
                    token=tokens.trusted(root) if tokens else None,
                    tls=tls,
                    max_catalog_entries=30,
                ),
            )
            self._servers.callback(shutil.rmtree, root / "storage", ignore_errors=True)  # the logs stay
        self._servers.enter_context(server)
        settings: dict[str, Any] = {"url": server.url}
        auths = {}
        if logs_in:
            (root / "password").write_text(PASSWORD)
            settings |= {"username": USER, "password_file": str(root / "password")}
            auths[server.host] = {"auth": base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()}
        if authority:
            settings["ca_file"] = str(authority)
        login = root / "docker" / "config.json"
        login.parent.mkdir()
        login.write_text(json.dumps({"auths": auths}))
        return Target(product, flavour, server.url, server.host, settings, login, authority, tokens)


def _certificate(root: Path) -> tuple[tuple[Path, Path], Path]:
    """Write a certificate with its key, and the authority to trust for it."""
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(str(root / "ca.pem"))
    issued.cert_chain_pems[0].write_to_path(str(root / "server.pem"))
    issued.private_key_pem.write_to_path(str(root / "server.key"))
    return (root / "server.pem", root / "server.key"), root / "ca.pem"


@pytest.fixture(scope="session")
def fleet(
    tmp_path_factory: pytest.TempPathFactory, postgresql: PostgresqlServer, skopeo: Skopeo
) -> Iterator[Fleet]:
    """All servers, which run from their first test to the last."""
    with ExitStack() as servers:
        root = tmp_path_factory.mktemp("fleet")
        yield Fleet(root, servers, postgresql, skopeo.binary, golang.crane(fetch=False))


class Scenario(Folder):
    """One repository that nobody else has, in one of the registries, and reaper's folder for it."""

    def __init__(self, target: Target, folder: Path, fleet: Fleet) -> None:
        self.target = target
        self.repository = f"{USER}/{secrets.token_hex(4)}/app"
        super().__init__(folder, target.pusher(self.repository), target.settings)
        self.skopeo = Skopeo(fleet.skopeo, target.login)
        self.crane = Crane(fleet.crane, target.host, target.login.parent)

    def rules(self, rules: str, **more: str) -> None:
        """Write a policy for this repository alone."""
        super().rules(rules, repositories=f"{{include: ['{self.repository}']}}", **more)

    def holds(self, tags: Mapping[str, str], *, gone: Iterable[str] = ()) -> None:
        """Check by two other clients that these tags are all there are, on these digests.

        Nothing of ``gone``, which are digests, is there.
        """
        assert sorted(self.skopeo.tags(self._image)) == sorted(tags)
        for digest in gone:
            assert self.pusher.get_manifest(self.repository, digest) is None
        if self.target.flavour != "token":
            assert {tag: self.crane.digest(self.repository, tag) for tag in tags} == dict(tags)
            for digest in gone:
                with pytest.raises(CraneError, match=r"MANIFEST_UNKNOWN|404"):
                    self.crane.digest(self.repository, digest)

    def can_be_pulled(self, digests: Iterable[str]) -> None:
        """Check that two other clients can pull all of these, with everything that belongs to them."""
        for digest in set(digests):
            self.pusher.pull(self.repository, digest)
            place = self.folder / f"copy-{secrets.token_hex(4)}"
            self.skopeo.copy(f"{self._image}@{digest}", f"dir:{place}", every_platform=True)
            shutil.rmtree(place)

    @property
    def _image(self) -> str:
        return f"docker://{self.target.host}/{self.repository}"

    def row(self, report: Mapping[str, Any]) -> dict[str, Any]:
        """The report's part about the repository."""
        (found,) = (each for each in report["repositories"] if each["name"] == self.repository)
        return dict(found)


@pytest.fixture
def scenario(request: pytest.FixtureRequest, fleet: Fleet, tmp_path: Path) -> Scenario:
    """A scenario in the registry that the test is parametrized with."""
    return Scenario(fleet.target(*request.param), tmp_path, fleet)
