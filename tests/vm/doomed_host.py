"""A host process that dies of SIGKILL in the middle of something.

Use: `python doomed_host.py URL half-frame|request|reading`.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import struct
import sys
import termios

import virtagent
from virtagent import Guest
from virtagent.protocol.connection import Connection
from virtagent.protocol.frames import MESSAGE


def die() -> None:
    """End without any clean-up."""
    os.kill(os.getpid(), signal.SIGKILL)


async def half_a_frame(guest: Guest) -> None:
    """Send the header of the largest frame that was agreed, and half its payload; die when QEMU has taken all."""
    core, channel = guest._core, guest.channel
    assert isinstance(core, Connection)
    assert core._session is not None
    assert channel is not None
    assert channel.transport is not None
    frame = b"".join([core._session.writer.frame(MESSAGE, 0, bytes(core._session.agreement.frame))])
    channel.transport.write(frame[: len(frame) // 2])
    socket = channel.transport.get_extra_info("socket")
    while struct.unpack("i", fcntl.ioctl(socket.fileno(), termios.TIOCOUTQ, bytes(4)))[0]:
        await asyncio.sleep(0.001)
    die()


async def part_of_a_request(guest: Guest) -> None:
    """Begin a large request; die when the kernel takes no more, or a slow line has taken a part."""
    assert guest.info is not None
    call = asyncio.create_task(guest.call("probe.size", data=bytes(guest.info.message // 2)))
    assert guest.channel is not None
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.3):
            while not guest.channel.paused:
                await asyncio.sleep(0)
    assert not call.done()
    die()


async def reading(guest: Guest) -> None:
    """Let the guest stream, read no more, and die while it waits to write."""
    async with guest.stream("probe.flood", pieces=1000) as stream:
        async for _ in stream:
            break
        channel = guest.channel
        assert channel is not None
        assert channel.transport is not None
        channel.transport.pause_reading()
        await asyncio.sleep(0.3)  # the guest fills what is between it and us
        die()


MANNERS = {"half-frame": half_a_frame, "request": part_of_a_request, "reading": reading}


async def main(url: str, manner: str) -> None:
    """Connect, and die."""
    async with virtagent.connect(url) as guest:
        await guest.ping()
        await MANNERS[manner](guest)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
