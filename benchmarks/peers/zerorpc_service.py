"""zerorpc: gevent, ZeroMQ, msgpack."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import zerorpc

from benchmarks.peers.peer import CHUNK, Ready, windowed

__all__ = ["connect", "serve"]


class Echo:
    def echo(self, payload: bytes) -> bytes:
        return payload

    @zerorpc.stream
    def chunks(self, total: int) -> Iterator[bytes]:
        chunk = bytes(CHUNK)
        for _ in range(total // CHUNK):
            yield chunk


def serve(address: str, ready: Ready) -> None:
    server = zerorpc.Server(Echo())
    server.bind(f"ipc://{address}")
    ready()
    server.run()


class Client:
    def __init__(self, client: Any) -> None:
        self.client = client
        self.call = client.echo
        self.close = client.close

    def pipelined(self, payload: bytes, seconds: float, width: int) -> int:
        later = {"async": True}  # its keyword became one of Python's
        return windowed(lambda: self.client("echo", payload, **later), lambda result: result.get(), seconds, width)

    def stream(self, total: int) -> int:
        return sum(len(chunk) for chunk in self.client.chunks(total))


def connect(address: str) -> Client:
    client = zerorpc.Client()
    client.connect(f"ipc://{address}")
    return Client(client)
