"""Secrets that settings hold themselves, or name a file for."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pydantic import SecretStr

from reaper.core.errors import ReaperError

_MAX_SECRET: Final = 64 * 1024


def read_secret(value: SecretStr | None, file: Path | None) -> str | None:
    """Return the secret that is written out or stands in ``file``, or None without either.

    The file is read anew each time, without the line's end.

    Raises:
        ReaperError: it cannot be read, or holds no secret.
    """
    if value is not None or file is None:
        return value.get_secret_value() if value else None
    try:
        with file.open("rb") as opened:
            text = opened.read(_MAX_SECRET).decode()
    except OSError as error:
        raise ReaperError(f"the secret file {file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        problem = "is not UTF-8 text"
    else:
        secret = text.rstrip("\r\n")
        if secret:
            return secret
        problem = "is empty"
    raise ReaperError(f"the secret file {file} {problem}")
