"""The other process of a measurement: ``python -m benchmarks.server KIND PATH [CPU]``; says "ready" when it listens."""

from __future__ import annotations

import asyncio
import os
import resource
import sys

from benchmarks.limits import BareEcho, Prototype, Sink


async def serve(kind: str, path: str) -> None:
    loop = asyncio.get_running_loop()
    if kind == "ours":
        await serve_ours(path)
        return
    factories = {
        "bare": BareEcho,
        "sink": Sink,
        "prototype": lambda: Prototype({"echo": lambda params: params}),
    }
    server = await loop.create_unix_server(factories[kind], path)
    print("ready", flush=True)
    await server.serve_forever()


async def serve_ours(path: str) -> None:
    from virtagent.peer.handler import Handler
    from virtagent.peer.listening import Listening
    from virtagent.peer.stream import OutgoingStream

    async def coroutine_echo(_: object, params: object) -> object:
        return params

    async def chunks(total: int, size: int):  # type: ignore[no-untyped-def]
        chunk = bytes(size)
        for _ in range(total // size):
            yield chunk

    usage = resource.getrusage
    handlers = [
        Handler("echo", "inline", lambda _, params: params),
        Handler("coroutine", "task", coroutine_echo),
        Handler(
            "chunks",
            "inline",
            lambda _, params: OutgoingStream(chunks(params["total"], params["size"]), "bytes"),  # type: ignore[call-overload]
        ),
        Handler("cpu", "inline", lambda _, __: sum(usage(resource.RUSAGE_SELF)[:2])),
    ]
    async with Listening(f"unix:{path}", handlers) as listening:
        print("ready", flush=True)
        await listening.serve_forever()


if __name__ == "__main__":
    if len(sys.argv) > 3:
        os.sched_setaffinity(0, {int(sys.argv[3])})
    asyncio.run(serve(sys.argv[1], sys.argv[2]))
