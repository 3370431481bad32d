"""``multiprocessing.connection``: blocking, pickle."""

from __future__ import annotations

import multiprocessing.connection
from multiprocessing.connection import Connection, Listener
from typing import Any

from benchmarks.peers.peer import CHUNK, Ready, windowed

__all__ = ["connect", "serve"]


def serve(address: str, ready: Ready) -> None:
    with Listener(address, "AF_UNIX") as listener:
        ready()
        with listener.accept() as connection:
            answer(connection)


def answer(connection: Any) -> None:
    chunk = bytes(CHUNK)
    while True:
        try:
            method, argument = connection.recv()
        except EOFError:
            return
        if method == "echo":
            connection.send(argument)
        else:
            for _ in range(argument // CHUNK):
                connection.send_bytes(chunk)


class Client:
    def __init__(self, connection: Connection[Any, Any]) -> None:
        self.connection = connection
        self.close = connection.close

    def call(self, payload: bytes) -> Any:
        self.connection.send(("echo", payload))
        return self.connection.recv()

    def pipelined(self, payload: bytes, seconds: float, width: int) -> int:
        connection = self.connection
        return windowed(lambda: connection.send(("echo", payload)), lambda _: connection.recv(), seconds, width)

    def stream(self, total: int) -> int:
        self.connection.send(("chunks", total))
        return sum(len(self.connection.recv_bytes()) for _ in range(total // CHUNK))


def connect(address: str) -> Client:
    return Client(multiprocessing.connection.Client(address, "AF_UNIX"))
