"""``reaper serve`` as a process of the test's own, whose log lines the test waits for."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.e2e.conftest import REAPER, Site

#: However busy the machine is.
PATIENCE = 60.0


class DaemonProcess:
    """A running daemon, with its JSON log lines in `lines`."""

    def __init__(self, site: Site, *arguments: str, env: dict[str, str] | None = None) -> None:
        config = site.write_settings()
        self.process = subprocess.Popen(
            [str(REAPER), "serve", "--config", str(config), "--log-format", "json", "-v", *arguments],
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            env={**os.environ, **(env or {})},
        )
        self.lines: list[dict[str, Any]] = []
        self.raw: list[str] = []
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def wait_for(self, event: str, *, after: int = 0, **fields: Any) -> dict[str, Any]:
        """Return the first log line of ``event`` with these fields, at or behind the position ``after``."""
        end = time.monotonic() + PATIENCE
        with self._news:
            while True:
                for line in self.lines[after:]:
                    if line.get("event") == event and fields.items() <= line.items():
                        return line
                left = end - time.monotonic()
                assert left > 0, f"waited in vain for {event} {fields}: {''.join(self.raw)}"
                assert self.process.poll() is None or self._reader.is_alive(), "".join(self.raw)
                self._news.wait(min(left, 1.0))

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the log lines of one event so far."""
        return [line for line in self.lines if line.get("event") == name]

    @property
    def url(self) -> str:
        """Where its web server is."""
        return str(self.wait_for("web_server_started")["url"])

    def get(self, path: str) -> tuple[int, str]:
        """Return status and text of a page."""
        try:
            with urllib.request.urlopen(self.url + path, timeout=PATIENCE) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def metric(self, name: str, labels: str = "") -> float | None:
        """Return the value of one series, None while there is none."""
        wanted = f"{name}{{{labels}}} " if labels else f"{name} "
        for line in self.get("/metrics")[1].splitlines():
            if line.startswith(wanted):
                return float(line.rpartition(" ")[2])
        return None

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait for ``condition``, which has to come true in time."""
        end = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < end, f"waited in vain: {''.join(self.raw)}"
            time.sleep(0.05)

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        assert "Traceback" not in "".join(self.raw), "".join(self.raw)
        return code

    def close(self) -> None:
        """Forget the process, which has ended or was killed."""
        self.process.wait()
        self._reader.join()
        assert self.process.stderr is not None
        self.process.stderr.close()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for text in self.process.stderr:
            with self._news:
                self.raw.append(text)
                if text.startswith("{"):
                    self.lines.append(json.loads(text))
                self._news.notify_all()


@contextmanager
def serving(site: Site, *arguments: str, env: dict[str, str] | None = None) -> Iterator[DaemonProcess]:
    """Run ``reaper serve`` with the site's settings while the block runs."""
    site.settings.setdefault("web", {"listen": "127.0.0.1:0"})
    daemon = DaemonProcess(site, *arguments, env=env)
    try:
        yield daemon
    finally:
        if daemon.process.poll() is None:
            daemon.process.kill()
        daemon.close()


def swap_config_map(folder: Path, files: dict[str, str]) -> None:
    """Change a folder as the kubelet changes a mounted ConfigMap: one symbolic link is replaced.

    ``folder/NAME`` -> ``..data/NAME``, and ``..data`` -> a folder of its own for each version.
    """
    version = folder / f"..version-{time.time_ns()}"
    version.mkdir(parents=True)
    for name, text in files.items():
        (version / name).write_text(text)
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(Path("..data") / name)
    fresh = folder / "..data_tmp"
    fresh.symlink_to(version.name)
    fresh.rename(folder / "..data")
