"""uvicorn and httpx: HTTP/1.1 over a unix socket, to a bare ASGI application."""

from __future__ import annotations

from typing import Any

import httpx
import uvicorn

from benchmarks.peers.peer import CHUNK, Ready

__all__ = ["connect", "serve"]

IN_FLIGHT = 64
HEADERS = [(b"content-type", b"application/octet-stream")]


async def application(scope: Any, receive: Any, send: Any) -> None:
    if scope["path"] == "/chunks":
        await chunks(int(scope["query_string"]), send)
        return
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    headers = [*HEADERS, (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def chunks(total: int, send: Any) -> None:
    headers = [*HEADERS, (b"content-length", str(total).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    chunk = bytes(CHUNK)
    for _ in range(total // CHUNK):
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


class Server(uvicorn.Server):
    ready: Ready

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        self.ready()


async def serve(address: str, ready: Ready) -> None:
    config = uvicorn.Config(
        application, uds=address, http="httptools", lifespan="off", log_level="error", access_log=False
    )
    server = Server(config)
    server.ready = ready
    await server.serve()


class Client:
    def __init__(self, address: str) -> None:
        limits = httpx.Limits(max_connections=IN_FLIGHT, max_keepalive_connections=IN_FLIGHT)
        self.client = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(uds=address, limits=limits), base_url="http://peer", trust_env=False
        )

    async def call(self, payload: bytes) -> Any:
        return (await self.client.post("/echo", content=payload)).content

    async def stream(self, total: int) -> int:
        received = 0
        async with self.client.stream("GET", f"/chunks?{total}") as response:
            async for chunk in response.aiter_raw():
                received += len(chunk)
        return received

    async def close(self) -> None:
        await self.client.aclose()


async def connect(address: str) -> Client:
    return Client(address)
