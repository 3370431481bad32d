"""Standard input and output as a channel."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from pathlib import Path

from virtagent.testing.transports import StreamRecorder
from virtagent_transports.stdio import StdioTransport

from .support import FACTS, lost, pty_pair, read_exactly, received

PROGRAM = """
import asyncio, sys
from virtagent.errors import ChannelBusy, ChannelUnavailable
from virtagent_transports import connect

class Echo(asyncio.Protocol):
    def connection_made(self, transport): self.transport = transport
    def data_received(self, data): self.transport.write(data.upper())
    def connection_lost(self, exc): done.set()

async def main():
    global done
    done = asyncio.Event()
    await connect("stdio:", lambda facts: Echo())
    print("a careless print")
    print(repr(sys.stdin.readline()))
    try:
        await connect("stdio:", lambda facts: Echo())
    except ChannelBusy as error:
        print(error)
    await done.wait()
    try:
        await connect("stdio:", lambda facts: Echo())
    except ChannelUnavailable as error:
        print(error)

asyncio.run(main())
"""


def run(data: bytes, **streams: object) -> subprocess.CompletedProcess[bytes]:
    env = {"PYTHONPATH": ":".join(sys.path)}
    options = {"input": data, "stdout": subprocess.PIPE} | streams
    return subprocess.run([sys.executable, "-c", PROGRAM], stderr=subprocess.PIPE, env=env, check=True, **options)  # type: ignore[call-overload, no-any-return]


def test_a_print_goes_to_standard_error_and_input_finds_the_end() -> None:
    done = run(b"hello")
    assert done.stdout == b"HELLO"
    said = done.stderr.decode().splitlines()
    assert said[:2] == ["a careless print", "''"]
    assert "in use as a channel" in said[2]
    assert "used up by an earlier connection" in said[3]


def test_regular_files_can_be_the_channel(short_tmp: Path) -> None:
    (short_tmp / "in").write_bytes(b"abc" * 100_000)
    with (short_tmp / "in").open("rb") as source, (short_tmp / "out").open("wb") as sink:
        run(b"", input=None, stdin=source, stdout=sink)
    assert (short_tmp / "out").read_bytes() == b"ABC" * 100_000


async def test_the_blocking_mode_of_inherited_files_is_put_back() -> None:
    ours, theirs = socket.socketpair()
    kept = os.dup(ours.fileno())
    protocol = StreamRecorder(FACTS)
    transport = StdioTransport(asyncio.get_running_loop(), protocol, os.dup(kept), ours.detach())
    transport.start()
    assert not os.get_blocking(kept)
    transport.close()
    await lost(protocol)
    assert os.get_blocking(kept)
    os.close(kept)
    theirs.close()


async def test_a_terminal_can_be_the_channel() -> None:
    with pty_pair() as (master, path):
        fd = os.open(path, os.O_RDWR | os.O_NOCTTY)
        protocol = StreamRecorder(FACTS)
        transport = StdioTransport(asyncio.get_running_loop(), protocol, os.dup(fd), fd)
        transport.start()
        os.write(master, b"typed")
        await received(protocol, b"typed")
        transport.write(b"shown")
        assert await read_exactly(master, 5) == b"shown"
        transport.close()
        await lost(protocol)


async def test_the_end_of_input_is_told_and_what_is_queued_is_still_written() -> None:
    (r1, w1), (r2, w2) = os.pipe(), os.pipe()
    protocol = StreamRecorder(FACTS)
    transport = StdioTransport(asyncio.get_running_loop(), protocol, r1, w2)
    transport.start()
    transport.write(b"goodbye")
    os.close(w1)
    assert await lost(protocol) is None
    assert protocol.calls[-2:] == ["eof_received", "connection_lost"]
    assert os.read(r2, 100) == b"goodbye"
    os.close(r2)


async def test_a_reader_that_went_away_ends_the_connection() -> None:
    (r1, w1), (r2, w2) = os.pipe(), os.pipe()
    protocol = StreamRecorder(FACTS)
    transport = StdioTransport(asyncio.get_running_loop(), protocol, r1, w2)
    transport.start()
    os.close(r2)
    transport.write(b"x")
    assert isinstance(await lost(protocol), BrokenPipeError)
    os.close(w1)
