"""The other process of a measurement: ``python -m benchmarks.server KIND PATH``; says "ready" when it listens."""

from __future__ import annotations

import argparse
import asyncio
import gc
from collections.abc import AsyncIterator, Callable
from typing import Any

from benchmarks.limits import ECHO, Source, serve_blocking
from benchmarks.loops import loop_factory

__all__ = ["KINDS"]

KINDS = ("bare echo", "raw copy", "prototype", "ours", "multiprocessing.connection")
"""What can be served."""


def ready() -> None:
    """Tell the parent, after the garbage of the start: no subject pays for its imports during a measurement."""
    gc.collect()
    gc.freeze()
    print("ready", flush=True)


class Counter:
    """Counts notifications, so that a client can ask when the last one has been handled."""

    def __init__(self) -> None:
        self.value = 0

    def add(self, number: int) -> None:
        """Handle one notification."""
        self.value += number


async def serve(factory: Callable[[], asyncio.BaseProtocol], path: str) -> None:
    """Serve a protocol."""
    server = await asyncio.get_running_loop().create_unix_server(factory, path)
    ready()
    await server.serve_forever()


async def serve_prototype(path: str) -> None:
    """Serve what the rows call of the prototype."""
    from benchmarks.prototype import Prototype

    counter = Counter()
    handlers: dict[str, Callable[[Any], Any]] = {
        "echo": lambda params: params["data"],
        "add": lambda params: counter.add(params["number"]),
        "added": lambda params: counter.value,
    }
    await serve(lambda: Prototype(handlers), path)


async def serve_ours(path: str) -> None:
    """Serve what the rows call of ours: handlers by name, a typed service, a stream."""
    from benchmarks.rows.records import RecordStore, untyped_handlers
    from virtagent.peer.context import Context
    from virtagent.peer.handler import Handler
    from virtagent.peer.stream import OutgoingStream
    from virtagent.service.serving import listen

    counter = Counter()

    def inline_echo(context: Context, params: Any) -> Any:
        return params["data"]

    async def echo(context: Context, params: Any) -> Any:
        return params["data"]

    def add(context: Context, params: Any) -> None:
        counter.add(params["number"])

    async def chunks(total: int, size: int) -> AsyncIterator[bytes]:
        chunk = bytes(size)
        for _ in range(total // size):
            yield chunk

    def stream(context: Context, params: Any) -> OutgoingStream:
        return OutgoingStream(chunks(params["total"], params["size"]), "bytes")

    handlers = [
        Handler("echo", "inline", inline_echo),
        Handler("coroutine", "task", echo),
        Handler("chunks", "inline", stream),
        Handler("add", "inline", add),
        Handler("added", "inline", lambda context, params: counter.value),
        *untyped_handlers(),
    ]
    async with listen(f"unix:{path}", services=[RecordStore()], handlers=handlers) as listening:
        ready()
        await listening.serve_forever()


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("path", help="of the unix socket")
    parser.add_argument("--loop", default="asyncio", choices=("asyncio", "uvloop"))
    options = parser.parse_args()
    if options.kind == "multiprocessing.connection":
        serve_blocking(options.path, ready)
        return
    protocols: dict[str, Callable[[], asyncio.BaseProtocol]] = {"bare echo": ECHO[options.loop], "raw copy": Source}
    with asyncio.Runner(loop_factory=loop_factory(options.loop)) as runner:
        if options.kind == "ours":
            runner.run(serve_ours(options.path))
        elif options.kind == "prototype":
            runner.run(serve_prototype(options.path))
        else:
            runner.run(serve(protocols[options.kind], options.path))


if __name__ == "__main__":
    main()
