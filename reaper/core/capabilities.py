"""What registries differ in, what is known of products, and how each of these was found out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from reaper.core.plan import Untag

#: What was found out is asked again after so long: a registry learns things with an update.
FRESH: Final = timedelta(days=7)


class How(StrEnum):
    """How something is known of a registry."""

    SETTING = "setting"
    PRODUCT = "product"
    PROBED = "probed"
    REMEMBERED = "remembered"
    UNKNOWN = "unknown"


class Name(StrEnum):
    """What registries differ in."""

    PRODUCT = "product"
    DELETES = "deletes"
    UNTAG = "delete by tag"
    UNDO = "undo"
    REFERRERS = "referrers API"
    CATALOG = "catalog"
    PAGE_SIZE = "page size"
    COLLECTS = "collection"
    PUSHED = "push times"
    PULLED = "pull times"


@dataclass(frozen=True, slots=True)
class Capability:
    """One of them. ``value`` is None where it is not known; ``at`` is when it was found out, if not now."""

    name: Name
    value: str | None
    how: How
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Remembered:
    """What was found out at an earlier time, of the product (with its version) that it was then."""

    value: str
    at: datetime
    product: str = ""

    def is_fresh(self, now: datetime, product: str) -> bool:
        """Tell whether it need not be found out again."""
        return now - self.at < FRESH and self.product == product


@dataclass(frozen=True, slots=True)
class ProductFacts:
    """What is known of a product. ``untag``: whether it deletes a tag alone; None: that takes a probe.

    ``collects``: whether it frees its storage by itself.
    """

    untag: bool | None = None
    collects: bool | None = None


#: By the names that settings use. `docs/registries.md` says where each of these comes from.
PRODUCTS: Final[Mapping[str, ProductFacts]] = {
    "acr": ProductFacts(untag=False, collects=True),
    "artifactory": ProductFacts(collects=True),
    "distribution": ProductFacts(collects=False),
    "docker-hub": ProductFacts(collects=True),
    "ecr": ProductFacts(collects=True),
    "ghcr": ProductFacts(collects=True),
    "gitea": ProductFacts(collects=True),
    "google": ProductFacts(collects=True),
    "harbor": ProductFacts(untag=False),
    "quay": ProductFacts(untag=True, collects=True),
    "zot": ProductFacts(untag=True, collects=True),
}
_NOTHING: Final = ProductFacts()

_HOSTS: Final[Mapping[str, str]] = {
    "ghcr.io": "ghcr",
    "docker.io": "docker-hub",
    "gcr.io": "google",
    "pkg.dev": "google",
    "azurecr.io": "acr",
    "quay.io": "quay",
    "registry.gitlab.com": "gitlab",
}
#: Headers of the answer to GET /v2/, and what a value begins with.
_HEADERS: Final = (
    ("server", "nexus/", "nexus"),
    ("x-jfrog-version", "artifactory/", "artifactory"),
    ("server", "artifactory/", "artifactory"),
    ("gitlab-container-registry-version", "", "gitlab"),
    ("server", "azurecontainerregistry", "acr"),
)


@dataclass(frozen=True, slots=True)
class Recognised:
    """A product, and its version where it says one."""

    name: str
    version: str = ""

    def __str__(self) -> str:
        return f"{self.name} {self.version}".strip()

    @property
    def facts(self) -> ProductFacts:
        """What is known of it."""
        return PRODUCTS.get(self.name, _NOTHING)


def recognise(host: str, headers: Mapping[str, str]) -> Recognised | None:
    """Return the product that answers GET /v2/ at ``host`` (without a port) with ``headers``.

    Many registries answer as distribution does, so None is no proof of anything.
    """
    for suffix, name in _HOSTS.items():
        if host == suffix or host.endswith(f".{suffix}"):
            return Recognised(name)
    if ".dkr.ecr." in host:
        return Recognised("ecr")
    low = {key.lower(): value for key, value in headers.items()}
    for header, prefix, name in _HEADERS:
        value = low.get(header, "")
        if value and value.lower().startswith(prefix):
            version = value[len(prefix) :].partition(" ")[0]
            return Recognised(name, version if version[:1].isdecimal() and version.isascii() else "")
    return None


class Untagging(StrEnum):
    """What the settings say of expired tags on manifests that stay."""

    AUTO = "auto"
    ALONE = "alone"
    PLACEHOLDER = "placeholder"
    NEVER = "never"


#: What is remembered of `Name.UNTAG` and `Name.UNDO`. UNSAFE, of the first: the registry said that it can
#: delete a tag alone, and then deleted the manifest as well.
YES: Final = "yes"
NO: Final = "no"
UNSAFE: Final = "unsafe"


def untag(setting: Untagging, product: Recognised | None, remembered: Remembered | None) -> tuple[Untag, How]:
    """Return how expired tags are taken off manifests that stay, as far as that is known."""
    if setting is Untagging.NEVER:
        return Untag.NO, How.SETTING
    otherwise = Untag.PLACEHOLDER if setting is Untagging.PLACEHOLDER else Untag.NO
    if remembered is not None and remembered.value == UNSAFE:
        return otherwise, How.REMEMBERED
    if setting is Untagging.ALONE:
        return Untag.ALONE, How.SETTING
    if product is not None and product.facts.untag is not None:
        return Untag.ALONE if product.facts.untag else otherwise, How.PRODUCT
    if remembered is not None:
        return Untag.ALONE if remembered.value == YES else otherwise, How.REMEMBERED
    return otherwise, How.UNKNOWN
