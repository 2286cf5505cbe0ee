"""A command in a container of a pod, through the API server's WebSocket."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import BinaryIO, cast

import httpx2
from httpx2.websockets import HTTPXWSException, WebSocketUpgradeError
from lightkube import ApiError, AsyncClient, ConfigError, SingleConfig

from reaper.kubernetes.api import limits, reason
from reaper.kubernetes.errors import (
    ClusterDeniedError,
    ClusterError,
    ClusterLoginError,
    ClusterUnreachableError,
    ExecInterruptedError,
    ObjectNotFoundError,
)

_REFUSALS = {401: ClusterLoginError, 403: ClusterDeniedError, 404: ObjectNotFoundError}


async def run_in_pod(
    config: SingleConfig,
    namespace: str,
    pod: str,
    command: Sequence[str],
    *,
    container: str | None,
    on_stdout: Callable[[bytes], None] | None,
    on_stderr: Callable[[bytes], None] | None,
    within: float,
    doing: str,
) -> int:
    """Return the command's exit code. See ClusterClient.exec; ``doing`` begins each message."""
    client = AsyncClient(config, timeout=limits(within))
    try:
        async with asyncio.timeout(within):
            answer = await client.exec(
                pod,
                namespace=namespace,
                container=container,
                command=list(command),
                stdout=cast(BinaryIO, _Sink(on_stdout)),  # of which only `write` is used
                stderr=cast(BinaryIO, _Sink(on_stderr)),
            )
    except ApiError as error:
        raise ClusterError(f"{doing}: {error.status.message}") from error
    except ConfigError as error:
        raise ClusterLoginError(f"{doing}: {error}") from error
    except WebSocketUpgradeError as error:
        code = error.response.status_code
        kind = ClusterUnreachableError if code >= 500 else _REFUSALS.get(code, ClusterError)
        hint = "exec needs both get and create of pods/exec" if code == 403 else None
        raise kind(f"{doing}: the API server answered {code}", hint=hint, status=code) from error
    except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.UnsupportedProtocol) as error:
        raise ClusterUnreachableError(f"{doing}: {reason(error)}") from error
    except TimeoutError as error:
        raise _interrupted(doing, f"not finished after {within:g} s") from error
    except (httpx2.TransportError, HTTPXWSException) as error:
        raise _interrupted(doing, f"the connection ended: {error!r}") from error
    finally:
        await client.close()
    return answer.exit_code


def _interrupted(doing: str, why: str) -> ExecInterruptedError:
    return ExecInterruptedError(f"{doing}: {why}; the command may still run")


class _Sink:
    def __init__(self, receive: Callable[[bytes], None] | None) -> None:
        self._receive = receive

    def write(self, data: bytes) -> None:
        """Hand output on."""
        if self._receive is not None and data:
            self._receive(data)
