"""What is known of products, and what follows from settings, product and memory."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from reaper.core.capabilities import (
    FRESH,
    NO,
    UNSAFE,
    YES,
    How,
    Recognised,
    Remembered,
    Untagging,
    recognise,
    untag,
)
from reaper.core.plan import Untag

NOW = datetime(2026, 3, 1, tzinfo=UTC)
AUTO, ALONE, PLACEHOLDER, NEVER = Untagging
NOTHING, ONE, BY_PLACEHOLDER = Untag.NO, Untag.ALONE, Untag.PLACEHOLDER
UNKNOWN, CAN, CANNOT = None, Recognised("zot"), Recognised("harbor")


@pytest.mark.parametrize(
    ("host", "headers", "found"),
    [
        ("ghcr.io", {}, "ghcr"),
        ("registry-1.docker.io", {}, "docker-hub"),
        ("123456789012.dkr.ecr.eu-central-1.amazonaws.com", {}, "ecr"),
        ("europe-docker.pkg.dev", {}, "google"),
        ("mine.azurecr.io", {"Server": "AzureContainerRegistry"}, "acr"),
        ("notghcr.io", {}, None),
        ("ghcr.io.example.com", {}, None),
        ("reg.example", {"Docker-Distribution-Api-Version": "registry/2.0"}, None),
        ("reg.example", {"GitLab-Container-Registry-Version": "4.13.0-gitlab"}, "gitlab 4.13.0-gitlab"),
        ("reg.example", {"server": "Nexus/3.68.1-02 (OSS)"}, "nexus 3.68.1-02"),
        ("reg.example", {"X-JFrog-Version": "Artifactory/7.84.10 78410900"}, "artifactory 7.84.10"),
        ("reg.example", {"Server": "Nexus/next (OSS)"}, "nexus"),
        ("reg.example", {"Server": "Nexus/3.é (OSS)"}, "nexus"),
        ("reg.example", {"Server": "nginx/1.25"}, None),
    ],
)
def test_products_are_recognised_by_host_and_headers(
    host: str, headers: dict[str, str], found: str | None
) -> None:
    recognised = recognise(host, headers)
    assert (str(recognised) if recognised else None) == found


@pytest.mark.parametrize(
    ("setting", "product", "memory", "how", "known"),
    [
        # Nothing is known: nothing is untagged, unless a placeholder does it in any case.
        (AUTO, UNKNOWN, None, NOTHING, How.UNKNOWN),
        (PLACEHOLDER, UNKNOWN, None, BY_PLACEHOLDER, How.UNKNOWN),
        (ALONE, UNKNOWN, None, ONE, How.SETTING),
        # The settings' word is the last, but for what was seen to delete manifests.
        (NEVER, CAN, YES, NOTHING, How.SETTING),
        (ALONE, CANNOT, NO, ONE, How.SETTING),
        (ALONE, CAN, UNSAFE, NOTHING, How.REMEMBERED),
        (PLACEHOLDER, CAN, UNSAFE, BY_PLACEHOLDER, How.REMEMBERED),
        # What is known of a product needs no probe.
        (AUTO, CAN, NO, ONE, How.PRODUCT),
        (AUTO, CANNOT, YES, NOTHING, How.PRODUCT),
        (PLACEHOLDER, CANNOT, None, BY_PLACEHOLDER, How.PRODUCT),
        (PLACEHOLDER, CAN, None, ONE, How.PRODUCT),
        (AUTO, UNKNOWN, YES, ONE, How.REMEMBERED),
        (AUTO, UNKNOWN, NO, NOTHING, How.REMEMBERED),
        (PLACEHOLDER, UNKNOWN, YES, ONE, How.REMEMBERED),
        (PLACEHOLDER, UNKNOWN, NO, BY_PLACEHOLDER, How.REMEMBERED),
    ],
)
def test_how_a_tag_is_taken_off(
    setting: Untagging, product: Recognised | None, memory: str | None, how: Untag, known: How
) -> None:
    remembered = None if memory is None else Remembered(memory, NOW)
    assert untag(setting, product, remembered) == (how, known)


def test_what_was_found_out_is_believed_for_a_while_and_of_the_same_product() -> None:
    found = Remembered(YES, NOW, "gitea 1.26")
    assert found.is_fresh(NOW + FRESH - timedelta(seconds=1), "gitea 1.26")
    assert not found.is_fresh(NOW + FRESH, "gitea 1.26")
    assert not found.is_fresh(NOW, "gitea 1.27")
