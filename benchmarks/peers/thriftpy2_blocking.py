"""thriftpy2's threaded server and blocking client."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import thriftpy2
from thriftpy2.rpc import make_client, make_server

from benchmarks.peers.peer import Ready

__all__ = ["Echo", "connect", "serve"]

DEFINITION = thriftpy2.load(str(Path(__file__).with_name("echo.thrift")), module_name="echo_thrift")


class Echo:
    def echo(self, payload: bytes) -> bytes:
        return payload


def serve(address: str, ready: Ready) -> None:
    server = make_server(DEFINITION.Echo, Echo(), unix_socket=address)
    listen = server.trans.listen

    def listen_and_tell() -> None:
        listen()
        ready()

    server.trans.listen = listen_and_tell  # serve() listens and accepts in one
    server.serve()


class Client:
    def __init__(self, client: Any) -> None:
        self.call = client.echo
        self.close = client.close


def connect(address: str) -> Client:
    return Client(make_client(DEFINITION.Echo, unix_socket=address))
