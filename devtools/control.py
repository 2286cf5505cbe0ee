"""Commands that switch a registry owned by this process: what an operator's hooks would do."""

from __future__ import annotations

import sys
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer

from devtools.listener import Listener
from devtools.registry import RegistryServer

_HOOK = "import sys, urllib.request; urllib.request.urlopen(sys.argv[1], data=b'', timeout=30)"


class Control(Listener):
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

        super().__init__(HTTPServer(("127.0.0.1", 0), Handler))

    def hook(self, name: str) -> list[str]:
        """Return the command that asks for ``name``: on, off or restart."""
        return [sys.executable, "-c", _HOOK, f"{self.url}/{name}"]
