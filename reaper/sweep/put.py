"""Puts a manifest back."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from reaper.registry import RegistryClient, RegistryError

_ATTEMPTS: Final = 3


async def put(
    client: RegistryClient, repository: str, reference: str, content: bytes, media_type: str
) -> None:
    """Push a manifest that the registry had before.

    While somebody else pushes a part of it, distribution may refuse with 400 what it takes a moment later:
    it reads a file that is being written. So a manifest that is refused is sent again.

    Raises:
        RegistryError: it was refused each time, or could not be sent.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            await client.put_manifest(repository, reference, content, media_type)
        except RegistryError as error:
            if error.status != HTTPStatus.BAD_REQUEST or attempt == _ATTEMPTS:
                raise
        else:
            return
