"""``make demo``: a whole run against a real registry on this machine, as a newcomer would do it.

It ends non-zero as soon as a step's outcome is not what it should be, and leaves nothing behind.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from devtools.control import Control
from devtools.errors import SetupError
from devtools.images import Image, build_image, build_index, signature_tag
from devtools.pusher import Pusher
from devtools.registry import RegistryServer
from devtools.server import ServerError
from devtools.tools import registry_binary, registry_version

_POLICY = """\
# Services: keep releases, and the two newest builds of each branch.
version: 1
policies:
  - name: services
    repositories: {include: ["services/**"]}
    rules:
      - name: releases
        tags: {semver: ">=1.0.0"}
        keep: all
      - name: two newest builds of each branch
        tags: {regex: '(?P<branch>[a-z]+)-\\d+'}
        group_by: branch
        keep: {newest: 2}
    minimum_age: 24h
"""

_MEBIBYTE = 1024 * 1024
#: A tag that expires while its digest is kept: distribution 3 takes it off, 2.8 cannot.
_SHARED = "candidate"


class DemoError(Exception):
    """A step's outcome is not what it should be."""


def main() -> int:
    """Run the demo and return its exit code."""
    try:
        binary = registry_binary()
        print(f"Using {registry_version(binary) or 'a registry'} ({binary.name}).")
        with (
            tempfile.TemporaryDirectory(prefix="reaper-demo-") as folder,
            RegistryServer(binary, Path(folder) / "registry") as server,
            Control(server) as control,
        ):
            Demo(Path(folder), server, control, binary).show()
    except (DemoError, ServerError, SetupError) as error:
        print(f"\ndemo: {error}", file=sys.stderr)
        return 1
    return 0


