"""Credential helpers: programs that know logins, as Docker asks them.

``docker-credential-NAME get`` gets the server on standard input and answers with JSON.
Source: the protocol of docker-credential-helpers.
"""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import structlog

from reaper.process import ProcessError, run_output
from reaper.registry.credentials import Credentials
from reaper.registry.errors import LoginError

_log = structlog.get_logger(__name__)

#: How long a helper may take, in seconds.
LIMIT: Final = 30.0
#: How long an answer is good, in seconds, if it is not refused before: what clouds hand out lives from an
#: hour (Google) to twelve (Amazon), and helpers of them hand out what they hold already.
_KEEP: Final = 900.0
#: How long a failure counts, in seconds: the requests that wait beside must not each wait for it.
_KEEP_FAILURE: Final = 15.0
_MAX_ANSWER: Final = 256 * 1024
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
#: What helpers say, with exit code 1 and mostly on standard output, for "there is none".
_NOT_FOUND: Final = "credentials not found"
#: Instead of a user's name: the secret is an identity token.
_IDENTITY_TOKEN: Final = "<token>"  # noqa: S105 - a name


def is_helper(name: str) -> bool:
    """Tell whether ``name`` can be a helper's: the end of a program's name, and no path."""
    return _NAME.fullmatch(name) is not None


@dataclass(frozen=True, slots=True)
class _Answer:
    result: Credentials | LoginError | None
    good_until: float


@dataclass(slots=True)
class Helpers:
    """Asks helpers, and remembers what they said for a while. ``limit`` is in seconds."""

    limit: float = LIMIT
    clock: Callable[[], float] = time.monotonic
    _answers: dict[tuple[str, str, Path], _Answer] = field(default_factory=dict)

    async def ask(self, name: str, server: str, file: Path) -> Credentials | None:
        """Return the login that the helper ``name``, which ``file`` names, has for ``server``, or None.

        Raises:
            LoginError: the helper is not there, fails, takes too long, or answers with something else.
        """
        key = (name, server, file)
        held = self._answers.get(key)
        if held is None or self.clock() >= held.good_until:
            result = await self._result(name, server, file)
            failed = isinstance(result, LoginError)
            if failed and held is not None and isinstance(held.result, Credentials):
                # It has not been refused yet, so it is the better answer.
                _log.warning(
                    "credential helper failed; its earlier answer is used", helper=name, server=server
                )
                result = held.result
            keep = _KEEP_FAILURE if failed else _KEEP
            held = self._answers[key] = _Answer(result, self.clock() + keep)
        if isinstance(held.result, LoginError):
            raise LoginError(held.result.message, hint=held.result.hint)
        return held.result

    def forget(self) -> None:
        """Ask anew from now on."""
        self._answers.clear()

    async def _result(self, name: str, server: str, file: Path) -> Credentials | LoginError | None:
        began = time.monotonic()
        try:
            result: Credentials | LoginError | None = await _ask(name, server, file, self.limit)
        except LoginError as error:
            result = error
        said = "a login" if isinstance(result, Credentials) else "nothing usable" if result else "no login"
        _log.debug(
            "credential helper",
            helper=name,
            server=server,
            file=str(file),
            answer=said,
            seconds=round(time.monotonic() - began, 4),
        )
        return result


async def _ask(name: str, server: str, file: Path, limit: float) -> Credentials | None:
    program = f"docker-credential-{name}"
    what = f"the credential helper {program}, which {file} names,"
    # What it prints is never repeated, neither of its outputs: there may be a secret in it.
    hint = f"`echo {server} | {program} get` shows why"
    if shutil.which(program) is None:
        raise LoginError(f"{what} is not on PATH", hint="install it, or take its name out of the file")
    try:
        code, output, errors = await run_output(
            (program, "get"), limit=limit, max_bytes=_MAX_ANSWER, stdin=server.encode()
        )
    except ProcessError as error:
        raise LoginError(f"{what} gave no login: {error.message}", hint=hint) from error
    if code != 0:
        said = f"{output.decode(errors='replace')} {errors}".lower()
        if code > 0 and _NOT_FOUND in said:
            return None
        ending = f"signal {-code}" if code < 0 else f"exit code {code}"
        raise LoginError(f"{what} ended with {ending}", hint=hint)
    username, secret = _read(output, what, hint)
    if not username and not secret:
        return None
    if not username or not secret:
        missing = "Username" if secret else "Secret"
        raise LoginError(f"{what} answers without {missing}", hint=hint)
    source = f"{program}, which {file} names"
    if username == _IDENTITY_TOKEN:
        return Credentials(source, identity_token=secret)
    return Credentials(source, username, secret)


def _read(output: bytes, what: str, hint: str) -> tuple[str, str]:
    """Return the user's name and the secret of an answer."""
    try:
        answer = json.loads(output)
    except (ValueError, RecursionError):
        # Without the parser's words, which quote what they are about.
        raise LoginError(f"{what} does not answer with JSON", hint=hint) from None
    if not isinstance(answer, dict):
        raise LoginError(f"{what} does not answer with an object", hint=hint)
    username, secret = answer.get("Username", ""), answer.get("Secret", "")
    if not isinstance(username, str) or not isinstance(secret, str):
        raise LoginError(f"{what} answers with something else than a name and a secret", hint=hint)
    return username, secret
