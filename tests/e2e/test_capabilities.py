"""What a registry can do: found out, remembered, shown by check, and said by the settings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from devtools import golang
from devtools.registry import RegistryServer
from devtools.registry_config import RegistryOptions
from tests.conftest import MakeRegistry
from tests.e2e.conftest import Site


@pytest.fixture(scope="session")
def distribution_3() -> Path:
    """The distribution 3 binary."""
    return golang.distribution_3(fetch=False)


def capabilities(site: Site) -> dict[str, tuple[str | None, str]]:
    found: dict[str, Any] = site.json("check", "--registry", "main")["registry"]["capabilities"]
    return {name: (entry["value"], entry["how"]) for name, entry in found.items()}


def shared_digest(site: Site) -> None:
    """Push what only a delete of a tag alone can tidy up."""
    site.rules("[{tags: 'keep*', keep: all}]")
    site.push("app", "keep", "old", age=9)
    site.push("app", "gone", age=8)


def test_distribution_2_8_is_found_out_by_the_first_run_that_needs_it(site: Site) -> None:
    shared_digest(site)
    before = capabilities(site)
    assert before["untag"] == before["deletes"] == (None, "unknown")
    assert before["referrers"] == ("no", "probed")
    assert before["catalog"] == ("yes", "probed")
    assert before["page_size"] == ("1000", "probed")
    text = site.reaper("check", "--registry", "main").out
    assert "  delete by tag  unknown until the first real run" in text.splitlines()
    report = site.json("run", "--dry-run")
    assert capabilities(site)["untag"] == (None, "unknown")
    (app,) = report["repositories"]
    assert "shared-digest" in next(tag["reason"] for tag in app["tags"] if tag["tag"] == "old")
    site.json("run")
    after = capabilities(site)
    assert after["untag"] == ("no", "remembered")
    assert after["deletes"] == ("allowed", "remembered")
    assert after["catalog"] == ("yes", "remembered")
    assert site.pusher.tags("app") == ["keep", "old"]
    entry = site.json("check", "--registry", "main")["registry"]["capabilities"]["untag"]
    assert entry["found_at"] is not None


def test_a_placeholder_takes_the_tag_off_and_restore_puts_it_back(site: Site) -> None:
    shared_digest(site)
    site.settings["registries"][0]["untag"] = "placeholder"
    report = site.json("run", "--dry-run")
    (app,) = report["repositories"]
    untagged = [entry for entry in app["manifests"] if entry["action"] == "untag"]
    assert len(untagged) == 1
    assert "untagged, if need be by a placeholder: old" in untagged[0]["reason"]
    ran = site.json("run")
    assert ran["summary"]["untagged_tags"] == 1
    assert site.pusher.tags("app") == ["keep"]
    assert capabilities(site)["untag"] == ("no: a placeholder is used", "remembered")
    assert site.json("run")["summary"]["untagged_tags"] == 0
    assert site.reaper("verify").code == 0
    assert site.reaper("restore", "--run", ran["run_id"]).code == 0
    assert site.pusher.tags("app") == ["gone", "keep", "old"]


def test_a_saved_plan_takes_tags_off_by_a_placeholder_as_well(site: Site) -> None:
    shared_digest(site)
    site.settings["registries"][0]["untag"] = "placeholder"
    plan = str(site.folder / "plan.json")
    assert site.reaper("plan", "-o", plan).code == 0
    assert site.reaper("apply", plan).code == 0
    assert site.pusher.tags("app") == ["keep"]


def test_distribution_3_deletes_a_tag_alone(
    distribution_3: Path, make_registry: MakeRegistry, make_site: Callable[[RegistryServer], Site]
) -> None:
    site = make_site(make_registry(binary=distribution_3))
    shared_digest(site)
    site.settings["registries"][0]["untag"] = "placeholder"
    site.json("run")
    assert site.pusher.tags("app") == ["keep"]
    assert capabilities(site)["untag"] == ("yes", "remembered")


def test_settings_say_it_instead(site: Site) -> None:
    shared_digest(site)
    registry = site.settings["registries"][0]
    registry["untag"] = "never"
    registry["capabilities"] = {"referrers": False, "catalog": False, "page_size": 7}
    registry["repositories"] = ["app"]
    registry["collect"] = {"via": "command", "command": ["true"]}
    found = capabilities(site)
    assert found["untag"] == ("no", "setting")
    assert found["referrers"] == ("no", "setting")
    assert found["catalog"] == ("no", "setting")
    assert found["page_size"] == ("7", "setting")
    assert found["collects"] == ("via command", "setting")
    assert site.json("run", "--dry-run")["summary"]["repositories"] == 1
    del registry["repositories"]
    ended = site.reaper("check", "--registry", "main")
    assert ended.code == 1
    assert "has no catalog, as the settings say" in ended.err
    assert "  catalog        no (setting)" in ended.out.splitlines()


def test_deletes_that_are_disabled_are_remembered(
    make_registry: MakeRegistry, make_site: Callable[[RegistryServer], Site]
) -> None:
    site = make_site(make_registry(RegistryOptions(delete_enabled=False)))
    shared_digest(site)
    assert site.reaper("run").code == 1
    assert capabilities(site)["deletes"] == ("disabled", "remembered")