class Demo:
    """One demo: a registry with sample images, and the installed ``reaper`` command."""

    def __init__(self, folder: Path, server: RegistryServer, control: Control, binary: Path) -> None:
        self._folder = folder
        self._server = server
        self._pusher = Pusher(server.url)
        self._reaper = Path(sys.executable).with_name("reaper")
        (folder / "policies").mkdir()
        (folder / "policies" / "services.yaml").write_text(_POLICY)
        # JSON is YAML, and needs no quoting of its own.
        (folder / "reaper.yaml").write_text(
            json.dumps(
                {
                    "registries": [
                        {
                            "name": "demo",
                            "url": server.url,
                            "collect": {
                                "via": "command",
                                "command": [str(binary), "garbage-collect", str(server.config_path)],
                                "read_only": {"on": control.hook("on"), "off": control.hook("off")},
                                "restart": control.hook("restart"),
                                "undo_window": "0s",
                            },
                        }
                    ],
                    "policies": ["policies"],
                    "store": {"url": f"sqlite:///{folder}/reaper.db"},
                    "log": {"level": "warning"},
                }
            )
        )

    def show(self) -> None:
        """Show every step, and check it."""
        images = self._push_samples()
        before = self._server.disk_usage()
        self._say(f"The registry has sample images now. Disk: {_size(before)}.")

        self._say("1. The audit: what would be deleted, and why. Only GET and HEAD are sent.")
        self._run("--dry-run")
        audit = self._report("--dry-run")
        _check(audit["outcome"] == "done", "the audit ends with the outcome done")
        _check(audit["summary"]["manifests_to_delete"] > 0, "the audit finds something to delete")
        _check(audit["summary"]["deleted_manifests"] == 0, "the audit deletes nothing")
        written = {access.method for access in self._server.access_log()[self._pushes :]} - {"GET", "HEAD"}
        _check(not written, "the audit sent only GET and HEAD")

        self._say("2. The run. Every manifest is in the undo journal before it is deleted.")
        self._run("run")
        self._expect("services/api", {"1.0.0", "1.1.0", "main-4", "main-5", "latest"}, images)
        self._expect("services/web", {"2.0.0", "main-2", "main-3"}, images)
        self._expect("tools/nix", {"fixed-date"}, images)

        self._say("3. The undo: one image comes back, with its signature.")
        self._run("restore", "services/api:main-1")
        self._expect("services/api", {"1.0.0", "1.1.0", "main-1", "main-4", "main-5", "latest"}, images)

        self._say("4. The collection: read-only, collect, restart, verify, writable again.")
        self._run("gc")
        after = self._server.disk_usage()
        _check(after < before, "the disk has more room than before")

        self._say("5. The proof: everything that is tagged can be pulled.")
        self._run("verify", "--deep")
        for repository in ("services/api", "services/web", "tools/nix"):
            for tag in self._pusher.tags(repository):
                self._pusher.pull(repository, tag)

        self._say(
            f"Disk before: {_size(before)}. Disk after: {_size(after)}. Freed: {_size(before - after)}."
        )
        print(
            "For your own registry, start with an audit. It changes nothing:\n\n"
            "  .venv/bin/reaper check policies/starter.yaml\n"
            "  .venv/bin/reaper --dry-run --registry https://registry.example.com "
            "--policies policies/starter.yaml\n"
        )

    def _push_samples(self) -> dict[str, Image]:
        now = datetime.now(UTC)
        push = self._pusher.push
        images: dict[str, Image] = {}

        def image(name: str, age: int | None, *, seed: int, mebibytes: float = 0.5) -> Image:
            created = datetime(1970, 1, 1, tzinfo=UTC) if age is None else now - timedelta(days=age)
            images[name] = build_image(layers=(int(mebibytes * _MEBIBYTE),), seed=seed, created=created)
            return images[name]

        for number in range(1, 6):
            push("services/api", image(f"main-{number}", 40 - number, seed=number), f"main-{number}")
        push("services/api", image("1.0.0", 300, seed=10), "1.0.0")
        # Tags that share a digest: the digest stays as long as one of them does.
        push("services/api", image("1.1.0", 30, seed=11), "1.1.0", "latest", _SHARED)
        self._pusher.push_signature("services/api", images["main-1"])

        for number, tag in enumerate(("2.0.0", "main-1", "main-2", "main-3")):
            parts = [
                build_image(
                    layers=(_MEBIBYTE // 2,),
                    seed=20 + 2 * number + offset,
                    platform=platform,
                    created=now - timedelta(days=60 - number),
                )
                for offset, platform in enumerate(("linux/amd64", "linux/arm64"))
            ]
            push("services/web", build_index(parts), tag)
        # Nobody's policy is about this one, and its date says nothing.
        push("tools/nix", image("fixed-date", None, seed=40), "fixed-date")
        self._pushes = len(self._server.access_log())
        return images

    def _run(self, *arguments: str) -> None:
        command = [str(self._reaper), "--config", str(self._folder / "reaper.yaml"), *arguments]
        print(f"\n$ reaper {shlex.join(arguments)}\n", flush=True)
        ended = subprocess.run(command, env=self._environment(), check=False)
        _check(ended.returncode == 0, f"reaper {shlex.join(arguments)} ends with 0, not {ended.returncode}")

    def _report(self, *arguments: str) -> dict[str, Any]:
        command = [str(self._reaper), "--config", str(self._folder / "reaper.yaml"), *arguments]
        ended = subprocess.run(
            [*command, "--format", "json"], env=self._environment(), check=False, stdout=subprocess.PIPE
        )
        _check(ended.returncode == 0, "the JSON report is written")
        found: dict[str, Any] = json.loads(ended.stdout)
        return found

    def _environment(self) -> dict[str, str]:
        return {key: value for key, value in os.environ.items() if not key.startswith("REAPER_")}

    def _expect(self, repository: str, tags: set[str], images: dict[str, Image]) -> None:
        """Check that exactly ``tags`` (and signatures of what is there) are left, and can be pulled."""
        found = set(self._pusher.tags(repository)) - {_SHARED}
        signatures = {signature_tag(image) for name, image in images.items() if name in tags}
        _check(found - signatures == tags, f"{repository} has {sorted(tags)}, not {sorted(found)}")
        for tag in found:
            self._pusher.pull(repository, tag)
        print(f"\n{repository} now has: {', '.join(sorted(tags))}; each was pulled completely.")

    def _say(self, text: str) -> None:
        print(f"\n{'=' * 78}\n{text}", flush=True)


def _check(holds: bool, what: str) -> None:
    if not holds:
        raise DemoError(f"this should hold, and does not: {what}")


def _size(count: int) -> str:
    return f"{count / _MEBIBYTE:.1f} MiB"


if __name__ == "__main__":
    sys.exit(main())
