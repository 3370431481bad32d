"""aiorpcX: JSON-RPC over a unix socket. JSON has no bytes, so the payload is text of the same length."""

from __future__ import annotations

import asyncio
from typing import Any

import aiorpcx

from benchmarks.peers.peer import Ready

__all__ = ["connect", "serve"]

LARGEST = 8 * 1024 * 1024
"""Bytes of the largest message; the default, a megabyte, is less than the largest payload."""


async def echo(payload: str) -> str:
    return payload


class Session(aiorpcx.RPCSession):
    initial_concurrent = 64
    cost_soft_limit = cost_hard_limit = 0

    def default_framer(self) -> Any:
        return aiorpcx.NewlineFramer(LARGEST)

    async def handle_request(self, request: Any) -> Any:
        return await aiorpcx.handler_invocation(echo, request)()


async def serve(address: str, ready: Ready) -> None:
    server = await aiorpcx.serve_us(Session, address, loop=asyncio.get_running_loop())
    ready()
    await server.serve_forever()


class Client:
    def __init__(self, session: Any) -> None:
        self.session = session
        self.texts: dict[int, str] = {}

    async def call(self, payload: bytes) -> Any:
        text = self.texts.get(len(payload))
        if text is None:
            text = self.texts[len(payload)] = "x" * len(payload)
        return await self.session.send_request("echo", (text,))

    async def close(self) -> None:
        await self.session.close()


async def connect(address: str) -> Client:
    client = aiorpcx.connect_us(address, session_factory=Session)
    _, protocol = await client.create_connection()
    return Client(protocol.session)
