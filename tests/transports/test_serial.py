"""Serial lines over ptys; one test for each defect of pyserial-asyncio 0.6 that must not show."""

from __future__ import annotations

import asyncio
import fcntl
import os
import resource
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import pytest
import serial_asyncio

from virtagent.errors import ChannelBusy, ChannelUnavailable
from virtagent.testing.transports import BufferedRecorder, StreamRecorder
from virtagent_transports import ChannelFacts, connect, serial
from virtagent_transports.serial import SerialTransport

from .support import BOUND, lost, pty_pair, read_exactly, received


async def opened(path: str, options: str = "") -> tuple[SerialTransport, StreamRecorder]:
    transport, protocol = await connect(f"serial:{path}{options}", StreamRecorder)
    assert isinstance(transport, SerialTransport)
    assert isinstance(protocol, StreamRecorder)
    return transport, protocol


async def test_the_facts_are_those_of_a_line() -> None:
    with pty_pair() as (_, path):
        for options, rate in (("", 11520), ("?baud=9600", 960), ("?baud=9600&parity=even&stopbits=2", 800)):
            transport, protocol = await opened(path, options)
            facts = protocol.facts
            assert facts == ChannelFacts(
                scheme="serial",
                name=f"serial:{path}{options}",
                lossless=False,
                stale=True,
                tells_disconnect=False,
                speaks_first=True,
                line_rate=rate,
                exclusive=True,
            )
            transport.close()
            await lost(protocol)


async def test_it_is_a_transport_of_pyserial_asyncio() -> None:
    with pty_pair() as (_, path):
        transport, protocol = await opened(path)
        assert isinstance(transport, serial_asyncio.SerialTransport)
        assert transport.serial is transport.get_extra_info("serial")
        assert transport.serial.baudrate == 115200
        transport.close()
        await lost(protocol)


async def test_every_byte_passes_in_both_directions() -> None:
    with pty_pair() as (master, path):
        settings = termios.tcgetattr(master)
        settings[0] |= termios.ICRNL | termios.BRKINT
        settings[3] |= termios.ECHO | termios.ICANON | termios.ISIG
        termios.tcsetattr(master, termios.TCSANOW, settings)  # as a getty left it
        transport, protocol = await opened(path)
        every = bytes(range(256))
        os.write(master, every)
        await received(protocol, every)
        transport.write(every)
        assert await read_exactly(master, 256) == every
        iflag = termios.tcgetattr(transport.serial.fd)[0]
        assert iflag & termios.IGNBRK
        assert not iflag & termios.BRKINT
        transport.close()
        await lost(protocol)


async def test_an_unusual_baud_rate_is_accepted() -> None:
    with pty_pair() as (_, path):
        transport, protocol = await opened(path, "?baud=250000")
        transport.close()
        await lost(protocol)


async def test_a_second_opener_is_refused_and_told_who_holds_the_line() -> None:
    with pty_pair() as (_, path):
        transport, protocol = await opened(path)
        with pytest.raises(ChannelBusy, match=rf"pid {os.getpid()} \(this process\) holds it") as caught:
            await opened(path)
        assert caught.value.holder == f"pid {os.getpid()} (this process)"
        transport.close()
        await lost(protocol)
        again, protocol = await opened(path)
        again.close()
        await lost(protocol)


async def test_the_holder_in_another_process_is_named() -> None:
    program = (
        "import fcntl, sys\nf = open(sys.argv[1], 'rb+', buffering=0)\nfcntl.flock(f, 2)\nprint(flush=True)\ninput()"
    )
    with pty_pair() as (_, path):
        holder = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, path, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert holder.stdout is not None
        await holder.stdout.readline()
        with pytest.raises(ChannelBusy, match=rf"pid {holder.pid} \(python.*\) holds it; stop that first"):
            await opened(path)
        await holder.communicate(b"\n")


async def test_a_line_that_is_not_exclusive_leaves_the_lock_alone() -> None:
    with pty_pair() as (_, path):
        (first, a), (second, b) = await opened(path, "?exclusive=no"), await opened(path, "?exclusive=no")
        first.close()
        second.close()
        await lost(a)
        await lost(b)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: None, "there is no such device"),
        (lambda path: path.touch(), "that is no serial line"),
    ],
)
async def test_what_is_no_line_is_one_clear_line(short_tmp: Path, make: Any, words: str) -> None:
    make(short_tmp / "tty")
    with pytest.raises(ChannelUnavailable, match=words) as caught:
        await opened(str(short_tmp / "tty"))
    assert "\n" not in str(caught.value)


