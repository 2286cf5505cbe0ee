"""Commands that switch a registry owned by this process: what an operator's hooks would do."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import TracebackType
from typing import Self

from devtools.registry import RegistryServer

_HOOK = "import sys, urllib.request; urllib.request.urlopen(sys.argv[1], data=b'', timeout=30)"


class Control:
    """Switches a registry on request, and keeps what was asked for. Use it as a context manager.

    Hooks are commands, and the registry belongs to this process: a hook asks this thread.
    """

    def __init__(self, server: RegistryServer) -> None:
        #: What the hooks asked for, in order.
        self.asked: list[str] = []
        #: Requests that are answered with an error and change nothing.
        self.broken: set[str] = set()
        actions: dict[str, Callable[[], None]] = {
            "on": lambda: server.restart(readonly=True),
            "off": lambda: server.restart(readonly=False),
            "restart": server.restart,
        }
        control = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                name = self.path.strip("/")
                control.asked.append(name)
                if name in control.broken:
                    self.send_error(500)
                    return
                actions[name]()
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_args: object) -> None:
                pass

        self._http = HTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def hook(self, name: str) -> list[str]:
        """Return the command that asks for ``name``: on, off or restart."""
        return [sys.executable, "-c", _HOOK, f"http://127.0.0.1:{self._http.server_port}/{name}"]

    def close(self) -> None:
        """Stop listening."""
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
