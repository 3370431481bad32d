"""Running the desktop's clipboard programs (xclip, wl-copy, wl-paste) within bounds."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from virtagent.api.clipboard import LARGEST_CONTENT
from virtagent.errors import ResourceExhausted, Unavailable

__all__ = ["PATIENCE", "Done", "find_tool", "run_tool"]

PATIENCE = 10.0
"""Seconds that a program has: it asks another one, which holds the content and may hang."""

LONGEST_COMPLAINT = 4096


class Done(NamedTuple):
    """How a program ended.

    Attributes:
        code: its exit status.
        output: what it wrote to standard output.
        complaint: what it wrote to standard error.
    """

    code: int
    output: bytes
    complaint: str


def find_tool(program: str, package: str) -> str:
    """A program's path.

    Raises:
        Unavailable: it is missing, and what to install.
    """
    path = shutil.which(program)
    if path is None:
        raise Unavailable(f"the guest has no {program}; install the package {package}")
    return path


async def run_tool(command: Sequence[str], data: bytes | None = None, *, env: Mapping[str, str] | None = None) -> Done:
    """Run a program to its end; it is killed when this is cancelled, or when its time is over.

    Args:
        env: variables that it has beside ours.
        data: its standard input; its output is not read then, as it leaves a process behind that holds the content.

    Raises:
        Unavailable: it did not end in time.
        ResourceExhausted: it wrote more than 16 MiB.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        env={**os.environ, **(env or {})},
        stdin=asyncio.subprocess.DEVNULL if data is None else asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE if data is None else asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE if data is None else asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(PATIENCE):
            if data is not None:
                await process.communicate(data)
                return Done(process.returncode or 0, b"", "")
            assert process.stdout is not None
            assert process.stderr is not None
            output, complaint = await asyncio.gather(_read(process.stdout), process.stderr.read(LONGEST_COMPLAINT))
            code = await process.wait()
            return Done(code, output, " ".join(complaint.decode(errors="replace").split()))
    except TimeoutError:
        raise Unavailable(f"the program that holds the clipboard did not answer within {PATIENCE:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _read(stream: asyncio.StreamReader) -> bytes:
    chunks = []
    size = 0
    while chunk := await stream.read(1 << 16):
        size += len(chunk)
        if size > LARGEST_CONTENT:
            raise ResourceExhausted(f"the clipboard holds more than {LARGEST_CONTENT >> 20} MiB")
        chunks.append(chunk)
    return b"".join(chunks)
