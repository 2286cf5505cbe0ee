"""Pushes and pulls that a registry tells of, and what reaper then knows."""

from __future__ import annotations

from pathlib import Path

import pytest

from devtools.images import build_image
from devtools.registry import RegistryServer
from tests.compat.conftest import DISTRIBUTION_2, DISTRIBUTION_3, Fleet, Product
from tests.e2e.conftest import Site
from tests.e2e.daemon import serving

SECRET = "s3cret"
NEVER = "0 0 29 2 *"


@pytest.mark.parametrize("product", [DISTRIBUTION_2, DISTRIBUTION_3], ids=lambda product: product.name)
def test_a_push_has_its_time_and_a_pull_keeps(product: Product, fleet: Fleet, tmp_path: Path) -> None:
    with RegistryServer(fleet.binaries[product]) as server:
        site = Site(server, tmp_path)
        # Built long ago, and pushed just now.
        image = build_image(seed="told")
        site.rules("[{keep: {within: 1h, since: pushed}}]")
        secret = tmp_path / "secret"
        secret.write_text(SECRET)
        site.settings |= {"schedule": NEVER}
        site.settings["web"] = {"listen": "127.0.0.1:0", "events_secret_file": str(secret)}
        with serving(site) as daemon:
            server.restart(
                notifications_url=f"{daemon.url}/events/main",
                notifications_headers={"Authorization": f"Bearer {SECRET}"},
            )
            site.pusher.push("app", image, "v1")
            site.pusher.pull("app", "v1")
            pulls = 'action="pull",outcome="recorded",registry="main"'
            daemon.until(lambda: (daemon.metric("reaper_events_total", pulls) or 0) > 0)
        report = site.json("--dry-run")
        (tag,) = report["repositories"][0]["tags"]
        assert "(push event)" in tag["reason"]
        assert tag["pulled_at"] is not None
