"""One folder outside the clone for what is fetched once, filled atomically and by one process at a time."""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from devtools.errors import SetupError


def cache_root() -> Path:
    """The cache folder: ``REAPER_CACHE``, else ``reaper-dev`` in the user's cache folder."""
    if chosen := os.environ.get("REAPER_CACHE"):
        return Path(chosen).expanduser().resolve()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser().resolve() / "reaper-dev"


def machine() -> str:
    """A name for this system's release and processor: binaries of another one must not be taken for ours."""
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        release = {"ID": platform.system().lower()}
    return "-".join(filter(None, (release.get("ID"), release.get("VERSION_ID"), platform.machine())))


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock that belongs to `path`, waiting for its holder; the kernel frees it when that ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def provide(folder: Path, fill: Callable[[Path], None]) -> Path:
    """Return `folder`, which `fill` makes the first time: it is there whole or not at all.

    `fill` gets an empty folder and may raise; then nothing is left behind.
    """
    if folder.exists():
        return folder
    with locked(folder):
        if folder.exists():  # another process made it while this one waited
            return folder
        partial = f".{folder.name}.partial-"
        for leftover in folder.parent.glob(f"{partial}*"):  # of a process that was killed
            shutil.rmtree(leftover)
        work = Path(tempfile.mkdtemp(prefix=partial, dir=folder.parent))
        try:
            fill(work)
            work.rename(folder)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return folder


def provided(name: str, fill: Callable[[Path], None], *, fetch: bool) -> Path:
    """Return this system's folder of a tool, filling it the first time.

    Raises SetupError when it is not there and `fetch` is false: tests do not fetch.
    """
    folder = cache_root() / machine() / name
    if not fetch and not folder.exists():
        raise SetupError(f"{name} is neither installed nor fetched yet ({folder}): run `make tools`")
    return provide(folder, fill)
