"""Commands as processes: no shell, a time limit, and no process left behind when reaper gives up."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import IO, Any, Final, TypeVar

from reaper.core.errors import ReaperError

Result = TypeVar("Result")

#: How long a process group may take to end when asked to, in seconds, before it is killed.
TERMINATION_GRACE: Final = 5.0
#: How long output may still come in, in seconds, after the command itself has ended.
_DRAIN: Final = 5.0
_TAIL_BYTES: Final = 4000
_CHUNK: Final = 64 * 1024


class ProcessError(ReaperError):
    """A command could not be started, took too long, or printed too much."""


async def run_quietly(command: Sequence[str], *, limit: float) -> tuple[int, str]:
    """Run ``command`` to its end; return its exit code and the end of what it printed.

    The output goes to a file, not to a pipe: a command that starts a server in the background hands its
    output on to it, and a pipe would keep reaper waiting for that server, or kill it when reaper ends.

    Raises:
        ProcessError: it could not be started, or took longer than ``limit`` seconds.
    """
    with _temporary() as output:
        async with _started(command, output, output) as process, _limited(command, limit):
            await process.wait()
        text = _tail(output)
    return _exit_code(process), text


async def run_read(command: Sequence[str], on_output: Callable[[bytes], None], *, limit: float) -> int:
    """Run ``command`` to its end, hand over its output as it comes, and return the exit code.

    The output goes through a pipe, so that a collector whose reaper was killed ends at its next line
    (SIGPIPE), and does not go on sweeping while a successor makes the registry writable.

    Raises:
        ProcessError: it could not be started, or took longer than ``limit`` seconds.
    """
    async with _pipe() as (reader, write_end), _started(command, write_end, write_end) as process:
        write_end.close()
        await _read_to_end(command, process, reader, on_output, limit)
    return _exit_code(process)


async def run_output(
    command: Sequence[str], *, limit: float, max_bytes: int, stdin: bytes = b""
) -> tuple[int, bytes, str]:
    """Run ``command`` to its end; return its exit code, its whole output, and the end of its error output.

    ``stdin`` is what it can read.

    Raises:
        ProcessError: it could not be started, took longer than ``limit`` seconds, printed more than
            ``max_bytes``, or left something behind that may still print.
    """
    output = bytearray()

    def keep(data: bytes) -> None:
        output.extend(data)
        if len(output) > max_bytes:
            raise ProcessError(f"{command[0]} printed more than {max_bytes} bytes and was ended")

    with _temporary() as errors, _temporary(stdin) as given:
        async with _pipe() as (reader, write_end), _started(command, write_end, errors, given) as process:
            write_end.close()
            whole = await _read_to_end(command, process, reader, keep, limit)
        if not whole:
            raise ProcessError(f"{command[0]} ended, but something that it started holds its output open")
        text = _tail(errors)
    return _exit_code(process), bytes(output), text


async def uninterrupted(work: Coroutine[Any, Any, Result]) -> Result:
    """Return what ``work`` returns, or raise what it raises.

    A cancellation meanwhile takes effect only when ``work`` has returned.
    """
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancelled = error
    result = task.result()
    if cancelled is not None:
        raise cancelled
    return result


@contextmanager
def _temporary(content: bytes = b"") -> Iterator[IO[bytes]]:
    """Make a file that is gone after the block; it can be read from its beginning."""
    try:
        file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - closed below
    except OSError as error:
        raise ProcessError(f"no temporary file can be made: {error.strerror}") from error
    with file:
        try:
            file.write(content)
            file.seek(0)
        except OSError as error:
            raise ProcessError(f"no temporary file can be written: {error.strerror}") from error
        yield file


@asynccontextmanager
async def _pipe() -> AsyncIterator[tuple[asyncio.StreamReader, IO[bytes]]]:
    read_fd, write_fd = os.pipe()
    with os.fdopen(write_fd, "wb") as write_end:
        reader = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(read_fd, "rb")
        )
        try:
            yield reader, write_end
        finally:
            transport.close()


async def _read_to_end(
    command: Sequence[str],
    process: asyncio.subprocess.Process,
    reader: asyncio.StreamReader,
    on_output: Callable[[bytes], None],
    limit: float,
) -> bool:
    """Hand the output over until the process has ended, at most ``limit`` seconds; tell whether it is all."""
    reading = asyncio.create_task(_read(reader, on_output))
    ending = asyncio.create_task(process.wait())
    try:
        async with _limited(command, limit):
            await asyncio.wait({reading, ending}, return_when=asyncio.FIRST_COMPLETED)
            if reading.done():
                reading.result()  # What handling the output raised ends the process.
            await ending
        # Something in the background may hold the pipe open; it is not waited for.
        await asyncio.wait({reading}, timeout=_DRAIN)
        if reading.done():
            reading.result()
        return reading.done()
    finally:
        reading.cancel()
        ending.cancel()
        await asyncio.gather(reading, ending, return_exceptions=True)


async def _read(reader: asyncio.StreamReader, on_output: Callable[[bytes], None]) -> None:
    while data := await reader.read(_CHUNK):
        on_output(data)


@asynccontextmanager
async def _started(
    command: Sequence[str], output: IO[bytes], errors: IO[bytes], given: IO[bytes] | int = DEVNULL
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Start ``command`` in a process group of its own, which ends with the block, however that ends."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=given,
            stdout=output,
            stderr=errors,
            start_new_session=True,
        )
    except OSError as error:
        raise ProcessError(f"{command[0]} could not be started: {error.strerror}") from error
    try:
        yield process
    finally:
        if process.returncode is None:
            await uninterrupted(_end(process))


@asynccontextmanager
async def _limited(command: Sequence[str], limit: float) -> AsyncIterator[None]:
    """Give the block ``limit`` seconds."""
    try:
        async with asyncio.timeout(limit):
            yield
    except TimeoutError as error:
        # Arguments may hold secrets, so a message names the command alone.
        raise ProcessError(f"{command[0]} took longer than {limit:g} seconds and was ended") from error


async def _end(process: asyncio.subprocess.Process) -> None:
    """End the whole process group: kindly, so that a wrapper can pass it on, then for certain."""
    _signal_group(process, signal.SIGTERM)
    with suppress(TimeoutError):
        await asyncio.wait_for(process.wait(), TERMINATION_GRACE)
    _signal_group(process, signal.SIGKILL)
    await process.wait()


def _signal_group(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def _tail(output: IO[bytes]) -> str:
    output.seek(max(0, output.seek(0, os.SEEK_END) - _TAIL_BYTES))
    return output.read().decode(errors="replace").strip()


def _exit_code(process: asyncio.subprocess.Process) -> int:
    code = process.returncode
    if code is None:
        raise AssertionError("the process has not ended")
    return code
