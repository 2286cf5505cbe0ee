"""Docker's credential helper for ``pass``, and a password store for it that is gone afterwards."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from devtools import apt
from devtools.cache import provided
from devtools.errors import SetupError

_HELPER = "docker-credential-pass"
_OWNER = "reaper-devtools"
_TIMEOUT = 120.0


def credential_helpers(*, fetch: bool = True) -> Path:
    """The folder of docker-credential-pass and the programs it needs: PATH's, else Debian's packages.

    Raises SetupError when neither is to be had.
    """
    if (found := shutil.which(_HELPER)) and shutil.which("pass") and shutil.which("gpg"):
        return Path(found).parent

    def build(into: Path) -> None:
        root = into / "root"
        root.mkdir()
        apt.unpack("pass", root, with_dependencies=True)
        # The other helper in this package wants a desktop; this one is a program on its own.
        apt.unpack("golang-docker-credential-helpers", root)
        # gpg starts its agent, which it would look for where the package is meant to be.
        agent = {"gpg": ' --agent-program "$here/gpg-agent"'}
        for program in (_HELPER, "pass", "tree", "gpg", "gpg-agent", "gpgconf"):
            if (root / "usr/bin" / program).exists():
                options = agent.get(program, "")
                apt.write_wrapper(into / program, root, f"usr/bin/{program}", options=options)

    return provided("docker-credential-pass", build, fetch=fetch)


class PasswordStore:
    """A password store with a key of its own, without a passphrase, in a temporary folder.

    A context manager. Whoever runs the helper needs `environment`.
    """

    def __init__(self, programs: Path) -> None:
        """`programs` is the folder of `credential_helpers`."""
        # In a short folder, whatever the test's is: the agent's socket is in it.
        self._folder = Path(tempfile.mkdtemp(prefix="reaper-pass-"))
        self.store = self._folder / "store"
        self.environment = {
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "GNUPGHOME": str(self._folder),
            "PASSWORD_STORE_DIR": str(self.store),
        }

    def __enter__(self) -> Self:
        try:
            self._run("gpg", "--batch", "--passphrase", "", "--quick-generate-key", _OWNER, "future-default")
            self._run("pass", "init", _OWNER)
        except BaseException:  # nothing is left, whatever happened
            self._remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remove()

    def keep(self, server: str, username: str, secret: str) -> None:
        """Keep a login, as ``docker login`` does."""
        login = {"ServerURL": server, "Username": username, "Secret": secret}
        self._run(_HELPER, "store", given=json.dumps(login))

    def _remove(self) -> None:
        self._run("gpgconf", "--kill", "gpg-agent")
        shutil.rmtree(self._folder)

    def _run(self, *command: str, given: str = "") -> None:
        answer = subprocess.run(
            command,
            env={**os.environ, **self.environment},
            input=given,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
            check=False,
        )
        if answer.returncode != 0:
            raise SetupError(f"{' '.join(command)} failed: {answer.stderr.strip() or answer.stdout.strip()}")
