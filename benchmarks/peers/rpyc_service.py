"""rpyc's threaded server and its blocking client."""

from __future__ import annotations

import threading
import time
from typing import Any

import rpyc
from rpyc.utils.factory import unix_connect
from rpyc.utils.server import ThreadedServer

from benchmarks.peers.peer import Ready, windowed

__all__ = ["connect", "serve"]


class EchoService(rpyc.Service):
    def exposed_echo(self, payload: bytes) -> bytes:
        return payload


def serve(address: str, ready: Ready) -> None:
    server = ThreadedServer(EchoService, socket_path=address)
    thread = threading.Thread(target=server.start, daemon=True)
    thread.start()
    while not server.active and thread.is_alive():
        time.sleep(0.0005)
    ready()
    thread.join()


class Client:
    def __init__(self, connection: Any) -> None:
        self.call = connection.root.echo
        self.echo_later = rpyc.async_(connection.root.echo)
        self.close = connection.close

    def pipelined(self, payload: bytes, seconds: float, width: int) -> int:
        return windowed(lambda: self.echo_later(payload), lambda result: result.value, seconds, width)


def connect(address: str) -> Client:
    return Client(unix_connect(address))
