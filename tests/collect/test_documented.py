"""The set-ups in docs/undo-and-collection.md: valid settings, and a script that does what it is for."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from devtools.pusher import Pusher
from devtools.registry import RegistryServer
from reaper.collect import CommandCollector
from reaper.config.collection import CollectSettings
from tests.collect.test_command import is_running, until

DOCUMENT = (Path(__file__).parents[2] / "docs" / "undo-and-collection.md").read_text()
_NOBODY = f"/v2/reaper-probe/manifests/sha256:{'0' * 64}"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("text", blocks("yaml"))
def test_settings_are_valid(text: str) -> None:
    settings = CollectSettings.model_validate(YAML(typ="safe").load(text)["collect"])
    assert settings.read_only is not None
    collector = CommandCollector(
        settings.command or (),
        read_only_on=settings.read_only.on,
        read_only_off=settings.read_only.off,
        restart=settings.restart or (),
    )
    assert collector.capabilities.dry_run
    assert collector.capabilities.restart


@pytest.fixture
def script(registry: RegistryServer, distribution: Path, tmp_path: Path) -> Iterator[Path]:
    """The script, for a registry that it starts itself at the address and with the storage of `registry`."""
    registry.stop()
    (text,) = blocks("sh")
    for documented, here in (
        ("registry serve /etc/distribution/config.yml", f"{distribution} serve {registry.config_path}"),
        ("/var/log/registry.log", str(tmp_path / "log")),
        ("/run/", f"{tmp_path}/"),
    ):
        assert documented in text
        text = text.replace(documented, here)
    path = tmp_path / "registry-mode"
    path.write_text(text)
    path.chmod(0o755)
    yield path
    pid = int((tmp_path / "registry.pid").read_text())
    os.kill(pid, signal.SIGKILL)
    until(lambda: not is_running(pid))


@pytest.mark.integration
def test_the_script_for_a_plain_process(registry: RegistryServer, script: Path) -> None:
    pusher = Pusher(registry.url)

    def refused_with(status: int) -> bool:
        try:
            return pusher.request("DELETE", _NOBODY, {404, 405}).status == status
        except OSError:
            return False

    (script.parent / "registry.pid").write_text("2147483647")  # Nothing runs under this number.
    for action, status in (("off", 404), ("on", 405), ("restart", 405), ("off", 404)):
        subprocess.run([script, action], check=True, timeout=60)
        until(partial(refused_with, status))