async def test_the_other_end_of_a_pty_closing_ends_the_connection() -> None:
    master, slave = os.openpty()
    _, protocol = await opened(os.ttyname(slave))
    os.close(slave)
    os.close(master)
    error = await lost(protocol)
    assert isinstance(error, ChannelUnavailable)
    assert "hung up: the adapter was unplugged" in str(error)


async def test_close_never_calls_tcdrain_and_gives_up_on_a_reader_that_never_reads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """pyserial-asyncio's close() waits in the loop until the line has sent all."""
    monkeypatch.setattr(termios, "tcdrain", lambda fd: pytest.fail("tcdrain blocks the loop"))
    monkeypatch.setattr(SerialTransport, "stall_limit", 0.05)
    with pty_pair() as (_, path):
        transport, protocol = await opened(path)
        transport.write(bytes(1 << 20))
        transport.close()
        assert transport.get_write_buffer_size() > 0
        assert await lost(protocol) is None


async def test_close_waits_for_the_uart_without_blocking(monkeypatch: pytest.MonkeyPatch) -> None:
    pending = [30, 20, 10, 0, 0]
    monkeypatch.setattr(serial, "_output_pending", lambda fd: pending.pop(0))
    with pty_pair() as (_, path):
        transport, protocol = await opened(path)
        transport.write(b"x")
        transport.close()
        assert "connection_lost" not in protocol.calls
        assert await lost(protocol) is None
    assert pending == []


async def test_a_uart_that_stops_sending_does_not_keep_close_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[int] = []
    monkeypatch.setattr(serial, "_output_pending", lambda fd: 30)
    monkeypatch.setattr(termios, "tcflush", lambda fd, queue: flushed.append(queue))
    monkeypatch.setattr(SerialTransport, "stall_limit", 0.03)
    with pty_pair() as (_, path):
        transport, protocol = await opened(path)
        flushed.clear()
        transport.close()
        await lost(protocol)
    assert flushed == [termios.TCOFLUSH]  # or close(2) would wait for it


async def test_abort_discards_what_is_pending() -> None:
    with pty_pair() as (_, path):
        transport, protocol = await opened(path)
        transport.write(bytes(1 << 20))
        transport.abort()
        assert transport.get_write_buffer_size() == 0
        assert await lost(protocol) is None


class Sizes(BufferedRecorder):
    def __init__(self, facts: ChannelFacts) -> None:
        super().__init__(facts)
        self.sizes: list[int] = []

    def buffer_updated(self, nbytes: int) -> None:
        self.sizes.append(nbytes)
        super().buffer_updated(nbytes)


async def test_reads_take_what_is_there_and_not_1_kib() -> None:
    with pty_pair() as (master, path):
        transport, protocol = await connect(f"serial:{path}", Sizes)
        assert isinstance(protocol, Sizes)
        assert isinstance(transport, SerialTransport)
        transport.pause_reading()
        sent = os.write(master, bytes(4000))  # a pty may take less
        assert sent > 1024
        async with asyncio.timeout(BOUND):
            while transport.serial.in_waiting < sent:
                await asyncio.sleep(0)
        transport.resume_reading()
        await received(protocol, bytes(sent))
        assert protocol.sizes == [sent]
        transport.close()
        await lost(protocol)


async def test_descriptors_above_1024_work() -> None:
    """select() cannot watch them, and pyserial's read() uses select()."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4096)), hard))
    filler = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        with pty_pair() as (master, path):
            assert master > 1024
            transport, protocol = await opened(path)
            os.write(master, b"hello")
            await received(protocol, b"hello")
            transport.write(b"world")
            assert await read_exactly(master, 5) == b"world"
            transport.close()
            await lost(protocol)
    finally:
        for fd in filler:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_flush_drops_the_queue_as_in_pyserial_asyncio() -> None:
    with pty_pair() as (_, path):
        transport, protocol = await opened(path)
        transport.write(bytes(1 << 20))
        assert protocol.calls[-1] == "pause_writing"
        transport.flush()
        assert transport.get_write_buffer_size() == 0
        assert protocol.calls[-1] == "resume_writing"
        transport.close()
        await lost(protocol)


async def test_a_lock_of_others_is_respected_even_by_root() -> None:
    with pty_pair() as (_, path):
        fd = os.open(path, os.O_RDWR | os.O_NOCTTY)
        fcntl.flock(fd, fcntl.LOCK_EX)
        with pytest.raises(ChannelBusy):
            await opened(path)
        os.close(fd)
