"""The limit of a quick start: a process that imports asyncio and msgpack and answers one message on a unix socket."""

import asyncio
import sys

import msgpack


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    message = msgpack.unpackb(await reader.read(4096))
    writer.write(msgpack.packb([1, message[1], None, message[3]]))


async def main() -> None:
    server = await asyncio.start_unix_server(answer, sys.argv[1])
    await server.serve_forever()


asyncio.run(main())
