"""Real binaries for tests and the demo, from the system or fetched once.

``python -m devtools.tools`` fetches what is missing, so that no test has to.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from devtools import apt, container, golang
from devtools.cache import provided
from devtools.credential_helpers import credential_helpers
from devtools.errors import SetupError
from devtools.helm import helm_binary

_NAMES = ("registry", "docker-registry")
_FONTS = """<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "urn:fontconfig:fonts.dtd">
<fontconfig>
  <dir prefix="relative">root/usr/share/fonts</dir>
  <cachedir prefix="xdg">fontconfig</cachedir>
</fontconfig>
"""
_VERSION = re.compile(r"distribution\S* v?(\d+\.\d+\.\d+)")


def registry_binary(*, fetch: bool = True) -> Path:
    """A distribution registry of any version: ``REAPER_REGISTRY_BINARY``, PATH, Debian's package, Go.

    Raises SetupError naming what was tried when there is none, or when `fetch` is false and none is cached.
    """
    if chosen := os.environ.get("REAPER_REGISTRY_BINARY"):
        path = Path(chosen)
        if not os.access(path, os.X_OK) or path.is_dir():
            raise SetupError(f"REAPER_REGISTRY_BINARY={chosen} is not an executable file")
        return path
    for path in _on_path():
        return path
    failures = []
    for provider in (_debian_registry, golang.distribution_3):
        try:
            return provider(fetch=fetch)
        except SetupError as error:
            failures.append(str(error))
    raise SetupError(
        "no distribution registry. Install docker-registry, or set REAPER_REGISTRY_BINARY. Tried: "
        + "; ".join(failures)
    )


def distribution_2(*, fetch: bool = True) -> Path:
    """Distribution 2.8: on PATH, else Debian's package. Raises SetupError when neither is to be had."""
    for path in _on_path():
        if _is_2_8(path):
            return path
    path = _debian_registry(fetch=fetch)
    if not _is_2_8(path):
        raise SetupError(f"{path} is distribution {registry_version(path)}; 2.8 is needed")
    return path


def skopeo_binary(*, fetch: bool = True) -> Path:
    """Skopeo: on PATH, else Debian's package with the libraries this system lacks, behind a wrapper script.

    Raises SetupError when neither is to be had.
    """
    if found := shutil.which("skopeo"):
        return Path(found)

    def build(into: Path) -> None:
        root = into / "root"
        root.mkdir()
        apt.unpack("skopeo", root, with_dependencies=True)
        policy = root / "etc" / "containers" / "policy.json"
        options = f' --policy "$here/{policy.relative_to(into)}"' if policy.exists() else ""
        apt.write_wrapper(into / "skopeo", root, "usr/bin/skopeo", options=options)

    return provided("skopeo", build, fetch=fetch) / "skopeo"


def etcd(*, fetch: bool = True) -> Path:
    """Etcd: on PATH, else Debian's package. Raises SetupError when neither is to be had."""
    if found := shutil.which("etcd"):
        return Path(found)
    folder = provided("etcd", lambda into: apt.unpack("etcd-server", into), fetch=fetch)
    return folder / "usr" / "bin" / "etcd"


def prometheus(*, fetch: bool = True) -> Path:
    """Prometheus: on PATH, else Debian's package. Raises SetupError when neither is to be had."""
    return _from_prometheus("prometheus", fetch=fetch)


def promtool(*, fetch: bool = True) -> Path:
    """Its promtool: on PATH, else from the same package. Raises SetupError when neither is to be had."""
    return _from_prometheus("promtool", fetch=fetch)


def postgresql_binaries(*, fetch: bool = True) -> Path:
    """The folder of PostgreSQL's programs: this system's, else Debian's package with what this system lacks.

    Raises SetupError when neither is to be had.
    """
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=_by_version)
    if places:
        return places[-1].parent

    def build(into: Path) -> None:
        root = into / "root"
        root.mkdir()
        apt.unpack("postgresql", root, with_dependencies=True)
        found = sorted(root.glob("usr/lib/postgresql/*/bin/postgres"), key=_by_version)
        if not found:
            raise SetupError("Debian's package postgresql brought no server")
        for name in ("postgres", "initdb"):
            program = found[-1].with_name(name).relative_to(root)
            apt.write_wrapper(into / name, root, str(program))

    return provided("postgresql", build, fetch=fetch)


