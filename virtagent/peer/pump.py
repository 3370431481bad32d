"""Sending what an async iterable gives into a stream, with back-pressure, until either of them ends."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterable
from typing import Any

from virtagent.errors import CallError, UsageError, VirtagentError, error_to_wire
from virtagent.peer.stream import StreamEnd

__all__ = ["close_source", "pump"]

log = logging.getLogger("virtagent.stream")


async def pump(end: StreamEnd, source: AsyncIterable[Any], name: str) -> None:
    """Send everything that ``source`` gives, then half-close; its error ends the stream for the reader too (rule T7).

    Cancelled when the stream is over (reset by the peer, session lost); ``source`` is closed in any case, but for a
    cancellation before the first step, of which a coroutine hears nothing: ``end.pumped`` is False then.
    """
    task = asyncio.current_task()
    assert task is not None
    end.pumped = True
    end.on_over = task.cancel
    try:
        if not end.closed:
            await send_all(end, source)
            end.end()
    except asyncio.CancelledError:
        end.reset([1, f"{name}: cancelled", None])
    except Exception as error:
        if not isinstance(error, VirtagentError):
            log.error("the stream of %s failed", name, exc_info=error)
        wire = error_to_wire(error)
        if isinstance(error, VirtagentError) and not isinstance(error, CallError):
            wire = [13, str(error), None]
        end.end(wire)
    finally:
        end.on_over = None
        await close_source(source)


async def close_source(source: AsyncIterable[Any]) -> None:
    """Let a source free what it holds: a file, a process, a frozen filesystem."""
    aclose = getattr(source, "aclose", None)
    if aclose is not None:
        await aclose()


async def send_all(end: StreamEnd, source: AsyncIterable[Any]) -> None:
    """The loop of :func:`pump`; waits while more than the send buffer's bound is queued.

    Raises:
        UsageError: something that cannot be sent.
    """
    items = end.items
    async for chunk in source:
        if items:
            data = end.pack(chunk)
        elif isinstance(chunk, bytes):
            data = chunk
        elif isinstance(chunk, (bytearray, memoryview)):
            data = bytes(chunk)
        else:
            raise UsageError(f"a stream of bytes was given {type(chunk).__name__}")
        if not data:
            continue
        end.send(data)
        if end.queued > end.high:
            await end.wait_writable()
