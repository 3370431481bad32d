"""The main job without a virtual machine: ``make demo``.

A guest daemon serves a unix socket and a serial line (a pair of ptys); the host side calls it over both, is called
back, reads a file, follows the kernel log, and sees the daemon say goodbye.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
import tty
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import virtagent

SERVICE = """
import virtagent

class Greeter(virtagent.Service, name="greeter"):
    async def greet(self, name: str, *, ctx: virtagent.Context) -> str:
        answer = await ctx.peer.call("host.question", text=f"what does {name} like?")
        return f"{name} likes {answer}"
"""


class Host(virtagent.Service, name="host"):
    """What the guest may call on the host."""

    async def question(self, text: str) -> str:
        say(f"  the guest asks back: {text!r}")
        return "answers in microseconds"


class AgentEvents(virtagent.Service, name="agent"):
    """What the guest's agent reports by itself."""

    async def up(self, ctx: virtagent.Context) -> None:
        say(f"  reported by the guest: agent.up on {short(ctx.peer.name)}")


def say(text: str) -> None:
    print(text, flush=True)


def short(url: str) -> str:
    """A URL without the temporary directory."""
    return url.replace(tempfile.gettempdir(), "...")


def carry(here: int, there: int) -> None:
    """Bytes from one pty's master to the other's."""
    os.write(there, os.read(here, 2048))


@asynccontextmanager
async def serial_line() -> AsyncIterator[tuple[str, str]]:
    """Two ptys, joined: the names of the guest's and of the host's end."""
    loop = asyncio.get_running_loop()
    ends = [os.openpty(), os.openpty()]
    masters = [master for master, _ in ends]
    for _, slave in ends:
        tty.setraw(slave)
    for here, there in (masters, masters[::-1]):
        loop.add_reader(here, carry, here, there)
    try:
        yield os.ttyname(ends[0][1]), os.ttyname(ends[1][1])
    finally:
        for master, slave in ends:
            loop.remove_reader(master)
            os.close(master)
            os.close(slave)


@asynccontextmanager
async def daemon(*channels: str, services: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """A guest daemon in a process of its own."""
    arguments = [argument for channel in channels for argument in ("--channel", channel)]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "virtagent.cli.daemon", *arguments, "--services", str(services), "--log-level", "warning"
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def show(guest: virtagent.Guest, path: str) -> None:
    """Calls both ways, a file and a ping, over one channel."""
    say(f"\n{short(guest.name)}")
    say(f"  {guest.detail}; a ping takes {await guest.ping() * 1e6:.0f} us")
    info = await guest.system.info()
    say(f"  system.info: {info.hostname}, {info.os.pretty_name}, kernel {info.kernel.release}")
    say("  greeter.greet: " + await guest.call("greeter.greet", name="guest"))
    content = b"".join([chunk async for chunk in guest.files.read(path)])
    say(f"  files.read {path}: {len(content)} bytes, the same as here: {content == Path(path).read_bytes()}")


async def follow_kernel_log(guest: virtagent.Guest) -> None:
    """Follow the kernel log until a line arrives that this process writes to it, where it may."""
    mark = f"virtagent demo {os.getpid()}"
    try:
        with open("/dev/kmsg", "w") as kmsg:
            say("\nfollowing the kernel log; this process writes a line to it")
            async with asyncio.timeout(10), virtagent.TypedStream.of(guest.log.kernel(follow=True)) as records:
                kmsg.write(mark + "\n")
                kmsg.flush()
                async for record in records:
                    if mark in record.message:
                        say(f"  [{record.timestamp:12.6f}] {record.message}")
                        break
    except (OSError, virtagent.errors.PermissionDenied, virtagent.errors.NotFound) as error:
        say(f"\nthe kernel log cannot be followed here: {error}")
        say("  (as root it can)")


async def main() -> None:
    """The demo."""
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="virtagent-demo-")))
        services = directory / "services"
        services.mkdir(mode=0o700)
        (services / "greeter.py").write_text(SERVICE)
        guest_end, host_end = await stack.enter_async_context(serial_line())
        socket = f"unix:{directory}/agent.sock"
        line = "baud=115200"
        process = await stack.enter_async_context(daemon(socket, f"serial:{guest_end}?{line}", services=services))
        say(f"virtagentd {virtagent.__version__} runs as process {process.pid}, on a unix socket and a serial line")
        host = [Host(), AgentEvents()]
        guest = await stack.enter_async_context(virtagent.connect(socket, services=host, wait=True))
        await show(guest, "/etc/os-release")
        serial = await stack.enter_async_context(virtagent.connect(f"serial:{host_end}?{line}", services=host))
        await show(serial, "/etc/os-release")
        await follow_kernel_log(guest)
        say("\nstopping the daemon")
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(15):
            async for state in guest.states():
                if state in (virtagent.PeerState.GONE, virtagent.PeerState.CLOSED):
                    say(f"  {state.value}: {guest.detail}")
                    break
            await process.wait()
        say(f"  it ended with status {process.returncode}\n")
        say("That was it. Next: README.md, or 'make demo-vm' for a real guest.")


if __name__ == "__main__":
    asyncio.run(main())