def _by_version(program: Path) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", program.parent.parent.name))


def chromium(*, fetch: bool = True) -> Path:
    """Chromium: on PATH beside its driver, else Debian's package with what this system lacks, and a font.

    Raises SetupError when neither is to be had.
    """
    return _browser_on_path("chromium") or _debian_browser(fetch=fetch) / "chromium"


def chromedriver(*, fetch: bool = True) -> Path:
    """The driver that belongs to `chromium`. Raises SetupError when there is none."""
    return _browser_on_path("chromedriver") or _debian_browser(fetch=fetch) / "chromedriver"


def registry_version(binary: Path) -> str | None:
    """The version a distribution registry reports (``2.8.2``), None for any other program."""
    try:
        answer = subprocess.run(
            [binary, "--version"],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=60,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = _VERSION.search(answer.stdout)
    return found[1] if found else None


def _browser_on_path(name: str) -> Path | None:
    """Return one of the pair, which has to be of one version, so of one origin."""
    found = {each: shutil.which(each) for each in ("chromium", "chromedriver")}
    return Path(found[name] or "") if all(found.values()) else None


def _debian_browser(*, fetch: bool) -> Path:
    def build(into: Path) -> None:
        root = into / "root"
        root.mkdir()
        apt.unpack("chromium-driver", root, with_dependencies=True)
        # A system without any font shows no text; and with ours alone a page looks alike everywhere.
        apt.unpack("fonts-dejavu-core", root)
        (into / "fonts.conf").write_text(_FONTS)
        fonts = ('export FONTCONFIG_FILE="$here/fonts.conf"',)
        apt.write_wrapper(into / "chromium", root, "usr/lib/chromium/chromium", exports=fonts)
        apt.write_wrapper(into / "chromedriver", root, "usr/bin/chromedriver", exports=fonts)

    return provided("chromium", build, fetch=fetch)


def _on_path() -> list[Path]:
    """The registries on PATH; a program that only happens to have the name is not one."""
    found = (shutil.which(name) for name in _NAMES)
    return [Path(path) for path in found if path and registry_version(Path(path))]


def _is_2_8(binary: Path) -> bool:
    return (registry_version(binary) or "").startswith("2.8.")


def _debian_registry(*, fetch: bool = True) -> Path:
    folder = provided("docker-registry", lambda into: apt.unpack("docker-registry", into), fetch=fetch)
    return folder / "usr" / "bin" / "docker-registry"


def _from_prometheus(name: str, *, fetch: bool) -> Path:
    if found := shutil.which(name):
        return Path(found)
    folder = provided("prometheus", lambda into: apt.unpack("prometheus", into), fetch=fetch)
    return folder / "usr" / "bin" / name


_TOOLS: dict[str, Callable[[], Path]] = {
    "distribution 2": distribution_2,
    "distribution 3": golang.distribution_3,
    "gitea": golang.gitea,
    "ociregistry": golang.ociregistry,
    "crane": golang.crane,
    "skopeo": skopeo_binary,
    "credential helpers": credential_helpers,
    "chromium": chromium,
    "chromedriver": chromedriver,
    "etcd": etcd,
    "postgresql": postgresql_binaries,
    "prometheus": prometheus,
    "promtool": promtool,
    "kube-apiserver": golang.kube_apiserver,
    "helm 3": partial(helm_binary, 3),
    "helm 4": partial(helm_binary, 4),
}


def main() -> int:
    """Fetch what the tests and the demo need, and say where it is."""
    try:
        for name, find in {**_TOOLS, **container.tools()}.items():
            print(f"{name}: {find()}", flush=True)
    except SetupError as error:
        print(f"tools: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
