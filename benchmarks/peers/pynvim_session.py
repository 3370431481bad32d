"""pynvim's msgpack-RPC. It only connects: the server side is a session of its classes on an accepted socket."""

from __future__ import annotations

import socket
import time
from typing import Any

from pynvim.msgpack_rpc import socket_session
from pynvim.msgpack_rpc.async_session import AsyncSession
from pynvim.msgpack_rpc.event_loop import EventLoop
from pynvim.msgpack_rpc.msgpack_stream import MsgpackStream
from pynvim.msgpack_rpc.session import Session

from benchmarks.peers.peer import Ready

__all__ = ["connect", "serve"]


class AcceptingLoop(EventLoop):
    """Its loop, with the first connection that is made to a path."""

    def _connect_socket(self, path: str) -> None:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen()
            self.ready()
            connection, _ = listener.accept()
        made = self._loop.create_unix_connection(self._protocol_factory, sock=connection)
        self._transport, self._protocol = self._loop.run_until_complete(made)


def serve(address: str, ready: Ready) -> None:
    AcceptingLoop.ready = staticmethod(ready)
    session = Session(AsyncSession(MsgpackStream(AcceptingLoop("socket", address))))
    session.run(lambda name, arguments: arguments[0], lambda name, arguments: None)


class Client:
    def __init__(self, session: Any) -> None:
        self.session = session
        self.close = session.close

    def call(self, payload: bytes) -> Any:
        return self.session.request("echo", payload)

    def pipelined(self, payload: bytes, seconds: float, width: int) -> int:
        deadline = time.perf_counter() + seconds
        counts: list[int] = []

        def worker() -> None:
            count = 0
            while time.perf_counter() < deadline:
                self.session.request("echo", payload)
                count += 1
            counts.append(count)
            if len(counts) == width:
                self.session.stop()

        for _ in range(width):
            self.session.threadsafe_call(worker)
        self.session.run(lambda name, arguments: None, lambda name, arguments: None)
        return sum(counts)


def connect(address: str) -> Client:
    return Client(socket_session(address))
